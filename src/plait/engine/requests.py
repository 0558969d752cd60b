"""What people, timers and other aggregates ask of a run: start, cancel, pause, mark, go on."""

from typing import Any

from plait.engine.build import build, wake
from plait.engine.ending import end_early, set_state, set_timeout
from plait.engine.executions import too_late, wait_failed
from plait.engine.leaving import resolve
from plait.engine.limits import RUN
from plait.engine.propagate import become_ready, get_in_line, watches_of
from plait.engine.run import Control, Run, TaskRun
from plait.model.commands import ReleaseSlots, StartTrigger
from plait.model.errors import UsageError
from plait.model.ids import TaskNo
from plait.model.outcome import TOO_LATE, ErrorInfo
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState
from plait.model.stimuli import (
    CancelRequested,
    InputReceived,
    MarkRequested,
    PauseRequested,
    ResumeRequested,
    RunAdmitted,
    SlotsGranted,
    SlotsRefused,
    TimerFired,
    TriggerFired,
    WatchFired,
)

S = TaskState


def admitted(run: Run, said: RunAdmitted, now: float) -> None:
    """The run starts: its task runs are made, what waits for nothing is ready."""
    if run.state is not RunState.QUEUED:
        if run.state in RUN_TERMINAL:  # it was cancelled in the meantime
            _give_back(run, TaskNo(RUN))
        return
    if run.index:  # it was over, and was cleared
        run.started_at = now
        set_state(run, RunState.RUNNING, run.reason, now)
        set_timeout(run, now)
        wake(run, now)
        return
    run.param_lengths = said.lengths
    set_state(run, RunState.RUNNING, "", now)
    set_timeout(run, now)
    build(run, {}, (), now)


def cancelled(run: Run, said: CancelRequested, now: float) -> None:
    """End the run before it is done."""
    if run.state in RUN_TERMINAL:
        return
    if run.state is RunState.QUEUED and not run.index:
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
    if said.state not in _MARKS:
        raise UsageError(f"a task run cannot be marked {said.state!r}", right=" or ".join(_MARKS))
    if task is None:
        raise UsageError(f"run {run.run_id} has no current task run {said.no}")
    if run.state is RunState.CRASHED:
        raise UsageError(f"run {run.run_id} is crashed: nothing can be marked", right="resume the run first")
    if task.terminal:
        raise UsageError(f"{task.label()} is {task.state.value} already", right="clear it, which makes it run again")
    if task.unexpanded:
        raise UsageError(f"{task.label()} has no elements yet", right="mark the elements, once they are there")
    resolve(run, task, S(said.state), "marked by hand", now)


_MARKS = ("success", "failed", "skipped")


# --- answers ----------------------------------------------------------------------------------------------------------


def granted(run: Run, said: SlotsGranted, now: float) -> None:
    """The slots are there: get in line, or (a body that waited for its children) just hold them again."""
    task = run.tasks.get(said.no)
    if task is not None and task.granted:
        return
    if task is None or not _wants_slots(task):
        _give_back(run, said.no)
        return
    task.granted = True
    if task.state is S.READY:
        get_in_line(run, task)


def refused(run: Run, said: SlotsRefused, now: float) -> None:
    """It would wait for ever: it fails instead, and what is below it decides what that means."""
    task = run.tasks.get(said.no)
    if task is not None and task.state is S.READY:
        wait_failed(run, task, ErrorInfo(type="LimitError", message=said.reason), now)


def _wants_slots(task: TaskRun) -> bool:
    if task.node.slotless:
        return False
    return (task.state is S.READY and not task.lost) or (task.state in LIVE and not task.blocked)


def _give_back(run: Run, no: TaskNo) -> None:
    """Slots were granted to somebody who does not want them any more."""
    run.released.append(no)
    run.commands.append(ReleaseSlots(no=no))


def watch_fired(run: Run, said: WatchFired, now: float) -> None:
    """Something outside came true, or never will."""
    task = run.tasks.get(said.no)
    if task is None or task.state is not S.PENDING or not task.watching:
        return
    if said.skip:
        resolve(run, task, S.SKIPPED, "what it waits for outside of the run says so", now)
        return
    if not said.ok:
        _watch_failed(run, task, said.index, now)
        return
    task.watching.discard(said.index)
    become_ready(run, task, now)


def _watch_failed(run: Run, task: TaskRun, index: int, now: float) -> None:
    """What is waited for can no longer come true: a task whose own past failed is as if an upstream had."""
    why = "what it waits for outside of the run failed"
    if watches_of(task)[index].subject == "past":
        resolve(run, task, S.UPSTREAM_FAILED, why, now)
    else:
        wait_failed(run, task, ErrorInfo(type="WatchFailed", message=why), now)


def trigger_fired(run: Run, said: TriggerFired, now: float) -> None:
    """The event of a deferred execution arrived: resume it, without a new attempt."""
    task = run.tasks.get(said.no)
    if task is not None and task.state is S.DEFERRED and said.token in (None, task.token):
        _resume(run, task, {"event": said.payload, "error": said.error})


def input_received(run: Run, said: InputReceived, now: float) -> None:
    """A pause was answered."""
    task = run.tasks.get(said.no)
    if task is not None and task.state is S.PAUSED and said.token in (None, task.token):
        _resume(run, task, {"input": said.data})


def _resume(run: Run, task: TaskRun, what: dict[str, Any]) -> None:
    """Go on with what ended a wait. Code that begins again finds it under the wait's name."""
    control = task.control
    if control is not None and control.wait is not None:
        task.control = Control(answers={**control.answers, control.wait: what})
    else:
        task.control = Control(resume=what, answers=task.answers)
    run.move(task, S.READY)
    get_in_line(run, task)


# --- timers -----------------------------------------------------------------------------------------------------------


def timer_fired(run: Run, said: TimerFired, now: float) -> None:
    """A wait is over, or took too long. A timer of an older wait changes nothing."""
    if said.kind == "timeout":
        _time_out(run, now)
        return
    task = run.tasks.get(said.no) if said.no is not None else None
    if task is None or task.generation != said.generation:
        return
    if said.kind == "trigger":
        _time_has_come(run, task, now)
        return
    if task.wait_until is None or task.wait_until > now:
        return
    if (said.kind, task.state) in _GO_ON:
        run.move(task, S.READY)
        get_in_line(run, task)
    elif (said.kind, task.state) == ("defer_timeout", S.DEFERRED):
        run.commands.append(StartTrigger(no=task.no, trigger=None))
        _resume(run, task, {"event": None, "error": TOO_LATE})
    elif (said.kind, task.state) == ("pause_timeout", S.PAUSED) and task.control is not None and task.control.wait:
        _resume(run, task, {"event": None, "error": TOO_LATE})  # its code begins again, and hears of it there
    elif (said.kind, task.state) in _TOO_LATE:
        too_late(run, task, "waited" if task.state is S.PENDING else task.state.value, now)


_GO_ON = {("retry", S.RETRY_WAIT), ("reschedule", S.RESCHEDULED)}
_TOO_LATE = {("wait_timeout", S.PENDING), ("pause_timeout", S.PAUSED)}


def _time_has_come(run: Run, task: TaskRun, now: float) -> None:
    """The point in time that a deferred task run waits for; a timer of an earlier wait changes nothing."""
    trigger = (task.control.trigger if task.control is not None else None) or {}
    if task.state is S.DEFERRED and trigger.get("kind") == "time" and trigger["at"] <= now:
        _resume(run, task, {"event": trigger["at"], "error": None})


def _time_out(run: Run, now: float) -> None:
    limit = run.plan.graph.policy.timeout
    if limit is None or run.started_at is None or run.state in RUN_TERMINAL or now < run.started_at + limit:
        return
    end_early(run, RunState.FAILED, f"timed out after {limit:g} s", now)
