"""`plait partitions`: what is known of the partitions of assets, and the keys of dynamic ones."""

import click

from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

COMMANDS = {
    "list": ("plait.cli.partitions.listing:listing", "Show the partitions of an asset, or how many assets have."),
    "keys": ("plait.cli.partitions.keys:keys", "Show the keys of dynamic partitions."),
    "add": ("plait.cli.partitions.keys:add", "Add keys to dynamic partitions."),
    "remove": ("plait.cli.partitions.keys:remove", "Take keys out of dynamic partitions."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@db_option
def partitions() -> None:
    """See which partitions are materialized, and change dynamic ones."""
