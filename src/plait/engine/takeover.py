"""A run's owner died, or another process goes on with it: nothing recorded is lost, what was in flight is offered
again."""

from plait.engine.build import rewire_children, wake
from plait.engine.ending import set_state
from plait.engine.executions import release
from plait.engine.propagate import get_in_line, settle
from plait.engine.run import Run, TaskRun
from plait.model.commands import SetTimer
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState
from plait.model.stimuli import OwnerChanged, OwnerLost

S = TaskState


def owner_lost(run: Run, said: OwnerLost, now: float) -> None:
    """The session died: what was live is crashed, the run is crashed and can be resumed."""
    if run.state in RUN_TERMINAL:
        return
    for task in list(run.tasks.values()):
        if task.state in LIVE:
            release(run, task)
            run.move(task, S.CRASHED)
            task.reason = said.reason
    run.finished_at = now
    set_state(run, RunState.CRASHED, said.reason, now)


def owner_changed(run: Run, said: OwnerChanged, now: float) -> None:
    """Another process goes on with the run. Executions that nobody finished are offered again, as the same attempt."""
    run.epoch = said.epoch
    run.finished_at = None
    if run.state in (RunState.CRASHED, RunState.RUNNING, RunState.CANCELLING):
        set_state(run, RunState.RUNNING, said_reason(run), now)
    run.hooks_started, run.ending = False, None
    for task in list(run.tasks.values()):
        _go_on(run, task, now)
    rewire_children(run)
    limit = run.plan.graph.policy.timeout
    if limit is not None:
        run.commands.append(SetTimer(at=(run.started_at or now) + limit, kind="timeout"))
    wake(run, now)
    settle(run, now)


def said_reason(run: Run) -> str:
    """Why a resumed run is running: it was crashed before, or taken over."""
    return "resumed" if run.reason else "taken over"


_TIMERS = {S.RETRY_WAIT: "retry", S.RESCHEDULED: "reschedule", S.DEFERRED: "defer_timeout", S.PAUSED: "pause_timeout"}


def _go_on(run: Run, task: TaskRun, now: float) -> None:
    if task.state is S.CRASHED and task.error is None:  # it died with its owner, which is not its fault
        run.open += 1
        _begin_again(run, task)
    elif task.state in LIVE:
        run.active -= 1
        if task.node.max_active:
            run.active_of[task.key] -= 1
        _begin_again(run, task)
    elif task.state in _TIMERS:
        if task.state is S.DEFERRED:
            run.move(task, S.READY)
            get_in_line(run, task)
        elif task.wait_until is not None:
            run.commands.append(
                SetTimer(at=task.wait_until, kind=_TIMERS[task.state], no=task.no, generation=task.generation)
            )


def _begin_again(run: Run, task: TaskRun) -> None:
    """Offer an unfinished execution again. A child waits until its body asks for it again."""
    task.attempt = max(0, task.attempt - 1)
    task.state = S.PENDING
    task.reason = ""
    task.replaying = True
    task.granted = task.blocked = False
    task.lost = task.child is not None and task.parent is not None and task.node.spec.runner != "hook"
    run.touch(task)
