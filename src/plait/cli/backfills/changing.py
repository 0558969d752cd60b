"""`plait backfills pause`, `resume` and `cancel`."""

from __future__ import annotations

import click

from plait.cli.common import open_store, print_json, ring, say
from plait.cli.options import db_option, json_option
from plait.model.backfills import BackfillState


@click.command()
@click.argument("backfill_id")
@json_option
@db_option
def pause(backfill_id: str, as_json: bool) -> None:
    """Have the backfill BACKFILL_ID begin nothing more. What has begun is finished.

    \b
      plait backfills pause 0199b3f2
    """
    _change(backfill_id, BackfillState.PAUSED, as_json=as_json)


@click.command()
@click.argument("backfill_id")
@json_option
@db_option
def resume(backfill_id: str, as_json: bool) -> None:
    """Let the paused backfill BACKFILL_ID go on.

    \b
      plait backfills resume 0199b3f2
    """
    _change(backfill_id, BackfillState.RUNNING, as_json=as_json)


@click.command()
@click.argument("backfill_id")
@json_option
@db_option
def cancel(backfill_id: str, as_json: bool) -> None:
    """End the backfill BACKFILL_ID, and cancel the runs that it has on their way. What is done stays done.

    \b
      plait backfills cancel 0199b3f2
    """
    _change(backfill_id, BackfillState.CANCELLING, as_json=as_json)


def _change(text: str, state: BackfillState, *, as_json: bool) -> None:
    from plait import bootstrap
    from plait.services.backfills import BackfillRequests

    with open_store() as store:
        requests = BackfillRequests(store, bootstrap.clock(), lambda: ring("backfills"))
        view = requests.view(requests.change(requests.find(text).id, state))
    if as_json:
        print_json(view)
        return
    say(f"backfill {view.id}: {view.state}")
    if view.here and state is not BackfillState.PAUSED:
        say(f"if no `plait backfill` is at it any more: plait backfill {view.target} --resume {view.id}")
