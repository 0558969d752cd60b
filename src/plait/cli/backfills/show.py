"""`plait backfills show`."""

from __future__ import annotations

import click

from plait.cli.common import open_store, print_json
from plait.cli.options import db_option, json_option


@click.command()
@click.argument("backfill_id")
@json_option
@db_option
def show(backfill_id: str, as_json: bool) -> None:
    """Show how far the backfill BACKFILL_ID is (the beginning or the end of its id is enough), by what its runs make.

    \b
      plait backfills show 0199b3f2
    """
    from plait import bootstrap
    from plait.cli.backfill import show as shown
    from plait.services.backfills import BackfillRequests

    with open_store() as store:
        requests = BackfillRequests(store, bootstrap.clock())
        view = requests.view(requests.find(backfill_id))
    if as_json:
        print_json(view)
    else:
        shown(view)
