"""What it means that user code raised: the verdict, what the retry policy says, and the exception as text and
pickled."""

import pickle
import time
import traceback
from typing import Any

import msgspec

from plait.authoring.retry import seconds
from plait.authoring.signals import Fail, Leaves, LookAgain, RetryAfter, Skip, TaskCancelled
from plait.authoring.task import Task
from plait.authoring.where import frames_of_user
from plait.model.errors import TaskFailed
from plait.model.outcome import ErrorInfo, Outcome, RetryVerdict, Verdict
from plait.worker.loops import is_cancellation

MOST_PICKLED_ERROR = 64 << 10


def failure(error: BaseException, task: Task[Any, Any] | None, attempt: int) -> Outcome:
    """The outcome of an attempt that raised."""
    match error:
        case Leaves():
            return error.outcome
        case Skip():
            return Outcome(verdict=Verdict.SKIPPED, error=ErrorInfo(type="Skip", message=str(error)))
        case LookAgain():
            until = error.at.timestamp() if error.at is not None else time.time() + (error.delay or 0.0)
            return Outcome(verdict=Verdict.RESCHEDULE, until=until)
        case _ if isinstance(error, (TaskCancelled, KeyboardInterrupt)) or is_cancellation(error):
            return Outcome(verdict=Verdict.CANCELLED, error=ErrorInfo(type=type(error).__name__, message=str(error)))
        case Fail():
            return Outcome(verdict=Verdict.FAILED, error=error_info(error), retry=RetryVerdict.NEVER)
        case RetryAfter():
            return Outcome(verdict=Verdict.FAILED, error=error_info(error), retry_delay=error.delay)
        case _:
            return _by_policy(error, task, attempt)


def _by_policy(error: BaseException, task: Task[Any, Any] | None, attempt: int) -> Outcome:
    """The retry condition and a delay that is a function are asked here; what they raise means no retry."""
    info = error_info(error)
    retries = task.options_.retries if task is not None else None
    verdict, delay = RetryVerdict.POLICY, None
    if retries is not None and attempt <= retries.times:
        try:
            if retries.when is not None and not retries.when(error):
                verdict = RetryVerdict.NEVER
            elif retries.delay_function is not None:
                delay = seconds(retries.delay_function(attempt))
        except Exception as raised:  # noqa: BLE001  the user's own condition is broken: fail now, and say so
            verdict = RetryVerdict.NEVER
            message = f"{info.message} (and the retry policy raised {type(raised).__name__}: {raised})"
            info = msgspec.structs.replace(info, message=message)
    return Outcome(verdict=Verdict.FAILED, error=info, retry=verdict, retry_delay=delay)


def error_info(error: BaseException) -> ErrorInfo:
    """An exception as text, and pickled where that is possible and small."""
    return ErrorInfo(
        type=type(error).__name__,
        message=str(error),
        traceback="".join(traceback.format_exception(error)),
        where=frames_of_user(error),
        pickled=_pickled(error),
    )


def _pickled(error: BaseException) -> bytes | None:
    try:
        data = pickle.dumps(error)
        if len(data) > MOST_PICKLED_ERROR:
            return None
        again = pickle.loads(data)  # noqa: S301  made a line above; many exceptions pickle but do not come back
    except Exception:  # noqa: BLE001  it holds what cannot be pickled: the text is what remains
        return None
    return data if type(again) is type(error) else None


def exception_of(info: ErrorInfo) -> BaseException:
    """The exception that a failure was: the original where it could be pickled, else TaskFailed with its text."""
    if info.pickled is not None:
        try:
            error = pickle.loads(info.pickled)  # noqa: S301  pickled by our own worker, read only where user code runs
        except Exception:  # noqa: BLE001  its class is not importable here
            return TaskFailed(info.text)
        if isinstance(error, BaseException):
            return error
    return TaskFailed(info.text)
