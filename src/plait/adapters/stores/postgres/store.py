"""The store on a PostgreSQL server (the port `RunStore`).

Theory of operation. One connection writes, under a lock of this object; a few others read (`Readers`); the heartbeat
(`renew`) has one of its own, which does not wait for the disk. Transactions are READ COMMITTED: what one decides on it
locks first, in one order for all (`queries.py`), so that many processes write at the same time and none of them is
chosen as the victim of a deadlock.

Connections must not be carried through a fork: a child that uses the store gets an error.
"""

import contextlib
import math
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from plait.adapters.stores import encoding
from plait.adapters.stores.definitions import SqlDefinitions
from plait.adapters.stores.partitions import Query, SqlPartitions
from plait.adapters.stores.postgres import owners, queries, retention, revisions
from plait.adapters.stores.postgres.connections import Readers, Writer
from plait.adapters.stores.postgres.failures import Starting
from plait.adapters.stores.postgres.server import Connection, Server, execute, patiently
from plait.adapters.stores.postgres.transaction import Known, PostgresTransaction
from plait.adapters.stores.urls import Address
from plait.model.errors import StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo
from plait.model.outcome import Stored
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AttemptRow,
    EventRow,
    InboxRow,
    LimitRow,
    OwnerRow,
    RunRow,
    SlotRow,
    TaskRow,
    WorkflowRow,
)
from plait.ports import RunSnapshot, Transaction

GRAPHS_HELD = 8
CHUNKS_AT_ONCE = 20
"""Chunks of events that are read at once."""
Result = TypeVar("Result")


class PostgresStore:
    """Keeps everything in a schema of a database.

    `migrate`: whether an older schema is brought up to date, or refused. `on_commit` is called with `before_commit` and
    `after_commit` of every transaction.
    """

    def __init__(self, address: Address, *, migrate: bool = False, on_commit: Callable[[str], None] | None = None):
        self.server = Server(address)
        self.url = self.server.shown
        self._on_commit = on_commit
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._writing_thread: int | None = None
        self._readers = Readers(self.server)
        self.definitions = SqlDefinitions(self._all, queries, list)
        self.partitions = SqlPartitions(self._all, self._change_partitions, list, queries)
        self._known = Known()
        self._graphs: OrderedDict[str, bytes] = OrderedDict()
        self._graphs_turn = threading.Lock()
        self._beat = owners.Heartbeat(self.server)
        self._closed = False
        first = patiently(self.server.writer, Starting)
        try:
            if revisions.prepare(first, self.server, migrate=migrate):
                from plait.adapters.stores.postgres.migrate import run_migrations

                run_migrations(self.server)
        except BaseException:
            first.close()
            raise
        self._writer = Writer(self.server, first)

    def close(self) -> None:
        """Close every connection; waits for a transaction that is open in another thread."""
        self._closed = True
        if os.getpid() != self._pid:
            return
        self._readers.close()
        with self._turn:
            self._beat.close()
            self._writer.close()

    # --- access -------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise StoreError(f"the store on {self.server.shown} is closed")
        if os.getpid() != self._pid:
            raise StoreError(
                f"the store on {self.server.shown} was opened before a fork: open another one in the child process"
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        """This thread's turn to write."""
        self._check()
        if self._writing_thread == threading.get_ident():
            raise StoreError("this thread has a transaction open already: write through that one")
        with self._turn:
            self._check()
            self._writing_thread = threading.get_ident()
            try:
                yield
            finally:
                self._writing_thread = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction that writes. Reads of the store do not see it before it is committed."""
        with self._writing():
            tx = PostgresTransaction(self._writer, self._known, self._graphs.get)
            try:
                yield tx
                tx.commit(self._on_commit)
            except BaseException:
                tx.leave()
                raise

    def _change(self, act: Callable[[Connection], Result]) -> Result:
        """Do something in a transaction of its own, again if others were in the way or the connection broke before."""
        with self._writing():
            return self._writer.transact(act, self._on_commit)

    def _change_partitions(self, act: Callable[[Query], Result]) -> Result:
        """Change what is kept of partitions: one transaction at a time does."""

        def turn(connection: Connection) -> Result:
            execute(connection, queries.TURN_TO_COMPACT)

            def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
                cursor = execute(connection, statement, values)
                return cursor.fetchall() if cursor.description is not None else []

            return act(run)

        return self._change(turn)

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        self._check()
        return self._readers.ask(lambda connection: execute(connection, statement, values).fetchall())

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        self._check()
        return self._readers.ask(lambda connection: execute(connection, statement, values).fetchone())

    # --- graphs -------------------------------------------------------------------------------------------------------

    def save_graph(self, hash: str, graph: Graph) -> None:
        """Keep a graph. It is held for a while: `create_run` puts it back if retention took it just then."""
        with self._graphs_turn:
            data = self._graphs.pop(hash, None) or encoding.graph_bytes(graph)
            self._graphs[hash] = data
            while len(self._graphs) > GRAPHS_HELD:
                self._graphs.popitem(last=False)
        if self._one(queries.HAS_GRAPH, hash) is None:
            self._change(lambda connection: execute(connection, queries.INSERT_GRAPH, (hash, data)))

    def load_graph(self, hash: str) -> Graph | None:
        """The graph of that hash."""
        found = self._one(queries.GET_GRAPH, hash)
        return encoding.graph_of(hash, found[0]) if found is not None else None

    # --- runs ---------------------------------------------------------------------------------------------------------

    def load_run(self, run_id: RunId) -> RunSnapshot | None:
        """Everything that recovery needs of one run, as of one moment."""
        self._check()
        return self._readers.ask(lambda connection: _snapshot(connection, run_id))

    def get_run(self, run_id: RunId) -> RunRow | None:
        """One run's row."""
        found = self._one(queries.GET_RUN, run_id)
        return encoding.run_of(found) if found is not None else None

    def find_runs(self, prefix: str, limit: int = 2) -> list[RunRow]:
        """Runs whose id begins with `prefix`, newest first; then those whose id ends with it."""
        found = self._all(queries.RUNS_BEGINNING, prefix, prefix + "\U0010ffff", limit)
        if len(found) < limit and prefix:
            seen = {columns[0] for columns in found}
            ending = self._all(queries.RUNS_ENDING, len(prefix), prefix, limit)
            found += [columns for columns in ending if columns[0] not in seen]
        return [encoding.run_of(columns) for columns in found[:limit]]

    def list_runs(
        self,
        *,
        workflow: str | None = None,
        states: Sequence[str] = (),
        parent: str | None = None,
        before: RunId | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Newest first, at most `limit`, older than `before` if given."""
        conditions: list[str] = ["true"]
        values: list[object] = []
        for condition, value in (
            (queries.OF_WORKFLOW, workflow),
            (queries.OF_PARENT, parent),
            (queries.BEFORE_RUN, before),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if states:
            conditions.append(queries.IN_STATES)
            values.append(list(states))
            if set(states) <= set(encoding.OPEN_RUN_STATES):
                conditions.append(queries.OPEN)
        statement = queries.LIST_RUNS.format(" AND ".join(conditions))
        return [encoding.run_of(columns) for columns in self._all(statement, *values, limit)]

    def previous_run(self, workflow: str, before: str) -> RunRow | None:
        """The run of a workflow with the greatest logical date below `before`, compared as moments."""
        found = self._one(queries.PREVIOUS_RUN, workflow, encoding.epoch_of(before))
        return encoding.run_of(found) if found is not None else None

    def delete_runs(self, finished_before: float, limit: int = 1000) -> int:
        """Make at most `limit` final runs vanish that ended before then. They are looked for before anybody has to wait
        for that; what was a part of one that has vanished goes with it."""
        count, gone = 0, 1
        while gone and count < limit:
            old = [number for (number,) in self._all(queries.OLD_RUNS, finished_before, limit - count)]
            dropped = self._change(lambda connection, old=old: retention.drop(connection, old, finished_before))
            self._forget(dropped)
            gone = len(dropped)
            count += gone
        return count

    def empty_trash(self, most: int = 10_000) -> tuple[list[RunId], bool]:
        """Delete rows of runs that have vanished."""
        if self._one(queries.HAS_TRASH) is None:
            return [], False
        return self._change(lambda connection: retention.empty(connection, most))

    def forget_trash(self, run_ids: Sequence[RunId]) -> None:
        """Nothing is left anywhere of these runs."""
        self._change(lambda connection: retention.forget(connection, run_ids))

    # --- task runs and events -----------------------------------------------------------------------------------------

    def tasks(self, run_id: RunId, *, current: bool = True, after: int = -1, limit: int | None = None) -> list[TaskRow]:
        """Task rows by number, without outputs."""
        found = self._all(queries.PAGE_OF_TASKS, run_id, after, current, limit)
        return [encoding.task_of(columns) for columns in found]

    def task(self, run_id: RunId, no: TaskNo) -> TaskRow | None:
        """One task row, with outputs."""
        found = self._one(queries.ONE_TASK, run_id, no)
        return encoding.task_of(found) if found is not None else None

    def outputs(self, run_id: RunId, nos: Sequence[TaskNo]) -> dict[TaskNo, dict[str, Stored]]:
        """The stored results of these task runs."""
        found = self._all(queries.OUTPUTS, run_id, list(nos))
        return {no: encoding.outputs_of(data) for no, data in found}

    def attempts(self, run_id: RunId) -> list[AttemptRow]:
        """The attempts before the last ones, by task number and attempt."""
        return [encoding.attempt_of(columns) for columns in self._all(queries.ATTEMPTS, run_id)]

    def events(self, run_id: RunId, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """At most `limit` events after number `after`."""
        found: list[EventRow] = []
        last = after
        while len(found) < limit:
            chunks = self._all(queries.EVENTS, run_id, last, CHUNKS_AT_ONCE)
            found += encoding.events_of([data for _, data in chunks], after)
            if len(chunks) < CHUNKS_AT_ONCE:
                break
            last = chunks[-1][0]
        return found[:limit]

    def task_state(self, run_id: RunId, key: str, path: tuple[int | str, ...]) -> str | None:
        """The state of a task run's current generation."""
        found = self._one(queries.TASK_STATE, run_id, key, encoding.path_text(path))
        return found[0] if found is not None else None

    # --- limits, workflows, assets ------------------------------------------------------------------------------------

    def save_limits(self, rows: Sequence[LimitRow]) -> None:
        """Insert or resize limits; what is as it was is not written."""
        known = {row.key: row.slots for row in self.limits()}
        changed = {row.key: row.slots for row in rows if known.get(row.key) != row.slots}
        keys = sorted(changed)
        if keys:
            slots = [changed[key] for key in keys]
            self._change(lambda connection: execute(connection, queries.UPSERT_LIMITS, (keys, slots)))

    def limits(self) -> list[LimitRow]:
        """All limits, by key."""
        return [encoding.limit_of(columns) for columns in self._all(queries.LIMITS)]

    def slots(self, key: str | None = None) -> list[SlotRow]:
        """Who holds slots, of one limit or of all."""
        found = self._all(queries.SLOTS) if key is None else self._all(queries.SLOTS_OF_LIMIT, key)
        return [encoding.slot_of(columns) for columns in found]

    def workflow(self, name: str) -> WorkflowRow | None:
        """What is remembered of a workflow."""
        found = self._one(queries.GET_WORKFLOW, name)
        return encoding.workflow_of(found) if found is not None else None

    def assets(self, keys: Sequence[str] = ()) -> list[AssetRow]:
        """The latest materializations, of these assets or of all."""
        found = self._all(queries.SOME_ASSETS, list(keys)) if keys else self._all(queries.ASSETS)
        return [encoding.asset_of(columns) for columns in found]

    def asset(self, key: str, partition: str) -> AssetRow | None:
        """The latest materialization of one asset's partition."""
        found = self._one(queries.ASSET, key, partition)
        return encoding.asset_of(found) if found is not None else None

    def asset_history(
        self,
        key: str,
        *,
        partition: str | None = None,
        kinds: Sequence[str] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[AssetEventRow]:
        """What happened to an asset, newest first."""
        rest = (before if before is not None else math.inf, not kinds, list(kinds), limit)
        if partition is None:
            found = self._all(queries.ASSET_HISTORY, key, *rest)
        else:
            found = self._all(queries.PARTITION_HISTORY, key, partition, *rest)
        return [encoding.asset_event_of(columns) for columns in found]

    def asset_updates(self, since: float, limit: int = 10_000) -> list[AssetEventRow]:
        """What was made or observed since a moment, oldest first."""
        return [encoding.asset_event_of(columns) for columns in self._all(queries.ASSET_UPDATES, since, limit)]

    # --- owners and leases --------------------------------------------------------------------------------------------

    def renew(self, owner: OwnerRow) -> bool:
        """Register a process, or prolong its lease; waits for no transaction of this process."""
        self._check()
        return self._beat.renew(owner)

    def owners(self) -> list[OwnerRow]:
        """Who is registered."""
        return [encoding.owner_of(columns) for columns in self._all(queries.OWNERS)]

    def release_owner(self, owner: str) -> None:
        """The process ends in order: drop its row."""
        self._change(lambda connection: execute(connection, queries.RELEASE_OWNER, (owner,)))

    def take_over(self, run_id: RunId, owner: str, now: float, *, epoch: int | None = None) -> int:
        """Lease a run; a run that is over is held by nobody, whoever ended it. With `epoch` it is handed over."""
        taken = self._change(lambda connection: owners.take_over(connection, run_id, owner, now, epoch))
        self._forget([run_id])
        return taken

    def free_slots(self, run_id: RunId, keep: Sequence[int] = ()) -> None:
        """Give back what a run holds, but for these of its task numbers."""
        self._change(lambda connection: execute(connection, queries.FREE_OTHER_SLOTS, (run_id, list(keep))))

    def claim(self, owner: str, limit: int) -> list[RunId]:
        """Lease service-owned runs that nobody owns. Nothing is written when there is none."""
        if self._one(queries.HAS_CLAIMABLE) != (True,):
            return []
        found = self._change(lambda connection: owners.claim(connection, owner, limit))
        self._forget(found)
        return found

    def owned(self, owner: str) -> list[RunId]:
        """The open service-owned runs of an owner, oldest first."""
        return [RunId(columns[0]) for columns in self._all(queries.OWNED, owner)]

    def let_go(self, run_ids: Sequence[RunId], owner: str, now: float, *, crashed: str = "") -> None:
        """Give up runs of this owner; with `crashed` (the reason) they are marked so, unless they are over."""
        self._forget(self._change(lambda connection: owners.let_go(connection, run_ids, owner, now, crashed)))

    def sweep(self, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
        """Declare owners dead; returns their open runs, which are crashed now or, of a service, without an owner."""
        if not dead:
            return []
        lost = self._change(lambda connection: owners.sweep(connection, dead, reason, now))
        self._forget(lost)
        return lost

    def _forget(self, run_ids: Sequence[RunId]) -> None:
        """Their leases are to be looked at again."""
        with self._writing():
            self._known.forget(run_ids)

    # --- inbox --------------------------------------------------------------------------------------------------------

    def put_inbox(self, run_id: RunId, data: bytes) -> None:
        """Leave an encoded stimulus for whoever owns the run."""
        self._change(lambda connection: execute(connection, queries.PUT_INBOX, (run_id, data)))

    def read_inbox(self, owner: str, limit: int = 10_000) -> list[InboxRow]:
        """What lies there for the runs of an owner, oldest first."""
        return [encoding.inbox_of(columns) for columns in self._all(queries.READ_INBOX, owner, limit)]

    def forget_inbox(self, ids: Sequence[int]) -> None:
        """Delete what nobody can decide."""
        if ids:
            self._change(lambda connection: execute(connection, queries.FORGET_INBOX, (list(ids),)))


def _snapshot(connection: Connection, run_id: RunId) -> RunSnapshot | None:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        found = execute(connection, queries.GET_RUN, (run_id,)).fetchone()
        run = execute(connection, queries.RUN_NUMBER, (run_id,)).fetchone()
        if found is None or run is None:
            return None
        last = execute(connection, queries.LAST_EVENT, run).fetchone()
        return RunSnapshot(
            run=encoding.run_of(found),
            tasks=[encoding.task_of(row) for row in execute(connection, queries.ALL_TASKS, run)],
            scopes=[encoding.scope_of(row) for row in execute(connection, queries.ALL_SCOPES, run)],
            last_seq=(last[0] if last is not None else None) or 0,
            slots=[encoding.slot_of(row) for row in execute(connection, queries.SLOTS_OF_RUN, (run_id,))],
        )
    finally:
        connection.execute("COMMIT")
