"""What must hold of a run after every decision. Tests and the simulator call `check_run`; a breach is plait's own
fault."""

from collections import Counter

from plait.engine.rules import answer, merged
from plait.engine.run import Run
from plait.model.errors import EngineError
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState


def check_run(run: Run) -> None:
    """Raise EngineError naming the first invariant that does not hold."""
    for check in _CHECKS:
        said = check(run)
        if said:
            raise EngineError(f"run {run.run_id}: {said}")


def _counters(run: Run) -> str | None:
    still_open = sum(not task.terminal for task in run.tasks.values())
    if still_open != run.open:
        return f"{still_open} task runs are open, the counter says {run.open}"
    live = sum(task.state in LIVE and not task.node.body for task in run.tasks.values())
    if live != run.active:
        return f"{live} task runs are live, the counter says {run.active}"
    for key, count in run.active_of.items():
        really = sum(task.state in LIVE for task in run.tasks.values() if task.key == key)
        if really != count:
            return f"{really} task runs of {key} are live, the counter says {count}"
    return None


def _current_generations(run: Run) -> str | None:
    for place, task in run.index.items():
        if (task.key, task.path) != place or run.tasks.get(task.no) is not task:
            return f"{task.label()} is filed under {place}"
    return None


def _gates(run: Run) -> str | None:
    for key, gate in run.gates.items():
        parts = sum((gate.success, gate.failed, gate.upstream_failed, gate.skipped, gate.removed))
        parts += gate.not_chosen + gate.cut
        if not 0 <= gate.done <= gate.total or parts != gate.done:
            return f"gate {key}: {gate.done} of {gate.total} done, the parts add up to {parts}"
        if not 0 <= gate.guard_failed + gate.guard_skipped <= gate.guard_done <= gate.guard_total:
            return f"gate {key}: {gate.guard_done} of {gate.guard_total} guards done"
    return None


def _tokens(run: Run) -> str | None:
    live = [task.token for task in run.tasks.values() if task.state in LIVE]
    if len(set(live)) < len(live) or 0 in live:
        return "two live executions have one token, or one has none"
    return None


def _finality(run: Run) -> str | None:
    if run.state in (RunState.SUCCESS, RunState.FAILED, RunState.CANCELLED) and run.open:
        return f"the run is {run.state.value} with {run.open} open task runs"
    if run.state in RUN_TERMINAL and run.finished_at is None:
        return "the run is over without a time"
    if run.state in (RunState.RUNNING, RunState.CANCELLING) and not run.open and not run.settled:
        return f"the run is {run.state.value}, and nothing of it is open"
    return None


def _rows(run: Run) -> str | None:
    """What cannot be derived has a row, and only a crashed run has what died with its owner."""
    for task in run.tasks.values():
        if not task.has_row and task.state not in (TaskState.PENDING, TaskState.READY):
            return f"{task.label()} is {task.state.value} and has no row"
        if task.interrupted and run.state is not RunState.CRASHED:
            return f"{task.label()} died with an owner of the run, which is {run.state.value}"
        if task.wait_until is None and task.state in (TaskState.RETRY_WAIT, TaskState.RESCHEDULED):
            return f"{task.label()} is {task.state.value} until nobody knows when"
    return None


def _children(run: Run) -> str | None:
    """Each child is filed under its call, once, and only waits for anything as long as its body does not end."""
    gone = [task.label() for task in run.children.values() if run.tasks.get(task.no) is not task]
    if gone:
        return f"{gone[0]} is filed as a child, and is not there"
    filed = Counter(kid.no for task in run.tasks.values() for kid in task.kids or ())
    for task in run.tasks.values():
        if task.child is None or task.parent is None or task.node.hook:
            continue
        parent = run.tasks.get(task.parent)
        if parent is None:
            return f"{task.label()} is a child of {task.parent}, which is not there"
        if run.children.get((parent.no, task.child)) is not task or filed[task.no] != 1:
            return f"{task.label()} is not filed as the child {task.child!r} of {parent.label()}"
        if parent.terminal and not (parent.interrupted or task.terminal or task.state in LIVE or run.settled):
            return f"{task.label()} is {task.state.value} though its body {parent.label()} is over"
    return None


def _limits(run: Run) -> str | None:
    most = run.plan.graph.policy.max_active_tasks
    if most is not None and run.active > most:
        return f"{run.active} task runs are live, the limit is {most}"
    for key, count in run.active_of.items():
        node = run.plan.nodes.get(key)
        if node is not None and node.max_active is not None and count > node.max_active:
            return f"{count} task runs of {key} are live, its limit is {node.max_active}"
    for task in run.tasks.values():
        if task.granted and task.state not in LIVE and task.state is not TaskState.READY:
            return f"{task.label()} holds slots while it is {task.state.value}"
    return None


def _progress(run: Run) -> str | None:
    """Nothing waits for ever: what is pending has an upstream, a scope, a watch or a body that will answer it (F25)."""
    if run.state is not RunState.RUNNING or run.settled:
        return None
    for task in run.tasks.values():
        if task.state is not TaskState.PENDING or task.lost or task.watching:
            continue
        if task.unexpanded:
            scope = task.node.scopes[len(task.path)]
            if task.path not in run.awaiting.get(scope.key, ()):
                return f"{task.label()} stands in for a scope that nobody will expand"
        elif answer(task.node.spec.trigger_rule, merged(task.gates)) is not None:
            return f"{task.label()} is pending though what is above it decides it"
    return None


def _ending(run: Run) -> str | None:
    """A run that is ended early waits only for what is live, and for what outlives it."""
    if run.state is not RunState.CANCELLING or run.settled:
        return None
    for task in run.tasks.values():
        if task.terminal or task.state in LIVE:
            continue
        if not task.node.outlives:
            return f"{task.label()} is {task.state.value} in a run that is being cancelled"
        if task.watching:
            continue
        if task.state is TaskState.PENDING and answer(task.node.spec.trigger_rule, merged(task.gates)) is not None:
            return f"{task.label()} outlives its run, and is pending though what is above it decides it"
    return None


def _lines(run: Run) -> str | None:
    """What is ready stands in a line: for its slots, at its executor, or behind others of its node that are ahead."""
    if run.state not in (RunState.RUNNING, RunState.PAUSED):
        return None
    ready = [task for task in run.tasks.values() if task.state is TaskState.READY and not task.lost]
    at_executor = {no for line in run.ready.values() for _, no in line}
    held_back = {no for line in run.parked.values() for _, no in line}
    ahead = {task.key for task in ready if task.no in at_executor}
    for task in ready:
        if task.no in at_executor or not (task.granted or task.node.slotless):
            continue
        if task.no not in held_back:
            return f"{task.label()} is ready and stands in no line"
        if not run.active_of.get(task.key) and task.key not in ahead:
            return f"{task.label()} is held back, and nothing will let it go on"
    return None


_CHECKS = (
    _counters,
    _current_generations,
    _gates,
    _tokens,
    _finality,
    _rows,
    _children,
    _limits,
    _progress,
    _ending,
    _lines,
)
