"""Executions in threads of this process: for flows' tasks in a session, and for work that mostly waits.

Theory of operation. A thread pays where tasks wait; where they compute, the interpreter runs one at a time, and each
further thread only adds hand-overs. Which it is shows in the CPU time of this process. So a few threads are made at
once; after that, a thread that watches the queue adds as many again every few milliseconds, while something is queued
and the CPU is idle: 10,000 tasks that wait soon have one each. While the CPU is busy it adds one at a time, so that
nothing starves behind tasks that never end.
"""

import logging
import os
import threading
import time
from collections import deque
from collections.abc import Sequence

from plait.adapters.executors.estimates import Estimates
from plait.adapters.executors.hosted import Hosted, Watch, out_of_time
from plait.adapters.executors.sinks import LoggedSink
from plait.adapters.logs.capture import StreamCapture
from plait.model.ids import RunId, Token
from plait.model.wire import Execution, Returned
from plait.ports import Capabilities, Capture, Kill, ReportSink, Runner
from plait.worker import endings

LOOK_EVERY = 0.005
"""Seconds between two looks at a queue that is not empty."""
IDLE = 0.7
"""The CPU is idle when this process uses less than this part of one core."""
TELL_ABOVE = 0.005
"""An execution that is expected to be shorter is not worth a report when it starts."""
_log = logging.getLogger(__name__)


class ThreadExecutor:
    """Runs executions in up to `max_workers` threads, made on demand.

    A thread cannot be killed. At its timeout an execution is reported failed and asked to stop; its thread is left to
    end, and another takes its slot. A cancelled one has `cancel_grace` seconds to unwind, after which it is reported
    cancelled and left in the same way. The threads are daemons: none keeps the interpreter from ending.
    """

    def __init__(
        self,
        runner: Runner,
        max_workers: int | None = None,
        *,
        capture: StreamCapture | None = None,
        cancel_grace: float = 5.0,
    ):
        self.capabilities = Capabilities(
            kill=Kill.COOPERATIVE, capture=Capture.STREAMS if capture else Capture.NONE, placement="thread"
        )
        self._runner, self._capture, self._cancel_grace = runner, capture, cancel_grace
        self._at_once = (os.cpu_count() or 1) + 4
        self._max_workers = max_workers or min(32, self._at_once)
        self._sink: ReportSink | None = None
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._queue: deque[Hosted] = deque()
        self._running: dict[tuple[str, int], Hosted] = {}
        self._busy: set[Hosted] = set()
        """What has a thread: also while it is being reported, when its room is free already."""
        self._threads = 0
        self._idle = 0
        self._made = 0
        self._stopped = False
        self._growing: threading.Thread | None = None
        self._queued = threading.Condition(lock)
        """Told when something is queued that no thread is there for."""
        self._estimates = Estimates()
        self._watch = Watch("plait-thread-timeouts")

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = LoggedSink(sink)

    def capacity(self) -> int:
        """Threads that have nothing to do, or could be made."""
        return max(0, self._max_workers - len(self._running) - len(self._queue))

    def submit(self, executions: Sequence[Execution]) -> None:
        """Queue these for the threads."""
        with self._changed:
            if not self._stopped:
                self._queue.extend(self._hosted(execution) for execution in executions)
                self._changed.notify(len(executions))
                executions = ()
            lacking = len(self._queue) - self._idle
        self._give_back(executions)
        if lacking > 0:
            self._make_threads(min(lacking, self._at_once - self._threads))
            self._watch_the_queue()

    def _hosted(self, execution: Execution) -> Hosted:
        estimate = self._estimates.get((execution.run.workflow, execution.key))
        tell = estimate is None or estimate > TELL_ABOVE or execution.timeout is not None
        return Hosted(execution, self._free, tell=tell)

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """Take it out of the queue, or ask its thread to stop."""
        key = (run_id, token)
        with self._changed:
            queued = next((hosted for hosted in self._queue if hosted.key == key), None)
            running = self._running.get(key)
            if queued is not None:
                self._queue.remove(queued)
        if queued is not None:
            queued.finish(endings.cancelled(reason), self._reports)
        elif running is not None:
            self._watch.add(running, self._cancel_grace, lambda late: self._leave_cancelled(late, reason))
            running.interrupt(reason)

    def adopt(self, run_id: RunId) -> list[Token]:
        """What is queued, and what has a thread."""
        with self._changed:
            here = [*self._queue, *self._running.values()]
        return [token for (run, token) in (each.key for each in here if not each.reported) if run == run_id]

    def stop(self, grace: float = 5.0) -> None:
        """Give back what is queued, wait up to `grace` seconds for the rest, then report it crashed and leave it."""
        until = time.monotonic() + grace
        with self._changed:
            self._stopped = True
            left = [hosted.execution for hosted in self._queue]
            self._queue.clear()
            self._changed.notify_all()
            self._queued.notify_all()
        self._give_back(left)
        with self._changed:
            self._changed.wait_for(lambda: not self._others(), max(0.0, until - time.monotonic()))
            late = self._others()
        for hosted in late:
            if hosted.finish(endings.crashed("the executor was stopped", hosted.began, hosted.span), self._reports):
                hosted.interrupt("the executor was stopped")
        self._watch.stop()

    def _others(self) -> list[Hosted]:
        """What runs in other threads: an execution may stop its own executor."""
        return [hosted for hosted in self._busy if not hosted.is_mine()]

    # threads

    def _make_threads(self, count: int) -> None:
        """Make so many more, as far as the system allows; the rest waits for those that are there.

        The lock is not held while one starts: that may take a while.
        """
        for _ in range(count):
            with self._changed:
                if self._threads >= self._max_workers or self._stopped:
                    return
                self._threads += 1
                self._made += 1
                name = f"plait-worker-{self._made}"
            try:
                threading.Thread(target=self._serve, name=name, daemon=True).start()
            except RuntimeError as error:
                with self._changed:
                    self._threads -= 1
                    if not self._threads:
                        raise
                    self._max_workers = self._threads
                _log.warning("%s: no more than %d tasks run in threads at a time", error, self._max_workers)
                return

    def _watch_the_queue(self) -> None:
        """Have more threads made while some are lacking."""
        with self._changed:
            if not self._lacks_threads():
                return
            if self._growing is None:
                self._growing = threading.Thread(target=self._grow, name="plait-worker-growth", daemon=True)
                self._growing.start()
            self._queued.notify()

    def _grow(self) -> None:
        while True:
            with self._changed:
                self._queued.wait_for(lambda: self._lacks_threads() or self._stopped)
                if self._stopped:
                    return
            used = _cpu_used(LOOK_EVERY)
            with self._changed:
                lacking = len(self._queue) - self._idle
                count = min(lacking, self._threads if used < IDLE else 1)
            self._make_threads(count)

    def _lacks_threads(self) -> bool:
        return len(self._queue) > self._idle and self._threads < self._max_workers

    def _serve(self) -> None:
        while (hosted := self._next()) is not None:
            execution = hosted.execution
            if execution.timeout is not None:
                self._watch.add(hosted, execution.timeout, self._leave_late)
            hosted.run(self._runner, self._capture, self._reports)
            self._watch.remove(hosted)
            if not self._goes_on(hosted):
                return

    def _next(self) -> Hosted | None:
        """What this thread runs next; none when it is not needed any more."""
        with self._changed:
            if not self._queue and self._idle >= self._at_once:  # after a burst
                self._threads -= 1
                return None
            self._idle += 1
            self._changed.wait_for(lambda: self._queue or self._stopped)
            self._idle -= 1
            if not self._queue:
                self._threads -= 1
                return None
            hosted = self._queue.popleft()
            self._running[hosted.key] = hosted
            self._busy.add(hosted)
            return hosted

    def _free(self, hosted: Hosted) -> None:
        """It is about to be reported."""
        with self._changed:
            self._running.pop(hosted.key, None)

    def _goes_on(self, hosted: Hosted) -> bool:
        """Whether the thread that ran it is still wanted: its slot may have been given away."""
        execution = hosted.execution
        with self._changed:
            self._estimates.learn((execution.run.workflow, execution.key), time.time() - hosted.began)
            self._busy.discard(hosted)
            if self._stopped:  # `stop` waits for it; to wake every idle thread each time would be a stampede
                self._changed.notify_all()
            return not hosted.abandoned

    def _leave_late(self, hosted: Hosted) -> None:
        if out_of_time(hosted, self._reports):
            self._abandon(hosted)

    def _leave_cancelled(self, hosted: Hosted, reason: str) -> None:
        if hosted.finish(endings.cancelled(reason, hosted.began, hosted.span), self._reports):
            self._abandon(hosted)

    def _abandon(self, hosted: Hosted) -> None:
        """Its thread may never end: let another take its slot."""
        with self._changed:
            if hosted not in self._busy:
                return  # it ended in the meantime
            self._busy.discard(hosted)
            hosted.abandoned = True
            self._threads -= 1
            waiting = bool(self._queue)
            self._changed.notify_all()
        if waiting:
            self._make_threads(1)

    def _give_back(self, executions: Sequence[Execution]) -> None:
        if executions:
            self._reports.report([Returned(each.run.run_id, each.no, each.token) for each in executions])

    @property
    def _reports(self) -> ReportSink:
        if self._sink is None:
            raise RuntimeError("the executor was not started")
        return self._sink


def _cpu_used(seconds: float) -> float:
    """Which part of one core this process uses within so many seconds."""
    cpu, wall = time.process_time(), time.monotonic()
    time.sleep(seconds)
    return (time.process_time() - cpu) / (time.monotonic() - wall)
