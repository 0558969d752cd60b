"""The executor of what runs on threads and event loops of the user: bodies of flows, and the plain calls in them.

Theory of operation. Nothing here is started by the executor: whoever called takes the execution and says that it is
`running`. What is left to an executor is to end one. User code in a thread is interrupted by a `TaskCancelled` that
rises at its next bytecode; but a body calls plait, and plait's own code must not be interrupted in the middle of a
decision. So a body is `away` while it is in plait, and hears of a cancellation when it comes back. (On an event loop
the asyncio task is cancelled: `runtime.loop_bodies`.)
"""

import contextlib
import threading
import time
from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

from plait.authoring.signals import TaskCancelled
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import Outcome
from plait.model.wire import Execution, Finished
from plait.ports import Capabilities, Capture, Kill, ReportSink
from plait.worker import endings
from plait.worker.cancel import clear_in_thread, raise_in_thread

T = TypeVar("T")
UNBOUNDED = 1 << 30


class UserCode(Protocol):
    """Code of the user that runs here, as those who may have to end it see it."""

    wakers: list[Callable[[], None]]
    """Called by an interrupt, to wake a wait in plait that nothing else would end."""

    @property
    def reason(self) -> str | None:
        """Why it has to end, if it has to."""
        ...

    def interrupt(self, reason: str) -> None:
        """Let it end as soon as it can."""
        ...

    def away(self) -> contextlib.AbstractContextManager[None]:
        """It is in plait's code for a while."""
        ...

    def is_mine(self) -> bool:
        """Whether the calling thread is where it runs."""
        ...


class CodeInThread:
    """User code in the thread that makes this."""

    def __init__(self) -> None:
        self._thread = threading.get_ident()
        self._lock = threading.Lock()
        self._depth = 0
        self._over = False
        self.reason: str | None = None
        self.wakers: list[Callable[[], None]] = []

    def interrupt(self, reason: str) -> None:
        """At once if it is in the user's own code, else when it comes back there."""
        with self._lock:
            if self._over:
                return
            self.reason = self.reason or reason
            if not self._depth:
                raise_in_thread(self._thread)
        for waker in list(self.wakers):
            waker()

    @contextlib.contextmanager
    def away(self) -> Generator[None]:
        """In plait's code. Raises TaskCancelled on the way in and out, where it has to end; so do its other threads."""
        mine = self.is_mine()
        with self._lock:
            self._depth += mine
        try:
            self._check()
            yield
        finally:
            with self._lock:
                self._depth -= mine
        self._check()

    def _check(self) -> None:
        if self.reason is not None:
            raise TaskCancelled(self.reason)

    def is_mine(self) -> bool:
        """Whether the calling thread runs it."""
        return threading.get_ident() == self._thread

    def run(self, work: Callable[[], T]) -> T | None:
        """Do the work of the user's code; none if it was interrupted outside of what handles that. Only in here may a
        TaskCancelled rise."""
        result: T | None = None
        with contextlib.suppress(TaskCancelled):
            result = work()
        while True:  # it may rise on the way into `_end`, even
            try:
                self._end()
                return result
            except TaskCancelled:
                continue

    def _end(self) -> None:
        with self._lock:
            self._over = True
        if self.reason is not None:
            clear_in_thread(self._thread)


class Here:
    """Implements the port Executor."""

    def __init__(self) -> None:
        self.capabilities = Capabilities(kill=Kill.COOPERATIVE, capture=Capture.STREAMS, placement="here")
        self._running: dict[tuple[RunId, Token], UserCode] = {}
        self._late: set[tuple[RunId, Token]] = set()
        """Of these, what was reported at its timeout, and has not ended yet."""
        self._unclaimed: dict[tuple[RunId, TaskNo], Execution] = {}
        self._sink: ReportSink | None = None

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = sink

    def capacity(self) -> int:
        """Whoever calls has a thread for it."""
        return UNBOUNDED

    def submit(self, executions: Sequence[Execution]) -> None:
        """A retry, after a crash, of what a body called: it waits here until the replayed body calls it again."""
        for execution in executions:
            self.hold(execution)

    def hold(self, execution: Execution) -> None:
        """It waits here until the body that begins again calls it again."""
        self._unclaimed[execution.run.run_id, execution.no] = execution

    def claim(self, run_id: RunId, no: TaskNo) -> Execution | None:
        """An execution that came before it was called again."""
        return self._unclaimed.pop((run_id, no), None)

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """End this execution if it is here."""
        code = self._running.get((run_id, token))
        if code is not None:
            code.interrupt(reason)
        for key, execution in list(self._unclaimed.items()):
            if key[0] == run_id and execution.token == token and self._unclaimed.pop(key, None) is not None:
                self.refuse(execution, reason)

    def refuse(self, execution: Execution, reason: str = "nobody waits for it any more") -> None:
        """Nobody will run this one."""
        self._report(execution, endings.cancelled(reason))

    def adopt(self, run_id: RunId) -> list[Token]:
        """What runs here and has not come to its timeout, and what waits until it is called again."""
        running = [key for key in list(self._running) if key not in self._late]
        unclaimed = [(run, execution.token) for (run, _), execution in list(self._unclaimed.items())]
        return [token for run, token in running + unclaimed if run == run_id]

    def stop(self, grace: float = 5.0) -> None:
        """What runs here belongs to threads of the user: it is asked to end, and not waited for."""
        for code in list(self._running.values()):
            code.interrupt("the session was closed")

    @contextlib.contextmanager
    def running(self, execution: Execution, code: UserCode) -> Generator[None]:
        """The execution is run by this code. At its timeout it is reported at once, and interrupted."""
        key = (execution.run.run_id, execution.token)
        self._running[key] = code
        timer = self._timer(execution, code)
        try:
            yield
        finally:
            self._running.pop(key, None)
            self._late.discard(key)
            if timer is not None:
                timer.cancel()

    def _timer(self, execution: Execution, code: UserCode) -> threading.Timer | None:
        timeout, began = execution.timeout, time.time()
        if timeout is None:
            return None

        def expire() -> None:
            key = (execution.run.run_id, execution.token)
            if key in self._running:
                self._late.add(key)
            self._report(execution, endings.timed_out(timeout, began))
            code.interrupt("timeout")

        timer = threading.Timer(timeout, expire)
        timer.name, timer.daemon = "plait-timeout", True
        timer.start()
        return timer

    def _report(self, execution: Execution, outcome: Outcome) -> None:
        assert self._sink is not None  # a session starts its executors before anything runs
        self._sink.report([Finished(execution.run.run_id, execution.no, execution.token, outcome)])
