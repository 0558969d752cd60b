"""`plait runs retry`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from plait.cli.common import open_queries
from plait.cli.completions import complete_run
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.model.ids import RunId
    from plait.runtime.session import Session


@click.command()
@click.argument("run_id", shell_complete=complete_run)
@click.option("--task", metavar="KEY", help="Run this task again, and what is below it, whatever it came to.")
@click.option("--executor", type=click.Choice(["inline", "threads", "processes"]), help="As for `plait run`.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="As for `plait run`.")
@json_option
@db_option
def retry(run_id: str, task: str | None, executor: str | None, workers: int | None, as_json: bool) -> int:
    """Run the failures of RUN_ID again and what is below them, in this process; what has succeeded stays.

    The code is loaded from where the run had it.

    \b
      plait runs retry 0199b3f2
      plait runs retry 0199b3f2 --task load
    """
    from plait.cli.running import carry_out, load
    from plait.model.errors import UsageError

    with open_queries() as queries:
        row = queries.find(run_id)
        if task is not None and all(view.key != task for view in queries.view(row.run_id).tasks):
            raise UsageError(f"run {row.run_id} has no task {task!r}", right=f"plait runs show {row.run_id}")
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
