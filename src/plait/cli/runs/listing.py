"""`plait runs list`."""

import click

from plait.cli.common import STATE_STYLES, local_time, open_queries, print_json, say, seconds
from plait.cli.options import db_option, json_option
from plait.model.states import RunState


@click.command("list")
@click.option("--workflow", metavar="NAME", help="Only runs of this workflow.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice([state.value for state in RunState]),
    metavar="STATE",
    help="Only runs in this state. May be given several times.",
)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@click.option("--before", metavar="RUN_ID", help="Only runs that are older than this one: the next page.")
@json_option
@db_option
def listing(workflow: str | None, states: tuple[str, ...], limit: int, before: str | None, as_json: bool) -> None:
    """List runs, newest first.

    \b
      plait runs list
      plait runs list --workflow daily --state failed --json
    """
    with open_queries() as queries:
        older = queries.find(before).run_id if before is not None else None
        lines = queries.lines(workflow=workflow, states=states, before=older, limit=limit)
    if as_json:
        print_json({"runs": lines})
        return
    if not lines:
        say("there are no runs" + (" like that" if workflow or states or before else " yet"))
        return
    from plait.cli import tables

    tables.show(
        ("run", "workflow", "state", "created", "duration", "for"),
        [
            (
                line.run_id,
                line.workflow,
                (line.state, STATE_STYLES.get(line.state)),
                local_time(line.created_at),
                seconds(line.duration_s),
                line.partition or line.logical_date or "",
            )
            for line in lines
        ],
    )
