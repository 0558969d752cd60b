"""Deleting runs, in bounded transactions.

A run vanishes at once: its row goes, its number and id are put into the trash. Its many rows follow in parts, then,
by whoever empties the trash, its files. A process that dies in between leaves trash, with which the next one goes on.
"""

from collections.abc import Sequence

from plait.adapters.stores.postgres import queries
from plait.adapters.stores.postgres.server import Connection, execute
from plait.model.ids import RunId


def drop(connection: Connection, runs: Sequence[int], finished_before: float) -> list[RunId]:
    """Make these runs vanish, as far as they are still old; returns which."""
    execute(connection, queries.KEEP_GRAPHS)
    found = execute(connection, queries.STILL_OLD, (finished_before, list(runs))).fetchall()
    for statement in queries.DROP_RUNS:
        execute(connection, statement, ([run for run, _, _ in found],))
    gone = [RunId(run_id) for _, run_id, _ in found]
    for statement in queries.DROP_RUNS_BY_ID:
        execute(connection, statement, (gone,))
    execute(connection, queries.DROP_STRAY_INBOX)
    execute(connection, queries.DELETE_UNUSED_GRAPHS, (sorted({graph_hash for _, _, graph_hash in found}),))
    return gone


def empty(connection: Connection, most: int) -> tuple[list[RunId], bool]:
    """Delete about `most` rows of what the trash names; returns the runs of which nothing is left, and whether there is
    more to delete."""
    left = most
    emptied: list[RunId] = []
    for run, run_id in execute(connection, queries.TRASH, (most,)).fetchall():
        for statement in queries.DELETE_PARTS:
            left -= execute(connection, statement, {"run": run, "most": left}).rowcount
            if left <= 0:
                return emptied, True
        execute(connection, queries.EMPTIED, (run,))
        if run_id is not None:
            emptied.append(RunId(run_id))
    return emptied, False


def forget(connection: Connection, run_ids: Sequence[RunId]) -> None:
    """Nothing is left of these runs."""
    execute(connection, queries.FORGET_TRASH, (list(run_ids),))
