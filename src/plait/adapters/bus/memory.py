"""A bus within one process: its peers are those who share a store in memory, as in simulations and tests."""

import logging
import queue
import threading
from collections.abc import Callable

log = logging.getLogger("plait.bus")
LONGEST_QUEUE = 1000
"""Messages that wait for a subscriber, at most; it has been woken by then."""


class MemoryBus:
    """One end of a bus. `peer` makes another, and each hears what the others publish, on a thread of its own."""

    def __init__(self, ends: "list[MemoryBus] | None" = None):
        self._ends = [] if ends is None else ends
        self._ends.append(self)
        self._callbacks: list[Callable[[str], None]] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._thread: threading.Thread | None = None

    def peer(self) -> "MemoryBus":
        """Another end of the same bus, as another process would have it."""
        return MemoryBus(self._ends)

    def publish(self, topic: str) -> None:
        """Wake all other ends."""
        for end in tuple(self._ends):
            if end is not self and end._thread is not None and end._queue.qsize() < LONGEST_QUEUE:
                end._queue.put(topic)

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back for each message of another end."""
        self._callbacks.append(callback)
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="plait-bus", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        while (topic := self._queue.get()) is not None:
            tell(tuple(self._callbacks), topic)

    def close(self) -> None:
        """Leave the bus."""
        if self in self._ends:
            self._ends.remove(self)
        thread, self._thread = self._thread, None
        if thread is not None:
            self._queue.put(None)
            if thread is not threading.current_thread():
                thread.join(timeout=5)


def tell(callbacks: tuple[Callable[[str], None], ...], topic: str) -> None:
    """Call all of them, whatever one of them raises: a bus goes on."""
    for callback in callbacks:
        try:
            callback(topic)
        except Exception:  # whoever listens has its own ways to fail; the next message must still come through
            log.exception("a subscriber failed on %r", topic)
