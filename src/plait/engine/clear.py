"""Run again: the chosen task runs get a new generation, and the run is decided anew with what was kept."""

from collections.abc import Iterable, Iterator

from plait.engine.build import build
from plait.engine.children import descendants, file_child
from plait.engine.ending import ask_for_place, outcome_of, set_state, set_timeout
from plait.engine.leaving import let_go, retire
from plait.engine.plan import NodePlan, common_depth
from plait.engine.run import Run, TaskRun
from plait.model.errors import UsageError
from plait.model.events import TasksCleared
from plait.model.ids import MapElement, MapPath, TaskNo
from plait.model.rows import ScopeRow
from plait.model.states import FAILURES, RUN_TERMINAL, RunState, TaskState
from plait.model.stimuli import ClearRequested

S = TaskState
Expansion = tuple[str, MapPath]


def cleared(run: Run, said: ClearRequested, now: float) -> None:
    """Open a new generation for the chosen task runs. Nothing chosen changes nothing."""
    if run.state in _NOT_NOW:
        raise UsageError(f"run {run.run_id} is {run.state.value}: nothing can be cleared", right=_NOT_NOW[run.state])
    chosen = _chosen(run, said)
    if not chosen:
        return
    expansions = _kept_expansions(run, chosen)
    stays = {(key, prefix) for key, prefix, _ in expansions}
    retired = [no for old in chosen.values() for no in _retire(run, old, keep=said.only_failed and _stays(old, stays))]
    retired.extend(_retire_run_hooks(run))
    if retired:
        run.events.append(TasksCleared(nos=tuple(retired)))
    _begin_again(run, now)
    build(run, _kept(run), expansions, now)
    _hand_over_children(run, chosen.values())


def _kept(run: Run) -> dict[Expansion, TaskRun]:
    """The task runs that stay: what is recorded of them stands. The others are decided anew, as when the run is
    restored."""
    kept: dict[Expansion, TaskRun] = {}
    for place, task in run.index.items():
        if task.has_row:
            kept[place] = task
        elif task.state is S.READY:
            let_go(run, task, "cleared")
    return kept


def rerun(run: Run, now: float) -> bool:
    """The policy that a run which would fail runs again instead; returns whether it does. Reruns that people asked for
    count too (as in Dagster, "Configuring run retries")."""
    policy = run.plan.graph.policy
    if not policy.reruns or run.open or run.state is not RunState.RUNNING or run.hooks_started:
        return False
    if outcome_of(run) is not RunState.FAILED or max(run.generations.values(), default=0) >= policy.reruns:
        return False
    cleared(run, ClearRequested(only_failed=not policy.rerun_whole), now)
    return True


_NOT_NOW = {
    RunState.CRASHED: "resume the run first",
    RunState.CANCELLING: "wait until it is cancelled",
}


def _begin_again(run: Run, now: float) -> None:
    """The run goes on. One that was over gets its whole time again, once it has a place among the active runs."""
    run.hooks_started, run.ending, run.finished_at = False, None, None
    if run.state in RUN_TERMINAL:
        if ask_for_place(run):
            set_state(run, RunState.QUEUED, "cleared", now)
            return
        run.started_at = now
        set_timeout(run, now)
    set_state(run, RunState.PAUSED if run.state is RunState.PAUSED else RunState.RUNNING, "cleared", now)


# --- which ------------------------------------------------------------------------------------------------------------


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
    seeds.extend(_siblings(run, seeds))
    seeds.extend(_setups_and_teardowns(run, seeds))
    chosen = {task.no: task for task in seeds}
    for wanted, upstream in ((said.downstream, False), (said.upstream, True)):
        if wanted:
            chosen |= {task.no: task for task in _neighbours(run, seeds, upstream=upstream)}
    chosen |= {task.no: task for task in _siblings(run, chosen.values())}
    return dict(sorted(chosen.items()))


def _siblings(run: Run, tasks: Iterable[TaskRun]) -> Iterator[TaskRun]:
    """Stand-ins expand together or not at all: all those of the same scope, at the same place."""
    seen: set[Expansion] = set()
    for task in list(tasks):
        if task.unexpanded:
            scope = task.node.scopes[len(task.path)]
            if (scope.key, task.path) not in seen:
                seen.add((scope.key, task.path))
                yield from (run.index[node.key, task.path] for node in scope.all_nodes())


def _setups_and_teardowns(run: Run, tasks: Iterable[TaskRun]) -> list[TaskRun]:
    """What was set up for these tasks is torn down: it is set up again, and torn down again (Airflow, "Setup and
    teardown"). A teardown alone may run again by itself."""
    places: set[tuple[str, MapPath]] = set()
    for task in tasks:
        for edge in task.node.ups if not task.node.spec.teardown else ():
            if edge.guard:
                scope = [edge.up, *(out.down for out in edge.up.downs if out.guard and out.down.spec.teardown)]
                places.update((node.key, task.path[: common_depth(task.node.scopes, node.scopes)]) for node in scope)
    return _at(run, places)


def _at(run: Run, places: set[tuple[str, MapPath]]) -> list[TaskRun]:
    """All task runs of these nodes at or below these paths."""
    if not places:
        return []
    return [
        task
        for task in run.index.values()
        if any((task.key, task.path[:depth]) in places for depth in range(len(task.path) + 1))
    ]


def _neighbours(run: Run, seeds: list[TaskRun], *, upstream: bool) -> list[TaskRun]:
    """All task runs below (or above) the seeds: at equal paths within mapped scopes that they share, else all of a
    node's."""
    seen: set[tuple[str, MapPath]] = set()
    todo: list[tuple[NodePlan, MapPath]] = [(task.node, task.path) for task in seeds]
    for node, path in todo:
        for other, common in (node.above if upstream else node.below).items():
            place = path[:common]
            if not any((other.key, place[:depth]) in seen for depth in range(len(place) + 1)):
                seen.add((other.key, place))
                todo.append((other, place))
    return _at(run, seen)


def _kept_expansions(run: Run, chosen: dict[TaskNo, TaskRun]) -> list[tuple[str, MapPath, tuple[MapElement, ...]]]:
    """The mapped scopes that stay as they are, outer ones first. One whose source and whose task runs all run again
    expands anew, with all that lies in it: it may get other elements. It is forgotten, in the rows too."""
    scopes = run.plan.scopes
    sources = {(feed.scope.key, task.path[: feed.common]) for task in chosen.values() for feed in task.node.feeds}
    held = {
        (scope.key, task.path[:depth])
        for task in run.index.values()
        if task.no not in chosen
        for depth, scope in enumerate(task.node.scopes)
    }
    anew: set[Expansion] = set()
    kept: list[tuple[str, MapPath, tuple[MapElement, ...]]] = []
    for (key, prefix), elements in sorted(run.expanded.items(), key=lambda item: len(item[0][1])):
        around = {(scope.key, prefix[:depth]) for depth, scope in enumerate(scopes[key].parents)}
        fed = any((key, prefix[:depth]) in sources for depth in range(len(prefix) + 1))
        if around & anew or (fed and (key, prefix) not in held):
            anew.add((key, prefix))
            run.scopes_out.append(ScopeRow(scope=key, path=prefix, generation=0, length=0))
        else:
            kept.append((key, prefix, elements))
    return kept


# --- what becomes of the old ones -------------------------------------------------------------------------------------


def _stays(task: TaskRun, expanded: set[Expansion]) -> bool:
    """Whether there will be a task run in its place at once: it lies in no scope that is expanded anew."""
    return all(
        (scope.key, task.path[:depth]) in expanded for depth, scope in enumerate(task.node.scopes[: len(task.path)])
    )


def _retire(run: Run, old: TaskRun, *, keep: bool) -> list[TaskNo]:
    """The old generation makes way, with its children; those that succeeded wait for the new one (`keep`)."""
    family = [old]
    kept: list[TaskRun] = []
    for kid in old.kids or ():
        if kid.current:
            if keep and kid.state is S.SUCCESS and kid.staged is None:
                kept.append(kid)
            else:
                family.extend(descendants(kid))
    old.kids = kept
    return retire(run, family, "cleared")


def _retire_run_hooks(run: Run) -> list[TaskNo]:
    """The hooks of the end that is none any more."""
    return retire(run, [task for task in run.tasks.values() if task.parent is None and task.node.hook], "cleared")


def _hand_over_children(run: Run, chosen: Iterable[TaskRun]) -> None:
    """A body that is rerun from its failures gets its finished children back; cleared whole, it starts with none."""
    for old in chosen:
        for kid in old.kids or ():
            new = run.index[old.key, old.path]
            run.children.pop((old.no, kid.child or ""), None)
            kid.parent, kid.parent_attempt = new.no, 0
            file_child(run, kid)
            run.touch(kid)
            run.touch(new)  # its children name it, so that it needs a row before it is handed out
