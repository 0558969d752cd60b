"""Connections to one SQLite file: how one is opened, how a write begins, and a bounded pool of readers.

SQLite lets one connection write at a time. Processes that want to write stand around and try again: their pauses grow
from half a millisecond to 20, with jitter, so that 32 writers share the file without ever seeing "database is
locked".
"""

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from plait.adapters.stores.sqlite.failures import is_busy, told
from plait.model.errors import StoreError

Result = TypeVar("Result")

PATIENCE = 300.0
"""Seconds for which a write waits for its turn."""
WAL_KEPT = 16 << 20
"""Bytes to which SQLite cuts the write-ahead log when it begins it anew."""
WAL_MOST = 64 << 20
"""Bytes of the write-ahead log from which `shorten_log` acts."""
READERS = 8
"""Connections that read at the same time, at most."""
_LONGEST_PAUSE = 0.02
_JITTER_STEPS = 1024


def connect(path: Path, *, synchronous: str, readonly: bool = False) -> sqlite3.Connection:
    """Open a connection. Raises sqlite3.Error, at the latest with the first statement that reads."""
    name = f"{path.as_uri()}?mode={'rw' if readonly else 'rwc'}"  # a reader never makes a file that has gone
    connection = sqlite3.connect(
        name, uri=True, timeout=10.0, isolation_level=None, check_same_thread=False, cached_statements=256
    )
    try:
        patiently(lambda: connection.execute(f"PRAGMA synchronous = {synchronous}"))
        connection.execute("PRAGMA cache_size = -16000")
        connection.execute("PRAGMA temp_store = MEMORY")
        if readonly:
            connection.execute("PRAGMA query_only = ON")
        else:
            connection.execute(f"PRAGMA journal_size_limit = {WAL_KEPT}")
            connection.execute("PRAGMA busy_timeout = 0")  # SQLite's own pauses are longer, and the same for all
    except BaseException:
        connection.close()
        raise
    return connection


def patiently(act: Callable[[], Result], patience: float | None = None) -> Result:
    """Do something as soon as no other connection is in its way; after `patience` seconds raise SQLite's complaint."""
    end = time.monotonic() + (PATIENCE if patience is None else patience)
    longest = 0.0005
    while True:
        try:
            return act()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > end:
                raise
        jitter = (time.perf_counter_ns() >> 6) % _JITTER_STEPS / _JITTER_STEPS
        time.sleep(longest * (0.2 + 0.8 * jitter))
        longest = min(longest * 1.5, _LONGEST_PAUSE)


def begin(connection: sqlite3.Connection) -> None:
    """Begin a transaction that writes, as soon as nobody else does."""
    patiently(lambda: connection.execute("BEGIN IMMEDIATE"))


def shorten_log(connection: sqlite3.Connection, path: Path, most: int) -> int:
    """Move the write-ahead log into the file if it is longer than `most` bytes, and begin it anew; returns from which
    length on to do so the next time.

    SQLite does so by itself, but only at a moment when nobody reads: with many processes there may be none, and the log
    would grow without end. Here the others wait for a moment. If one of them reads for long (a backup, a shell), it is
    not waited for again before the log has doubled.
    """
    try:
        size = os.stat(f"{path}-wal").st_size
    except OSError:
        return most
    if size <= most:
        return most
    end = time.monotonic() + 0.5
    with contextlib.suppress(sqlite3.Error):  # what was written is committed; the next write will tell what is wrong
        while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
            if time.monotonic() > end:
                return 2 * size
            time.sleep(0.0005)
        return WAL_MOST
    return 2 * size


def roll_back(connection: sqlite3.Connection) -> None:
    """Undo what is not committed; SQLite has done so itself after some errors."""
    if connection.in_transaction:
        with contextlib.suppress(sqlite3.Error):  # the error that led here is the one to tell
            connection.execute("ROLLBACK")


class Readers:
    """A few connections that only read, opened on demand, shared by all threads."""

    def __init__(self, path: Path):
        self._path = path
        self._idle: list[sqlite3.Connection] = []
        self._turns = threading.BoundedSemaphore(READERS)
        self._closed = False

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with. What SQLite complains of comes out as StoreError."""
        with self._turns:
            connection = None
            try:
                connection = self._take()
                yield connection
            except sqlite3.Error as error:
                raise told(error, self._path) from error
            finally:
                if connection is not None:
                    self._give_back(connection)

    def _take(self) -> sqlite3.Connection:
        try:
            return self._idle.pop()
        except IndexError:
            return connect(self._path, synchronous="FULL", readonly=True)

    def _give_back(self, connection: sqlite3.Connection) -> None:
        roll_back(connection)
        if self._closed:
            connection.close()
        else:
            self._idle.append(connection)

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """A connection to read with, where all statements see the same moment."""
        with self.reading() as connection:
            connection.execute("BEGIN")
            yield connection

    def close(self) -> None:
        """Close all; those that read just now are closed when they are done."""
        self._closed = True
        with contextlib.suppress(IndexError):
            while True:
                self._idle.pop().close()


OLDEST = (3, 35, 0)


def check_version() -> None:
    """Refuse an SQLite that is older than those that the statements were tested with."""
    if sqlite3.sqlite_version_info < OLDEST:
        raise StoreError(
            f"plait needs SQLite 3.35 or newer; this Python has {sqlite3.sqlite_version}: use another Python"
        )
