"""What people, timers and other aggregates ask of a run: start, cancel, pause, mark, go on."""

from plait.engine.build import build, wake
from plait.engine.ending import end_early, set_state
from plait.engine.executions import end, release
from plait.engine.propagate import become_ready, get_in_line, resolve
from plait.engine.run import Run, TaskRun
from plait.model.commands import CancelExecution, SetTimer, StartTrigger
from plait.model.errors import UsageError
from plait.model.outcome import ErrorInfo
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState
from plait.model.stimuli import (
    CancelRequested,
    InputReceived,
    MarkRequested,
    PauseRequested,
    ResumeRequested,
    RunAdmitted,
    SlotsGranted,
    TimerFired,
    TriggerFired,
    WatchFired,
)

S = TaskState


def admitted(run: Run, said: RunAdmitted, now: float) -> None:
    """The run starts: its task runs are made, what waits for nothing is ready."""
    if run.state is not RunState.QUEUED:
        return
    run.param_lengths = said.lengths
    set_state(run, RunState.RUNNING, "", now)
    limit = run.plan.graph.policy.timeout
    if limit is not None:
        run.commands.append(SetTimer(at=now + limit, kind="timeout"))
    build(run, {}, (), {}, now)


def cancelled(run: Run, said: CancelRequested, now: float) -> None:
    """End the run before it is done."""
    if run.state in RUN_TERMINAL:
        return
    if run.state is RunState.QUEUED:
        run.ending = RunState(said.state)
        run.hooks_started = True
        set_state(run, RunState.CANCELLING, said.reason, now)
        return
    end_early(run, RunState(said.state), said.reason, now)


def paused(run: Run, said: PauseRequested, now: float) -> None:
    """Hold back what is not live."""
    if run.state is RunState.RUNNING:
        set_state(run, RunState.PAUSED, "", now)


def resumed(run: Run, said: ResumeRequested, now: float) -> None:
    """Go on."""
    if run.state is RunState.PAUSED:
        set_state(run, RunState.RUNNING, "", now)
        wake(run, now)


def marked(run: Run, said: MarkRequested, now: float) -> None:
    """A person decides the state of a task run; a live execution is cancelled and its report refused."""
    task = run.tasks.get(said.no)
    state = S(said.state)
    if state not in (S.SUCCESS, S.FAILED, S.SKIPPED):
        raise UsageError(f"a task run cannot be marked {said.state!r}", right="success, failed or skipped")
    if task is None or task.terminal:
        return
    if task.state in LIVE:
        run.commands.append(CancelExecution(no=task.no, token=task.token, reason=f"marked {state.value}"))
        release(run, task)
    resolve(run, task, state, "marked by hand", now)


# --- answers ----------------------------------------------------------------------------------------------------------


def granted(run: Run, said: SlotsGranted, now: float) -> None:
    """The slots are there: get in line, or (a body that waited for its children) just hold them again."""
    task = run.tasks.get(said.no)
    if task is None or task.granted or task.terminal:
        return
    task.granted = True
    if task.state is S.READY:
        get_in_line(run, task)


def watch_fired(run: Run, said: WatchFired, now: float) -> None:
    """Something outside came true, or never will."""
    task = run.tasks.get(said.no)
    if task is None or task.state is not S.PENDING or not task.watching:
        return
    if not said.ok:
        task.watching = None
        resolve(run, task, S.UPSTREAM_FAILED, "what it waits for outside of the run failed", now)
        return
    task.watching.discard(said.index)
    become_ready(run, task, now)


def trigger_fired(run: Run, said: TriggerFired, now: float) -> None:
    """The event of a deferred execution arrived: resume it, without a new attempt."""
    task = run.tasks.get(said.no)
    if task is None or task.state is not S.DEFERRED:
        return
    task.resume = {"event": said.payload, "error": said.error}
    run.move(task, S.READY)
    get_in_line(run, task)


def input_received(run: Run, said: InputReceived, now: float) -> None:
    """A pause was answered."""
    task = run.tasks.get(said.no)
    if task is None or task.state is not S.PAUSED:
        return
    task.resume = {"input": said.data}
    run.move(task, S.READY)
    get_in_line(run, task)


# --- timers -----------------------------------------------------------------------------------------------------------


def timer_fired(run: Run, said: TimerFired, now: float) -> None:
    """A wait is over, or took too long. A timer of an older wait changes nothing."""
    if said.kind == "timeout":
        if run.state not in RUN_TERMINAL:
            end_early(run, RunState.FAILED, f"timed out after {run.plan.graph.policy.timeout:g} s", now)
        return
    task = run.tasks.get(said.no) if said.no is not None else None
    if task is None or task.generation != said.generation or (task.wait_until or 0.0) > now:
        return
    if (said.kind, task.state) in _GO_ON:
        run.move(task, S.READY)
        get_in_line(run, task)
    elif (said.kind, task.state) in _TOO_LATE:
        _too_late(run, task, now)


_GO_ON = {("retry", S.RETRY_WAIT), ("reschedule", S.RESCHEDULED)}
_TOO_LATE = {("wait_timeout", S.RESCHEDULED), ("defer_timeout", S.DEFERRED), ("pause_timeout", S.PAUSED)}


def _too_late(run: Run, task: TaskRun, now: float) -> None:
    if task.state is S.DEFERRED:
        run.commands.append(StartTrigger(no=task.no, trigger=None))
    task.error = ErrorInfo(type="WaitTimeout", message=f"{task.state.value} for longer than it may")
    task.finished_at = now
    end(run, task, S.SKIPPED if task.node.spec.soft_fail else S.FAILED, now)
