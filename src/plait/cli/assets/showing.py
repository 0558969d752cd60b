"""`plait assets show`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from plait.cli.assets.common import assets_of
from plait.cli.common import local_time, near, print_json, say, short_id
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.services.assets import AssetDetail, EventView


@click.command("show")
@click.argument("key")
@click.argument("target", type=click.Path(), required=False)
@click.option("--partition", metavar="KEY", help="Only about this partition.")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True, help="So much of its history.")
@json_option
@db_option
def showing(key: str, target: str | None, partition: str | None, limit: int, as_json: bool) -> None:
    """Show the asset KEY of TARGET (without, of what is deployed): how it stands and why, its checks, what it is made
    from, and what happened to it, newest first.

    \b
      plait assets show report flows.py
      plait assets show orders --partition 2013-01-01 --json
    """
    with assets_of(target) as assets:
        found = assets.show(key, partition, limit)
    if as_json:
        print_json(found)
        return
    for name, value in _lines(found):
        say(f"{name + ':':14}{value}")
    if found.history:
        from plait.cli import tables

        say("")
        tables.show(
            ("when", "what", "partition", "run", "data version", "more"),
            [
                (
                    local_time(event.at),
                    event.name or event.kind,
                    event.partition or "-",
                    short_id(event.run_id),
                    event.data_version or "-",
                    _more(event),
                )
                for event in found.history
            ],
        )


def _lines(found: AssetDetail) -> list[tuple[str, str]]:
    asset = found.asset
    checks = [f"{each.name} ({_result(each.passed)})" for each in asset.checks]
    standing = "; ".join([asset.status or asset.kind, *asset.causes])
    lines = [
        ("asset", asset.key),
        ("what", found.doc.partition("\n")[0]),
        ("state", standing),
        ("fresh", f"{asset.freshness}: {asset.freshness_why}" if asset.freshness else ""),
        ("checks", ", ".join(checks)),
        ("made from", ", ".join(asset.upstream)),
        ("goes into", ", ".join(found.downstream)),
        ("group", asset.group),
        ("kinds", ", ".join(asset.kinds)),
        ("owners", ", ".join(asset.owners)),
        ("tags", ", ".join(asset.tags)),
        ("partitions", asset.partitions or ""),
        ("code version", asset.code_version or ""),
        ("kept by", asset.io or ""),
        ("metadata", json.dumps(found.metadata) if found.metadata else ""),
        ("defined at", near(asset.place)),
    ]
    return [(name, text) for name, text in lines if text]


def _result(passed: bool | None) -> str:
    return "never ran" if passed is None else "passed" if passed else "failed"


def _more(event: EventView) -> str:
    parts = [event.description] if event.description else []
    if event.passed is not None:
        parts.insert(0, _result(event.passed))
    if event.metadata:
        parts.append(json.dumps(event.metadata, ensure_ascii=False))
    return " ".join(parts)
