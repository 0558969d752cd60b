"""The SQLite store: one connection that writes, under a lock, and one that reads, so a heartbeat waits for no commit.

A transaction is BEGIN IMMEDIATE ... COMMIT; what a batch writes goes in by `executemany`. Tables are clustered by run, so that
a run's rows lie together and are appended at its end.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from plait.adapters.stores import rows
from plait.adapters.stores.sqlite import queries as q
from plait.adapters.stores.sqlite.connect import begin, check_place, connect, explained
from plait.adapters.stores.sqlite.migrate import prepare
from plait.model.errors import StaleToken, StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo
from plait.model.outcome import Stored
from plait.model.rows import (
    AssetRow,
    AttemptRow,
    EventRow,
    LimitRow,
    OwnerRow,
    RunRow,
    ScopeRow,
    SlotRow,
    TaskRow,
    WorkflowRow,
)
from plait.ports import RunBatch, RunSnapshot

SYNCHRONOUS = ("FULL", "NORMAL", "EXTRA")
CHUNK = 500


class SqliteStore:
    """Implements the port RunStore on one SQLite file."""

    def __init__(
        self,
        path: Path,
        *,
        migrate: bool = True,
        synchronous: str = "FULL",
        on_commit: Callable[[str], None] | None = None,
    ):
        if synchronous.upper() not in SYNCHRONOUS:
            raise StoreError(f"synchronous is one of {', '.join(SYNCHRONOUS)}, not {synchronous!r}")
        self.url = f"sqlite:///{path}"
        self.path = path
        check_place(path)
        self._on_commit = on_commit
        self._writer = connect(path, synchronous=synchronous.upper())
        try:
            prepare(self._writer, path, migrate=migrate)
            self._reader = connect(path, synchronous=synchronous.upper(), readonly=True)
        except sqlite3.Error as error:
            self._writer.close()
            raise explained(error, path) from error
        except BaseException:
            self._writer.close()
            raise
        self._write_lock = threading.RLock()
        self._read_lock = threading.Lock()

    def close(self) -> None:
        """Close both connections."""
        with self._write_lock, self._read_lock:
            self._writer.close()
            self._reader.close()

    # --- transactions -------------------------------------------------------------------------------------------------

    @contextmanager
    def transaction(self) -> Iterator[SqliteTransaction]:
        """One durable transaction; an exception inside rolls it back."""
        with self._write_lock:
            begin(self._writer, self.path)
            try:
                yield SqliteTransaction(self._writer)
                if self._on_commit is not None:
                    self._on_commit("before_commit")
                self._writer.execute("COMMIT")
            except BaseException as error:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                if isinstance(error, sqlite3.Error):
                    raise explained(error, self.path) from error
                raise
            if self._on_commit is not None:
                self._on_commit("after_commit")

    def _read(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        with self._read_lock:
            try:
                return self._reader.execute(sql, values).fetchall()
            except sqlite3.Error as error:
                raise explained(error, self.path) from error

    def _write(self, sql: str, values: Sequence[Any] = ()) -> int:
        with self.transaction() as tx:
            return tx.execute(sql, values)

    # --- graphs and runs ----------------------------------------------------------------------------------------------

    def save_graph(self, hash: str, graph: Graph) -> None:  # noqa: A002  the port's name for it
        """Keep a graph; most are there already, which only reads."""
        if not self._read(q.HAS_GRAPH, (hash,)):
            self._write(q.SAVE_GRAPH, (hash, msgspec.json.encode(graph)))

    def load_graph(self, hash: str) -> Graph | None:  # noqa: A002  likewise
        """A graph by its hash."""
        found = self._read(q.LOAD_GRAPH, (hash,))
        return msgspec.json.decode(found[0][0], type=Graph) if found else None

    def load_run(self, run_id: RunId) -> RunSnapshot | None:
        """Everything that recovery needs, read in one transaction."""
        with self._read_lock:
            self._reader.execute("BEGIN")
            try:
                found = self._reader.execute(q.GET_RUN, (run_id,)).fetchone()
                if found is None:
                    return None
                tasks = self._reader.execute(q.ALL_TASKS, (run_id,)).fetchall()
                scopes = self._reader.execute(q.SCOPES, (run_id,)).fetchall()
                (last,) = self._reader.execute(q.LAST_SEQ, (run_id,)).fetchone()
            finally:
                self._reader.execute("COMMIT")
        return RunSnapshot(
            run=rows.run_row(found),
            tasks=[rows.task_row(values) for values in tasks],
            scopes=[rows.scope_row(values) for values in scopes],
            last_seq=last or 0,
        )

    def get_run(self, run_id: RunId) -> RunRow | None:
        """A run's row."""
        found = self._read(q.GET_RUN, (run_id,))
        return rows.run_row(found[0]) if found else None

    def find_runs(self, prefix: str, limit: int = 2) -> list[RunRow]:
        """Runs whose id begins or ends with this."""
        found = self._read(q.FIND_RUNS, (prefix, prefix + "\U0010ffff", "%" + prefix.replace("%", ""), limit))
        return [rows.run_row(values) for values in found]

    def list_runs(
        self,
        *,
        workflow: str | None = None,
        states: Sequence[str] = (),
        parent: str | None = None,
        before: RunId | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Newest first."""
        sql, values = q.list_runs(workflow, states, parent, before, limit)
        return [rows.run_row(found) for found in self._read(sql, values)]

    def tasks(self, run_id: RunId, *, current: bool = True, after: int = -1, limit: int | None = None) -> list[TaskRow]:
        """Task rows by number, without outputs."""
        found = self._read(q.TASKS, (run_id, after, int(not current), -1 if limit is None else limit))
        return [rows.task_row(values) for values in found]

    def task(self, run_id: RunId, no: TaskNo) -> TaskRow | None:
        """One task row, with outputs."""
        found = self._read(q.TASK, (run_id, no))
        return rows.task_row(found[0]) if found else None

    def outputs(self, run_id: RunId, nos: Sequence[TaskNo]) -> dict[TaskNo, dict[str, Stored]]:
        """Stored results by task number."""
        found: dict[TaskNo, dict[str, Stored]] = {}
        for start in range(0, len(nos), CHUNK):
            chunk = nos[start : start + CHUNK]
            for no, blob in self._read(q.outputs(len(chunk)), (run_id, *chunk)):
                outputs = rows.outputs_of(blob)
                if outputs:
                    found[no] = outputs
        return found

    def attempts(self, run_id: RunId) -> list[AttemptRow]:
        """Earlier attempts, by task and attempt."""
        names = AttemptRow.__struct_fields__
        return [AttemptRow(**dict(zip(names, values, strict=True))) for values in self._read(q.ATTEMPTS, (run_id,))]

    def events(self, run_id: RunId, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """Events in order."""
        found = self._read(q.EVENTS, (run_id, after, limit))
        return [EventRow(seq=seq, at=at, data=data) for seq, at, data in found]

    def previous_run(self, workflow: str, before: str) -> RunRow | None:
        """The run with the greatest logical date below `before`."""
        found = self._read(q.PREVIOUS_RUN, (workflow, before))
        return rows.run_row(found[0]) if found else None

    def task_state(self, run_id: RunId, key: str, path: tuple[int | str, ...]) -> str | None:
        """The state of the current generation."""
        found = self._read(q.TASK_STATE, (run_id, key, rows.path_text(tuple(path))))
        return found[0][0] if found else None

    def delete_runs(self, finished_before: float, limit: int = 1000) -> int:
        """Delete old final runs with all that belongs to them."""
        with self.transaction() as tx:
            ids = [(run_id,) for (run_id,) in tx.query(q.OLD_RUNS, (finished_before, limit))]
            for table in q.TABLES_OF_A_RUN:
                tx.executemany(f"DELETE FROM {table} WHERE run_id = ?", ids)  # noqa: S608  names of our own list
        return len(ids)

    # --- limits, workflows, assets ------------------------------------------------------------------------------------

    def save_limits(self, limits: Sequence[LimitRow]) -> None:
        """Insert or resize limits; what is as it was is not written."""
        known = {row.key: row.slots for row in self.limits()} if limits else {}
        changed = [(row.key, row.slots) for row in limits if known.get(row.key) != row.slots]
        if changed:
            with self.transaction() as tx:
                tx.executemany(q.SAVE_LIMIT, changed)

    def limits(self) -> list[LimitRow]:
        """All limits."""
        return [LimitRow(key=key, slots=slots) for key, slots in self._read(q.LIMITS)]

    def slots(self, key: str | None = None) -> list[SlotRow]:
        """Who holds slots."""
        found = self._read(q.SLOTS, (key, key))
        return [SlotRow(key=k, run_id=RunId(run_id), no=no, slots=n) for k, run_id, no, n in found]

    def workflow(self, name: str) -> WorkflowRow | None:
        """What is remembered of a workflow."""
        found = self._read(q.WORKFLOW, (name,))
        if not found:
            return None
        kind, paused, failures = found[0]
        return WorkflowRow(name=name, kind=kind, paused=bool(paused), failures_in_a_row=failures)

    def assets(self, keys: Sequence[str] = ()) -> list[AssetRow]:
        """The latest materializations."""
        found = self._read(q.assets(len(keys)), tuple(keys))
        return [AssetRow(**dict(zip(AssetRow.__struct_fields__, values, strict=True))) for values in found]

    # --- owners -------------------------------------------------------------------------------------------------------

    def renew(self, owner: OwnerRow) -> bool:
        """Register, or prolong; false when the row was swept in the meantime."""
        with self.transaction() as tx:
            if tx.execute(q.PROLONG, (owner.lease_until, owner.owner)):
                return True
            if tx.query(q.WAS_SWEPT, (owner.owner,)):
                return False
            tx.execute(q.REGISTER, (owner.owner, owner.host, owner.pid, owner.started, owner.lease_until))
        return True

    def owners(self) -> list[OwnerRow]:
        """All owners that are registered."""
        names = OwnerRow.__struct_fields__
        return [OwnerRow(**dict(zip(names, values, strict=True))) for values in self._read(q.OWNERS)]

    def release_owner(self, owner: str) -> None:
        """Drop an owner's row."""
        self._write(q.DROP_OWNER, (owner,))

    def take_over(self, run_id: RunId, owner: str, now: float) -> int:
        """Lease a run that nobody live owns."""
        with self.transaction() as tx:
            found = tx.query(q.LEASE_OF, (run_id,))
            if not found:
                raise StoreError(f"there is no run {run_id}")
            epoch, holder, state, until = found[0]
            ended = state in ("success", "failed", "cancelled", "crashed")
            if not ended and holder not in (None, owner) and until is not None and until >= now:
                raise StoreError(f"run {run_id} is being run by another process ({holder}); cancel it there first")
            tx.execute(q.TAKE_OVER, (owner, epoch + 1, run_id))
            tx.execute(q.FREE_RUN, (run_id,))
        return epoch + 1

    def sweep(self, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
        """Drop dead owners, free their slots, mark their open session runs crashed."""
        swept: list[RunId] = []
        with self.transaction() as tx:
            for owner in dead:
                for run_id, session in tx.query(q.OPEN_RUNS_OF, (owner,)):
                    tx.execute(q.FREE_RUN, (run_id,))
                    if session:
                        tx.execute(q.CRASH_TASKS, (reason, now, run_id))
                        tx.execute(q.CRASH_RUN, (reason, now, run_id))
                    else:
                        tx.execute(q.DISOWN_RUN, (run_id,))
                    swept.append(RunId(run_id))
                tx.execute(q.DROP_OWNER, (owner,))
        return swept

    # --- inbox --------------------------------------------------------------------------------------------------------

    def put_inbox(self, run_id: RunId, data: bytes) -> None:
        """Leave a stimulus."""
        self._write(q.PUT_INBOX, (run_id, data))

    def drain_inbox(self, run_ids: Sequence[RunId], limit: int = 1000) -> list[tuple[RunId, bytes]]:
        """Take what is there for these runs; an empty inbox only reads."""
        wanted = set(run_ids)
        if not any(run_id in wanted for (run_id,) in self._read(q.INBOX_RUNS)):
            return []
        taken: list[tuple[RunId, bytes]] = []
        with self.transaction() as tx:
            for number, run_id, data in tx.query(q.INBOX):
                if run_id in wanted and len(taken) < limit:
                    taken.append((RunId(run_id), data))
                    tx.execute(q.DROP_INBOX, (number,))
        return taken


class SqliteTransaction:
    """Implements the port Transaction on an open BEGIN IMMEDIATE."""

    def __init__(self, connection: sqlite3.Connection):
        self._connection = connection

    def execute(self, sql: str, values: Sequence[Any] = ()) -> int:
        """Run one statement; how many rows it changed."""
        return self._connection.execute(sql, values).rowcount

    def executemany(self, sql: str, values: Sequence[Sequence[Any]]) -> None:
        """Run one statement for many rows."""
        if values:
            self._connection.executemany(sql, values)

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Read inside of the transaction."""
        return self._connection.execute(sql, values).fetchall()

    def create_run(self, row: RunRow) -> None:
        """Insert a run."""
        try:
            self.execute(q.CREATE_RUN, rows.run_values(row))
        except sqlite3.IntegrityError as error:
            raise StoreError(f"there is a run {row.run_id} already") from error

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all slots or none."""
        for request in sorted(requests, key=lambda r: r.key):
            size = self.query(q.LIMIT_SIZE, (request.key,))
            if not size:
                continue
            (used,) = self.query(q.USED_BY_OTHERS, (request.key, request.run_id, request.no))[0]
            if (used or 0) + request.slots > size[0][0]:
                return False
        self.executemany(q.TAKE_SLOTS, [(r.key, r.run_id, r.no, r.slots) for r in requests])
        return True

    def write(self, batch: RunBatch) -> None:
        """Write a run's batch under its epoch."""
        run_id = batch.run_id
        found = self.query(q.EPOCH, (run_id,))
        if not found or found[0][0] != batch.epoch:
            raise StaleToken(
                f"run {run_id} belongs to another process now (epoch {found[0][0] if found else 'none'}, not {batch.epoch})"
            )
        if batch.run is not None:
            self.execute(q.UPDATE_RUN, (*rows.run_values(batch.run)[1:], run_id))
        if batch.tasks:
            self.executemany(q.UPSERT_TASK, [rows.task_values(run_id, row) for row in batch.tasks])
        if batch.events:
            self.executemany(q.ADD_EVENT, [(run_id, event.seq, event.at, event.data) for event in batch.events])
        if batch.attempts:
            self.executemany(q.ADD_ATTEMPT, [(run_id, *msgspec.structs.astuple(row)) for row in batch.attempts])
        self.executemany(q.ADD_SCOPE, [_scope_values(run_id, row) for row in batch.scopes])
        self.executemany(q.SAVE_ASSET, [msgspec.structs.astuple(row) for row in batch.assets])
        self.executemany(q.RELEASE, [(run_id, no) for no in batch.release])

    def save_workflow(self, row: WorkflowRow) -> None:
        """Insert or replace."""
        self.execute(q.SAVE_WORKFLOW, (row.name, row.kind, int(row.paused), row.failures_in_a_row))


def _scope_values(run_id: str, row: ScopeRow) -> tuple[Any, ...]:
    keys = msgspec.json.encode(row.keys).decode() if row.keys is not None else None
    return run_id, row.scope, rows.path_text(row.path), row.generation, row.length, keys
