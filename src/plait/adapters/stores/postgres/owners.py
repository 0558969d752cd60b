"""Who owns runs: the heartbeat, and what happens to the runs of owners that are dead."""

import threading
from collections.abc import Sequence

import psycopg

from plait.adapters.stores import encoding
from plait.adapters.stores.postgres import queries
from plait.adapters.stores.postgres.connections import TRIES, is_lost, pause
from plait.adapters.stores.postgres.failures import RETRIED, state_of, told
from plait.adapters.stores.postgres.server import Connection, Server, execute, patiently
from plait.model.errors import StaleToken, StoreError
from plait.model.ids import RunId
from plait.model.rows import OwnerRow
from plait.model.states import RUN_TERMINAL

REMEMBER_SWEPT = 7 * 86400.0
"""Seconds for which a swept owner is remembered, so that it learns of it."""


class Heartbeat:
    """Prolongs leases on a connection of its own, which waits neither for transactions of this process nor for the
    disk: a heartbeat need not outlive a crash of the server. The first one on a connection has to: whose registration
    was lost with the server leases runs, and nobody would know that they are a dead owner's."""

    def __init__(self, server: Server):
        self._server = server
        self._turn = threading.Lock()
        self._connection: Connection | None = None
        self._registered = False
        """Whether a renewal has been committed durably on this connection."""

    def renew(self, owner: OwnerRow) -> bool:
        """Register an owner, or prolong its lease; false for one that was swept."""
        values = (owner.owner, owner.host, owner.pid, owner.started, owner.lease_until, owner.address)
        with self._turn:
            for left in reversed(range(TRIES)):
                connection = self._open()
                try:
                    renewed = bool(execute(connection, queries.RENEW, values).rowcount)
                    if not self._registered:
                        execute(connection, queries.WAIT_NO_MORE, ())
                        self._registered = True
                    return renewed
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
            self._connection = patiently(self._server.writer)
            self._registered = False
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def close(self) -> None:
        """Close the connection; waits for a heartbeat that is under way."""
        with self._turn:
            self._close()


def take_over(connection: Connection, run_id: RunId, owner: str, now: float, epoch: int | None) -> int:
    """Give a run to an owner; a run that is over is held by nobody. With `epoch` it is handed over, with its slots."""
    found = execute(connection, queries.HOLDER, (run_id,)).fetchone()
    if found is None:
        raise StoreError(f"there is no run {run_id}")
    if _is_swept(connection, owner):
        raise StoreError(f"{owner} was declared dead, and cannot take over run {run_id}")
    run, holder, current, state = found
    if epoch is not None and epoch != current:
        raise StaleToken(f"run {run_id} is leased under epoch {current}, not {epoch}")
    if epoch is None and holder not in (None, owner) and state not in RUN_TERMINAL:
        lease = execute(connection, queries.LEASE_OF, (holder,)).fetchone()
        if lease is not None and lease[0] >= now:
            raise StoreError(f"run {run_id} belongs to {holder}, which is alive")
    execute(connection, queries.TAKE_OVER, (owner, current + 1, run))
    if epoch is None:
        execute(connection, queries.FREE_SLOTS_OF_RUN, ([run_id],))
    return current + 1


def _is_swept(connection: Connection, owner: str) -> bool:
    return execute(connection, queries.IS_SWEPT, (owner,)).fetchone() == (True,)


def claim(connection: Connection, owner: str, limit: int) -> list[RunId]:
    """Give an owner runs that nobody owns."""
    if _is_swept(connection, owner):
        return []
    found = [row for statement in queries.CLAIMABLE for row in execute(connection, statement, (limit,)).fetchall()]
    oldest = sorted(found)[:limit]
    execute(connection, queries.CLAIM, (owner, [run for _, run in oldest]))
    return [RunId(run_id) for run_id, _ in oldest]


def let_go(connection: Connection, run_ids: Sequence[RunId], owner: str, now: float, crashed: str) -> list[RunId]:
    """Take these runs from an owner, as far as it has them; returns those."""
    theirs = execute(connection, queries.HELD_BY, (list(run_ids), owner)).fetchall()
    if crashed:
        execute(connection, queries.FREE_SLOTS_OF_RUN, ([run_id for _, run_id, _ in theirs],))
    broken = [run for run, _, is_open in theirs if crashed and is_open]
    _crash(connection, broken, encoding.printable(crashed), now)
    execute(connection, queries.ORPHAN_RUNS, ([run for run, _, is_open in theirs if not (crashed and is_open)],))
    return [RunId(run_id) for _, run_id, _ in theirs]


def sweep(connection: Connection, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
    """Declare owners dead; returns their open runs, which are crashed now or, of a service, without an owner."""
    dead = sorted(set(dead))
    execute(connection, queries.MARK_SWEPT, (now, dead))  # first: from now on they lease nothing more
    lost = execute(connection, queries.OPEN_RUNS_OF, (dead,)).fetchall()
    execute(connection, queries.FREE_SLOTS_OF, (dead,))
    _crash(connection, [run for run, _, session in lost if session], encoding.printable(reason), now)
    execute(connection, queries.ORPHAN_RUNS, ([run for run, _, session in lost if not session],))
    execute(connection, queries.FORGET_SWEPT, (now - REMEMBER_SWEPT,))
    return sorted(RunId(run_id) for _, run_id, _ in lost)


def _crash(connection: Connection, runs: list[int], reason: str, now: float) -> None:
    execute(connection, queries.CRASH_RUNS, (reason, now, runs))
    live = execute(connection, queries.LIVE_TASKS, (runs,)).fetchall()
    if live:
        numbers, nos = [row[0] for row in live], [row[1] for row in live]
        told_why = [encoding.with_reason(more, reason) for _, _, more in live]
        execute(connection, queries.CRASH_TASKS, (now, numbers, nos, told_why))
