"""`plait partitions keys`, `add` and `remove`: the keys of dynamic partitions."""

from __future__ import annotations

import click

from plait.cli.common import open_store, print_json, say
from plait.cli.options import db_option, json_option


@click.command()
@click.argument("name", required=False)
@json_option
@db_option
def keys(name: str | None, as_json: bool) -> None:
    """Show the keys of the dynamic partitions NAME, in the order in which they were added; without, which there are.

    \b
      plait partitions keys customers
    """
    with open_store() as store:
        found = list(store.partitions.keys(name)) if name is not None else store.partitions.names()
    if as_json:
        print_json({"keys": found} if name is not None else {"partitions": found})
        return
    for each in found if isinstance(found, list) else (f"{key}: {count:,} keys" for key, count in found.items()):
        click.echo(each)


@click.command()
@click.argument("name")
@click.argument("keys", nargs=-1, required=True)
@db_option
def add(name: str, keys: tuple[str, ...]) -> None:
    """Add KEYS to the dynamic partitions NAME; those that are there stay.

    \b
      plait partitions add customers acme initech
    """
    from plait.model.errors import UsageError
    from plait.model.partitions import RANGE

    wrong = next((key for key in keys if not key or RANGE in key), None)
    if wrong is not None:
        raise UsageError(f"{wrong!r} is not a partition's name", right=f"text without {RANGE!r}")
    with open_store() as store:
        count = store.partitions.add(name, keys)
    say(f"{count} added to {name}")


@click.command()
@click.argument("name")
@click.argument("keys", nargs=-1, required=True)
@db_option
def remove(name: str, keys: tuple[str, ...]) -> None:
    """Take KEYS out of the dynamic partitions NAME. What was made for them stays.

    \b
      plait partitions remove customers initech
    """
    with open_store() as store:
        count = store.partitions.remove(name, keys)
    say(f"{count} taken out of {name}")
