"""`plait backfills`: what became of backfills, and what can be done to them."""

import click

from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

COMMANDS = {
    "list": ("plait.cli.backfills.listing:listing", "List backfills, newest first."),
    "show": ("plait.cli.backfills.show:show", "Show how far a backfill is."),
    "pause": ("plait.cli.backfills.changing:pause", "Begin nothing more; what has begun is finished."),
    "resume": ("plait.cli.backfills.changing:resume", "Let a paused backfill go on."),
    "cancel": ("plait.cli.backfills.changing:cancel", "End a backfill, and the runs that it has on their way."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@db_option
def backfills() -> None:
    """Look at backfills and change them. `plait backfill` begins one."""
