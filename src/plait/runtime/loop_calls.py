"""The calls of a flow's body that are awaited. Imported when the first is made: see `worker.loops`."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Protocol

from plait.engine.run import TaskRun
from plait.model.wire import Execution
from plait.runtime.bells import bell_of
from plait.runtime.body_slots import BodySlots
from plait.runtime.futures import HostFuture
from plait.runtime.here import Here
from plait.runtime.scheduler import Scheduler

_OVER: Any = object()


class Children(Protocol):
    """What awaited calls ask of the host of their body; the meanings are there."""

    slots: BodySlots

    def begin(
        self,
        callee: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> tuple[HostFuture, TaskRun, Execution | None]: ...
    def expect(self, task: TaskRun, taker: Callable[[Execution], None]) -> None: ...
    def leave_call(self, task: TaskRun) -> None: ...
    def value_of(self, future: HostFuture, *, raise_on_failure: bool) -> Any: ...


class LoopCalls:
    """The calls of one execution of a body that are awaited, on whichever event loop. `run_here` runs an execution on
    the running one, and reports it."""

    def __init__(
        self, children: Children, scheduler: Scheduler, here: Here, run_here: Callable[[Execution], Awaitable[None]]
    ):
        self._children = children
        self._scheduler = scheduler
        self._here = here
        self._run_here = run_here

    async def call(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call of an async task or flow: it runs in its caller's asyncio task."""
        future, task, execution = self._children.begin(callee, args, kwargs, asyncio.get_running_loop())
        try:
            if execution is not None:
                await self._run_here(execution)
            if not task.terminal:
                await self._attend(future, task)
        finally:
            self._children.leave_call(task)
        return self._children.value_of(future, raise_on_failure=True)

    async def _attend(self, future: HostFuture, task: TaskRun) -> None:
        """It waits for slots or for futures, or is tried again: run its executions as they come."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Execution] = asyncio.Queue()
        gone = False

        def take(execution: Execution) -> None:
            if not gone:
                arrived.put_nowait(execution)
            elif execution is not _OVER:
                self._here.refuse(execution)

        def put(execution: Execution) -> None:
            try:
                loop.call_soon_threadsafe(take, execution)
            except RuntimeError:  # the loop is closed: nobody waits any more
                if execution is not _OVER:
                    self._here.refuse(execution)

        self._children.expect(task, put)
        try:
            future.on_settled(lambda: put(_OVER))
            async with self._waiting():
                while (execution := await arrived.get()) is not _OVER:
                    await self._run_here(execution)
        finally:
            gone = True
            self._children.leave_call(task)
            while not arrived.empty():
                take(arrived.get_nowait())

    async def until_over(self, future: HostFuture) -> None:
        """Wait for a future without blocking the event loop."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        async with self._waiting():
            future.on_settled(partial(bell_of(loop).ring, over))
            await over

    @asynccontextmanager
    async def _waiting(self) -> AsyncGenerator[None]:
        """The body waits for a child: it gives its slots back meanwhile."""
        self._scheduler.wake()
        slots = self._children.slots
        if not slots.any:
            yield
            return
        slots.give_back()
        try:
            yield
        finally:
            loop, granted = asyncio.get_running_loop(), asyncio.Event()

            def tell() -> None:
                loop.call_soon_threadsafe(granted.set)

            if slots.take_back(tell):
                try:
                    await granted.wait()
                finally:
                    slots.go_on(tell)
