"""`plait assets`: what should exist, and whether it does."""

import click

from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

COMMANDS = {
    "list": ("plait.cli.assets.listing:listing", "List assets, and how each stands."),
    "show": ("plait.cli.assets.showing:showing", "Show one asset and what happened to it."),
    "stale": ("plait.cli.assets.listing:stale", "List the assets that are missing or stale, and why."),
    "why": ("plait.cli.assets.why:why", "Tell why an asset was, or was not, made by itself."),
    "materialize": ("plait.cli.assets.materializing:materialize", "Make assets now."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@db_option
def assets() -> None:
    """See what should exist and whether it does, and make it. Without TARGET the assets are those that schedulers on
    this database have deployed."""
