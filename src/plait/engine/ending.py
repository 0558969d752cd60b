"""How a run ends: its outcome rule over its tasks, the hooks that are called first, fail-fast, cancelling."""

from plait.engine.children import add_hooks
from plait.engine.leaving import cancel_task
from plait.engine.limits import RUN, runs_limit
from plait.engine.propagate import settle
from plait.engine.run import Run
from plait.model.commands import RequestSlots, RunEnded, SetTimer
from plait.model.events import RunChanged
from plait.model.ids import TaskNo
from plait.model.policies import LimitUse, OutcomeRule
from plait.model.states import FAILURES, RunState, TaskState

S = TaskState
_FAILED = FAILURES - {S.CANCELLED}


def set_state(run: Run, state: RunState, reason: str, now: float) -> None:
    """Record that the run entered a state."""
    run.state = state
    run.reason = reason
    run.changed = True
    run.events.append(RunChanged(state=state.value, reason=reason))
    if state is RunState.RUNNING and run.started_at is None:
        run.started_at = now


def ask_for_place(run: Run) -> bool:
    """Ask for a place among the active runs of the workflow; returns whether these are limited at all."""
    most = run.plan.graph.policy.max_active_runs
    if most is None:
        return False
    use = LimitUse(key=runs_limit(run.plan.graph.name), size=most)
    run.commands.append(RequestSlots(no=TaskNo(RUN), uses=(use,)))
    return True


def set_timeout(run: Run, now: float) -> None:
    """Have the run looked at when it has taken as long as it may."""
    limit = run.plan.graph.policy.timeout
    if limit is not None:
        run.commands.append(SetTimer(at=(run.started_at or now) + limit, kind="timeout"))


def check_end(run: Run, now: float) -> None:
    """End the run if nothing of it is open: first its hooks, as recorded executions, then the final state."""
    if run.open or run.state not in (RunState.RUNNING, RunState.CANCELLING):
        return
    if run.ending is None:
        run.ending = outcome_of(run)
    if not run.hooks_started:
        run.hooks_started = True
        if add_hooks(run, None, run.plan.graph.hooks, run.ending.value, now):
            return
    run.finished_at = now
    set_state(run, run.ending, run.reason if run.state is RunState.CANCELLING else _reason(run), now)
    if run.plan.graph.policy.max_active_runs is not None:
        run.released.append(RUN)
    run.commands.append(RunEnded(state=run.state.value))


def outcome_of(run: Run) -> RunState:
    """The final state by the graph's outcome rule."""
    match run.plan.graph.outcome:
        case OutcomeRule.LEAVES:
            keys = {node.key for node in run.plan.leaves}
            states = {task.state for task in run.tasks.values() if task.parent is None and task.key in keys}
        case OutcomeRule.BODY:
            states = {task.state for task in run.tasks.values() if task.parent is None and task.child is None}
        case OutcomeRule.ANY_FAILURE:
            states = {task.state for task in run.tasks.values() if task.node.spec.counts}
    if states & _FAILED:
        return RunState.FAILED
    return RunState.CANCELLED if S.CANCELLED in states else RunState.SUCCESS


def _reason(run: Run) -> str:
    if run.ending is not RunState.FAILED:
        return ""
    failed = [task for task in run.tasks.values() if task.state in (S.FAILED, S.CRASHED)]
    if not failed:
        return ""
    named = ", ".join(sorted({task.label() for task in failed})[:3])
    return f"{len(failed)} failed: {named}{', ...' if len(failed) > 3 else ''}"


def end_early(run: Run, state: RunState, reason: str, now: float) -> None:
    """Cancel what is not done; the run ends in `state` once its live executions are gone.

    Hooks that are called already go on, and teardowns run if their setups did (Airflow, "Setup and teardown"); when
    the run is at its end anyway, or this is asked for again, they are cancelled too.
    """
    again = run.ending is not None
    if not again:
        run.ending = state
        set_state(run, RunState.CANCELLING, reason, now)
    for task in list(run.tasks.values()):
        if again or task.unexpanded or not task.node.outlives:
            cancel_task(run, task, reason, now)
    settle(run, now)


def fail_fast(run: Run, now: float) -> None:
    """The policy that the first failure ends the run; what an ending run or a hook comes to changes nothing."""
    task, run.failed = run.failed, None
    if task is None or run.ending is not None or not run.plan.graph.policy.fail_fast:
        return
    if task.parent is None and task.node.spec.counts:
        end_early(run, RunState.FAILED, f"{task.label()} failed, and the run is to fail fast", now)
