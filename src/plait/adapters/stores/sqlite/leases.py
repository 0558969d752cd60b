"""Who owns runs: leases, claims, sweeps. Each function works on a connection whose transaction has begun."""

import sqlite3
from collections.abc import Sequence

from plait.adapters.stores import encoding
from plait.adapters.stores.encoding import as_json
from plait.adapters.stores.sqlite import queries
from plait.model.errors import StaleToken, StoreError
from plait.model.ids import RunId
from plait.model.rows import OwnerRow
from plait.model.states import RUN_TERMINAL

REMEMBER_SWEPT = 7 * 86400.0
"""Seconds for which a swept owner is remembered, so that it learns of it."""


def renew(connection: sqlite3.Connection, owner: OwnerRow) -> bool:
    """Register an owner, or prolong its lease; false for one that was swept."""
    values = (owner.host, owner.pid, owner.started, owner.lease_until, owner.address, owner.owner)
    known = connection.execute(queries.RENEW, values).rowcount
    return bool(known or connection.execute(queries.REGISTER, values).rowcount)


def take_over(connection: sqlite3.Connection, run_id: RunId, owner: str, now: float, epoch: int | None) -> int:
    """Give a run to an owner; a run that is over is held by nobody. With `epoch` it is handed over, with its slots."""
    found = connection.execute(queries.HOLDER, (run_id,)).fetchone()
    if found is None:
        raise StoreError(f"there is no run {run_id}")
    if connection.execute(queries.IS_SWEPT, (owner,)).fetchone():
        raise StoreError(f"{owner} was declared dead, and cannot take over run {run_id}")
    run, holder, current, state = found
    if epoch is not None and epoch != current:
        raise StaleToken(f"run {run_id} is leased under epoch {current}, not {epoch}")
    if epoch is None and holder not in (None, owner) and state not in RUN_TERMINAL:
        lease = connection.execute(queries.LEASE_OF, (holder,)).fetchone()
        if lease is not None and lease[0] >= now:
            raise StoreError(f"run {run_id} belongs to {holder}, which is alive")
    connection.execute(queries.TAKE_OVER, (owner, current + 1, run))
    if epoch is None:
        connection.execute(queries.FREE_SLOTS_OF_RUN, (run_id,))
    return current + 1


def claim(connection: sqlite3.Connection, owner: str, limit: int) -> list[RunId]:
    """Give an owner runs that nobody owns."""
    if connection.execute(queries.IS_SWEPT, (owner,)).fetchone():
        return []
    found = [RunId(columns[0]) for columns in connection.execute(queries.CLAIMABLE, (limit,))]
    connection.execute(queries.CLAIM, (owner, as_json(found)))
    return found


def let_go(connection: sqlite3.Connection, run_ids: Sequence[RunId], owner: str, now: float, crashed: str) -> None:
    """Take these runs from an owner, as far as it has them."""
    theirs = connection.execute(queries.HELD_BY, (as_json(list(run_ids)), owner)).fetchall()
    for run, run_id, is_open in theirs:
        if crashed:
            connection.execute(queries.FREE_SLOTS_OF_RUN, (run_id,))
        if crashed and is_open:
            _crash(connection, run, encoding.printable(crashed), now)
        else:
            connection.execute(queries.ORPHAN_RUN, (run,))


def sweep(connection: sqlite3.Connection, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
    """Declare owners dead; returns their open runs, which are crashed now or, of a service, without an owner."""
    owners = as_json(list(dead))
    connection.execute(queries.FREE_SLOTS_OF, (owners,))
    lost = connection.execute(queries.OPEN_RUNS_OF, (owners,)).fetchall()
    for run, _, session in lost:
        if session:
            _crash(connection, run, encoding.printable(reason), now)
        else:
            connection.execute(queries.ORPHAN_RUN, (run,))
    for owner in dead:
        connection.execute(queries.MARK_SWEPT, {"owner": owner, "now": now})
    connection.execute(queries.FORGET_SWEPT, (now - REMEMBER_SWEPT,))
    return [RunId(run_id) for _, run_id, _ in lost]


def _crash(connection: sqlite3.Connection, run: int, reason: str, now: float) -> None:
    connection.execute(queries.CRASH_RUN, (reason, now, run))
    live = connection.execute(queries.LIVE_TASKS, (run,)).fetchall()
    connection.executemany(
        queries.CRASH_TASK, [(now, encoding.with_reason(more, reason), run, no) for no, more in live]
    )
