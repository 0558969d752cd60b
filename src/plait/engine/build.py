"""Making a run's task runs and gates: at its start, after a restart from its rows, after a clear. One way for all
three.

`build` makes the top level, replays the recorded expansions, puts the kept task runs (of a clear or of rows) where
they belong, counts the terminal ones at the gates, and then asks everything that is pending.
"""

from collections.abc import Iterable, Mapping

import msgspec

from plait.engine.children import child_node, wire
from plait.engine.plan import NodePlan, Plan
from plait.engine.propagate import attach_gates, evaluate, expand, spread, try_expand
from plait.engine.run import Control, Run, TaskRun
from plait.model.graph import TaskSpec
from plait.model.ids import MapElement, MapPath, RunId, TaskNo
from plait.model.outcome import ErrorInfo, LogSpan
from plait.model.rows import RunRow, ScopeRow, TaskRow
from plait.model.states import LIVE, RunState, TaskState

Kept = Mapping[tuple[str, MapPath], TaskRun]
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


def build(
    run: Run,
    kept: Kept,
    expansions: Iterable[tuple[str, MapPath, tuple[MapElement, ...]]],
    generations: Mapping[tuple[str, MapPath], int],
    now: float,
) -> None:
    """Make all task runs of the graph anew, except those in `kept`, which stay as they are.

    `expansions` are the scopes that stay expanded, outer ones first; `generations` the generation of a new task run
    where it is not 0.
    """
    plan = run.plan
    extras = [task for task in run.tasks.values() if task.parent is not None or task.child is not None]
    run.tasks, run.index, run.gates, run.expanded, run.awaiting = {}, {}, {}, {}, {}
    run.open = 0
    for task in extras:
        run.adopt(task)
    for node in plan.order:
        _place(run, node, (), kept, generations)
    for scope in plan.top_scopes:
        run.awaiting[scope.key] = {()}
    for key, prefix, elements in expansions:
        expand(run, plan.scopes[key], prefix, elements)
        for node in plan.scopes[key].nodes:
            for element in elements:
                _replace(run, node, (*prefix, element), kept, generations)
    terminal = [task for task in run.tasks.values() if task.terminal and task.child is None]
    for task in terminal:
        spread(run, task, now, quiet=True)
    if run.state in (RunState.RUNNING, RunState.PAUSED):
        wake(run, now)


def wake(run: Run, now: float) -> None:
    """Ask everything that is pending: task runs by their rules, scopes by their sources."""
    for scope in run.plan.scopes.values():
        for prefix in sorted(run.awaiting.get(scope.key, ()), key=repr):
            try_expand(run, scope, prefix, now)
    for task in list(run.tasks.values()):
        if task.state is TaskState.PENDING:
            evaluate(run, task, now)


def _place(run: Run, node: NodePlan, path: MapPath, kept: Kept, generations: Mapping[tuple[str, MapPath], int]) -> None:
    known = kept.get((node.key, path))
    if known is None:
        task = run.add_task(node, path, generations.get((node.key, path), 0))
    else:
        task = known
        run.adopt(task)
        run.index[node.key, path] = task
    task.unexpanded = len(path) < node.depth
    if not task.unexpanded:
        attach_gates(run, task)


def _replace(
    run: Run, node: NodePlan, path: MapPath, kept: Kept, generations: Mapping[tuple[str, MapPath], int]
) -> None:
    """Put a kept task run (or the right generation) in the place of the one that an expansion made."""
    made = run.index[node.key, path]
    known = kept.get((node.key, path))
    if known is None:
        made.generation = generations.get((node.key, path), made.generation)
        return
    run.forget(made)
    for gate in made.gates:
        gate.members.remove(made)
    run.adopt(known)
    run.index[node.key, path] = known
    if not made.unexpanded:
        attach_gates(run, known)


# --- from rows --------------------------------------------------------------------------------------------------------


def restore(
    plan: Plan, row: RunRow, tasks: Iterable[TaskRow], scopes: Iterable[ScopeRow], *, epoch: int, now: float
) -> Run:
    """A run as its rows tell. What was live when its owner died stays live until `OwnerChanged` is decided."""
    run = Run(RunId(row.run_id), plan, epoch=epoch)
    run.state = RunState(row.state)
    run.reason = row.reason
    run.started_at = row.started_at
    run.finished_at = row.finished_at
    run.param_lengths = row.extra.get("lengths", {})
    kept: dict[tuple[str, MapPath], TaskRun] = {}
    generations: dict[tuple[str, MapPath], int] = {}
    children: list[TaskRun] = []
    for task_row in tasks:
        run.next_no = max(run.next_no, task_row.no + 1)
        if not task_row.current:
            generations[task_row.key, task_row.path] = max(
                task_row.generation + 1, generations.get((task_row.key, task_row.path), 0)
            )
            continue
        task = _task_of(run, task_row)
        if task_row.child is not None:
            children.append(task)
        elif task_row.key in plan.nodes:
            kept[task_row.key, task_row.path] = task
    expansions = sorted(
        (
            (scope.scope, scope.path, tuple(scope.keys) if scope.keys is not None else tuple(range(scope.length)))
            for scope in scopes
            if scope.scope in plan.scopes
        ),
        key=lambda item: len(item[1]),
    )
    before = run.state
    run.state = RunState.QUEUED  # nothing is asked before everything is in its place
    build(run, kept, expansions, generations, now)
    run.state = before
    for task in children:
        run.adopt(task)
        if task.parent is not None and task.child is not None:
            run.children[task.parent, task.child] = task
            if task.staged is not None:
                run.transactions.setdefault(task.staged, []).append(task.no)
    _count_live(run)
    run.touched.clear()
    return run


def _count_live(run: Run) -> None:
    for task in run.tasks.values():
        task.touched = False
        if task.state in LIVE:
            run.active += 1
            if task.node.max_active:
                run.active_of[task.key] = run.active_of.get(task.key, 0) + 1


def _task_of(run: Run, row: TaskRow) -> TaskRun:
    if row.spec is not None:
        node = child_node(msgspec.json.decode(row.spec, type=TaskSpec), run.child_nodes)
    else:
        node = run.plan.nodes.get(row.key) or NodePlan(TaskSpec(key=row.key), -1, ())
    task = TaskRun(TaskNo(row.no), node, tuple(row.path), row.generation)
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
    if task.state is TaskState.CRASHED and not row.error:  # it died with its owner: nobody knows how far it was
        task.state = TaskState.DISPATCHED
    if row.control:
        task.control = msgspec.json.decode(row.control, type=Control)
    if row.error:
        task.error = msgspec.json.decode(row.error, type=ErrorInfo)
    if row.log:
        task.log = msgspec.json.decode(row.log, type=LogSpan)
    return task


def rewire_children(run: Run) -> None:
    """Give the restored children that are not over their gates again."""
    for task in run.tasks.values():
        if task.child is not None and not task.terminal and not task.gates:
            wire(run, task)
