"""Executions in warm worker processes of one code location: the executor of services and of durable runs.

The zygote (`plait.worker.zygote`) loads the definitions once and forks workers; `plait.worker.process` runs in each;
`pool.Pool` decides. Here is what makes that an `Executor`: one lock, and one thread that waits for the sockets and
reports once per wake-up. `submit` sends from the calling thread, which saves a hop between threads.
"""

import logging
import os
import selectors
import threading
import time
import traceback
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from plait.adapters.executors.pool import RECALL_AFTER, Pool
from plait.adapters.executors.sinks import LoggedSink
from plait.adapters.executors.worker_link import WorkerLink
from plait.adapters.executors.zygote_link import ZygoteLink
from plait.model.ids import RunId, Token
from plait.model.wire import Execution, Finished, Report, Returned
from plait.ports import Capabilities, Capture, Kill, ReportSink
from plait.worker import endings

_log = logging.getLogger(__name__)
_NEVER = float("inf")
_executors: "weakref.WeakSet[ProcessExecutor]" = weakref.WeakSet()


class ProcessExecutor:
    """Runs executions in forked worker processes.

    `factory` is `module:function`; called once with `config` (plain data), in the zygote, it loads the user's
    definitions and returns the Runner. `workers` is the most processes at a time (default: the number of CPUs), forked
    on demand. `segments` is the folder for what is printed. Definitions that have not loaded after `load_timeout`
    seconds count as hanging.

    Started reports come for executions that may be long (unknown, over 5 ms on average) or have a timeout; short ones
    tell their start time in their outcome.
    """

    capabilities = Capabilities(kill=Kill.PROCESS, capture=Capture.DESCRIPTORS, placement="process")

    def __init__(
        self,
        factory: str,
        config: dict[str, Any],
        *,
        segments: str | Path,
        workers: int | None = None,
        load_timeout: float = 60.0,
    ):
        self._pool = Pool(factory, config, Path(segments).absolute(), workers or os.cpu_count() or 1, load_timeout)
        self._lock = threading.Lock()
        self._sink: ReportSink | None = None
        self._thread: threading.Thread | None = None
        self._wake_out, self._wake_in = os.pipe()
        os.set_blocking(self._wake_out, False)
        self._pool.selector.register(self._wake_out, selectors.EVENT_READ, None)
        self._waits_until = 0.0
        """Until when the thread sleeps if nothing comes; 0 while it is awake."""
        self._over = ""
        """Why nothing more is taken."""
        _executors.add(self)

    # the port

    def start(self, sink: ReportSink) -> None:
        """Start the thread, which starts the zygote; workers are forked on demand."""
        self._sink = LoggedSink(sink)
        self._thread = threading.Thread(target=self._serve, name="plait-processes", daemon=True)
        self._thread.start()

    def capacity(self) -> int:
        """Idle workers, and what short work may be queued behind busy ones."""
        return self._pool.room()

    def submit(self, executions: Sequence[Execution]) -> None:
        """Send what workers accept now; the rest waits here."""
        with self._lock:
            if not self._over:
                now = time.monotonic()
                self._pool.submit(executions, now)
                if self._pool.zygote is None or self._waits_until > now + RECALL_AFTER:
                    self._wake()
                return
        self._report([Returned(each.run.run_id, each.no, each.token) for each in executions])

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """Kill the worker that runs it, or take it out of the queue."""
        with self._lock:
            if not self._over:
                self._pool.cancel(run_id, token, reason, time.monotonic())
                self._wake()

    def adopt(self, run_id: RunId) -> list[Token]:
        """What waits here, and what workers have."""
        with self._lock:
            return self._pool.adopt(run_id)

    def stop(self, grace: float = 5.0) -> None:
        """Give back what has not started, wait for the rest up to `grace`, then kill."""
        with self._lock:
            if not self._over:
                self._over = "stopped"
                self._pool.stop(grace, time.monotonic())
                self._wake()
        if self._thread is None:
            self._close()
        elif self._thread is not threading.current_thread():
            self._thread.join()

    # the thread

    def _serve(self) -> None:
        pool = self._pool
        try:
            with self._lock:
                if not self._over:
                    pool.start_zygote(time.monotonic())
            while not pool.ended():
                self._turn()
        except Exception as error:  # noqa: BLE001  a defect of plait must not leave executions hanging
            _log.exception("the process executor failed")
            self._fail(error)
        finally:
            with self._lock:
                self._over = self._over or "failed"
                reports, pool.reports = pool.reports, []
            self._report(reports)
            self._close()

    def _close(self) -> None:
        self._pool.close()
        os.close(self._wake_in)
        os.close(self._wake_out)

    def _turn(self) -> None:
        pool = self._pool
        with self._lock:
            at = pool.next_at()
            self._waits_until = _NEVER if at is None else at
        ready = pool.selector.select(None if at is None else max(0.0, at - time.monotonic()))
        with self._lock:
            self._waits_until = 0.0
            now = time.monotonic()
            for key, events in ready:
                if isinstance(key.data, WorkerLink):
                    if key.data.open:  # an earlier event of this turn may have ended it
                        pool.on_worker(key.data, events, now)
                elif isinstance(key.data, ZygoteLink):
                    pool.on_zygote(now)
                else:
                    os.read(self._wake_out, 4096)
            pool.tick(now)
            reports, pool.reports = pool.reports, []
        self._report(reports)

    def _report(self, reports: Sequence[Report]) -> None:
        if reports and self._sink is not None:
            self._sink.report(reports)

    def _wake(self) -> None:
        if self._waits_until:
            self._waits_until = 0.0
            os.write(self._wake_in, b"x")

    def _fail(self, error: Exception) -> None:
        """A defect of this code: nothing may hang because of it."""
        trace = "".join(traceback.format_exception(error))
        with self._lock:
            self._over = "failed"
            left = self._pool.abandon()
        outcome = endings.crashed(f"plait's process executor failed: {error}", trace=trace)
        self._report([Finished(each.run.run_id, each.no, each.token, outcome) for each in left])

    def let_go(self) -> None:
        """In a forked child of this process: its copies of our handles would hide our end from the workers."""
        self._lock = threading.Lock()  # the old one may be held by a thread that does not exist here
        if not self._over:
            self._over = "forked"
            self._pool.let_go()


def _let_go_in_child() -> None:
    for executor in list(_executors):
        executor.let_go()


os.register_at_fork(after_in_child=_let_go_in_child)
