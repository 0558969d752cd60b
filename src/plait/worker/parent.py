"""A process that belongs to another one ends with it."""

import contextlib
import ctypes
import os
import select
import socket
import sys
import threading
from collections.abc import Generator


def die_with_parent(sig: int) -> None:
    """Linux only: have the kernel send `sig` when the thread that started this process ends."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(1, sig)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:  # it went before the call
            os.kill(os.getpid(), sig)


@contextlib.contextmanager
def exit_with(control: socket.socket) -> Generator[None]:
    """While user code loads, a short-lived thread sees to it that a parent that dies does not leave a hanging load."""
    stop, wake = os.pipe()

    def watch() -> None:
        # The parent says nothing before `Loaded`, so anything on its socket is its end.
        ready, _, _ = select.select([control, stop], [], [])
        if control in ready:
            os._exit(1)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        os.write(wake, b"x")
        thread.join()
        os.close(stop)
        os.close(wake)
