"""`plait deployments`: what services run, and what is paused."""

import click

from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

COMMANDS = {
    "list": ("plait.cli.deployments.listing:listing", "List what services run, when it runs next, and what is broken."),
    "pause": ("plait.cli.deployments.pausing:pause", "Have schedules start no runs of a workflow."),
    "resume": ("plait.cli.deployments.pausing:resume", "Let the schedules of a paused workflow go on."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@db_option
def deployments() -> None:
    """What the schedulers on a database run: look at it, pause it, let it go on."""
