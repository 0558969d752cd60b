"""What the commands share that serve until they are told to end: signals, the end of the parent, the log."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Sequence

PARENT = "PLAIT_PARENT_FD"
"""The file descriptor of a pipe from `plait dev`: its end says that the parent is gone, however it ended."""


def on_end(stop: Callable[[], None]) -> None:
    """Call `stop` on SIGTERM or SIGINT, or when the parent that started this process is gone."""

    pipe = os.environ.pop(PARENT, None)
    on_signal((signal.SIGTERM, signal.SIGINT), stop, *([int(pipe)] if pipe is not None else ()))


def on_signal(numbers: Sequence[int], action: Callable[[], None], *pipes: int) -> None:
    """Call `action`, on a thread, for each of these signals, and when one of these pipes ends.

    A handler runs between two instructions of the main thread, which may hold the very lock that `action` needs; so it
    only writes to a pipe.
    """
    out, into = os.pipe()
    os.set_blocking(into, False)

    def handle(number: int, frame: object) -> None:
        with contextlib.suppress(BlockingIOError):  # the thread has enough to read already
            os.write(into, b"x")

    for number in numbers:
        signal.signal(number, handle)
    threading.Thread(target=_listen, args=([out, *pipes], action), name="plait-signals", daemon=True).start()


def _listen(pipes: list[int], action: Callable[[], None]) -> None:
    while True:
        ready, _, _ = select.select(pipes, [], [])
        for pipe in ready:
            if not os.read(pipe, 64):
                pipes.remove(pipe)
        action()


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
