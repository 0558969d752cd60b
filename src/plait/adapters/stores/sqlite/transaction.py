"""What one transaction writes (the port `Transaction`), statement by statement."""

import sqlite3
from collections.abc import Callable, Sequence

from plait.adapters.stores import encoding
from plait.adapters.stores.encoding import Columns
from plait.adapters.stores.sqlite import queries
from plait.model.errors import StaleToken, StoreError
from plait.model.rows import RunRow, SlotRow, WorkflowRow
from plait.ports import RunBatch


class SqliteTransaction:
    """Writes on a connection that has begun. `graph_of` gives the stored form of a graph that was saved lately."""

    def __init__(self, connection: sqlite3.Connection, graph_of: Callable[[str], bytes | None]):
        self._connection = connection
        self._graph_of = graph_of
        self._used: dict[str, int] = {}

    def create_run(self, row: RunRow) -> None:
        """Insert a run, with its graph in case retention has just deleted that."""
        try:
            self._insert_run(row)
        except UnicodeEncodeError:
            self._insert_run(encoding.printable(row))
        except sqlite3.IntegrityError as error:
            raise StoreError(f"there is a run {row.run_id} already") from error
        graph = self._graph_of(row.graph_hash)
        if graph is not None:
            self._connection.execute(queries.INSERT_GRAPH, (row.graph_hash, graph))

    def _insert_run(self, row: RunRow) -> None:
        self._connection.execute(queries.INSERT_RUN, encoding.run_values(row))

    def write(self, batch: RunBatch) -> None:
        """Write what changed of one run, if it is still leased under that epoch."""
        found = self._connection.execute(queries.FENCE, (batch.run_id,)).fetchone()
        if found is None:
            raise StaleToken(f"run {batch.run_id} is not in the database any more")
        run, epoch = found
        if epoch != batch.epoch:
            raise StaleToken(f"run {batch.run_id} was taken over: its lease has epoch {epoch}, not {batch.epoch}")
        try:
            self._write(run, batch)
        except UnicodeEncodeError:  # rare; what went before can be repeated, and events come last
            self._write(run, encoding.printable(batch))

    def _write(self, run: int, batch: RunBatch) -> None:
        many = self._connection.executemany
        if batch.run is not None:
            self._connection.execute(queries.UPDATE_RUN, (*encoding.run_values(batch.run)[1:], run))
        if batch.tasks:
            bare, full = encoding.bare_and_full(encoding.task_values(run, batch.tasks))
            many(queries.UPSERT_BARE_TASK, bare)
            many(queries.UPSERT_TASK, full)
        if batch.attempts:
            many(queries.UPSERT_ATTEMPT, [encoding.attempt_values(run, row) for row in batch.attempts])
        if batch.scopes:
            many(queries.UPSERT_SCOPE, [encoding.scope_values(run, row) for row in batch.scopes])
        if batch.assets:
            many(queries.UPSERT_ASSET, [encoding.asset_values(row) for row in batch.assets])
        if batch.release:
            self._used.clear()
            many(queries.RELEASE_SLOTS, [(batch.run_id, no) for no in batch.release])
        if batch.events:
            many(queries.INSERT_EVENTS, encoding.event_chunks(run, batch.events))

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all of these slots, or none. What a limit has in use is summed once a transaction."""
        wanted: dict[tuple[str, str, int], int] = {}
        for request in requests:
            place = (request.key, request.run_id, request.no)
            wanted[place] = wanted.get(place, 0) + request.slots
        more: dict[str, int] = {}
        for (key, run_id, no), slots in sorted(wanted.items()):
            held = self._one(queries.SLOTS_HELD, (run_id, no, key)) or 0
            more[key] = more.get(key, 0) + slots - held
            size = self._one(queries.LIMIT_SIZE, (key,))
            if size is not None and more[key] > 0 and self._in_use(key) + more[key] > size:
                return False
        self._connection.executemany(
            queries.TAKE_SLOTS, [(run_id, no, key, slots) for (key, run_id, no), slots in wanted.items()]
        )
        for key, change in more.items():
            if key in self._used:
                self._used[key] += change
        return True

    def save_workflow(self, row: WorkflowRow) -> None:
        """Insert or replace what is remembered of a workflow."""
        self._connection.execute(queries.UPSERT_WORKFLOW, encoding.workflow_values(row))

    def _in_use(self, key: str) -> int:
        used = self._used.get(key)
        if used is None:
            used = self._used[key] = self._one(queries.SLOTS_USED, (key,)) or 0
        return used

    def _one(self, statement: str, values: Columns) -> int | None:
        found = self._connection.execute(statement, values).fetchone()
        return found[0] if found is not None else None
