"""Making a run's task runs and gates: at its start, after a restart from its rows, after a clear. One way for all
three.

`build` makes the top level, replays the recorded expansions, puts the kept task runs (of a clear or of rows) where
they belong, counts the terminal ones at the gates, and then asks everything that is pending.
"""

from collections.abc import Iterable, Iterator, Mapping

import msgspec

from plait.engine.children import child_node, file_child
from plait.engine.plan import NodePlan, Plan
from plait.engine.propagate import Kept, evaluate, expand, place, spread, try_expand
from plait.engine.run import Control, Place, Run, TaskRun
from plait.model.graph import TaskSpec
from plait.model.ids import MapElement, MapPath, RunId, TaskNo
from plait.model.outcome import ErrorInfo, LogSpan
from plait.model.rows import RunRow, ScopeRow, TaskRow
from plait.model.states import LIVE, RunState, TaskState

CACHED, PERSISTED, ROLLED_BACK, STAGED, UNSTORED = 1, 2, 4, 8, 16
PARENT_ATTEMPT_BITS = 8


def flags_of(task: TaskRun) -> int:
    """The marks of a task run as a row keeps them."""
    return (
        CACHED * task.cached
        | PERSISTED * task.persisted
        | ROLLED_BACK * task.rolled_back
        | STAGED * (task.staged is not None)
        | UNSTORED * task.unstored
        | task.parent_attempt << PARENT_ATTEMPT_BITS
    )


def build(run: Run, kept: Kept, expansions: Iterable[tuple[str, MapPath, tuple[MapElement, ...]]], now: float) -> None:
    """Make all task runs of the graph anew, except those in `kept`, which stay as they are.

    `expansions` are the scopes that stay expanded, outer ones first.
    """
    plan = run.plan
    extras = [task for task in run.tasks.values() if task.child is not None]
    run.tasks, run.index, run.gates, run.expanded, run.awaiting = {}, {}, {}, {}, {}
    run.open = 0
    for task in extras:
        run.adopt(task)
    for node in plan.order:
        place(run, node, (), kept)
    for scope in plan.top_scopes:
        run.awaiting[scope.key] = {()}
    for key, prefix, elements in expansions:
        if prefix in run.awaiting.get(key, ()):
            expand(run, plan.scopes[key], prefix, elements, kept)
    _await_nothing_for_the_ended(run)
    for task in list(run.index.values()):
        if task.terminal and not task.interrupted:
            spread(run, task, now, quiet=True)
    if run.state in (RunState.RUNNING, RunState.PAUSED):
        wake(run, now)


def _await_nothing_for_the_ended(run: Run) -> None:
    """A scope whose stand-ins have ended has no elements, and gets none."""
    for key, prefixes in run.awaiting.items():
        stands_in = run.plan.scopes[key].all_nodes()[0].key
        run.awaiting[key] = {prefix for prefix in prefixes if not run.index[stands_in, prefix].terminal}


def wake(run: Run, now: float) -> None:
    """Ask everything that is pending: task runs by their rules, scopes by their sources."""
    for scope in run.plan.scopes.values():
        for prefix in sorted(run.awaiting.get(scope.key, ()), key=repr):
            try_expand(run, scope, prefix, now)
    for task in list(run.tasks.values()):
        if task.state is TaskState.PENDING:
            evaluate(run, task, now)


# --- from rows --------------------------------------------------------------------------------------------------------


def restore(
    plan: Plan, row: RunRow, tasks: Iterable[TaskRow], scopes: Iterable[ScopeRow], *, epoch: int, now: float
) -> Run:
    """A run as its rows tell. What was live when its owner died stays live until `OwnerChanged` is decided."""
    run = Run(RunId(row.run_id), plan, epoch=epoch)
    run.reason = row.reason
    run.started_at = row.started_at
    run.finished_at = row.finished_at
    run.param_lengths = row.extra.get("lengths", {})
    kept: dict[tuple[str, MapPath], TaskRun] = {}
    children: list[TaskRun] = []
    rows = {task_row.no: task_row for task_row in tasks}
    for task in _current(run, row, rows):
        if task.child is not None:
            children.append(task)
        else:
            kept[task.key, task.path] = task
    if run.started_at is not None:  # else it was never admitted: its task runs are made then
        build(run, kept, _expansions(plan, scopes), now)  # queued as yet: nothing is asked before all is in its place
    run.state = RunState(row.state)
    if "ending" in row.extra:
        run.ending = RunState(row.extra["ending"])
    for task in children:
        run.adopt(task)
    for task in children:
        file_child(run, task)
    for task in run.tasks.values():
        if task.state in LIVE:  # with its slots: what ends it before the new owner is decided gives them back
            run.count_live(task, 1)
            task.granted = not task.node.slotless
    return run


def _current(run: Run, row: RunRow, rows: Mapping[TaskNo, TaskRow]) -> Iterator[TaskRun]:
    """The task runs that rows tell of, by number; of the others it is remembered which generation comes next."""
    for task_row in sorted(rows.values(), key=_number):
        run.next_no = task_row.no + 1
        if task_row.current:
            task = _task_of(run, task_row)
            task.interrupted = task_row.state == row.state == TaskState.CRASHED.value and task.reason == row.reason
            yield task
        elif task_row.child is None:
            at = task_row.key, tuple(task_row.path)
            run.generations[at] = max(task_row.generation + 1, run.generations.get(at, 0))
        else:
            at = _place(task_row, rows)
            run.child_generations[at] = max(task_row.generation + 1, run.child_generations.get(at, 0))


def _place(row: TaskRow, rows: Mapping[TaskNo, TaskRow]) -> Place:
    """`Run.place` of a row, whose parents may have made way."""
    if row.child is None:
        return row.key, tuple(row.path)
    if row.parent is None:
        return row.key, tuple(row.path), row.child
    return *_place(rows[row.parent], rows), row.child


def _number(row: TaskRow) -> int:
    return row.no


def _expansions(plan: Plan, scopes: Iterable[ScopeRow]) -> list[tuple[str, MapPath, tuple[MapElement, ...]]]:
    """The scopes that are expanded, outer ones first. A later row of the same place counts, one without elements says
    that it is expanded no more."""
    found: dict[tuple[str, MapPath], tuple[MapElement, ...]] = {}
    for row in scopes:
        found[row.scope, tuple(row.path)] = tuple(row.keys) if row.keys is not None else tuple(range(row.length))
    outer_first = sorted(found.items(), key=lambda item: len(item[0][1]))
    return [(key, path, elements) for (key, path), elements in outer_first if elements and key in plan.scopes]


def _task_of(run: Run, row: TaskRow) -> TaskRun:
    if row.spec is not None:
        node = child_node(msgspec.json.decode(row.spec, type=TaskSpec), run.child_nodes)
    else:
        node = run.plan.nodes.get(row.key) or NodePlan(TaskSpec(key=row.key), -1, ())
    task = TaskRun(TaskNo(row.no), node, tuple(row.path), row.generation)
    task.has_row = True
    task.unexpanded = len(row.path) < node.depth
    task.state = TaskState(row.state)
    task.attempt = row.attempt
    task.token = row.token
    task.executions = row.executions
    task.parent, task.child, task.upstream = row.parent, row.child, tuple(row.upstream)
    task.parent_attempt = row.flags >> PARENT_ATTEMPT_BITS
    task.cached = bool(row.flags & CACHED)
    task.persisted = bool(row.flags & PERSISTED)
    task.rolled_back = bool(row.flags & ROLLED_BACK)
    task.unstored = bool(row.flags & UNSTORED)
    task.staged = "restored" if row.flags & STAGED else None
    task.name, task.reason = row.name, row.reason
    task.wait_until, task.first_started_at = row.wait_until, row.first_started_at
    task.started_at, task.finished_at = row.started_at, row.finished_at
    task.story = (row.state,)
    if row.control:
        task.control = msgspec.json.decode(row.control, type=Control)
    if row.error:
        task.error = msgspec.json.decode(row.error, type=ErrorInfo)
    if row.log:
        task.log = msgspec.json.decode(row.log, type=LogSpan)
    return task
