"""Random outcomes of an execution: every verdict, with the control values that fit the graph and those that do not."""

from hypothesis import strategies as st

from plait.engine.plan import Plan
from plait.engine.run import TaskRun
from plait.model.graph import OverOutput
from plait.model.outcome import AssetEvent, CheckResult, ErrorInfo, Outcome, RetryVerdict, Stored, Verdict
from tests.unit.engine.machine.graphs import seldom

_ERROR = ErrorInfo(type="Boom", message="no")
_WAIT = st.sampled_from([None, 5.0, 30.0])
_NAMES = st.sampled_from([None, None, "first", "second"])
_LENGTHS = st.integers(0, 3) | st.sampled_from([["a"], ["a", "b"], ["a", "a"], []])


def measured(plan: Plan, key: str) -> tuple[str, ...]:
    """The outputs of a task that something is mapped over."""
    node = plan.nodes.get(key)
    if node is None:
        return ()
    sources = [feed.scope.spec.sources[feed.source] for feed in node.feeds]
    return tuple(dict.fromkeys(source.output for source in sources if isinstance(source, OverOutput)))


def expected(plan: Plan, task: TaskRun) -> Outcome:
    """What a worker reports of a success in which nothing is special."""
    return Outcome(lengths=dict.fromkeys(measured(plan, task.key), 2))


def outcomes(plan: Plan, task: TaskRun, now: float) -> st.SearchStrategy[Outcome]:
    """Anything that a worker may report of this execution."""
    failures = st.builds(
        Outcome,
        verdict=st.sampled_from([Verdict.FAILED, Verdict.FAILED, Verdict.CRASHED]),
        error=st.just(_ERROR),
        retry=st.sampled_from([RetryVerdict.POLICY, RetryVerdict.POLICY, RetryVerdict.NEVER, RetryVerdict.ALWAYS]),
        retry_limit=st.sampled_from([None, 2]),
        retry_delay=st.sampled_from([None, None, 7.0]),
        started_at=st.sampled_from([0.0, now]),
    )
    waits = st.one_of(
        st.builds(Outcome, verdict=st.just(Verdict.RESCHEDULE), until=st.sampled_from([None, now, now + 6.0])),
        st.builds(
            Outcome,
            verdict=st.just(Verdict.DEFER),
            trigger=st.sampled_from([{"kind": "file"}, {"kind": "time", "at": now + 6.0}]),
            timeout=_WAIT,
            wait=_NAMES,
        ),
        st.builds(Outcome, verdict=st.just(Verdict.PAUSE), timeout=_WAIT, wait=_NAMES),
    )
    others = st.builds(
        Outcome, verdict=st.sampled_from([Verdict.SKIPPED, Verdict.CANCELLED]), error=st.sampled_from([None, _ERROR])
    )
    return st.one_of(successes(plan, task), successes(plan, task), failures, waits, others)


@st.composite
def successes(draw: st.DrawFn, plan: Plan, task: TaskRun) -> Outcome:
    """A success: what it emitted, how long that is, what it chose."""
    outputs = tuple(output.name for output in task.node.spec.outputs)
    targets = [*(edge.down.key for edge in task.node.downs), *(group.key for group in plan.graph.groups)]
    branch = draw(seldom) and bool(targets)
    kept = draw(st.sampled_from(["", "", "cached", "persisted", "unstored"]))
    return Outcome(
        emitted=draw(st.none() | st.lists(st.sampled_from(outputs), unique=True).map(tuple)),
        lengths={name: draw(_LENGTHS) for name in measured(plan, task.key) if not draw(_RARELY)},
        branch=draw(st.lists(st.sampled_from(targets), max_size=2, unique=True).map(tuple)) if branch else None,
        short_circuit=draw(st.sampled_from(["direct", "all"])) if not branch and draw(seldom) else None,
        outputs={"result": Stored(format="json", data=b"1")} if draw(seldom) else {},
        checks=(_CHECK,) if draw(_RARELY) else (),
        assets=(AssetEvent(key="table"),) if draw(_RARELY) else (),
        cached=kept == "cached",
        persisted=kept == "persisted",
        unstored=kept == "unstored",
    )


_RARELY = st.sampled_from([False] * 9 + [True])
_CHECK = CheckResult(name="not_empty", passed=False, blocking=True)
