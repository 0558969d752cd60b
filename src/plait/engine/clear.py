"""Run again: the chosen task runs get a new generation, and the run is decided anew with what was kept."""

from plait.engine.build import build
from plait.engine.ending import set_state
from plait.engine.executions import release
from plait.engine.plan import common_depth
from plait.engine.propagate import get_in_line
from plait.engine.run import Run, TaskRun
from plait.model.commands import CancelExecution
from plait.model.errors import UsageError
from plait.model.events import TasksCleared
from plait.model.ids import MapPath, TaskNo
from plait.model.states import FAILURES, LIVE, RunState, TaskState
from plait.model.stimuli import ClearRequested

S = TaskState


def cleared(run: Run, said: ClearRequested, now: float) -> None:
    """Open a new generation for the chosen task runs. Nothing chosen changes nothing."""
    chosen = _chosen(run, said)
    if not chosen:
        return
    kept = {place: task for place, task in run.index.items() if task.no not in chosen}
    scopes = _scopes_to_expand_anew(run, chosen)
    expansions = [
        (key, prefix, elements)
        for (key, prefix), elements in sorted(run.expanded.items(), key=lambda item: len(item[0][1]))
        if not any(scope.key in scopes for scope in (*run.plan.scopes[key].parents, run.plan.scopes[key]))
    ]
    generations: dict[tuple[str, MapPath], int] = {}
    for task in chosen.values():
        _retire(run, task)
        ran = task.executions > 0 or task.terminal
        for path in {task.path, task.path[: _kept_depth(task, scopes)]}:
            generations[task.key, path] = max(task.generation + ran, generations.get((task.key, path), 0))
    run.events.append(TasksCleared(nos=tuple(chosen)))
    run.ready.clear()
    run.parked.clear()
    run.hooks_started, run.ending, run.finished_at = False, None, None
    set_state(run, RunState.RUNNING, "cleared", now)
    build(run, kept, expansions, generations, now)
    for task in kept.values():
        if task.state is S.READY:
            get_in_line(run, task)
    _hand_over_children(run, chosen, keep=said.only_failed)


def _chosen(run: Run, said: ClearRequested) -> dict[TaskNo, TaskRun]:
    """The task runs to run again, by number."""
    plan = run.plan
    keys = set(said.tasks) or set(plan.nodes)
    unknown = keys - set(plan.nodes)
    if unknown:
        raise UsageError(
            f"{plan.graph.name!r} has no task {min(unknown)!r}", right=f"one of: {', '.join(sorted(plan.nodes))}"
        )
    seeds = [
        task
        for task in run.index.values()
        if task.key in keys
        and (said.path is None or task.path[: len(said.path)] == tuple(said.path))
        and (not said.only_failed or task.state in FAILURES)
    ]
    chosen = {task.no: task for task in seeds}
    for up, wanted in ((False, said.downstream), (True, said.upstream)):
        if wanted:
            chosen |= {task.no: task for task in _neighbours(run, seeds, upstream=up)}
    return dict(sorted(chosen.items()))


def _neighbours(run: Run, seeds: list[TaskRun], *, upstream: bool) -> list[TaskRun]:
    """All task runs below (or above) the seeds, at equal paths as far as they share mapped scopes."""
    plan = run.plan
    prefixes: dict[tuple[str, int], set[MapPath]] = {}
    for key in {task.key for task in seeds}:
        node = plan.nodes[key]
        related = (
            [other for other in plan.nodes if key in plan.descendants(other)] if upstream else plan.descendants(key)
        )
        paths = {task.path for task in seeds if task.key == key}
        for other in related:
            depth = common_depth(node.scopes, plan.nodes[other].scopes)
            prefixes.setdefault((other, depth), set()).update(path[:depth] for path in paths)
    by_key: dict[str, list[tuple[int, set[MapPath]]]] = {}
    for (key, depth), found in prefixes.items():
        by_key.setdefault(key, []).append((depth, found))
    return [
        task
        for task in run.index.values()
        if any(task.path[:depth] in found for depth, found in by_key.get(task.key, ()))
    ]


def _scopes_to_expand_anew(run: Run, chosen: dict[TaskNo, TaskRun]) -> set[str]:
    """Scopes of which a source runs again, or whose stand-in was chosen."""
    scopes: set[str] = set()
    for task in chosen.values():
        scopes.update(feed.scope.key for feed in task.node.feeds)
        if task.unexpanded:
            scopes.add(task.node.scopes[len(task.path)].key)
    return scopes


def _kept_depth(task: TaskRun, scopes: set[str]) -> int:
    """How much of a path stays when these scopes expand anew."""
    for depth, scope in enumerate(task.node.scopes):
        if scope.key in scopes:
            return depth
    return len(task.path)


def _retire(run: Run, task: TaskRun) -> None:
    """The old generation: its live execution is cancelled, and its report will be refused."""
    if task.state in LIVE:
        run.commands.append(CancelExecution(no=task.no, token=task.token, reason="cleared"))
        release(run, task)
        run.move(task, S.CANCELLED)
    task.current = False
    if task.executions or task.terminal:
        run.touch(task)


def _hand_over_children(run: Run, retired: dict[TaskNo, TaskRun], *, keep: bool) -> None:
    """A body that is rerun from its failures gets its finished children back; cleared whole, it starts with none."""
    for (parent, key), child in list(run.children.items()):
        old = retired.get(parent)
        if old is None:
            continue
        del run.children[parent, key]
        new = run.current(old.key, old.path)
        if new is None or not keep or child.state is not S.SUCCESS or child.node.spec.runner == "hook":
            run.tasks.pop(child.no, None)
            child.current = False
        else:
            child.parent, child.parent_attempt = new.no, 0
            run.children[new.no, key] = child
            new.replaying = True
        run.touch(child)
