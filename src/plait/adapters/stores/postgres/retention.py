"""Deleting runs, in bounded transactions.

A run vanishes at once: its row goes, its number is put into the trash. Its many rows follow in parts. A process that
dies in between leaves trash, which the next deletion empties.
"""

from plait.adapters.stores.postgres import queries
from plait.adapters.stores.postgres.server import Connection, execute
from plait.model.ids import RunId

ROWS_AT_ONCE = 10_000


def drop(connection: Connection, finished_before: float, limit: int) -> list[RunId]:
    """Make at most `limit` final runs vanish that ended before then; returns which."""
    execute(connection, queries.KEEP_GRAPHS)
    found = execute(connection, queries.OLD_RUNS, (finished_before, limit)).fetchall()
    for statement in queries.DROP_RUNS:
        execute(connection, statement, ([run for run, _, _ in found],))
    gone = [RunId(run_id) for _, run_id, _ in found]
    for statement in queries.DROP_RUNS_BY_ID:
        execute(connection, statement, (gone,))
    execute(connection, queries.DROP_STRAY_INBOX)
    execute(connection, queries.DELETE_UNUSED_GRAPHS, (sorted({graph_hash for _, _, graph_hash in found}),))
    return gone


def empty(connection: Connection) -> bool:
    """Delete a bounded part of what the trash names; returns whether all is gone, or is being deleted elsewhere."""
    left = ROWS_AT_ONCE
    for (run,) in execute(connection, queries.TRASH).fetchall():
        for statement in queries.DELETE_PARTS:
            left -= execute(connection, statement, {"run": run, "most": left}).rowcount
            if left <= 0:
                return False
        execute(connection, queries.EMPTIED, (run,))
    return True
