"""`plait runs retry`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plait.cli.common import open_store, ring, say
from plait.cli.completions import complete_run
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.model.ids import RunId
    from plait.model.rows import RunRow
    from plait.runtime.session import Session

MOST_NAMES = 30
BEGIN_WITHIN = 5.0
"""Seconds that a service may take to go on with a run."""


@click.command()
@click.argument("run_id", shell_complete=complete_run)
@click.option("--task", metavar="KEY", help="Run this task again, and what is below it, whatever it came to.")
@click.option("--executor", type=click.Choice(["inline", "threads", "processes"]), help="As for `plait run`.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="As for `plait run`.")
@json_option
@db_option
def retry(run_id: str, task: str | None, executor: str | None, workers: int | None, as_json: bool) -> int:
    """Run the failures of RUN_ID again and what is below them; what has succeeded stays. A run that `plait run` or a
    script started goes on in this process; a service's run goes on there, and is watched.

    The code is loaded from where the run had it. The tasks of a flow are called by its body: name the flow to run it
    again as a whole.

    \b
      plait runs retry 0199b3f2
      plait runs retry 0199b3f2 --task load
    """
    from plait.cli.running import carry_out, load
    from plait.model.errors import UsageError
    from plait.services.queries import RunQueries

    with open_store() as store:
        row = RunQueries(store).find(run_id)
        graph = store.load_graph(row.graph_hash)
    known = [node.key for node in graph.nodes] if graph is not None else []
    if task is not None and task not in known:
        raise UsageError(
            f"run {row.run_id} has no task {task!r} that can run again by itself", right=_names(row, known)
        )
    if not row.session:
        return _ask_service(row, task, as_json=as_json)
    if not row.target or ("/" in row.target and not Path(row.target).exists()):
        where = f"{row.target} is not there any more" if row.target else "it was started by a script or a notebook"
        raise UsageError(
            f"the code of run {row.run_id} cannot be loaded: {where}", right=f"plait run TARGET --resume {row.run_id}"
        )
    definitions = load(row.target)

    def begin(session: Session) -> RunId:
        session.resume(row.run_id, definitions, tasks=(task,) if task is not None else ())
        return row.run_id

    title = f"retry of {row.workflow}"
    return carry_out(row.target, begin, title=title, executor=executor, workers=workers, as_json=as_json)


def _ask_service(row: RunRow, task: str | None, *, as_json: bool) -> int:
    """A service's run goes on there; this command watches it."""
    from plait import bootstrap
    from plait.cli.runs.watch import follow
    from plait.services.runs import RunRequests

    with open_store() as store:
        requests = RunRequests(store, bootstrap.clock(), time.sleep, ring)
        requests.again(row, (task,) if task is not None else ())
        begun = requests.begun(row, BEGIN_WITHIN)
    if not begun:
        say(f"no scheduler has taken run {row.run_id} up yet: it goes on when there is one (plait scheduler)")
        return 0
    return follow(row.run_id, as_json=as_json)


def _names(row: RunRow, known: Sequence[str]) -> str:
    """What `--task` can be."""
    if row.kind == "flow":
        return f"--task {row.workflow}      # the flow as a whole: its body calls its tasks"
    return f"one of: {', '.join(known)}" if len(known) <= MOST_NAMES else f"plait runs show {row.run_id} lists them"
