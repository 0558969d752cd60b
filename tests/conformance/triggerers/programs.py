"""Triggers for the suite: loaded as a code location by a triggerer process, imported for one in a thread."""

import asyncio
import ctypes
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from plait import trigger


def note(file: str, text: str) -> None:
    """Append a line, whatever process this is."""
    fd = os.open(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(fd, f"{text}\n".encode())
    os.close(fd)


@trigger
async def says(value: Any, after: float = 0.0) -> Any:
    """An event."""
    await asyncio.sleep(after)
    return value


@trigger
async def fails(text: str) -> None:
    """Raises."""
    raise LookupError(text)


@trigger
async def gives_up() -> None:
    """Cancels itself."""
    task = asyncio.current_task()
    assert task is not None
    task.cancel()
    await asyncio.sleep(10)


@trigger
async def leaves() -> None:
    """Exits, as scripts do."""
    raise SystemExit(3)


@trigger
async def waits(ledger: str, name: str, go: str) -> str:
    """Notes that it began and how it ended; ends when there is a file `go`."""
    note(ledger, f"{name} began")
    try:
        while not os.path.exists(go):  # noqa: ASYNC110, ASYNC240  another process makes it
            await asyncio.sleep(0.02)
    except asyncio.CancelledError:
        note(ledger, f"{name} was dropped")
        raise
    return name


@dataclass
class Counts:
    """A trigger that is a class."""

    first: int
    second: int = 2

    async def run(self) -> int:
        """The event."""
        return self.first + self.second


@trigger
async def blocks(seconds: float, after: float = 0.0) -> str:
    """Keeps the event loop."""
    await asyncio.sleep(after)
    time.sleep(seconds)  # noqa: ASYNC251  that is the mistake
    return "too late"


@trigger
async def blocks_below(seconds: float) -> str:
    """Keeps it in a task of its own."""

    async def below() -> None:
        await asyncio.sleep(0)
        time.sleep(seconds)  # noqa: ASYNC251  that is the mistake

    async with asyncio.TaskGroup() as group:
        group.create_task(below())
    return "too late"


@trigger
async def spins() -> None:
    """Keeps it without ever sleeping."""
    await asyncio.sleep(0)
    while True:
        pass


@trigger
async def holds_everything() -> None:
    """Keeps it in native code that does not let go of the interpreter."""
    ctypes.PyDLL(None).sleep(60)


@trigger
async def dies(how: str) -> None:
    """Ends its process."""
    await asyncio.sleep(0)
    if how == "exit":
        os._exit(5)
    os.kill(os.getpid(), signal.SIGSEGV)


@trigger
async def blocks_unseen(seconds: float) -> None:
    """Keeps the loop in a callback, which is nobody's."""
    asyncio.get_running_loop().call_later(0.01, time.sleep, seconds)
    await asyncio.Event().wait()


@trigger
async def pid() -> int:
    """Where it runs."""
    return os.getpid()


@trigger
async def too_much() -> str:
    """More than an event may hold."""
    return "x" * 300_000
