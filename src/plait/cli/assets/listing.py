"""`plait assets list` and `plait assets stale`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from plait.cli.assets.common import COLOURS, NONE, assets_of, state
from plait.cli.common import local_time, print_json, say
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.services.assets import AssetView

_SELECT = click.option(
    "--select", metavar="EXPR", help="Only these: names, globs, group:raw, kind:, tag:, owner:, +upstream, stale ..."
)
_PARTITION = click.option("--partition", metavar="KEY", help="Of partitioned assets: how this partition stands.")


@click.command("list")
@click.argument("target", type=click.Path(), required=False)
@_SELECT
@_PARTITION
@json_option
@db_option
def listing(target: str | None, select: str | None, partition: str | None, as_json: bool) -> None:
    """List the assets of TARGET (a file, a folder or a module; without, what is deployed), upstream ones first: whether
    each is there and as its code and what it is made from want it, and new enough.

    \b
      plait assets list flows.py
      plait assets list --select "group:raw or +report" --partition 2013-01-01
      plait assets list --select stale --json
    """
    with assets_of(target) as assets:
        views = assets.views(select, partition)
    if as_json:
        print_json({"assets": views})
        return
    if not views:
        say(NONE)
        return
    from plait.cli import tables

    tables.show(
        ("asset", "group", "state", "fresh", "checks", "materialized", "partition"),
        [
            (
                view.key,
                view.group,
                state(view),
                (view.freshness, COLOURS.get(view.freshness)) if view.freshness else "-",
                _checks(view),
                local_time(view.at) or "-",
                view.partition or ("-" if view.partitions is None else view.partitions),
            )
            for view in views
        ],
    )


def _checks(view: AssetView) -> str | tuple[str, str]:
    if not view.checks:
        return "-"
    failed = [check.name for check in view.checks if check.passed is False]
    if failed:
        return f"{len(failed)} of {len(view.checks)} failed", "red"
    return f"{sum(check.passed is True for check in view.checks)} of {len(view.checks)} passed"


@click.command("stale")
@click.argument("target", type=click.Path(), required=False)
@_SELECT
@_PARTITION
@json_option
@db_option
def stale(target: str | None, select: str | None, partition: str | None, as_json: bool) -> None:
    """List the assets of TARGET (without, of what is deployed) that are missing or would come out differently now, each
    with its causes.

    \b
      plait assets stale flows.py
      plait assets stale --select "+report" --json
    """
    with assets_of(target) as assets:
        views = assets.stale(select, partition)
    if as_json:
        print_json({"assets": views})
        return
    if not views:
        say("nothing is stale")
        return
    from plait.cli import tables

    tables.show(
        ("asset", "state", "why"),
        [
            (view.key if at == 0 else "", state(view) if at == 0 else "", cause)
            for view in views
            for at, cause in enumerate(view.causes)
        ],
    )
