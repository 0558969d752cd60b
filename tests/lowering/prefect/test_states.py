"""Prefect: what a flow's final state is, and what becomes of its tasks.

Source: `semantics/prefect.md`, "Return value -> flow state" and "Futures, dependencies, map". The worker sees the
returned value and says what it means (`Outcome.verdict`); the run ends as its body does.
"""

import pytest

from plait.model.graph import TaskSpec
from plait.model.outcome import ErrorInfo, Outcome, Verdict
from plait.model.policies import RetryPolicy
from plait.testing import Body, World, failure
from tests.lowering.building import FAILS, OK, flow

NO_RETRY_AFTER_A_CRASH = RetryPolicy(on_crash=False)


def submits_two(outcome: Outcome):
    """A flow that submits a task that succeeds and one that fails, and returns something that means `outcome`."""

    def body(body: Body):
        yield [body.submit("good"), body.submit("bad")]
        return outcome

    return body


AGGREGATED = failure("FailedRun: 1/2 states failed.")
CANCELLED = Outcome(verdict=Verdict.CANCELLED, error=ErrorInfo(type="CancelledRun", message="1/2 states cancelled."))


@pytest.mark.parametrize(
    ("version", "returned", "outcome", "state"),
    [
        (3, "None", OK, "success"),
        (3, "a value", OK, "success"),
        (2, "None", AGGREGATED, "failed"),
        (2, "a value", OK, "success"),
        (3, "both futures", AGGREGATED, "failed"),
        (2, "both futures", AGGREGATED, "failed"),
        (3, "only the good future", OK, "success"),
        (3, "a list with a cancelled state", CANCELLED, "cancelled"),
        (3, "a list of a state and a value", OK, "success"),
        (3, "Completed(data=42)", OK, "success"),
        (3, "Failed()", failure("FailedRun: Failed"), "failed"),
        (3, "Cancelled()", CANCELLED, "cancelled"),
        (3, "an exception", failure("ValueError: boom"), "failed"),
    ],
)
def test_final_states_by_return_value(version, returned, outcome, state):
    """ "Return value -> flow state", each row: a task failed in all of them, and it is the returned value that decides.
    Prefect 2 makes a failure of None when a task failed."""
    run = World().start(flow(), {"flow": submits_two(outcome), "bad": FAILS})
    assert sorted(run.children.values()) == ["failed", "success"]
    assert (run.states, run.state) == ({"flow": state}, state)


def test_a_body_that_crashes_is_told_from_one_that_fails():
    """ "Crash": a BaseException makes the flow run Crashed. The run has failed, its body is crashed; the word table
    maps that pair to Crashed."""
    crash = failure("KeyboardInterrupt: ", verdict=Verdict.CRASHED)
    run = World().start(flow(retry=NO_RETRY_AFTER_A_CRASH), {"flow": crash})
    assert (run.states, run.state) == ({"flow": "crashed"}, "failed")


# --- dependencies -----------------------------------------------------------------------------------------------------


def test_a_failed_upstream_leaves_its_dependent_not_ready():
    """ "Futures, dependencies, map": an upstream that is not Completed leaves the task Pending/NotReady, which never
    runs; so does what depends on that. The word for it is upstream_failed; the body goes on and decides."""

    def body(body: Body):
        first = body.submit("first")
        second = body.submit("second", wait_for=[first])
        yield body.submit("third", wait_for=[second])

    run = World().start(flow(), {"flow": body, "first": FAILS})
    assert [run.task(key).state.value for key in ("first", "second", "third")] == [
        "failed", "upstream_failed", "upstream_failed"
    ]  # fmt: skip
    assert (run.executions("second"), run.state) == ([], "success")


def test_allow_failure_runs_the_dependent_all_the_same():
    """ "Futures, dependencies, map": allow_failure(f) lets it run, with the exception as the value."""

    def body(body: Body):
        first = body.submit("first")
        yield body.submit("second", allow_failure=[first])

    run = World().start(flow(), {"flow": body, "first": FAILS})
    assert (run.task("second").state.value, run.state) == ("success", "success")


def test_allow_failure_of_one_does_not_forgive_the_other():
    """The same: each future counts by itself."""

    def body(body: Body):
        first, other = body.submit("first"), body.submit("other")
        yield body.submit("second", allow_failure=[first], wait_for=[other])

    run = World().start(flow(), {"flow": body, "first": FAILS, "other": FAILS})
    assert run.task("second").state.value == "upstream_failed"


def test_wait_for_waits_for_what_is_still_running():
    """`task.submit(wait_for=[...])` (17f/6r): the same rule without a value."""

    def body(body: Body):
        yield body.submit("second", wait_for=[body.submit("first")])

    run = World().start(flow(), {"flow": body, "first": None})
    assert run.task("second").state.value == "pending"
    run.answer("first")
    assert run.state == "success"


def test_map_submits_one_child_an_element():
    """`task.map` (50f/9r): iterables zipped, scalars broadcast; the body knows the values, so each element is a child,
    with a key of its own."""

    def body(body: Body):
        mapped = [body.submit("process", day, "warehouse") for day in range(3)]
        yield body.submit("total", wait_for=mapped)

    run = World().start(flow(), {"flow": body})
    assert run.order == ["flow", "process", "process", "process", "total"]
    assert list(run.children) == [f"process:({day}, 'warehouse'):0" for day in range(3)] + ["total:():0"]


def test_a_map_over_another_map_waits_element_by_element():
    """`transform.map(extract.map(...))`: each future among the arguments is the upstream of its own element."""

    def body(body: Body):
        first = [body.submit("extract", day) for day in range(2)]
        yield [body.submit("transform", day, wait_for=[up]) for day, up in enumerate(first)]

    run = World().start(flow(), {"flow": body, "extract": None})
    world = run.world
    world.executor.answer(run.executions("extract")[1])
    world.settle()
    assert list(run.children.values()) == ["dispatched", "success", "pending", "success"]


def test_the_same_call_twice_is_two_children():
    """Two calls of one task with equal inputs are two task runs (no caching by default); the second has the next
    occurrence in its key."""

    def body(body: Body):
        yield [body.submit("extract", 1), body.submit("extract", 1)]

    assert list(World().start(flow(), {"flow": body}).children) == ["extract:(1,):0", "extract:(1,):1"]


# --- subflows ---------------------------------------------------------------------------------------------------------

SUBFLOW = TaskSpec(key="sub", runner="flow")


def test_a_subflow_is_a_body_in_a_body():
    """ "Flows, params, subflows, hooks": a child run with a tracking task run in the parent; its own tasks are its
    children, and a failure inside it is the parent's to see."""

    def parent(body: Body):
        sub = body.submit(SUBFLOW, 1)
        yield sub
        yield body.submit("after")
        return OK

    def sub(body: Body):
        yield [body.submit("inner", index) for index in range(2)]
        return FAILS

    run = World().start(flow(), {"flow": parent, "sub": sub})
    assert run.task("sub").state.value == "failed"
    assert [run.task(key).parent for key in ("sub", "inner")] == [run.task("flow").no, run.task("sub").no]
    assert (run.task("after").state.value, run.state) == ("success", "success")


def test_a_deployment_that_a_flow_runs_is_a_run_of_its_own():
    """run_deployment (27f/11r): a run of another workflow; as_subflow links it to its parent."""

    def parent(body: Body):
        yield body.submit(TaskSpec(key="etl", runner="run", workflow="etl"))

    world = World()
    world.offer(flow("etl"), {"etl": FAILS})
    run = world.start(flow(), {"flow": parent})
    (sub,) = world.runs_of("etl")
    assert (sub.state, run.task("etl").state.value, run.state) == ("failed", "failed", "success")
    assert sub.row.parent == f"{run.run_id}/{run.task('etl').no}"


def test_cancelling_a_flow_cancels_its_children_and_its_sub_runs():
    """ "Cancellation": Cancelling, then Cancelled once its processes are gone."""

    def parent(body: Body):
        yield [body.submit("slow"), body.submit(TaskSpec(key="etl", runner="run", workflow="etl"))]

    world = World()
    world.offer(flow("etl"), {"etl": None})
    run = world.start(flow(), {"flow": parent, "slow": None})
    run.cancel()
    assert (run.task("slow").state.value, run.states, run.state) == ("cancelled", {"flow": "cancelled"}, "cancelled")
    assert [sub.state for sub in world.runs_of("etl")] == ["cancelled"]


def test_what_a_body_leaves_running_is_cancelled_with_it():
    """ "Futures": un-awaited futures do not affect the state. plait's hosts wait for them; one that ends without
    waiting (an exception) leaves nothing behind."""

    def body(body: Body):
        body.submit("slow")
        yield []
        return FAILS

    run = World().start(flow(), {"flow": body, "slow": None})
    assert (run.task("slow").state.value, run.state) == ("cancelled", "failed")
