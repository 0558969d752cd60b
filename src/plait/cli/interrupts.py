"""Ctrl-C while a run goes on: the first cancels the run, in order; the second ends everything at once.

A signal's handler runs on the main thread between two instructions of whatever that is doing, which may be a commit;
and what else was on its way to that thread (the `TaskCancelled` of a cancel) may rise in the handler and end it. So the
signal is heard by a thread, through the wake-up descriptor, and that thread cancels or kills. The handler itself only
raises, and only where the main thread is in user code, which may sleep and where nothing of ours can be torn in half.
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


class Interrupts:
    """While entered: SIGINT calls `cancel` on a thread, if there `is_something` to cancel yet; a second one exits the
    process with code 130. `first` and `second` are what people are told then."""

    def __init__(
        self,
        cancel: Callable[[], None],
        is_something: Callable[[], bool],
        *,
        first: str = "cancelling the run; once more to kill it",
        second: str = "plait run --resume goes on where this run was",
    ):
        self._first, self._second = first, second
        self._cancel = cancel
        self._is_something = is_something
        self._before: Any = None
        self._wakeup_before = -1
        self._out = self._in = -1
        self._thread: threading.Thread | None = None
        self._said = threading.Event()
        self.count = 0

    def __enter__(self) -> "Interrupts":
        self._out, self._in = os.pipe()
        os.set_blocking(self._in, False)
        self._thread = threading.Thread(target=self._listen, name="plait-interrupts", daemon=True)
        self._thread.start()
        self._before = signal.signal(signal.SIGINT, self._handle)
        self._wakeup_before = signal.set_wakeup_fd(self._in, warn_on_full_buffer=False)
        return self

    def __exit__(self, *exc: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        signal.signal(signal.SIGINT, self._before)
        os.close(self._in)

    def _listen(self) -> None:
        """On a thread: one byte a signal, until the other end is closed."""
        while numbers := os.read(self._out, 64):
            for number in numbers:
                if number == signal.SIGINT and self._is_something():
                    self._heard()
        os.close(self._out)

    def _heard(self) -> None:
        self.count += 1
        if self.count > 1:
            os.write(2, f"\nplait: killed; {self._second}\n".encode())
            os._exit(KILLED)  # worker processes see our end, and end
        os.write(2, f"\nplait: {self._first}\n".encode())
        threading.Thread(target=self._say_cancel, name="plait-cancel", daemon=True).start()

    def _say_cancel(self) -> None:
        try:
            self._cancel()
        finally:
            self._said.set()

    def _handle(self, _signal: int, frame: FrameType | None) -> None:
        if not self._is_something():
            raise KeyboardInterrupt
        if is_user_code(frame):
            self._said.wait(1.0)  # the run is told first: what the user's code raises now is no failure
            raise KeyboardInterrupt


def is_user_code(frame: FrameType | None) -> bool:
    """Whether what runs was called by plait as the user's code: what the innermost frame of ours called is neither ours
    nor a library's. Coroutines are called by an event loop; the cancel itself reaches them where they wait."""
    called = ""
    while frame is not None:
        file = frame.f_code.co_filename
        if file.startswith(OWN_FOLDER + os.sep):
            return bool(called) and not called.startswith(("<frozen", *_LIBRARIES))
        called = file
        frame = frame.f_back
    return False
