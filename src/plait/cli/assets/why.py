"""`plait assets why`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from plait.cli.assets.common import assets_of
from plait.cli.common import local_time, print_json
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.engine.automation.explain import Explained

SIGNS = {"yes": ("+", "green"), "some": ("~", "yellow"), "no": ("-", "red"), "skipped": (".", None)}


@click.command("why")
@click.argument("key")
@json_option
@db_option
def why(key: str, as_json: bool) -> None:
    """Tell why the deployed asset KEY was requested by its automation when it was looked at last, or why not: each part
    of its condition with + (it was true), - (it was not), ~ (of some partitions) or . (it made no difference).

    \b
      plait assets why report
      plait assets why report --json
    """
    with assets_of(None) as assets:
        found = assets.why(key)
    if as_json:
        print_json(found)
        return
    if found.held:
        click.echo(f"{key} is held back, since {local_time(found.at)}: {found.held}")
        return
    what = "was requested" if found.requested else "was not requested"
    about = f" ({', '.join(found.partitions)})" if found.partitions else ""
    click.echo(f"{key} {what}{about} when it was looked at last, {local_time(found.at)}")
    if found.reasons:
        click.echo(f"because of: {'; '.join(found.reasons)}")
    if found.tree is None:
        click.echo("its condition has changed since then")
        return
    for line in _lines(found.tree, 0):
        click.echo(line)


def _lines(tree: Explained, depth: int) -> Iterator[str]:
    sign, colour = SIGNS[tree.truth.value]
    name = tree.label.replace("_", " ")
    text = f"{name}: {tree.says}" if name else tree.says
    about = f" [{', '.join(tree.ranges)}]" if tree.truth.value == "some" and tree.ranges else ""
    asset = f"{tree.asset}: " if tree.asset else ""
    yield f"{'  ' * depth}{click.style(sign, fg=colour)} {asset}{text}{about}"
    for part in tree.parts:
        yield from _lines(part, depth + 1)
