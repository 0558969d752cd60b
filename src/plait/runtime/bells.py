"""Waking what waits on an event loop from other threads: once for all that has happened, not once for each.

`call_soon_threadsafe` writes to a pipe each time, which costs a system call and the interpreter's lock. When 1,000
tasks end in one transaction, one is enough. And the other way round: what many tasks leave for other threads in one
turn of the loop is said to these once, when the turn is over.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from weakref import WeakKeyDictionary


class Bell:
    """Wakes those who wait on one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop):
        self._loop = loop
        self._due: deque[asyncio.Future[None]] = deque()
        self._rung = False
        self._after_turn: Callable[[], None] | None = None

    def after_turn(self, action: Callable[[], None]) -> None:
        """Call this once when all that is ready on the loop has run; on the loop's thread. Further ones until then are
        taken for the same."""
        if self._after_turn is None:
            self._loop.call_soon(self._turn_is_over)
        self._after_turn = action

    def _turn_is_over(self) -> None:
        action, self._after_turn = self._after_turn, None
        if action is not None:
            action()

    def ring(self, waiter: "asyncio.Future[None]") -> None:
        """Let this one go on; from any thread. Nobody waits any more when the loop is closed."""
        self._due.append(waiter)
        if self._rung:
            return
        self._rung = True
        try:
            self._loop.call_soon_threadsafe(self._wake)
        except RuntimeError:
            self._due.clear()

    def _wake(self) -> None:
        self._rung = False  # first: whoever comes from now on rings again
        while self._due:
            waiter = self._due.popleft()
            if not waiter.done():  # its task may have been cancelled
                waiter.set_result(None)


_bells: "WeakKeyDictionary[asyncio.AbstractEventLoop, Bell]" = WeakKeyDictionary()


def bell_of(loop: asyncio.AbstractEventLoop) -> Bell:
    """The bell of an event loop. Called on its thread."""
    bell = _bells.get(loop)
    if bell is None:
        bell = _bells[loop] = Bell(loop)
    return bell
