"""`plait backfills list`."""

from __future__ import annotations

import click

from plait.cli.common import local_time, open_store, print_json, say, short_id
from plait.cli.options import db_option, json_option


@click.command("list")
@click.option("--open", "open_only", is_flag=True, help="Only those that are not over.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@json_option
@db_option
def listing(open_only: bool, limit: int, as_json: bool) -> None:
    """List backfills, newest first, and how far each is.

    \b
      plait backfills list
      plait backfills list --open --json
    """
    from plait import bootstrap
    from plait.cli import tables
    from plait.services.backfills import BackfillRequests

    with open_store() as store:
        views = BackfillRequests(store, bootstrap.clock()).views(open_only=open_only, limit=limit)
    if as_json:
        print_json({"backfills": views})
        return
    if not views:
        say("there are no backfills here; plait backfill begins one")
        return
    tables.show(
        ("id", "state", "of", "done", "failed", "running", "begun"),
        [
            (short_id(view.id), view.state, view.title, f"{view.done:,} of {view.total:,}",
             f"{view.failed + view.skipped:,}", f"{view.running:,}", local_time(view.created_at))
            for view in views
        ],
    )  # fmt: skip
