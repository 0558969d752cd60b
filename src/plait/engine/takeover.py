"""A run's owner died, or another process goes on with it: nothing recorded is lost, what was in flight is offered
again.

What died with its owner is `crashed` in the rows, for the reason for which the run is: that tells it from an attempt
that crashed by itself. It is the one thing that leaves a terminal state, because nobody was told that it entered it.
"""

from plait.engine.build import wake
from plait.engine.ending import ask_for_place, outcome_of, set_state, set_timeout
from plait.engine.executions import begin_trigger, set_timer
from plait.engine.leaving import release, resolve
from plait.engine.limits import RUN
from plait.engine.propagate import get_in_line, settle
from plait.engine.requests import admitted
from plait.engine.run import Run, TaskRun
from plait.model.events import TaskFinished, TaskWaits
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState
from plait.model.stimuli import OwnerChanged, OwnerLost, RunAdmitted

S = TaskState


def owner_lost(run: Run, said: OwnerLost, now: float) -> None:
    """The session died: what was live is crashed, the run is crashed and can be resumed."""
    if run.state in RUN_TERMINAL:
        return
    reason = said.reason or "its owner died"
    for task in list(run.tasks.values()):
        if task.state in LIVE:
            release(run, task)
            run.move(task, S.CRASHED)
            task.interrupted = True
            task.reason, task.finished_at = reason, now
            run.events.append(
                TaskFinished(no=task.no, state=task.state.value, attempt=task.attempt, error=reason[:1000])
            )
    run.failed = None
    run.finished_at = now
    if run.plan.graph.policy.max_active_runs is not None:
        run.released.append(RUN)
    set_state(run, RunState.CRASHED, reason, now)


def owner_changed(run: Run, said: OwnerChanged, now: float) -> None:
    """Another process goes on with the run. Executions that nobody finished, and that nobody it knows of is at, are
    offered again, as the same attempt."""
    run.epoch = said.epoch
    if run.state in _FINAL or run.state is RunState.QUEUED:
        return
    run.finished_at = None
    if run.state is RunState.CRASHED:
        limited = ask_for_place(run)  # it had lost its own
        if run.started_at is None:  # it was never admitted
            set_state(run, RunState.QUEUED, "resumed", now)
            if not limited:
                admitted(run, RunAdmitted(lengths=run.param_lengths), now)
            return
    if run.state is RunState.CANCELLING:
        _cancel_again(run, now)
        return
    if run.state is not RunState.PAUSED:
        set_state(run, RunState.RUNNING, "resumed" if run.state is RunState.CRASHED else "taken over", now)
    set_timeout(run, now)
    kept = frozenset(said.kept)
    for task in list(run.tasks.values()):
        if task.state in LIVE and task.token in kept:
            task.granted = not task.node.slotless
        else:
            _go_on(run, task)
    _end_orphans(run, now)
    run.hooks_started = any(task.parent is None and task.node.hook for task in run.tasks.values())
    run.ending = outcome_of(run) if run.hooks_started else None
    wake(run, now)
    settle(run, now)


_FINAL = RUN_TERMINAL - {RunState.CRASHED}


def _cancel_again(run: Run, now: float) -> None:
    """Nobody is left to report what the cancelled executions came to; only hooks and teardowns are offered again."""
    run.ending = run.ending or RunState.CANCELLED
    run.hooks_started = any(task.parent is None and task.node.hook for task in run.tasks.values())
    for task in list(run.tasks.values()):
        if task.node.outlives and not task.unexpanded:
            _go_on(run, task)
        elif not task.terminal:
            resolve(run, task, S.CANCELLED, run.reason, now)
    wake(run, now)
    settle(run, now)


def _end_orphans(run: Run, now: float) -> None:
    """A child that was cancelled because its body is over, and had not ended yet: nobody is left to report it."""
    for task in list(run.tasks.values()):
        if task.parent is None or task.terminal or task.node.hook:
            continue
        parent = run.tasks.get(task.parent)
        if parent is None or parent.terminal:
            why = f"{parent.label()} is over" if parent is not None else "its body is over"
            resolve(run, task, S.CANCELLED, why, now)


def _go_on(run: Run, task: TaskRun) -> None:
    if task.interrupted:
        task.interrupted = False
        task.state = S.DISPATCHED
        run.open += 1
        run.count_live(task, 1)
    if not task.terminal:
        task.lost = task.parent is not None and not task.node.callless
    if task.state in LIVE:
        _begin_again(run, task)
    elif task.state is S.READY:
        get_in_line(run, task)
    else:
        _wait_again(run, task)


def _begin_again(run: Run, task: TaskRun) -> None:
    """Offer an unfinished execution again, as the same attempt; its token is no longer good."""
    release(run, task)
    task.attempt -= 1
    task.reason = ""
    run.move(task, S.READY)
    run.events.append(TaskWaits(no=task.no, state=task.state.value, attempt=task.attempt))
    get_in_line(run, task)


def _wait_again(run: Run, task: TaskRun) -> None:
    if task.state in (S.RETRY_WAIT, S.RESCHEDULED, S.DEFERRED, S.PAUSED):
        set_timer(run, task)
    if task.state is S.DEFERRED:
        begin_trigger(run, task)
