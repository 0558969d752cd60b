"""Executions in the thread that submits them: for tests, debuggers, `dag.test()` and small scripts."""

import threading
from collections import deque
from collections.abc import Sequence

from plait.adapters.executors.hosted import Hosted, Watch, out_of_time
from plait.adapters.executors.sinks import LoggedSink
from plait.adapters.logs.capture import StreamCapture
from plait.model.ids import RunId, Token
from plait.model.wire import Execution, Returned
from plait.ports import Capabilities, Capture, Kill, ReportSink, Runner
from plait.worker import endings


class InlineExecutor:
    """Runs each execution inside `submit`, one after the other.

    A sink that submits from within a report adds to a queue that the outermost `submit` drains, so a chain of any
    length needs no more stack than one execution. A timeout is reported on time, from another thread; both it and a
    cancel (which must come from another thread) end user code only where that is in Python.
    """

    def __init__(self, runner: Runner, *, capture: StreamCapture | None = None):
        self.capabilities = Capabilities(
            kill=Kill.COOPERATIVE, capture=Capture.STREAMS if capture else Capture.NONE, placement="here"
        )
        self._runner, self._capture = runner, capture
        self._sink: ReportSink | None = None
        self._lock = threading.Lock()
        self._queue: deque[Hosted] = deque()
        self._current: Hosted | None = None
        self._draining = False
        self._stopped = False
        self._idle = threading.Condition(self._lock)
        self._watch = Watch("plait-inline-timeouts")

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = sink

    def capacity(self) -> int:
        """One, unless something is queued already."""
        return 0 if self._queue or self._stopped else 1

    def submit(self, executions: Sequence[Execution]) -> None:
        """Run these now, or after what is running if this is called while something is."""
        with self._lock:
            if not self._stopped:
                self._queue.extend(Hosted(execution) for execution in executions)
                executions = ()
        self._give_back(executions)
        with self._lock:
            if self._draining:
                return
            self._draining = True
        try:
            while (hosted := self._next()) is not None:
                self._run(hosted)
        except BaseException:  # Ctrl-C: what has not started goes back, the caller hears of it
            with self._lock:
                left = [hosted.execution for hosted in self._queue]
                self._queue.clear()
                self._draining, self._current = False, None
                self._idle.notify_all()
            self._give_back(left)
            raise

    def _next(self) -> Hosted | None:
        with self._lock:
            self._current = self._queue.popleft() if self._queue else None
            if self._current is None:
                self._draining = False
                self._idle.notify_all()
            return self._current

    def _run(self, hosted: Hosted) -> None:
        timeout = hosted.execution.timeout
        if timeout is not None:
            self._watch.add(hosted, timeout, lambda late: out_of_time(late, LoggedSink(self._reports)))
        try:
            hosted.run(self._runner, self._capture, self._reports)
        finally:
            self._watch.remove(hosted)

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """Take it out of the queue, or ask it to stop."""
        with self._lock:
            current = self._current
            queued = next((hosted for hosted in self._queue if hosted.key == (run_id, token)), None)
            if queued is not None:
                self._queue.remove(queued)
        if queued is not None:
            queued.finish(endings.cancelled(reason), self._reports)
        elif current is not None and current.key == (run_id, token):
            current.interrupt(reason)

    def adopt(self, run_id: RunId) -> list[Token]:
        """What is queued, and what is running."""
        with self._lock:
            here = [*self._queue, *([self._current] if self._current is not None else [])]
        return [token for (run, token) in (each.key for each in here if not each.reported) if run == run_id]

    def stop(self, grace: float = 5.0) -> None:
        """Give back what is queued; what runs in another thread gets `grace` seconds, then is asked to stop."""
        with self._lock:
            self._stopped = True
            left = [hosted.execution for hosted in self._queue]
            self._queue.clear()
            current = self._current
        self._give_back(left)
        if current is not None and not current.is_mine():
            with self._lock:
                self._idle.wait_for(lambda: self._current is not current, grace)
            if current.finish(endings.crashed("the executor was stopped", current.began, current.span), self._reports):
                current.interrupt("the executor was stopped")
        self._watch.stop()

    def _give_back(self, executions: Sequence[Execution]) -> None:
        if executions:
            self._reports.report([Returned(each.run.run_id, each.no, each.token) for each in executions])

    @property
    def _reports(self) -> ReportSink:
        if self._sink is None:
            raise RuntimeError("the executor was not started")
        return self._sink
