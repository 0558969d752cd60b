"""Ctrl-C while a run goes on: the first cancels the run, in order; the second ends everything at once.

The handler runs on the main thread between two instructions of whatever that is doing, which may be a commit. So it
does not cancel there, a thread does; and it raises only where the main thread is in user code, where nothing of ours
can be torn in half.
"""

import os
import signal
import sysconfig
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from plait.worker.found import OWN_FOLDER

KILLED = 130
_LIBRARIES = tuple({sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib", "purelib", "platlib")})
_ASYNCIO = os.path.join(sysconfig.get_path("stdlib"), "asyncio") + os.sep


class Interrupts:
    """While entered: SIGINT calls `cancel` on a thread, if there `is_something` to cancel yet; a second one exits the
    process with code 130."""

    def __init__(self, cancel: Callable[[], None], is_something: Callable[[], bool]):
        self._cancel = cancel
        self._is_something = is_something
        self._before: Any = None
        self.count = 0

    def __enter__(self) -> "Interrupts":
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, _signal: int, frame: FrameType | None) -> None:
        if not self._is_something():
            raise KeyboardInterrupt
        self.count += 1
        if self.count > 1:
            os.write(2, b"\nplait: killed; plait run --resume goes on where this run was\n")
            os._exit(KILLED)  # worker processes see our end, and end
        os.write(2, b"\nplait: cancelling the run; once more to kill it\n")
        threading.Thread(target=self._cancel, name="plait-cancel", daemon=True).start()
        if is_user_code(frame):
            raise KeyboardInterrupt


def is_user_code(frame: FrameType | None) -> bool:
    """Whether what runs was called by plait as the user's code: what the innermost frame of ours called is neither ours
    nor a library's. An event loop counts, because plait runs one for the user's coroutines only."""
    called = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OWN_FOLDER + os.sep):
            return bool(called) and _is_users(called)
        called = file
        frame = frame.f_back
    return False


def _is_users(file: str) -> bool:
    return file.startswith(_ASYNCIO) or not file.startswith(("<frozen", *_LIBRARIES))
