"""Python imports this at its start where this folder is on PYTHONPATH: in the processes that the driver starts.

With `KILL_AT=POINT:NUMBER` in its environment a process kills itself, as kill -9 would, at its so many-th
`before_commit` (what it decided is lost) or `after_commit` (it is durable, and nobody was told): the named hooks of the
stores. `POINT:NUMBER:group` kills its process group. Of all processes that the setting reaches (workers fork) only the
first one dies: it makes the file `KILL_MARKER`, with its number. Every store that a process opens counts; heartbeats
do not.
"""

import functools
import os
import signal
from collections import Counter

POINTS = ("before_commit", "after_commit")


def arm() -> None:
    """Have the stores that this process opens call us at their commits, if it is to die at one."""
    if "KILL_AT" not in os.environ:
        return
    from plait.adapters.stores import open as stores

    point, number, *whom = os.environ["KILL_AT"].split(":")
    assert point in POINTS
    reached: Counter[str] = Counter()

    def on_commit(name: str) -> None:
        reached[name] += 1
        if name == point and reached[name] == int(number) and _is_first():
            if whom:
                os.killpg(os.getpgrp(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)

    os.register_at_fork(after_in_child=reached.clear)
    stores.open_store = functools.partial(stores.open_store, on_commit=on_commit)


def _is_first() -> bool:
    try:
        marker = os.open(os.environ["KILL_MARKER"], os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    except FileExistsError:
        return False
    os.write(marker, str(os.getpid()).encode())
    return True


arm()
