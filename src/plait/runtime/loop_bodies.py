"""Running executions on event loops: bodies of async flows, and the awaited calls in them. Imported when the first is
there to be run: see `worker.loops`."""

import asyncio
import contextlib
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

import msgspec

from plait.authoring.signals import Leaves, TaskCancelled
from plait.model.outcome import Outcome
from plait.model.wire import Execution
from plait.ports import Capturing
from plait.runtime.bells import bell_of
from plait.runtime.body_code import Body, BodyCode
from plait.runtime.flow_host import FlowHost, Home, finished
from plait.runtime.futures import futures_in, replaced, resolved
from plait.runtime.gathering import GATHER
from plait.worker.harness import Harness


class CodeOnLoop:
    """User code in an asyncio task: that of its caller, which goes on when the code has ended."""

    def __init__(self, task: "asyncio.Task[Any]"):
        self._task = task
        self._loop = task.get_loop()
        self._over = False
        self._cancelled = False
        self.reason: str | None = None
        self.wakers: list[Callable[[], None]] = []

    def interrupt(self, reason: str) -> None:
        """Let a CancelledError rise where it awaits something, if it has not ended by then."""
        if self.reason is None:
            self.reason = reason
            with contextlib.suppress(RuntimeError):  # the loop is closed: then nothing runs on it
                self._loop.call_soon_threadsafe(self._cancel)

    def _cancel(self) -> None:
        if not self._over:
            self._cancelled = self._task.cancel()

    def ended(self) -> None:
        """It has ended: its caller is not cancelled with it."""
        self._over = True
        if self._cancelled:
            self._task.uncancel()

    def away(self) -> contextlib.AbstractContextManager[None]:
        """A cancellation rises at an `await`, never in plait's code."""
        return contextlib.nullcontext()

    def is_mine(self) -> bool:
        """Whether its event loop runs in the calling thread."""
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False


class LoopBodies:
    """Runs what is called on event loops. Implements the port `Loops` of the hosts of bodies."""

    def __init__(self, home: Home, code: BodyCode, harness: Harness, capture: Capturing):
        self._home = home
        self._code = code
        self._harness = harness
        self._capture = capture
        self._running: set[asyncio.Task[None]] = set()  # asyncio itself keeps only weak references

    async def run_here(self, execution: Execution) -> None:
        """Run an execution on the running event loop, and report it; returns when that is committed. Raises
        CancelledError when the caller's asyncio task was cancelled."""
        run_id, scheduler = execution.run.run_id, self._home.scheduler
        caller = asyncio.current_task()
        assert caller is not None  # this is awaited
        cancelled_before = caller.cancelling()
        with self._capture.capture(run_id, execution.no, execution.token) as captured:
            outcome = await self._outcome(execution, CodeOnLoop(caller))
        loop = asyncio.get_running_loop()
        bell, committed = bell_of(loop), loop.create_future()
        scheduler.post(run_id, finished(execution, outcome, captured.span), partial(bell.ring, committed))
        bell.after_turn(scheduler.wake)  # what ends in the same turn goes into the same transaction,
        scheduler.gathering.soon(GATHER)  # unless that turn takes long
        await committed
        if caller.cancelling() > cancelled_before:
            raise asyncio.CancelledError

    async def _outcome(self, execution: Execution, code: CodeOnLoop) -> Outcome:
        with self._home.here.running(execution, code):
            try:
                if execution.runner != "flow":
                    return await self._harness.run_async(execution)
                try:
                    body = self._code.find(execution)
                except Exception as error:  # noqa: BLE001  wrong arguments: it fails as if it had raised them itself
                    return self._code.failed(execution, error)
                return await self._body(execution, body, code)
            finally:
                code.ended()

    def start(self, loop: asyncio.AbstractEventLoop, context: Context, execution: Execution) -> None:
        """Run an execution on an event loop, in this context. Called from any thread."""

        def start() -> None:
            running = loop.create_task(self.run_here(execution), context=context)
            self._running.add(running)
            running.add_done_callback(self._running.discard)

        try:
            loop.call_soon_threadsafe(start)
        except RuntimeError:  # the loop was closed before the flow was over
            self._home.here.refuse(execution, "the event loop that was to run it is closed")

    async def run_alone(self, execution: Execution, body: Body) -> Outcome:
        """An async body that is called where no event loop runs: on this one, of its own. The loop ends with the body:
        when that has left at a wait, what its children still run here comes to its end first."""
        task = asyncio.current_task()
        assert task is not None  # this is awaited
        code = CodeOnLoop(task)
        with self._home.here.running(execution, code):
            outcome = await self._body(execution, body, code)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # what was handed to this loop begins
        while running := [task for task in self._running if task.get_loop() is loop]:
            await asyncio.wait(running)
        return outcome

    async def _body(self, execution: Execution, body: Body, code: CodeOnLoop) -> Outcome:
        started = time.time()
        host = FlowHost(self._home, execution, body.executor, code)
        try:
            with self._code.entered(execution, body, host):
                value = await body.fn(**body.arguments)
                host.waits.check_left()
                for future in futures_in(value):
                    await future
                value = replaced(value, resolved)
                while (future := host.open_future()) is not None:  # what it submitted is waited for
                    await host.until_over(future)
            outcome = self._code.succeeded(execution, value)
        except Leaves as left:
            host.leave()
            outcome = left.outcome
        except BaseException as error:  # noqa: BLE001  a body may raise anything; it is its outcome
            ended = isinstance(error, asyncio.CancelledError) and code.reason is not None
            outcome = self._code.failed(execution, TaskCancelled(code.reason) if ended else error)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())
