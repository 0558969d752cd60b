"""The floor on SQLite: `sqlite3`, the store's tables and statements, columns encoded beforehand."""

import itertools
import sqlite3
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.floor import rows
from plait.adapters.ids import Uuid7Source
from plait.adapters.stores import encoding
from plait.adapters.stores.open import open_store
from plait.adapters.stores.sqlite import queries

_pack = msgspec.msgpack.Encoder().encode
_bare = -len(encoding.KEPT_COLUMNS)


class SqliteDisk:
    """Writes to a file of its own, with `synchronous` FULL or NORMAL."""

    def __init__(self, path: Path, synchronous: str = "FULL"):
        open_store(f"sqlite:///{path}").close()
        self._connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
        self._connection.execute(f"PRAGMA synchronous = {synchronous}")
        self._connection.execute("PRAGMA cache_size = -16000")
        self._connection.execute("PRAGMA temp_store = MEMORY")
        self._ids = Uuid7Source()
        self._run = 0
        self._seq = itertools.count(1)
        self._tasks: tuple[list[encoding.Columns], list[encoding.Columns]] = ([], [])
        self._events: list[tuple[bytes, bytes]] = []

    def begin(self, count: int) -> None:
        """A new run in the same file."""
        self._connection.execute(queries.INSERT_RUN, encoding.run_values(rows.run_row(self._ids.run_id())))
        (self._run,) = self._connection.execute("SELECT max(id) FROM runs").fetchone()
        self._seq = itertools.count(1)
        dispatched = encoding.task_values(self._run, [rows.task_row(no, ended=False) for no in range(count)])
        ended = encoding.task_values(self._run, [rows.task_row(no, ended=True) for no in range(count)])
        self._tasks = ([columns[:_bare] for columns in dispatched], ended)
        self._events = rows.events(count)

    def write(self, dispatched: Sequence[int], ended: Sequence[int]) -> None:
        """One transaction."""
        new, old = self._tasks
        events = [(next(self._seq), rows.NOW, self._events[no][0]) for no in dispatched]
        events += [(next(self._seq), rows.NOW, self._events[no][1]) for no in ended]
        execute, many = self._connection.execute, self._connection.executemany
        execute("BEGIN IMMEDIATE")
        if dispatched:
            many(queries.UPSERT_BARE_TASK, [new[no] for no in dispatched])
        if ended:
            many(queries.UPSERT_TASK, [old[no] for no in ended])
        execute(queries.INSERT_EVENTS, (self._run, events[-1][0], _pack(events)))
        execute("COMMIT")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()
