"""What the reports of executions mean: one small handler a verdict, after the token was checked (C3)."""

from collections.abc import Callable

import msgspec

from plait.engine.children import add_hooks, close
from plait.engine.leaving import cancel_task, release
from plait.engine.propagate import get_in_line
from plait.engine.retries import retry_delay
from plait.engine.run import Asked, Control, Run, TaskRun
from plait.model.assets import HistoryEvent
from plait.model.commands import RequestSlots, SetTimer, StartTrigger
from plait.model.events import AssetRecorded, CheckRecorded, ReportRefused, TaskFinished, TaskWaits
from plait.model.outcome import AssetEvent, ErrorInfo, Outcome, RetryVerdict, Verdict
from plait.model.rows import AssetEventRow, AssetRow, AttemptRow
from plait.model.states import LIVE, RunState, TaskState
from plait.model.stimuli import (
    ExecutionBlocked,
    ExecutionFinished,
    ExecutionLost,
    ExecutionReturned,
    ExecutionStarted,
    ExecutionUnblocked,
)

S = TaskState
_json = msgspec.json.Encoder()


def holder(run: Run, no: int, token: int) -> TaskRun | None:
    """The live task run that a report is about, or none (recorded) when the token is no longer its own."""
    task = run.tasks.get(no)  # type: ignore[call-overload]  # a number from outside may be any
    if task is None or task.token != token or task.state not in LIVE:
        run.events.append(ReportRefused(no=no, token=token))  # type: ignore[arg-type]  # likewise
        return None
    return task


def started(run: Run, said: ExecutionStarted, now: float) -> None:
    """A worker began: known for the live view, recorded with the end."""
    task = run.tasks.get(said.no)
    if task is None or task.token != said.token or task.state is not S.DISPATCHED:
        return
    run.move(task, S.RUNNING)
    task.started_at = now
    if task.first_started_at is None:
        task.first_started_at = now


def finished(run: Run, said: ExecutionFinished, now: float) -> None:
    """A worker reports an end."""
    task = holder(run, said.no, said.token)
    if task is not None:
        outcome = said.outcome
        run.keep_outcome(task, outcome)
        if task.finished_at is None:
            task.finished_at = now
        verdict = outcome.verdict
        if verdict in _WAITS and _is_to_end(run, task):
            verdict = Verdict.CANCELLED
        _VERDICTS[verdict](run, task, outcome, now)


def lost(run: Run, said: ExecutionLost, now: float) -> None:
    """The worker died without a report: one crashed attempt."""
    task = holder(run, said.no, said.token)
    if task is not None:
        error = ErrorInfo(type="WorkerDied", message=said.reason)
        outcome = Outcome(verdict=Verdict.CRASHED, error=error, started_at=task.started_at or 0.0, finished_at=now)
        run.keep_outcome(task, outcome)
        task.finished_at = now
        _failed(run, task, outcome, now)


def returned(run: Run, said: ExecutionReturned, now: float) -> None:
    """Given back, never started: the same attempt is offered again under a new token."""
    task = holder(run, said.no, said.token)
    if task is not None:
        task.attempt -= 1
        run.move(task, S.READY)
        run.events.append(TaskWaits(no=task.no, state=task.state.value, attempt=task.attempt))
        if _is_to_end(run, task) and not task.node.outlives:
            cancel_task(run, task, run.reason or "cancelled", now)
        else:
            get_in_line(run, task)


def _is_to_end(run: Run, task: TaskRun) -> bool:
    """Whether a live task run was told to end: with its run, or with the body that called it. It does not go on."""
    if run.state is RunState.CANCELLING:
        return True
    parent = run.tasks.get(task.parent) if task.parent is not None else None
    return parent is not None and parent.terminal and not task.node.hook


# --- verdicts ---------------------------------------------------------------------------------------------------------


def end(run: Run, task: TaskRun, state: TaskState, now: float, reason: str = "") -> None:
    """End a task run that was executed: record it, give its slots back, tell who depends on it."""
    release(run, task)
    run.move(task, state)
    task.reason = reason
    error = task.error.text if task.error is not None else reason
    run.events.append(TaskFinished(no=task.no, state=state.value, attempt=task.attempt, error=error[:1000]))
    run.settled.append(task)
    if task.node.hooked:
        add_hooks(run, task, task.node.spec.hooks, state.value, now)
        if state is S.SUCCESS:
            close(run, task, now)


def _success(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    _record_assets(run, task, outcome, now)
    blocking = [check for check in outcome.checks if not check.passed and check.blocking and check.severity == "error"]
    if blocking:
        names = ", ".join(check.name for check in blocking)
        task.error = ErrorInfo(type="CheckFailed", message=f"blocking check failed: {names}")
        end(run, task, S.FAILED, now, task.error.text)
        return
    missing = _missing_outputs(task, outcome)
    if missing:
        task.error = ErrorInfo(
            type="OutputMissing",
            message=f"required output {missing[0]!r} was not emitted; emit it, or declare it required=False",
        )
        failed = Outcome(verdict=Verdict.FAILED, error=task.error, retry=outcome.retry)
        _failed(run, task, failed, now)
        return
    task.error = None
    end(run, task, S.SUCCESS, now)


def _missing_outputs(task: TaskRun, outcome: Outcome) -> list[str]:
    if outcome.emitted is None:
        return []
    return [
        output.name
        for output in task.node.spec.outputs
        if output.required and not output.dynamic and output.name not in outcome.emitted
    ]


def _record_assets(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    for asset in outcome.assets:
        _record_asset(run, task, asset, now)
    for check in outcome.checks:
        run.events.append(
            CheckRecorded(no=task.no, name=check.name, passed=check.passed, severity=check.severity, asset=check.asset)
        )
        if check.asset is not None:
            about = HistoryEvent(
                metadata=check.metadata,
                passed=check.passed,
                severity=check.severity,
                blocking=check.blocking,
                description=check.description,
            )
            _remember(run, task, (check.asset, check.partition, "check", check.name), about, now)


def _record_asset(run: Run, task: TaskRun, asset: AssetEvent, now: float) -> None:
    """The latest of an asset, what happened to it, and what the run has to tell. What was observed without a data
    version is history only: nothing new is known of the asset."""
    about = HistoryEvent(
        data_version=asset.data_version,
        code_version=asset.code_version,
        data_time=asset.data_time,
        inputs=asset.inputs,
        metadata=asset.metadata,
    )
    _remember(run, task, (asset.key, asset.partition, "observed" if asset.observed else "materialized", ""), about, now)
    if asset.observed and asset.data_version is None:
        return
    metadata = _json.encode(asset.metadata) if asset.metadata else None
    inputs = _json.encode(asset.inputs) if asset.inputs else None
    run.assets += [
        AssetRow(
            key=asset.key,
            partition=partition,
            run_id=run.run_id,
            no=task.no,
            at=now,
            data_version=asset.data_version,
            metadata=metadata,
            code_version=asset.code_version,
            inputs=inputs,
            data_time=asset.data_time,
            observed=asset.observed,
        )
        for partition in (asset.partition or "", *asset.keys)
    ]
    run.events.append(
        AssetRecorded(no=task.no, key=asset.key, partition=asset.partition, data_version=asset.data_version)
    )


def _remember(run: Run, task: TaskRun, what: tuple[str, str | None, str, str], about: HistoryEvent, now: float) -> None:
    """Something for an asset's history: `what` is its key, partition, the kind of event and the check's name."""
    key, partition, kind, name = what
    run.asset_events.append(
        AssetEventRow(
            key=key,
            partition=partition or "",
            kind=kind,
            at=now,
            run_id=run.run_id,
            no=task.no,
            name=name,
            data=_json.encode(about),
        )
    )


def _failed(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    state = S.CRASHED if outcome.verdict is Verdict.CRASHED else S.FAILED
    if _is_to_end(run, task):
        end(run, task, state, now)
        return
    seed = f"{run.run_id}/{task.no}/{task.attempt}"
    delay = retry_delay(task.node.spec.retry, outcome, task.attempt, seed)
    if delay is None:
        soft = task.node.spec.soft_fail and outcome.retry is not RetryVerdict.NEVER
        end(run, task, S.SKIPPED if soft else state, now)
        return
    run.attempts.append(
        (
            task.no,
            AttemptRow(
                no=task.no,
                attempt=task.attempt,
                state=state.value,
                started_at=task.started_at,
                finished_at=task.finished_at,
                error=_json.encode(task.error) if task.error is not None else None,
                log=_json.encode(task.log) if task.log is not None else None,
            ),
        )
    )
    asked = {name: answer for name, answer in task.answers.items() if "input" in answer}
    if asked != task.answers:  # an event is waited for again; people are asked once
        task.control = Control(answers=asked)
    wait(run, task, S.RETRY_WAIT, now + delay)


def wait(run: Run, task: TaskRun, state: TaskState, until: float | None) -> None:
    """Between two executions: no slot is held, a timer (or an event) brings it back."""
    release(run, task)
    run.move(task, state)
    task.wait_until = until
    error = task.error.text if task.error is not None else ""
    run.events.append(TaskWaits(no=task.no, state=state.value, attempt=task.attempt, until=until, error=error[:1000]))
    set_timer(run, task)
    if task.node.hooked and state is S.RETRY_WAIT:
        add_hooks(run, task, task.node.spec.hooks, "retry", task.finished_at or 0.0)


TIMERS = {
    S.RETRY_WAIT: "retry",
    S.RESCHEDULED: "reschedule",
    S.DEFERRED: "defer_timeout",
    S.PAUSED: "pause_timeout",
}
"""What brings a waiting task run back when its time has come, by its state."""


def set_timer(run: Run, task: TaskRun) -> None:
    """Have a waiting task run looked at when its time has come."""
    if task.wait_until is not None:
        kind = TIMERS[task.state]
        run.commands.append(SetTimer(at=task.wait_until, kind=kind, no=task.no, generation=task.generation))


def _skipped(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    end(run, task, S.SKIPPED, now, outcome.error.message if outcome.error else "")


def _cancelled(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    end(run, task, S.CANCELLED, now, run.reason if run.state is RunState.CANCELLING else "cancelled")


def _reschedule(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    """A sensor looks again later, which uses no attempt. Its time limit counts from its first look and over its retries
    (Airflow, core-concepts/sensors, "Timeouts"); when it has run out there is one last look, as there."""
    until = outcome.until if outcome.until is not None else now
    limit = task.node.spec.wait_timeout
    if task.first_started_at is None:  # the worker did not say when it began
        task.first_started_at = now
    if limit is not None:
        deadline = task.first_started_at + limit
        if now >= deadline:
            too_late(run, task, "no success", now)
            return
        until = min(until, deadline)
    task.attempt -= 1
    wait(run, task, S.RESCHEDULED, until)


def too_late(run: Run, task: TaskRun, what: str, now: float) -> None:
    """A wait took longer than it may, which is not retried."""
    wait_failed(run, task, ErrorInfo(type="WaitTimeout", message=f"{what} for longer than it may"), now)


def wait_failed(run: Run, task: TaskRun, error: ErrorInfo, now: float) -> None:
    """What a task run waits for does not come."""
    task.error = error
    task.finished_at = now
    end(run, task, S.SKIPPED if task.node.spec.soft_fail else S.FAILED, now)


def _defer(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    task.attempt -= 1
    task.control = Control(trigger=outcome.trigger or {}, wait=outcome.wait, answers=task.answers)
    wait(run, task, S.DEFERRED, now + outcome.timeout if outcome.timeout is not None else None)
    begin_trigger(run, task)


def begin_trigger(run: Run, task: TaskRun) -> None:
    """Have somebody wait for what a deferred task run waits for; for a point in time (`{"kind": "time", "at": ...}`,
    epoch seconds) its timer does."""
    trigger = (task.control.trigger if task.control is not None else None) or {}
    if trigger.get("kind") == "time":
        at = float(trigger["at"])
        run.commands.append(SetTimer(at=at, kind="trigger", no=task.no, generation=task.generation))
    else:
        run.commands.append(StartTrigger(no=task.no, trigger=trigger))


def _pause(run: Run, task: TaskRun, outcome: Outcome, now: float) -> None:
    task.attempt -= 1
    asked = Asked(schema=outcome.schema, prompt=outcome.prompt)
    task.control = Control(asked=asked, wait=outcome.wait, answers=task.answers)
    wait(run, task, S.PAUSED, now + outcome.timeout if outcome.timeout is not None else None)


_VERDICTS: dict[Verdict, Callable[[Run, TaskRun, Outcome, float], None]] = {
    Verdict.SUCCESS: _success,
    Verdict.FAILED: _failed,
    Verdict.CRASHED: _failed,
    Verdict.SKIPPED: _skipped,
    Verdict.CANCELLED: _cancelled,
    Verdict.RESCHEDULE: _reschedule,
    Verdict.DEFER: _defer,
    Verdict.PAUSE: _pause,
}
_WAITS = frozenset({Verdict.RESCHEDULE, Verdict.DEFER, Verdict.PAUSE})

# --- a body that waits for its children -------------------------------------------------------------------------------


def blocked(run: Run, said: ExecutionBlocked, now: float) -> None:
    """The body gives its slots back while it waits, so that its children can have them."""
    task = holder(run, said.no, said.token)
    if task is not None and not task.blocked:
        task.blocked = True
        release(run, task)


def unblocked(run: Run, said: ExecutionUnblocked, now: float) -> None:
    """The body goes on when it has its slots again."""
    task = holder(run, said.no, said.token)
    if task is not None and task.blocked:
        task.blocked = False
        if task.node.spec.limits:
            spec = task.node.spec
            run.commands.append(RequestSlots(no=task.no, uses=spec.limits, priority=spec.priority))
