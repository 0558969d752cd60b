"""Ctrl-C while a run goes on: the first cancels the run, in order; the second ends everything at once.

The handler runs on the main thread between two instructions of whatever that is doing, which may be a commit. So it
does not cancel there, a thread does; and it raises only where the main thread is in user code, where nothing of ours
can be torn in half.
"""

import os
import signal
import threading
from collections.abc import Callable
from types import FrameType
from typing import Any

from plait.worker.found import OWN_FOLDER

KILLED = 130
_CALLERS = (("session.py", "_run_body"), ("harness.py", "run"))
"""The functions of ours that call user code on this thread."""


class Interrupts:
    """While entered: SIGINT calls `cancel` on a thread; a second one exits the process with code 130."""

    def __init__(self, cancel: Callable[[], None]):
        self._cancel = cancel
        self._before: Any = None
        self.count = 0

    def __enter__(self) -> "Interrupts":
        self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def _handle(self, _signal: int, frame: FrameType | None) -> None:
        self.count += 1
        if self.count > 1:
            os.write(2, b"\nplait: killed; plait run --resume goes on where this run was\n")
            os._exit(KILLED)  # worker processes see our end, and end
        os.write(2, b"\nplait: cancelling the run; once more to kill it\n")
        threading.Thread(target=self._cancel, name="plait-cancel", daemon=True).start()
        if is_user_code(frame):
            raise KeyboardInterrupt


def is_user_code(frame: FrameType | None) -> bool:
    """Whether the user's own code is what runs: the innermost frame of ours is one that calls user code."""
    inside = False
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OWN_FOLDER + os.sep):
            return inside and (os.path.basename(file), frame.f_code.co_name) in _CALLERS
        inside = inside or not file.startswith("<frozen")
        frame = frame.f_back
    return False
