"""Run ids: UUIDv7, so that they sort by the time at which they were made."""

import os
import threading
import time
import uuid

from plait.model.ids import RunId


class Uuid7Source:
    """Makes UUIDv7 texts, each greater than the one before it in this process (RFC 9562, 6.2: a counter in rand_a)."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def run_id(self) -> RunId:
        """A new run id."""
        with self._lock:
            stamp = max((time.time_ns() // 1_000_000) << 12, self._last + 1)
            self._last = stamp
        random = int.from_bytes(os.urandom(8), "big") >> 2
        value = ((stamp >> 12) << 80) | (7 << 76) | ((stamp & 0xFFF) << 64) | (2 << 62) | random
        return RunId(str(uuid.UUID(int=value)))
