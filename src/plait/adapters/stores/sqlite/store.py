"""The store in one SQLite file (the port `RunStore`).

Theory of operation. One connection writes, under a lock of this object; a few others read (`Readers`), so that reads
go on while a transaction is open, and see what was committed before it. The heartbeat (`renew`) has a connection of
its own, which does not wait for the disk. A write begins with BEGIN IMMEDIATE, so that what it reads is what it
changes, also between processes.

Connections must not be carried through a fork: a child that uses the store gets an error.
"""

import contextlib
import os
import sqlite3
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from plait.adapters.stores import encoding
from plait.adapters.stores.definitions import SqlDefinitions
from plait.adapters.stores.partitions import Query, SqlPartitions
from plait.adapters.stores.reads import SqlReads, snapshot_of
from plait.adapters.stores.signals import SqlSignals
from plait.adapters.stores.sqlite import definition_queries, leases, partition_queries, queries, retention
from plait.adapters.stores.sqlite.connections import (
    WAL_MOST,
    Readers,
    begin,
    check_version,
    connect,
    roll_back,
    shorten_log,
)
from plait.adapters.stores.sqlite.failures import told
from plait.adapters.stores.sqlite.places import prepare_place
from plait.adapters.stores.sqlite.revisions import prepare
from plait.adapters.stores.sqlite.transaction import SqliteTransaction
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
LOOK_AT_LOG = 32
"""Commits between two looks at the length of the write-ahead log."""
SYNCHRONOUS = ("FULL", "NORMAL", "EXTRA")

Result = TypeVar("Result")
_json = msgspec.json.encode


def _list(values: Sequence[object]) -> str:
    return _json(list(values)).decode()


class SqliteStore(SqlReads):
    """Keeps everything in the SQLite file `path`.

    `synchronous`: FULL loses nothing that was committed when the power fails; NORMAL may lose the last moments then,
    never the file. `migrate`: whether an older file is brought up to date, or refused. `on_commit` is called with
    `before_commit` and `after_commit` of every transaction.
    """

    _queries = queries

    def __init__(
        self,
        path: Path,
        *,
        synchronous: str = "FULL",
        migrate: bool = False,
        on_commit: Callable[[str], None] | None = None,
    ):
        if synchronous.upper() not in SYNCHRONOUS:
            raise StoreError(f"synchronous={synchronous} is not known; it is one of {', '.join(SYNCHRONOUS)}")
        check_version()
        prepare_place(path)
        self.path = path
        self.url = f"sqlite:///{path}"
        self._on_commit = on_commit
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._writing_thread: int | None = None
        self._commits = 0
        self._log_most = WAL_MOST
        self._readers = Readers(path)
        self.definitions = SqlDefinitions(self._all, definition_queries, _list)
        self.partitions = SqlPartitions(self._all, self._change, _list, partition_queries)
        self.signals = SqlSignals(self._all, self._change, definition_queries)
        self._graphs: OrderedDict[str, bytes] = OrderedDict()
        self._graphs_turn = threading.Lock()
        self._beat_turn = threading.Lock()
        self._beat: sqlite3.Connection | None = None
        self._closed = False
        try:
            self._writer = connect(path, synchronous=synchronous)
        except sqlite3.Error as error:
            raise told(error, path) from error
        try:
            if prepare(self._writer, path, migrate=migrate):
                from plait.adapters.stores.sqlite.migrate import run_migrations

                run_migrations(path)
        except sqlite3.Error as error:
            self._writer.close()
            raise told(error, path) from error
        except BaseException:
            self._writer.close()
            raise

    def close(self) -> None:
        """Close every connection; waits for a transaction that is open in another thread."""
        self._closed = True
        if os.getpid() != self._pid:
            return
        self._readers.close()
        with self._turn, self._beat_turn:
            if self._beat is not None:
                self._beat.close()
            self._writer.close()

    # --- access -------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        if self._closed:
            raise StoreError(f"the store on {self.path} is closed")
        if os.getpid() != self._pid:
            raise StoreError(
                f"the store on {self.path} was opened before a fork: open another one in the child process"
            )

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction on the writer connection, committed at the end of the block, or rolled back."""
        self._check()
        if self._writing_thread == threading.get_ident():
            raise StoreError("this thread has a transaction open already: write through that one")
        with self._turn:
            self._check()
            self._writing_thread = threading.get_ident()
            try:
                begin(self._writer)
                yield self._writer
                self._commit()
                self._commits += 1
                if self._commits % LOOK_AT_LOG == 0:
                    self._log_most = shorten_log(self._writer, self.path, self._log_most)
            except sqlite3.Error as error:
                roll_back(self._writer)
                raise told(error, self.path) from error
            except BaseException:
                roll_back(self._writer)
                raise
            finally:
                self._writing_thread = None

    def _commit(self) -> None:
        if self._on_commit is None:
            self._writer.execute("COMMIT")
            return
        self._on_commit("before_commit")
        self._writer.execute("COMMIT")
        self._on_commit("after_commit")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction that writes. Reads of the store do not see it before it is committed."""
        with self._writing() as connection:
            tx = SqliteTransaction(connection, self._graphs.get)
            yield tx
            tx.flush()

    def _change(self, act: Callable[[Query], Result]) -> Result:
        """Do something in a transaction of its own."""
        with self._writing() as connection:
            return act(lambda statement, *values: connection.execute(statement, values).fetchall())

    def _all(self, statement: str, *values: object) -> list[tuple]:
        self._check()
        with self._readers.reading() as connection:
            return connection.execute(statement, values).fetchall()

    def _listed(self, values: Sequence[object]) -> str:
        return _list(values)

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
            with self._writing() as connection:
                connection.execute(queries.INSERT_GRAPH, (hash, data))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def load_run(self, run_id: RunId) -> RunSnapshot | None:
        """Everything that recovery needs of one run, as of one moment."""
        self._check()
        with self._readers.snapshot() as connection:
            return snapshot_of(run_id, queries, lambda text, *values: connection.execute(text, values).fetchall())

    def delete_runs(self, finished_before: float, limit: int = 1000) -> int:
        """Make at most `limit` final runs vanish that ended before then. They are looked for before anybody has to wait
        for that; what was a part of one that has vanished goes with it."""
        count, gone = 0, 1
        while gone and count < limit:
            old = [number for (number,) in self._all(queries.OLD_RUNS, finished_before, limit - count)]
            with self._writing() as connection:
                gone = retention.drop(connection, old, finished_before)
            count += gone
        return count

    def empty_trash(self, most: int = 10_000) -> tuple[list[RunId], bool]:
        """Delete rows of runs that have vanished. Nobody waits for a turn to write when there are none."""
        if self._one(queries.TRASH, 1) is None:
            return [], False
        with self._writing() as connection:
            return retention.empty(connection, most)

    def forget_trash(self, run_ids: Sequence[RunId]) -> None:
        """Nothing is left anywhere of these runs."""
        with self._writing() as connection:
            retention.forget(connection, run_ids)

    # --- task runs and events -----------------------------------------------------------------------------------------

    def events(self, run_id: RunId, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """At most `limit` events after number `after`."""
        self._check()
        found: list[EventRow] = []
        with self._readers.reading() as connection:
            for columns in connection.execute(queries.EVENTS, (run_id, after)):
                found += encoding.events_of(columns, after)
                if len(found) >= limit:
                    break
        return found[:limit]

    # --- limits, workflows, assets ------------------------------------------------------------------------------------

    def save_limits(self, rows: Sequence[LimitRow]) -> None:
        """Insert or resize limits; what is as it was is not written."""
        known = {row.key: row.slots for row in self.limits()}
        changed = [(row.key, row.slots) for row in rows if known.get(row.key) != row.slots]
        if changed:
            with self._writing() as connection:
                connection.executemany(queries.UPSERT_LIMIT, changed)

    # --- owners and leases --------------------------------------------------------------------------------------------

    def renew(self, owner: OwnerRow) -> bool:
        """Register a process, or prolong its lease; false for one that was swept. Has its own connection."""
        self._check()
        with self._beat_turn:
            self._check()
            try:
                if self._beat is None:  # a heartbeat need not outlive a power failure: its process does not either
                    self._beat = connect(self.path, synchronous="NORMAL")
                begin(self._beat)
                try:
                    known = leases.renew(self._beat, owner)
                    self._beat.execute("COMMIT")
                finally:
                    roll_back(self._beat)
            except sqlite3.Error as error:
                raise told(error, self.path) from error
        return known

    def release_owner(self, owner: str) -> None:
        """The process ends in order: drop its row."""
        with self._writing() as connection:
            connection.execute(queries.RELEASE_OWNER, (owner,))

    def take_over(self, run_id: RunId, owner: str, now: float, *, epoch: int | None = None) -> int:
        """Lease a run; a run that is over is held by nobody, whoever ended it. With `epoch` it is handed over."""
        with self._writing() as connection:
            return leases.take_over(connection, run_id, owner, now, epoch)

    def free_slots(self, run_id: RunId, keep: Sequence[int] = ()) -> None:
        """Give back what a run holds, but for these of its task numbers."""
        with self._writing() as connection:
            connection.execute(queries.FREE_OTHER_SLOTS, (run_id, _list(keep)))

    def claim(self, owner: str, limit: int) -> list[RunId]:
        """Lease service-owned runs that nobody owns. Nobody waits for a turn to write when there is none."""
        if self._one(queries.CLAIMABLE, 1) is None:
            return []
        with self._writing() as connection:
            return leases.claim(connection, owner, limit)

    def let_go(self, run_ids: Sequence[RunId], owner: str, now: float, *, crashed: str = "") -> None:
        """Give up runs of this owner; with `crashed` (the reason) they are marked so, unless they are over."""
        with self._writing() as connection:
            leases.let_go(connection, run_ids, owner, now, crashed)

    def sweep(self, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
        """Declare owners dead; returns their open runs, which are crashed now or, of a service, without an owner."""
        if not dead:
            return []
        with self._writing() as connection:
            return leases.sweep(connection, dead, reason, now)

    # --- inbox --------------------------------------------------------------------------------------------------------

    def put_inbox(self, run_id: RunId, data: bytes) -> None:
        """Leave an encoded stimulus for whoever owns the run."""
        with self._writing() as connection:
            connection.execute(queries.PUT_INBOX, (run_id, data))

    def forget_inbox(self, ids: Sequence[int]) -> None:
        """Delete what nobody can decide."""
        if not ids:
            return
        with self._writing() as connection:
            connection.execute(queries.FORGET_INBOX, (_list(ids),))
