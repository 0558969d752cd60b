"""Deleting runs, in bounded transactions.

A run vanishes at once: its row goes, its number is put into the trash. Its many rows follow in parts. A process that
dies in between leaves trash, which the next deletion empties.
"""

import json
import sqlite3

from plait.adapters.stores.sqlite import queries

ROWS_AT_ONCE = 10_000


def drop(connection: sqlite3.Connection, finished_before: float, limit: int) -> int:
    """Make at most `limit` final runs vanish that ended before then; returns how many."""
    found = connection.execute(queries.OLD_RUNS, (finished_before, limit)).fetchall()
    for statement in queries.DROP_RUN:
        connection.executemany(statement, [(run,) for run, _, _ in found])
    for statement in queries.DROP_RUN_BY_ID:
        connection.executemany(statement, [(run_id,) for _, run_id, _ in found])
    connection.execute(queries.DROP_STRAY_INBOX)
    graphs = sorted({graph_hash for _, _, graph_hash in found})
    connection.execute(queries.DELETE_UNUSED_GRAPHS, (json.dumps(graphs),))
    return len(found)


def empty(connection: sqlite3.Connection) -> bool:
    """Delete a bounded part of what the trash names; returns whether all is gone."""
    left = ROWS_AT_ONCE
    for (run,) in connection.execute(queries.TRASH).fetchall():
        for statement in queries.DELETE_PARTS:
            left -= connection.execute(statement, {"run": run, "most": left}).rowcount
            if left <= 0:
                return False
        connection.execute(queries.EMPTIED, (run,))
    return True
