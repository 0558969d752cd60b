"""The bare scheduler: hands numbers to two workers, and writes what an engine has to write, when it has to.

A task costs two writes of its row and two events: that it was dispatched, before it is sent (write-ahead); and that it
has ended. One transaction holds a batch: the ends of those that were done, the dispatches of those that take their
place. Two batches are in flight, so that the workers have something to do while one is written.
"""

import time
from collections.abc import Sequence
from typing import Protocol

from bench.floor.workers import Workers


class Disk(Protocol):
    """Where a floor writes."""

    def begin(self, count: int) -> None:
        """A run of so many tasks: make its row. Everything that can be encoded beforehand is."""
        ...

    def write(self, dispatched: Sequence[int], ended: Sequence[int]) -> None:
        """One durable transaction with the rows and events of these tasks."""
        ...

    def close(self) -> None: ...


def run(workers: Workers, disk: Disk, count: int, batch: int) -> float:
    """Seconds for so many tasks, in batches; with a batch of one, each waits for the end of the one before."""
    disk.begin(count)
    begin = time.perf_counter()
    sent = done = 0
    ended: list[int] = []
    for _ in range(2 if batch > 1 else 1):
        new = range(sent, min(sent + batch, count))
        disk.write(new, ())
        workers.send(new)
        sent = new.stop
    while done < count:
        while len(ended) < min(batch, sent - done):
            ended += workers.receive()
        now, ended = ended[:batch], ended[batch:]
        new = range(sent, min(sent + len(now), count))
        disk.write(new, now)
        workers.send(new)
        sent, done = new.stop, done + len(now)
    return time.perf_counter() - begin
