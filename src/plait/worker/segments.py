"""The writing side of logs: one append-only segment per worker, with an index of which execution begins where.

`<name>.log` holds what was printed. `<name>.idx` has a line `run_id no token offset` per execution, written before its
user code starts; both survive a kill -9 of the writer, because they are in the kernel by then. While a writer lives it
holds a lock on its index, so that retention leaves its files alone. A segment that has grown is followed by
`<name>.1`, `<name>.2`, ...
"""

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

LOG_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
SEGMENT_SUFFIX = ".log"
INDEX_SUFFIX = ".idx"
ROTATE_AT = 64 << 20
"""Bytes after which the next execution begins a new segment."""


class SegmentWriter:
    """Appends to a segment and its index. `attach(fd)` is called with each new segment's file descriptor.

    Two file descriptors, however many executions it serves. `begin` and `end` bracket one execution.
    """

    def __init__(
        self, folder: Path, base: str, attach: Callable[[int], None] | None = None, rotate_at: int = ROTATE_AT
    ):
        self._folder, self._base, self._attach, self._rotate_at = folder, base, attach, rotate_at
        self._count = 0
        self._index_size = 0
        self.name = base
        self._open()

    def _open(self) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        self.name = f"{self._base}.{self._count}" if self._count else self._base
        self._is_open = True
        self._index = os.open(self._folder / (self.name + INDEX_SUFFIX), flags, 0o644)
        fcntl.flock(self._index, fcntl.LOCK_SH)
        self._index_size = os.lseek(self._index, 0, os.SEEK_END)
        self.fd = os.open(self._folder / (self.name + SEGMENT_SUFFIX), flags, 0o644)
        if self._attach:
            self._attach(self.fd)

    def begin(self, run_id: str, no: int, token: int) -> int:
        """An execution begins: write its index record; returns where its output begins."""
        offset = os.lseek(self.fd, 0, os.SEEK_END)
        if offset > self._rotate_at or self._index_size > self._rotate_at:
            self._rotate()
            offset = 0
        self._index_size += os.write(self._index, b"%s %d %d %d\n" % (run_id.encode(), no, token, offset))
        return offset

    def end(self) -> int:
        """Where the output ends now."""
        return os.lseek(self.fd, 0, os.SEEK_END)

    def write(self, data: bytes) -> None:
        """Append to the segment."""
        while data:
            data = data[os.write(self.fd, data) :]

    def _rotate(self) -> None:
        self.close()
        self._count += 1
        self._open()

    def reopen(self) -> None:
        """Go on after a `close`; without one there is nothing to do."""
        if not self._is_open:
            self._open()

    def close(self) -> None:
        """Close both files."""
        self._is_open = False
        os.close(self.fd)
        os.close(self._index)
