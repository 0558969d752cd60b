"""The store on a PostgreSQL server (the port `RunStore`).

Theory of operation. One connection writes, under a lock of this object; a few others read (`Readers`); the heartbeat
(`renew`) has one of its own, which does not wait for the disk. Transactions are READ COMMITTED: what one decides on it
locks first, in one order for all (`queries.py`), so that many processes write at the same time and none of them is
chosen as the victim of a deadlock.

Connections must not be carried through a fork: a child that uses the store gets an error.
"""

import contextlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from plait.adapters.stores import encoding
from plait.adapters.stores.definitions import SqlDefinitions
from plait.adapters.stores.partitions import Query, SqlPartitions
from plait.adapters.stores.postgres import definition_queries, owners, partition_queries, queries, retention, revisions
from plait.adapters.stores.postgres.connections import Readers, Writer
from plait.adapters.stores.postgres.failures import Starting
from plait.adapters.stores.postgres.server import Connection, Server, execute, patiently
from plait.adapters.stores.postgres.transaction import Known, PostgresTransaction
from plait.adapters.stores.reads import SqlReads, snapshot_of
from plait.adapters.stores.signals import SqlSignals
from plait.adapters.stores.urls import Address
from plait.model.errors import StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.rows import (
    EventRow,
    LimitRow,
    OwnerRow,
)
from plait.ports import RunSnapshot, Transaction

GRAPHS_HELD = 8
CHUNKS_AT_ONCE = 20
"""Chunks of events that are read at once."""
Result = TypeVar("Result")


class PostgresStore(SqlReads):
    """Keeps everything in a schema of a database.

    `migrate`: whether an older schema is brought up to date, or refused. `on_commit` is called with `before_commit` and
    `after_commit` of every transaction.
    """

    _queries = queries

    def __init__(self, address: Address, *, migrate: bool = False, on_commit: Callable[[str], None] | None = None):
        self.server = Server(address)
        self.url = self.server.shown
        self._on_commit = on_commit
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._writing_thread: int | None = None
        self._readers = Readers(self.server)
        self.definitions = SqlDefinitions(self._all, definition_queries, list)
        self.partitions = SqlPartitions(self._all, self._change_partitions, list, partition_queries)
        self.signals = SqlSignals(self._all, self._change_partitions, definition_queries)
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
            execute(connection, partition_queries.TURN_TO_COMPACT)

            def run(statement: str, *values: object) -> list[tuple[Any, ...]]:
                cursor = execute(connection, statement, values)
                return cursor.fetchall() if cursor.description is not None else []

            return act(run)

        return self._change(turn)

    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        self._check()
        return self._readers.ask(lambda connection: execute(connection, statement, values).fetchall())

    def _listed(self, values: Sequence[object]) -> list[object]:
        return list(values)

    # --- graphs -------------------------------------------------------------------------------------------------------

    def save_graph(self, hash: str, graph: Graph) -> None:
        """Keep a graph. It is held for a while: `create_run` puts it back if retention took it just then, so one that
        is held already needs no look."""
        with self._graphs_turn:
            held = self._graphs.pop(hash, None)
            data = held or encoding.graph_bytes(graph)
            self._graphs[hash] = data
            while len(self._graphs) > GRAPHS_HELD:
                self._graphs.popitem(last=False)
        if held is None and self._one(queries.HAS_GRAPH, hash) is None:
            self._change(lambda connection: execute(connection, queries.INSERT_GRAPH, (hash, data)))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def load_run(self, run_id: RunId) -> RunSnapshot | None:
        """Everything that recovery needs of one run, as of one moment."""
        self._check()
        return self._readers.ask(lambda connection: _snapshot(connection, run_id))

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

    # --- limits, workflows, assets ------------------------------------------------------------------------------------

    def save_limits(self, rows: Sequence[LimitRow]) -> None:
        """Insert or resize limits; what is as it was is not written."""
        known = {row.key: row.slots for row in self.limits()}
        changed = {row.key: row.slots for row in rows if known.get(row.key) != row.slots}
        keys = sorted(changed)
        if keys:
            slots = [changed[key] for key in keys]
            self._change(lambda connection: execute(connection, queries.UPSERT_LIMITS, (keys, slots)))

    # --- owners and leases --------------------------------------------------------------------------------------------

    def renew(self, owner: OwnerRow) -> bool:
        """Register a process, or prolong its lease; waits for no transaction of this process."""
        self._check()
        return self._beat.renew(owner)

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

    def forget_inbox(self, ids: Sequence[int]) -> None:
        """Delete what nobody can decide."""
        if ids:
            self._change(lambda connection: execute(connection, queries.FORGET_INBOX, (list(ids),)))


def _snapshot(connection: Connection, run_id: RunId) -> RunSnapshot | None:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    try:
        return snapshot_of(run_id, queries, lambda text, *values: execute(connection, text, values).fetchall())
    finally:
        connection.execute("COMMIT")
