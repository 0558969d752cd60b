"""An event loop in a thread of this process, for triggers that only this process knows: those of scripts and notebooks.

Nothing can be killed here. A thread that is stuck is left to itself, after it was asked to stop; what waited in it
begins again in another one. One that holds the interpreter itself (native code) holds everything, and is not seen.
"""

import asyncio
import contextlib
import socket
import sys
import threading
import traceback
from collections import deque
from typing import Any

from plait.adapters.triggerers.places import place_of
from plait.adapters.triggerers.supervisor import Gone
from plait.worker.cancel import TaskCancelled, raise_in_thread
from plait.worker.wait_loop import MARKS_SIZE, Marks, WaitLoop

_GRACE = 5.0


class ThreadHost:
    """One thread."""

    def __init__(self) -> None:
        self.loaded = True
        self.marks = Marks(bytearray(MARKS_SIZE))
        self._over: deque[tuple[int, Any, str | None]] = deque()
        self._ready_out, self._ready_in = socket.socketpair()
        for end in (self._ready_out, self._ready_in):
            end.setblocking(False)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="plait-triggers", daemon=True)
        self._began = threading.Event()
        self._thread.start()
        self._began.wait()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._begin())
        with contextlib.suppress(TaskCancelled):  # it was stuck, is left, and rises only now
            self._loop.run_forever()
        self._loop.run_until_complete(self._waits.close())
        self._loop.close()

    async def _begin(self) -> None:
        self._waits = WaitLoop(self.marks, self._tell)
        self._began.set()

    def _tell(self, number: int, event: Any, error: str | None) -> None:
        self._over.append((number, event, error))
        with contextlib.suppress(OSError):  # nobody listens any more; or there is enough to listen to already
            self._ready_in.send(b"x")

    def fileno(self) -> int:
        """The socket."""
        return self._ready_out.fileno()

    def writes(self) -> bool:
        """Nothing is ever held back."""
        return False

    def start(self, number: int, trigger: dict[str, Any]) -> None:
        """On the loop."""
        self._loop.call_soon_threadsafe(self._waits.start, number, trigger)

    def drop(self, number: int) -> None:
        """On the loop."""
        self._loop.call_soon_threadsafe(self._waits.drop, number)

    def receive(self) -> tuple[list[tuple[int, Any, str | None]], Gone | None]:
        """Take what is there."""
        try:
            self._ready_out.recv(1 << 16)
        except BlockingIOError:
            return [], None
        over: list[tuple[int, Any, str | None]] = []
        while self._over:
            over.append(self._over.popleft())
        return over, None

    def where(self) -> str:
        """The frame in which the thread is."""
        frame = sys._current_frames().get(self._thread.ident or 0)
        stack = traceback.extract_stack(frame) if frame is not None else []
        return place_of([(each.filename, each.lineno or 0) for each in reversed(stack)])

    def kill(self) -> None:
        """Ask it to stop, and leave it."""
        self._loop.set_exception_handler(lambda _loop, _what: None)  # nobody wants to know how it ends
        self._loop.call_soon_threadsafe(self._loop.stop)
        raise_in_thread(self._thread.ident or 0)
        self._close()

    def end(self) -> None:
        """Stop the loop, and wait a little for the thread."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_GRACE)
        self._close()

    def _close(self) -> None:
        self._ready_out.close()
        self._ready_in.close()
