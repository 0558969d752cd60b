"""Runs of async flows that are called in async code. Imported when the first is: see `worker.loops`."""

import asyncio
from collections.abc import Awaitable, Callable

from plait.model.wire import Execution
from plait.runtime.hosted import Hosted


class LoopMailbox:
    """A mailbox that is read on an event loop: the one that runs where this is made."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._arrived: asyncio.Queue[Execution | None] = asyncio.Queue()

    def put(self, execution: Execution | None, /) -> None:
        """From any thread; nobody reads it any more when the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(self._arrived.put_nowait, execution)
        except RuntimeError:
            return

    async def attend(self, hosted: Hosted, run_here: Callable[[Execution], Awaitable[None]]) -> None:
        """Wait for a run, whose body runs in this asyncio task. Raises what stopped the run in this process."""
        while not hosted.ended.is_set():
            execution = await self._arrived.get()
            if execution is not None:
                await run_here(execution)
        if hosted.error is not None:
            raise hosted.error
