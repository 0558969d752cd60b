"""One execution in a thread of this process, and the clock that watches over such executions.

Nothing here can be killed. Whoever claims an execution first reports it: its own thread when it ends, or the watch when
its time is over; what comes later is dropped. A `TaskCancelled` is raised in the thread, which ends what is Python.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from enum import Enum

import msgspec

from plait.adapters.logs.capture import Captured, StreamCapture
from plait.model.outcome import LogSpan, Outcome, Verdict
from plait.model.wire import Execution, Finished, Started
from plait.ports import ReportSink, Runner
from plait.worker import endings
from plait.worker.cancel import TaskCancelled, clear_in_thread, raise_in_thread


class _State(Enum):
    QUEUED = "queued"
    RUNNING = "running"
    ENDED = "ended"


class Hosted:
    """An execution on its way through a thread."""

    def __init__(self, execution: Execution, on_finish: "Callable[[Hosted], None] | None" = None, *, tell: bool = True):
        self.execution = execution
        self._tell = tell
        """Whether its start is worth a report."""
        self._on_finish = on_finish
        self.key = (execution.run.run_id, execution.token)
        self.abandoned = False
        """Its thread was given up: the executor's own bookkeeping."""
        self.began = 0.0
        self.cancel_reason: str | None = None
        self._lock = threading.Lock()
        self._state = _State.QUEUED
        self._claimed = False
        self._thread = 0
        self._captured: Captured | None = None

    def run(self, runner: Runner, capture: StreamCapture | None, sink: ReportSink) -> None:
        """Run it in this thread and report it, unless somebody has reported it before."""
        self._thread, self.began = threading.get_ident(), time.time()
        with self._capturing(capture) as self._captured:
            if self._tell:
                sink.report([self._started()])
            outcome, interrupt = self._call(runner)
        self.finish(self._final(outcome), sink)
        if interrupt is not None:
            raise interrupt

    def _call(self, runner: Runner) -> tuple[Outcome | None, BaseException | None]:
        """The outcome, none if it was cancelled; and a Ctrl-C, which the caller's thread must hear of.

        Only in here may `TaskCancelled` rise: what surrounds it keeps its books in order.
        """
        ended: tuple[Outcome | None, BaseException | None] = (None, None)
        with contextlib.suppress(TaskCancelled):  # then there is no outcome
            ended = self._attempt(runner)
        while True:  # it may rise on the way into `_settle`, even
            try:
                self._settle()
                return ended
            except TaskCancelled:
                continue

    def _attempt(self, runner: Runner) -> tuple[Outcome | None, BaseException | None]:
        with self._lock:
            if self._claimed or self.cancel_reason is not None:
                return None, None
            self._state = _State.RUNNING
        try:
            return runner.run(self.execution), None
        except TaskCancelled:
            return None, None
        except KeyboardInterrupt as interrupt:
            self.cancel_reason = self.cancel_reason or "interrupted"
            return None, interrupt
        except BaseException as error:  # noqa: BLE001  a runner never raises; one that does must not end its thread
            return endings.runner_raised(error, self.began), None

    def _final(self, outcome: Outcome | None) -> Outcome:
        """What is reported: a cancel holds unless the execution had succeeded before it could take effect."""
        reason, span = self.cancel_reason, self.span
        if outcome is None or (reason is not None and outcome.verdict is not Verdict.SUCCESS):
            return endings.cancelled(reason or "cancelled", self.began, span)
        return msgspec.structs.replace(
            outcome,
            log=span,
            started_at=outcome.started_at or self.began,
            finished_at=outcome.finished_at or time.time(),
        )

    @property
    def span(self) -> LogSpan | None:
        """Where its output lies, as long as it is now."""
        return self._captured.span if self._captured is not None else None

    def _capturing(self, capture: StreamCapture | None) -> contextlib.AbstractContextManager[Captured | None]:
        execution = self.execution
        if capture is None:
            return contextlib.nullcontext()
        return capture.capture(execution.run.run_id, execution.no, execution.token)

    def _started(self) -> Started:
        execution, span = self.execution, self.span
        where = (span.segment, span.offset) if span is not None else ("", 0)
        return Started(execution.run.run_id, execution.no, execution.token, self.began, *where)

    def _settle(self) -> None:
        """From here on no `TaskCancelled` rises in this thread: none is sent, and one on its way is taken back."""
        with self._lock:
            self._state = _State.ENDED
        if self.cancel_reason is not None:
            clear_in_thread(self._thread)

    def finish(self, outcome: Outcome, sink: ReportSink) -> bool:
        """Report it with this outcome, if nobody has; whether it was done here."""
        with self._lock:
            if self._claimed:
                return False
            self._claimed = True
        if self._on_finish is not None:
            self._on_finish(self)  # before the report: who hears of it may ask for room
        execution = self.execution
        sink.report([Finished(execution.run.run_id, execution.no, execution.token, outcome)])
        return True

    @property
    def reported(self) -> bool:
        """Whether it was reported finished, or is about to be."""
        return self._claimed

    def is_mine(self) -> bool:
        """Whether it runs in the calling thread."""
        return self._thread == threading.get_ident()

    def interrupt(self, reason: str) -> None:
        """Ask it to stop: at once if it runs, else when it would begin."""
        with self._lock:
            if self._state is not _State.ENDED:
                self.cancel_reason = self.cancel_reason or reason
            if self._state is _State.RUNNING:
                raise_in_thread(self._thread)


class Watch:
    """Calls back when the time of an execution is over. One thread, started with the first that has a limit."""

    def __init__(self, name: str):
        self._name = name
        self._condition = threading.Condition()
        self._due: dict[Hosted, tuple[float, Callable[[Hosted], object]]] = {}
        self._thread: threading.Thread | None = None
        self._stopped = False

    def add(self, hosted: Hosted, seconds: float, expired: Callable[[Hosted], object]) -> None:
        """`expired(hosted)` is called in `seconds`, on the watch's thread, unless it is removed before. The earlier of
        two times holds."""
        at = time.monotonic() + seconds
        with self._condition:
            before = self._due.get(hosted)
            if before is None or at < before[0]:
                self._due[hosted] = (at, expired)
            if self._thread is None and not self._stopped:
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
            self._condition.notify()

    def remove(self, hosted: Hosted) -> None:
        """It has ended."""
        with self._condition:
            self._due.pop(hosted, None)

    def stop(self) -> None:
        """End the thread."""
        with self._condition:
            self._stopped = True
            self._due.clear()
            self._condition.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _serve(self) -> None:
        while True:
            with self._condition:
                if self._stopped:
                    return
                now = time.monotonic()
                over = [(hosted, expired) for hosted, (at, expired) in self._due.items() if at <= now]
                for hosted, _ in over:
                    del self._due[hosted]
                if not over:
                    first = min((at for at, _ in self._due.values()), default=None)
                    self._condition.wait(None if first is None else first - now)
                    continue
            for hosted, expired in over:
                expired(hosted)


def out_of_time(hosted: Hosted, sink: ReportSink) -> bool:
    """Report a timeout and ask the thread to stop; whether it was in time. The token fences whatever it still does."""
    outcome = endings.timed_out(hosted.execution.timeout or 0.0, hosted.began, hosted.span)
    if not hosted.finish(outcome, sink):
        return False
    hosted.interrupt("timeout")
    return True
