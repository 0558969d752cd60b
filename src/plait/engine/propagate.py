"""What a task run's end means for others: edges, trigger rules, mapped scopes.

Every task run that became terminal is put on `run.settled`; `settle` works that queue off, without recursion, so a
chain of any length is decided in one step. A scope expands when all of its sources are known: its stand-ins are
replaced by one task run an element, and the gates below count that many edges instead of one.
"""

import heapq
from math import prod

from plait.engine.plan import EdgePlan, NodePlan, ScopePlan
from plait.engine.rules import Gate, answer
from plait.engine.run import Run, TaskRun
from plait.model.commands import AddWatch, ReleaseSlots, RequestSlots
from plait.model.events import ScopeExpanded, TaskResolved
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

# --- ends -------------------------------------------------------------------------------------------------------------


def resolve(run: Run, task: TaskRun, state: TaskState, reason: str, now: float) -> None:
    """End a task run without an execution of its own."""
    if task.granted:
        task.granted = False
    if not task.node.slotless and task.state is TaskState.READY:
        run.commands.append(ReleaseSlots(no=task.no))
    run.move(task, state)
    task.reason = reason
    task.finished_at = now
    run.events.append(
        TaskResolved(
            no=task.no, key=task.key, path=task.path, generation=task.generation, state=state.value, reason=reason
        )
    )
    run.settled.append(task)


def settle(run: Run, now: float) -> None:
    """Work off what has ended: tell the task runs below, expand scopes, until nothing follows any more."""
    while run.settled:
        task = run.settled.popleft()
        if run.tasks.get(task.no) is not task:
            continue
        spread(run, task, now)
        control = task.control
        if control is not None and control.short_circuit == "all" and task.state is TaskState.SUCCESS:
            _skip_below(run, task, now)


def spread(run: Run, task: TaskRun, now: float, *, quiet: bool = False) -> None:
    """Count a terminal task run at the gates below it. `quiet` (rebuilding a run) only counts."""
    path = task.path
    reach = len(path)
    for edge in task.node.downs:
        if edge.common <= reach:
            gate = run.gate(edge.down, edge.common, path[: edge.common])
            decisive = _count(gate, edge, edge_state(run, task, edge))
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
        for child in task.dependents:
            _count_dependency(run, child, task, now)


def edge_state(run: Run, task: TaskRun, edge: EdgePlan) -> EdgeState:
    """What a terminal task run tells one of its edges."""
    if task.state is not TaskState.SUCCESS:
        return _OF_STATE[task.state]
    control = task.control
    if control is None:
        return EdgeState.SKIPPED if edge.optional else EdgeState.SATISFIED
    if control.branch is not None and not _chosen(run, control.branch, edge.down):
        return EdgeState.SKIPPED if edge.leaves else EdgeState.NOT_CHOSEN
    if control.short_circuit and not edge.down.spec.teardown:
        return EdgeState.NOT_CHOSEN
    if edge.output is not None:
        emitted = not edge.optional if control.emitted is None else edge.output in control.emitted
        if not emitted:
            return EdgeState.SKIPPED
    return EdgeState.SATISFIED


def _chosen(run: Run, branch: tuple[str, ...], down: NodePlan) -> bool:
    """Whether a branch leads to a task: by its key, by its group's, or because a chosen one leads there."""
    for chosen in branch:
        if down.key == chosen or down.key.startswith(chosen + "."):
            return True
        if chosen in run.plan.nodes:
            if down.key in run.plan.descendants(chosen):
                return True
        elif any(
            key.startswith(chosen + ".") and down.key in run.plan.descendants(key) for key in run.plan.nodes
        ):  # a chosen group leads to whatever is below one of its tasks
            return True
    return False


def _count(gate: Gate[TaskRun], edge: EdgePlan, state: EdgeState) -> bool:
    """Count an edge; returns whether the task runs at the gate have to look again."""
    if edge.guard:
        gate.guard_done += 1
        if state is EdgeState.SKIPPED or state is EdgeState.NOT_CHOSEN:
            gate.guard_skipped += 1
        elif state is not EdgeState.SATISFIED:
            gate.guard_failed += 1
        return True
    first = _count_state(gate, state)
    return first or gate.done == gate.total or len(gate.members) <= 1


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
    if child.state is not TaskState.PENDING:
        return
    count_upstream(child, upstream.no, upstream.state)
    evaluate(run, child, now)


def count_upstream(child: TaskRun, no: int, state: TaskState) -> None:
    """Count one terminal upstream at a child's own gate; one that may fail counts as satisfied."""
    if state is TaskState.SUCCESS or no in child.allow_failure:
        _count_state(child.gates[0], EdgeState.SATISFIED)
    else:
        _count_state(child.gates[0], _OF_STATE[state])


def _skip_below(run: Run, task: TaskRun, now: float) -> None:
    """A short-circuit that ignores trigger rules: everything below is skipped, except teardowns."""
    for key in run.plan.descendants(task.key):
        node = run.plan.nodes[key]
        if node.spec.teardown:
            continue
        for below in list(run.of_node(key)):
            shared = min(len(below.path), len(task.path))
            if below.path[:shared] == task.path[:shared] and below.state in (TaskState.PENDING, TaskState.READY):
                resolve(run, below, TaskState.SKIPPED, f"short-circuited by {task.label()}", now)


# --- starts -----------------------------------------------------------------------------------------------------------


def evaluate(run: Run, task: TaskRun, now: float) -> None:
    """Ask a pending task run's trigger rule, and act on the answer."""
    if task.state is not TaskState.PENDING or task.unexpanded or task.lost or run.state is RunState.CANCELLING:
        return
    gates = task.gates
    if not gates:
        become_ready(run, task, now)
        return
    gate = gates[0]
    if len(gates) > 1:
        gate = Gate[TaskRun]()
        for part in gates:
            gate.add(part)
    said = answer(task.node.spec.trigger_rule, gate)
    if said is None:
        return
    if said is TaskState.READY:
        become_ready(run, task, now)
    else:
        resolve(run, task, said, _reason(gate, said), now)


def _reason(gate: Gate[TaskRun], said: TaskState) -> str:
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
        watches = (PAST, *spec.watches) if spec.depends_on_past else spec.watches
        task.watching = set(range(len(watches)))
        run.commands.extend(
            AddWatch(no=task.no, index=index, spec=watch, path=task.path) for index, watch in enumerate(watches)
        )
        return
    if task.watching:
        return
    if spec.runner == "noop":
        task.started_at = task.first_started_at = now
        resolve(run, task, TaskState.SUCCESS, "", now)
        return
    run.move(task, TaskState.READY)
    get_in_line(run, task)


def get_in_line(run: Run, task: TaskRun) -> None:
    """A ready task run asks for its slots, or waits for room at its executor."""
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
            _end_scope(run, scope, prefix, said.state, said.reason, now)
            return
    sizes = [said for said in answers if isinstance(said, tuple)]
    if len(sizes) < len(answers):
        return
    elements = _combine(scope, sizes)
    if isinstance(elements, str):
        _end_scope(run, scope, prefix, TaskState.FAILED, elements, now)
    elif not elements:
        _end_scope(run, scope, prefix, TaskState.SKIPPED, "mapped over nothing", now)
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
    """A source that will never have elements, and what that makes of the scope."""

    __slots__ = ("reason", "state")

    def __init__(self, state: TaskState, reason: str):
        self.state = state
        self.reason = reason


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
        return _NoSource(state, f"nothing to map over: {task.key!r} is {task.state.value}")
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


def expand(run: Run, scope: ScopePlan, prefix: MapPath, elements: tuple[MapElement, ...]) -> None:
    """Replace the stand-ins below `prefix` by one task run an element. The gates below count them."""
    run.expanded[scope.key, prefix] = elements
    run.awaiting[scope.key].discard(prefix)
    for node in _all_nodes(scope):
        stand_in = run.index[node.key, prefix]
        run.forget(stand_in)
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
            task = run.add_task(node, (*prefix, element), stand_in.generation)
            if not task.unexpanded:
                attach_gates(run, task)
    for inner in scope.inner:
        run.awaiting.setdefault(inner.key, set()).update((*prefix, element) for element in elements)


def _all_nodes(scope: ScopePlan) -> list[NodePlan]:
    """The nodes in a scope and in the scopes in it."""
    nodes = list(scope.nodes)
    for inner in scope.inner:
        nodes.extend(_all_nodes(inner))
    return nodes


def attach_gates(run: Run, task: TaskRun) -> None:
    """Let a task run look at the gates of all depths at which edges come in."""
    node = task.node
    task.gates = tuple(run.gate(node, depth, task.path[:depth]) for depth in node.gate_depths)
    for gate in task.gates:
        gate.members.append(task)


def _end_scope(run: Run, scope: ScopePlan, prefix: MapPath, state: TaskState, reason: str, now: float) -> None:
    """A scope that will have no elements below `prefix`: its stand-ins end."""
    run.awaiting[scope.key].discard(prefix)
    for node in _all_nodes(scope):
        stand_in = run.index[node.key, prefix]
        if stand_in.state is TaskState.PENDING:
            if state is TaskState.FAILED:
                stand_in.error = ErrorInfo(type="MappingError", message=reason)
            resolve(run, stand_in, state, reason, now)
