"""`plait events list`."""

from __future__ import annotations

import click

from plait.cli.common import local_time, open_store, print_json, say
from plait.cli.options import db_option, json_option


@click.command("list")
@click.argument("name", required=False)
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="At most so many.")
@json_option
@db_option
def listing(name: str | None, limit: int, as_json: bool) -> None:
    """List published events, newest first; those called NAME, if given. Old ones are deleted, as runs are.

    \b
      plait events list
      plait events list orders_ready --json
    """
    from plait.cli import tables
    from plait.services.events import published

    with open_store() as store:
        views = published(store, name, limit)
    if as_json:
        print_json({"events": views})
        return
    if not views:
        say("no event was published here; plait events publish does")
        return
    tables.show(("name", "published", "data"), [(view.name, local_time(view.at), _shown(view.data)) for view in views])


def _shown(data: object) -> str:
    import msgspec

    text = msgspec.json.encode(data).decode()
    return text if len(text) <= 100 else f"{text[:99]}…"
