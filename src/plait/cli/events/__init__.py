"""`plait events`: what workflows wait for that is told from outside."""

import click

from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

COMMANDS = {
    "publish": ("plait.cli.events.publishing:publishing", "Publish an event, which starts the workflows that wait."),
    "list": ("plait.cli.events.listing:listing", "List published events, newest first."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@db_option
def events() -> None:
    """Publish events, and look at them."""
