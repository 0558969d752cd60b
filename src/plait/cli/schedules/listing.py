"""`plait schedules list`: the schedules of the database."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from plait.cli.common import open_store, print_json, say
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.services.schedules import TriggerView


@click.command("list")
@click.option("--workflow", metavar="NAME", help="Only those of this workflow.")
@json_option
@db_option
def listing(workflow: str | None, as_json: bool) -> None:
    """List the deployed schedules, soonest first: what each fired last (or since when it counts), and when it fires
    next, or what has happened of that for which it waits. Those of a paused workflow do not fire.

    \b
      plait schedules list
      plait schedules list --workflow every_morning --json
    """
    from plait.services.schedules import deployed

    with open_store() as store:
        views = deployed(store, workflow)
    views.sort(key=lambda view: (view.paused, view.next_at is None, view.next_at or "", view.workflow, view.no))
    if as_json:
        print_json({"schedules": views})
        return
    if not views:
        what = f"no schedule of {workflow!r}" if workflow else "no schedule"
        say(f"{what} is deployed here; plait dev and plait scheduler deploy what their files define")
        return
    from plait.cli import tables
    from plait.cli.schedules.times import on_clock

    tables.show(
        ("workflow", "schedule", "missed runs", "last", "next"),
        [
            (
                view.workflow,
                view.schedule,
                view.catchup if view.waits_for is None else "-",
                on_clock(view.cursor, view.tz) if view.cursor else "-",
                _next(view),
            )
            for view in views
        ],
    )


def _next(view: TriggerView) -> str:
    from plait.cli.schedules.times import on_clock

    if view.paused:
        return "paused"
    if view.waits_for is not None:
        total = len(view.waits_for.happened) + len(view.waits_for.missing)
        told = f"{len(view.waits_for.happened)} of {total} since then"
        missing = ", ".join(view.waits_for.missing[:3]) + (", ..." if len(view.waits_for.missing) > 3 else "")
        return f"{told}; not yet: {missing}" if missing else told
    return on_clock(view.next_at, view.tz) if view.next_at else "never"
