"""Deleting runs, in bounded transactions.

A run vanishes at once: its row goes, its number and id are put into the trash. Its many rows follow in parts, then,
by whoever empties the trash, its files. A process that dies in between leaves trash, with which the next one goes on.
"""

import sqlite3
from collections.abc import Sequence

from plait.adapters.stores.encoding import as_json
from plait.adapters.stores.sqlite import queries
from plait.model.ids import RunId


def drop(connection: sqlite3.Connection, runs: Sequence[int], finished_before: float) -> int:
    """Make these runs vanish, as far as they are still old; returns how many."""
    found = connection.execute(queries.STILL_OLD, (finished_before, as_json(list(runs)))).fetchall()
    for statement in queries.DROP_RUN:
        connection.executemany(statement, [(run,) for run, _, _ in found])
    for statement in queries.DROP_RUN_BY_ID:
        connection.executemany(statement, [(run_id,) for _, run_id, _ in found])
    connection.execute(queries.DROP_STRAY_INBOX)
    graphs = sorted({graph_hash for _, _, graph_hash in found})
    connection.execute(queries.DELETE_UNUSED_GRAPHS, (as_json(graphs),))
    return len(found)


def empty(connection: sqlite3.Connection, most: int) -> tuple[list[RunId], bool]:
    """Delete about `most` rows of what the trash names; returns the runs of which nothing is left, and whether there is
    more to delete."""
    left = most
    emptied: list[RunId] = []
    for run, run_id in connection.execute(queries.TRASH, (most,)).fetchall():
        for statement in queries.DELETE_PARTS:
            left -= connection.execute(statement, {"run": run, "most": left}).rowcount
            if left <= 0:
                return emptied, True
        connection.execute(queries.EMPTIED, (run,))
        if run_id is not None:
            emptied.append(RunId(run_id))
    return emptied, False


def forget(connection: sqlite3.Connection, run_ids: Sequence[RunId]) -> None:
    """Nothing is left of these runs."""
    connection.execute(queries.FORGET_TRASH, (as_json(list(run_ids)),))
