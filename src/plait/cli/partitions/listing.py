"""`plait partitions list`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from plait.cli.common import open_store, print_json, say
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.services.partitions import PartitionCounts, PartitionPage

STATES = ("materialized", "failed", "in_progress", "missing")


@click.command("list")
@click.argument("target", type=click.Path())
@click.argument("asset", required=False)
@click.option("--status", type=click.Choice(STATES), multiple=True, help="Only those in this state.")
@click.option("--partitions", "text", metavar="KEYS", help="Only these: KEY, or FIRST...LAST.")
@click.option("--offset", type=click.IntRange(min=0), default=0, help="Leave out so many.")
@click.option("--limit", type=click.IntRange(1, 10_000), default=50, show_default=True, help="At most so many.")
@click.option("--newest", is_flag=True, help="The last ones first.")
@json_option
@db_option
def listing(target: str, asset: str | None, as_json: bool, **wanted: Any) -> None:
    """Show how many partitions the assets of TARGET (a file, a folder or a module) have, and in which state they are;
    with the name of an ASSET, its partitions.

    \b
      plait partitions list assets.py
      plait partitions list assets.py flights --status failed --newest
    """
    from plait import bootstrap
    from plait.cli.running import load
    from plait.engine.partitions import edges
    from plait.model.errors import UsageError
    from plait.services.partitions import PartitionStatus, Status

    index = load(target).asset_index()
    specs = {key: spec.partitions for key, spec in index.specs.items() if spec.partitions is not None}
    if asset is not None and asset not in specs:
        known = ", ".join(sorted(specs)) or "none"
        what = f"asset {asset!r} has no partitions" if asset in index.specs else f"there is no asset {asset!r}"
        raise UsageError(what, right=f"one of: {known}")
    with open_store() as store:
        found = PartitionStatus(store, bootstrap.clock())
        spaces = found.spaces({key: edges.slices_of(spec) for key, spec in specs.items()})
        if asset is None:
            _show_counts(found.counts(spaces), as_json=as_json)
            return
        wanted["status"] = [Status(each) for each in wanted["status"]]
        page = found.page(asset, spaces[asset], **wanted)
    _show_page(page, as_json=as_json)


def _show_counts(counts: list[PartitionCounts], *, as_json: bool) -> None:
    from plait.cli import tables

    if as_json:
        print_json({"assets": counts})
        return
    if not counts:
        say("no asset here has partitions")
        return
    tables.show(
        ("asset", "partitions", "materialized", "failed", "in progress", "missing"),
        [
            (each.asset, *(f"{count:,}" for count in (each.total, each.materialized, each.failed, each.in_progress,
                                                       each.missing)))
            for each in counts
        ],
    )  # fmt: skip


def _show_page(page: PartitionPage, *, as_json: bool) -> None:
    from plait.cli import tables

    if as_json:
        print_json(page)
        return
    tables.show(("partition", "status"), [(each.key, each.status) for each in page.partitions])
    counts = page.counts
    say(f"{len(page.partitions):,} of {page.total:,}; {counts.materialized:,} of {counts.total:,} are materialized")
