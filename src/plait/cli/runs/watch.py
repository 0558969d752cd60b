"""`plait runs watch`: the live display of `plait run`, for a run of another process."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import click

from plait.cli.common import listen, log_reader, open_store, print_json, result_store
from plait.cli.completions import complete_run
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.cli.board import Board
    from plait.model.rows import RunRow
    from plait.ports import RunStore
    from plait.services.history import RunHistory

SLOWEST = 1.0
QUICKEST = 0.1


@click.command()
@click.argument("run_id", shell_complete=complete_run)
@json_option
@db_option
def watch(run_id: str, as_json: bool) -> int:
    """Watch RUN_ID until it is over, then show what it came to. Exit code 1 if the run did not succeed.

    \b
      plait runs watch 0199b3f2
    """
    return follow(run_id, as_json=as_json)


def follow(run_id: str, *, as_json: bool) -> int:
    """Show a run until it is over; the exit code."""
    from plait.cli.board import Board
    from plait.cli.progress import display
    from plait.cli.summary import show_failures, show_run
    from plait.services.history import RunHistory
    from plait.services.logs import RunLogs
    from plait.services.queries import RunQueries

    with open_store() as store:
        queries = RunQueries(store, result_store())
        row = queries.find(run_id)
        graph = store.load_graph(row.graph_hash)
        board = Board()
        if graph is not None:
            board.know(graph)
        board.run_id = row.run_id
        shown = display(board, f"{row.kind} {row.workflow}")
        shown.start()
        try:
            _follow(store, row, board, RunHistory(store, row.run_id, graph))
        finally:
            shown.stop()
        view = queries.view(row.run_id)
        if as_json:
            print_json(view)
        else:
            show_run(view, head=False)
            if view.state in ("failed", "crashed"):
                show_failures(queries, RunLogs(store, log_reader()), view)
    return 0 if view.state == "success" else 1


def _follow(store: RunStore, row: RunRow, board: Board, history: RunHistory) -> None:
    """Look when the bus rings, and now and then anyway; the longer a look takes, the longer the pause."""
    from plait.services.views import is_over

    rung = threading.Event()
    with listen(rung.set):
        while True:
            began = time.monotonic()
            now = store.get_run(row.run_id)
            for change in history.news():
                if change.state is None:
                    board.drop(change.no)
                else:
                    board.update(change.no, change.key, change.state, change.asks)
            board.expect(history.expected)
            board.state = now.state if now is not None else "deleted"
            if now is None or is_over(now.state):
                return
            took = time.monotonic() - began
            time.sleep(max(QUICKEST, 2 * took))
            rung.wait(SLOWEST)
            rung.clear()
