"""Who owns runs: the heartbeat, and what happens to the runs of owners that are dead."""

import threading
from collections.abc import Sequence

import psycopg

from plait.adapters.stores import encoding
from plait.adapters.stores.postgres import queries
from plait.adapters.stores.postgres.connections import TRIES, is_lost, pause
from plait.adapters.stores.postgres.failures import RETRIED, state_of, told
from plait.adapters.stores.postgres.server import Connection, Server, execute, patiently
from plait.model.errors import StoreError
from plait.model.ids import RunId
from plait.model.rows import OwnerRow
from plait.model.states import RUN_TERMINAL

REMEMBER_SWEPT = 7 * 86400.0
"""Seconds for which a swept owner is remembered, so that it learns of it."""


class Heartbeat:
    """Prolongs leases on a connection of its own, which waits neither for transactions of this process nor for the
    disk: a heartbeat need not outlive a crash of the server."""

    def __init__(self, server: Server):
        self._server = server
        self._turn = threading.Lock()
        self._connection: Connection | None = None

    def renew(self, owner: OwnerRow) -> bool:
        """Register an owner, or prolong its lease; false for one that was swept."""
        values = (owner.owner, owner.host, owner.pid, owner.started, owner.lease_until)
        with self._turn:
            for left in reversed(range(TRIES)):
                connection = self._open()
                try:
                    return bool(execute(connection, queries.RENEW, values).rowcount)
                except psycopg.Error as error:
                    lost = is_lost(connection, error)
                    if not left or not (lost or state_of(error) in RETRIED):
                        raise told(error, self._server.shown) from error
                    if lost:
                        self._close()
                    pause(left)
                except BaseException:
                    self._close()
                    raise
        raise AssertionError("the last try returns or raises")

    def _open(self) -> Connection:
        if self._connection is None:
            self._connection = patiently(lambda: self._server.writer("off"))
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection; waits for a heartbeat that is under way."""
        with self._turn:
            self._close()


def take_over(connection: Connection, run_id: RunId, owner: str, now: float) -> int:
    """Lease a run; a run that is over is held by nobody, whoever ended it."""
    found = execute(connection, queries.HOLDER, (run_id,)).fetchone()
    if found is None:
        raise StoreError(f"there is no run {run_id}")
    run, holder, epoch, state = found
    if holder not in (None, owner) and state not in RUN_TERMINAL:
        lease = execute(connection, queries.LEASE_OF, (holder,)).fetchone()
        if lease is not None and lease[0] >= now:
            raise StoreError(f"run {run_id} belongs to {holder}, which is alive")
    execute(connection, queries.TAKE_OVER, (owner, epoch + 1, run))
    execute(connection, queries.FREE_SLOTS_OF_RUN, (run_id,))
    return epoch + 1


def sweep(connection: Connection, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
    """Declare owners dead; returns their open runs, which are crashed now or, of a service, without an owner."""
    dead = sorted(set(dead))
    found = execute(connection, queries.OPEN_RUNS_OF, (dead,)).fetchall()
    execute(connection, queries.FREE_SLOTS_OF, (dead,))
    crashed = [run for run, _, session in found if session]
    execute(connection, queries.ORPHAN_RUNS, ([run for run, _, session in found if not session],))
    execute(connection, queries.CRASH_RUNS, (reason, now, crashed))
    live = execute(connection, queries.LIVE_TASKS, (crashed,)).fetchall()
    if live:
        told_why = [encoding.with_reason(more, reason) for _, _, more in live]
        execute(connection, queries.CRASH_TASKS, (now, [row[0] for row in live], [row[1] for row in live], told_why))
    execute(connection, queries.MARK_SWEPT, (now, dead))
    execute(connection, queries.FORGET_SWEPT, (now - REMEMBER_SWEPT,))
    return sorted(RunId(run_id) for _, run_id, _ in found)
