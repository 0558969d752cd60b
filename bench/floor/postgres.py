"""The floor on PostgreSQL: psycopg's pipeline, the store's tables and statements, one round trip a transaction.

Rows are encoded as columns beforehand; which of them a transaction holds is known only then, so the arrays are made in
it, by the store's own encoder: psycopg's takes longer.
"""

import itertools
from collections.abc import Sequence

import msgspec
import psycopg

from bench.floor import rows
from plait.adapters.ids import Uuid7Source
from plait.adapters.stores import encoding
from plait.adapters.stores.open import open_store
from plait.adapters.stores.postgres import batches
from plait.adapters.stores.postgres.pipeline import Pipeline, call, call_rows

_pack = msgspec.msgpack.Encoder().encode
_bare = -len(encoding.KEPT_COLUMNS)


class PostgresDisk:
    """Writes to a schema of its own."""

    def __init__(self, url: str, schema: str = "floor"):
        open_store(f"{url}{'&' if '?' in url else '?'}schema={schema}").close()
        self._connection = psycopg.connect(url, autocommit=True, options=f"-c search_path={schema}")
        self._lane = Pipeline(self._connection)
        self._ids = Uuid7Source()
        self._run = 0
        self._seq = itertools.count(1)
        self._tasks: tuple[list[encoding.Columns], list[encoding.Columns]] = ([], [])
        self._events: list[tuple[bytes, bytes]] = []

    def begin(self, count: int) -> None:
        """A new run in the same tables."""
        row = encoding.run_values(rows.run_row(self._ids.run_id()))
        [[(number,)]] = self._lane.run([call_rows(batches.INSERT_RUNS, [row])])
        self._run = int(number)
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
        calls = [call(batches.BEGIN)]
        if dispatched:
            calls.append(call_rows(batches.UPSERT_BARE_TASKS, [new[no] for no in dispatched]))
        if ended:
            calls.append(call_rows(batches.UPSERT_TASKS, [old[no] for no in ended]))
        calls.append(call_rows(batches.INSERT_EVENTS, [(self._run, events[-1][0], _pack(events))]))
        self._lane.run([*calls, call(batches.COMMIT)])

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()
