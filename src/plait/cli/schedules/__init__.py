"""`plait schedules`: when workflows run."""

import click

from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

COMMANDS = {
    "next": ("plait.cli.schedules.upcoming:upcoming", "Show when the workflows of a file run next, or ran before."),
    "list": (
        "plait.cli.schedules.listing:listing",
        "List the deployed schedules, and where each stands.",
    ),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@db_option
def schedules() -> None:
    """See when workflows run: by their files, and by what is deployed in the database."""
