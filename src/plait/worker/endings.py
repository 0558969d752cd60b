"""Outcomes that no runner made: an execution that ran out of time, was cancelled, or lost its process."""

import time
import traceback

from plait.model.outcome import ErrorInfo, LogSpan, Outcome, Verdict


def timed_out(timeout: float, started_at: float, log: LogSpan | None = None) -> Outcome:
    """It took longer than its timeout."""
    return _ended(Verdict.FAILED, "TaskTimeout", f"exceeded its timeout of {timeout:g} s", started_at, log)


def cancelled(reason: str, started_at: float = 0.0, log: LogSpan | None = None) -> Outcome:
    """Somebody cancelled it."""
    return _ended(Verdict.CANCELLED, "TaskCancelled", reason or "cancelled", started_at, log)


def crashed(what: str, started_at: float = 0.0, log: LogSpan | None = None, trace: str = "") -> Outcome:
    """Its process is gone, or could not be had: `what` tells how."""
    return _ended(Verdict.CRASHED, "WorkerCrashed", what, started_at, log, trace)


def runner_raised(error: BaseException, started_at: float) -> Outcome:
    """The runner itself raised, which it never should; the user's own exceptions are in its outcome."""
    trace = "".join(traceback.format_exception(error))
    what = f"the runner raised {type(error).__name__}: {error}"
    return _ended(Verdict.CRASHED, "RunnerError", what, started_at, None, trace)


def describe_exit(code: int) -> str:
    """What became of a process, from its exit code (negative: the signal that killed it)."""
    if code >= 0:
        return f"the worker process exited with code {code} (os._exit, or sys.exit below Python?)"
    import signal  # its enumerations are a millisecond of every start, and few processes are killed

    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        name = str(-code)
    if -code == signal.SIGKILL:
        return f"the worker process was killed by {name} (from outside; most often the out-of-memory killer)"
    return f"the worker process was killed by signal {name}"


def _ended(
    verdict: Verdict, kind: str, message: str, started_at: float, log: LogSpan | None, trace: str = ""
) -> Outcome:
    now = time.time()
    return Outcome(
        verdict=verdict,
        error=ErrorInfo(type=kind, message=message, traceback=trace),
        started_at=started_at or now,
        finished_at=now,
        log=log,
    )
