"""What the commands share that serve until they are told to end: signals, the end of the parent, the log."""

from __future__ import annotations

import gc
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable

PARENT = "PLAIT_PARENT_FD"
"""The file descriptor of a pipe from `plait dev`: its end says that the parent is gone, however it ended."""


def on_end(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM or SIGINT, or when the parent that started this process is gone."""

    def handle(number: int, frame: object) -> None:
        stop()

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    pipe = os.environ.pop(PARENT, None)
    if pipe is not None:
        threading.Thread(target=_wait_for, args=(int(pipe), stop), name="plait-parent", daemon=True).start()


def _wait_for(pipe: int, stop: Callable[[], None]) -> None:
    os.read(pipe, 1)
    stop()


def tune_gc() -> None:
    """A service makes few cycles and many objects that live for long: what was made at the start is never looked at
    again, and full collections are rare. Without this they are an eighth of its time under load."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)


def log_to_stderr(name: str) -> None:
    """What services log goes to stderr, with the time and who says it."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(f"%(asctime)s {name} %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("plait")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
