"""What a task run's end means for others: edges, trigger rules, mapped scopes.

Every task run that became terminal is put on `run.settled`; `settle` works that queue off, without recursion, so a
chain of any length is decided in one step. A scope expands when all of its sources are known: its stand-ins are
replaced by one task run an element, and the gates below count that many edges instead of one.
"""

import heapq
from collections.abc import Mapping
from math import prod
from types import MappingProxyType

from plait.engine.leaving import cancel_task, resolve
from plait.engine.plan import EdgePlan, NodePlan, ScopePlan
from plait.engine.rules import Gate, answer, merged
from plait.engine.run import Control, Run, TaskRun
from plait.model.commands import AddWatch, RequestSlots, SetTimer
from plait.model.events import ScopeExpanded
from plait.model.graph import OverLiteral, OverParam, WatchSpec, map_keys
from plait.model.ids import MapElement, MapPath
from plait.model.outcome import ErrorInfo
from plait.model.rows import ScopeRow
from plait.model.states import EdgeState, RunState, TaskState

PAST = WatchSpec(subject="past", states=("success", "skipped"), failing=("failed", "upstream_failed", "crashed"))

_OF_STATE = {
    TaskState.FAILED: EdgeState.FAILED,
    TaskState.CRASHED: EdgeState.FAILED,
    TaskState.CANCELLED: EdgeState.FAILED,
    TaskState.UPSTREAM_FAILED: EdgeState.UPSTREAM_FAILED,
    TaskState.SKIPPED: EdgeState.SKIPPED,
    TaskState.REMOVED: EdgeState.REMOVED,
}

Kept = Mapping[tuple[str, MapPath], TaskRun]
NONE_KEPT: Kept = MappingProxyType({})

# --- ends -------------------------------------------------------------------------------------------------------------


def settle(run: Run, now: float) -> None:
    """Work off what has ended: tell the task runs below, expand scopes, until nothing follows any more."""
    while run.settled:
        task = run.settled.popleft()
        if run.tasks.get(task.no) is not task:
            continue
        spread(run, task, now)
        for child in task.kids or ():
            if child.current:
                cancel_task(run, child, f"{task.label()} is over", now)


def spread(run: Run, task: TaskRun, now: float, *, quiet: bool = False) -> None:
    """Count a terminal task run at the gates below it. `quiet` (rebuilding a run) only counts."""
    path = task.path
    reach = len(path)
    for edge in task.node.downs:
        if edge.common <= reach:
            gate = run.gate(edge.down, edge.common, path[: edge.common])
            decisive = _count(gate, edge, edge_state(run, task, edge), task)
            if decisive and not quiet:
                for member in gate.members:
                    evaluate(run, member, now)
    for feed in task.node.feeds:
        if feed.common <= reach:
            gate = run.feed_gate(feed, path[: feed.common])
            _count_state(gate, EdgeState.SATISFIED if task.state is TaskState.SUCCESS else _OF_STATE[task.state])
            if not quiet and (gate.done == gate.total):
                expand_below(run, feed.scope, path[: feed.common], now)
    if task.dependents and not quiet:
        for child in task.dependents.values():
            _count_dependency(run, child, task, now)


def edge_state(run: Run, task: TaskRun, edge: EdgePlan) -> EdgeState:
    """What a terminal task run tells one of its edges."""
    control = task.control
    if task.state is TaskState.SKIPPED and task.cut is not None:
        return _not_taken(edge, EdgeState.CUT, task.cut, EdgeState.SKIPPED)
    if task.state is not TaskState.SUCCESS:
        return _OF_STATE[task.state]
    if control is None:
        return EdgeState.SKIPPED if edge.optional else EdgeState.SATISFIED
    if control.branch is not None and edge.down.key not in run.plan.led_to(control.branch):
        return EdgeState.SKIPPED if edge.leaves else EdgeState.NOT_CHOSEN
    if control.short_circuit:
        cut = EdgeState.CUT if control.short_circuit == "all" else EdgeState.NOT_CHOSEN
        return _not_taken(edge, cut, task.node.depth, EdgeState.SATISFIED)
    if edge.output is not None:
        emitted = not edge.optional if control.emitted is None else edge.output in control.emitted
        if not emitted:
            return EdgeState.SKIPPED
    return EdgeState.SATISFIED


def _not_taken(edge: EdgePlan, state: EdgeState, depth: int, to_teardown: EdgeState) -> EdgeState:
    """What a short-circuit in `depth` mapped scopes tells an edge. A teardown runs all the same; to what is outside of
    its element it only says that this one is not among those that go on."""
    if edge.down.spec.teardown:
        return to_teardown
    return state if edge.common >= depth else EdgeState.SKIPPED


def _count(gate: Gate[TaskRun], edge: EdgePlan, state: EdgeState, task: TaskRun) -> bool:
    """Count an edge; returns whether the task runs at the gate have to look again: at the first of a kind, and at the
    end."""
    if state is EdgeState.CUT:
        gate.cut_depth = min(gate.cut_depth, task.cut or 0)
    if not edge.guard:
        return _count_state(gate, state) or gate.done == gate.total
    gate.guard_done += 1
    first = False
    if state in (EdgeState.SKIPPED, EdgeState.NOT_CHOSEN, EdgeState.CUT):
        gate.guard_skipped += 1
        first = gate.guard_skipped == 1
    elif state is not EdgeState.SATISFIED:
        gate.guard_failed += 1
        first = gate.guard_failed == 1
    return first or gate.guard_done == gate.guard_total


def _count_state(gate: Gate[TaskRun], state: EdgeState) -> bool:
    """Count a state; returns whether it is the first of its kind."""
    gate.done += 1
    if state is EdgeState.SATISFIED:
        gate.success += 1
        return gate.success == 1
    name = state.value
    count = getattr(gate, name) + 1
    setattr(gate, name, count)
    return count == 1


def _count_dependency(run: Run, child: TaskRun, upstream: TaskRun, now: float) -> None:
    """Count an upstream of a flow's child, which it was given as a future."""
    if child.state is not TaskState.PENDING or child.lost:
        return
    count_upstream(child, upstream.no, upstream.state)
    evaluate(run, child, now)


def count_upstream(child: TaskRun, no: int, state: TaskState) -> None:
    """Count one terminal upstream at a child's own gate; one that may fail counts as satisfied."""
    if state is TaskState.SUCCESS or no in child.allow_failure:
        _count_state(child.gates[0], EdgeState.SATISFIED)
    else:
        _count_state(child.gates[0], _OF_STATE[state])


# --- starts -----------------------------------------------------------------------------------------------------------


def evaluate(run: Run, task: TaskRun, now: float) -> None:
    """Ask a pending task run's trigger rule, and act on the answer."""
    if task.state is not TaskState.PENDING or task.unexpanded or task.lost:
        return
    if run.state is RunState.CANCELLING and not task.node.outlives:
        return
    gates = task.gates
    if not gates:
        become_ready(run, task, now)
        return
    gate = merged(gates)
    said = answer(task.node.spec.trigger_rule, gate)
    if said is None:
        return
    if said is TaskState.READY:
        become_ready(run, task, now)
        return
    if gate.cut:
        task.control = Control(cut=gate.cut_depth)
    resolve(run, task, said, _reason(gate, said), now)


def _reason(gate: Gate[TaskRun], said: TaskState) -> str:
    if gate.cut:
        return "short-circuited"
    if gate.not_chosen:
        return "not chosen by its branch"
    if gate.guard_failed or gate.guard_skipped:
        return "its setup did not succeed"
    failed = gate.failed + gate.upstream_failed
    return f"{failed} of {gate.total} upstream failed, {gate.skipped} skipped: {said.value}"


def become_ready(run: Run, task: TaskRun, now: float) -> None:
    """The edges allow it: wait for what is outside of the run, ask for slots, or get in line."""
    spec = task.node.spec
    if task.watching is None and (spec.watches or spec.depends_on_past):
        watches = watches_of(task)
        task.watching = set(range(len(watches)))
        run.commands.extend(
            AddWatch(no=task.no, index=index, spec=watch, path=task.path) for index, watch in enumerate(watches)
        )
        if spec.wait_timeout is not None:
            _bound_the_wait(run, task, spec.wait_timeout, now)
        return
    if task.watching:
        return
    if spec.runner == "noop":
        task.started_at = task.first_started_at = now
        resolve(run, task, TaskState.SUCCESS, "", now)
        return
    run.move(task, TaskState.READY)
    if task.watching is not None or any(gate.done < gate.total for gate in task.gates):
        run.touch(task)  # what it waited for may look otherwise to who restores the run, and it is decided
    get_in_line(run, task)


def watches_of(task: TaskRun) -> tuple[WatchSpec, ...]:
    """What a task waits for outside of its run."""
    spec = task.node.spec
    return (PAST, *spec.watches) if spec.depends_on_past else spec.watches


def _bound_the_wait(run: Run, task: TaskRun, limit: float, now: float) -> None:
    """A watch is given up after some time. When it began is in the row, so a restart does not prolong it."""
    if task.first_started_at is None:
        task.first_started_at = now
        run.touch(task)
    task.wait_until = task.first_started_at + limit
    run.commands.append(SetTimer(at=task.wait_until, kind="wait_timeout", no=task.no, generation=task.generation))


def get_in_line(run: Run, task: TaskRun) -> None:
    """A ready task run asks for its slots, or waits for room at its executor."""
    if task.lost:
        return
    spec = task.node.spec
    if spec.limits and not task.granted:
        run.commands.append(RequestSlots(no=task.no, uses=spec.limits, priority=spec.priority))
    else:
        heapq.heappush(run.ready.setdefault(spec.executor, []), (-spec.priority, task.no))


# --- mapped scopes ----------------------------------------------------------------------------------------------------


def expand_below(run: Run, scope: ScopePlan, prefix: MapPath, now: float) -> None:
    """Try the expansions of a scope that wait below a path prefix."""
    for path in sorted(run.awaiting.get(scope.key, ()), key=repr):
        if path[: len(prefix)] == prefix:
            try_expand(run, scope, path, now)


def try_expand(run: Run, scope: ScopePlan, prefix: MapPath, now: float) -> None:
    """Expand a scope below `prefix` if all of its sources are known, or end its stand-ins if one never will be."""
    if prefix not in run.awaiting.get(scope.key, ()) or run.state is RunState.CANCELLING:
        return
    answers = [_source(run, scope, number, prefix) for number in range(len(scope.spec.sources))]
    for said in answers:
        if isinstance(said, _NoSource):
            _end_scope(run, scope, prefix, said, now)
            return
    sizes = [said for said in answers if isinstance(said, tuple)]
    if len(sizes) < len(answers):
        return
    elements = _combine(scope, sizes)
    if isinstance(elements, str):
        _end_scope(run, scope, prefix, _NoSource(TaskState.FAILED, elements), now)
    elif not elements:
        state = TaskState.REMOVED if scope.spec.empty == "remove" else TaskState.SKIPPED
        _end_scope(run, scope, prefix, _NoSource(state, "mapped over nothing"), now)
    elif (never := _never_runs(run, scope, prefix)) is not None:
        _end_scope(run, scope, prefix, never, now)
    else:
        expand(run, scope, prefix, elements)
        _record_expansion(run, scope, prefix, elements)
        _ask_elements(run, scope, prefix, elements, now)


def _record_expansion(run: Run, scope: ScopePlan, prefix: MapPath, elements: tuple[MapElement, ...]) -> None:
    keys = tuple(str(e) for e in elements) if isinstance(elements[0], str) else None
    run.scopes_out.append(ScopeRow(scope=scope.key, path=prefix, generation=0, length=len(elements), keys=keys))
    run.events.append(ScopeExpanded(scope=scope.key, path=prefix, length=len(elements), keys=keys))


def _ask_elements(run: Run, scope: ScopePlan, prefix: MapPath, elements: tuple[MapElement, ...], now: float) -> None:
    """Ask the task runs that an expansion has made, and the scopes in it."""
    for node in scope.nodes:
        for element in elements:
            evaluate(run, run.index[node.key, (*prefix, element)], now)
    for inner in scope.inner:
        for element in elements:
            try_expand(run, inner, (*prefix, element), now)


class _NoSource:
    """A source that will never have elements, and what that makes of the scope; `cut`: by which short-circuit, if that
    goes on there."""

    __slots__ = ("cut", "reason", "state")

    def __init__(self, state: TaskState, reason: str, *, cut: int | None = None):
        self.state = state
        self.reason = reason
        self.cut = cut


def _never_runs(run: Run, scope: ScopePlan, prefix: MapPath) -> _NoSource | None:
    """Why none of a mapped task's elements would run, as far as that is known: then its stand-in ends for all of them.

    (Airflow asks a mapped task's trigger rule before it expands it; a mapped group's tasks are asked one by one.)
    """
    node = run.plan.nodes.get(scope.key)
    if node is None or not node.gate_depths:
        return None
    gate = merged(tuple(run.gate(node, depth, prefix[:depth]) for depth in node.gate_depths))
    said = answer(node.spec.trigger_rule, gate)
    if said is None or said is TaskState.READY:
        return None
    return _NoSource(said, _reason(gate, said), cut=gate.cut_depth if gate.cut else None)


def _named(length: int | list[str]) -> tuple[MapElement, ...]:
    return tuple(range(length)) if isinstance(length, int) else tuple(length)


def _source(run: Run, scope: ScopePlan, number: int, prefix: MapPath) -> tuple[MapElement, ...] | _NoSource | None:
    """The elements' names of one source: known, not yet known (none), or never to be."""
    source = scope.spec.sources[number]
    if isinstance(source, OverLiteral):
        return map_keys(source)
    if isinstance(source, OverParam):
        length = run.param_lengths.get(source.name)
        if length is None:
            return _NoSource(TaskState.FAILED, f"parameter {source.name!r} is not a list or a dict to map over")
        return _named(length)
    node = run.plan.nodes[source.task]
    feed = next(f for f in node.feeds if f.scope is scope and f.source == number)
    if node.depth > feed.common:
        return _left_scope(run.feed_gate(feed, prefix[: feed.common]), source.task)
    task = run.index.get((node.key, prefix[: node.depth]))
    return _of_task(task, source.output) if task is not None and task.terminal else None


def _left_scope(gate: Gate[TaskRun], source: str) -> tuple[MapElement, ...] | _NoSource | None:
    """The scope of a mapped source is left: its successes, in order."""
    if gate.done < gate.total:
        return None
    if gate.success == 0 and gate.failed + gate.upstream_failed:
        return _NoSource(TaskState.UPSTREAM_FAILED, f"nothing to map over: {source!r} failed")
    return tuple(range(gate.success))


def _of_task(task: TaskRun, output: str) -> tuple[MapElement, ...] | _NoSource:
    """What a finished task run has to map over."""
    if task.state is not TaskState.SUCCESS:
        skipped = task.state in (TaskState.SKIPPED, TaskState.REMOVED)
        state = TaskState.SKIPPED if skipped else TaskState.UPSTREAM_FAILED
        return _NoSource(state, f"nothing to map over: {task.key!r} is {task.state.value}", cut=task.cut)
    length = task.control.lengths.get(output) if task.control else None
    if length is not None:
        return _named(length)
    emitted = task.control.emitted if task.control else None
    if emitted is not None and output not in emitted:
        return _NoSource(TaskState.SKIPPED, f"nothing to map over: {task.key!r} did not emit {output!r}")
    return _NoSource(TaskState.FAILED, f"what {task.key!r} returned is not a list or a dict to map over")


def _combine(scope: ScopePlan, sizes: list[tuple[MapElement, ...]]) -> tuple[MapElement, ...] | str:
    """The names of the combined elements, or why there are none."""
    spec = scope.spec
    if len(sizes) == 1:
        elements: tuple[MapElement, ...] = sizes[0]
        if len(set(elements)) < len(elements):
            return "two elements to map over have the same key"
    elif spec.how == "zip":
        lengths = {len(size) for size in sizes}
        if len(lengths) > 1:
            return f"lists of different lengths to map over: {', '.join(map(str, sorted(lengths)))}"
        elements = tuple(range(lengths.pop()))
    else:
        elements = tuple(range(prod(len(size) for size in sizes)))
    if spec.limit is not None and len(elements) > spec.limit:
        return f"{len(elements)} elements to map over, more than the limit of {spec.limit}"
    return elements


def expand(
    run: Run, scope: ScopePlan, prefix: MapPath, elements: tuple[MapElement, ...], kept: Kept = NONE_KEPT
) -> None:
    """Replace the stand-ins below `prefix` by one task run an element. The gates below count them."""
    run.expanded[scope.key, prefix] = elements
    run.awaiting[scope.key].discard(prefix)
    for node in scope.all_nodes():
        run.forget(run.index[node.key, prefix])
        more = len(elements) - 1
        reach = len(prefix)
        for edge in node.downs:
            if edge.common <= reach:
                gate = run.gate(edge.down, edge.common, prefix[: edge.common])
                if edge.guard:
                    gate.guard_total += more
                else:
                    gate.total += more
        for feed in node.feeds:
            if feed.common <= reach:
                run.feed_gate(feed, prefix[: feed.common]).total += more
        for element in elements:
            place(run, node, (*prefix, element), kept)
    for inner in scope.inner:
        run.awaiting.setdefault(inner.key, set()).update((*prefix, element) for element in elements)


def place(run: Run, node: NodePlan, path: MapPath, kept: Kept) -> None:
    """Put a kept task run in its place, or make one; let it look at the gates of all depths at which edges come in."""
    task = kept.get((node.key, path))
    if task is None:
        task = run.add_task(node, path)
    else:
        run.adopt(task)
        run.index[node.key, path] = task
    if not task.unexpanded:
        task.gates = tuple(run.gate(node, depth, path[:depth]) for depth in node.gate_depths)
        for gate in task.gates:
            gate.members.append(task)


def _end_scope(run: Run, scope: ScopePlan, prefix: MapPath, why: _NoSource, now: float) -> None:
    """A scope that will have no elements below `prefix`: its stand-ins end."""
    for node in scope.all_nodes():
        stand_in = run.index[node.key, prefix]
        if why.state is TaskState.FAILED:
            stand_in.error = ErrorInfo(type="MappingError", message=why.reason)
        if why.cut is not None:
            stand_in.control = Control(cut=why.cut)
        resolve(run, stand_in, why.state, why.reason, now)
