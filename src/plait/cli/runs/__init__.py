"""`plait runs`: look at runs, cancel and retry them."""

import click

from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

COMMANDS = {
    "list": ("plait.cli.runs.listing:listing", "List runs, newest first."),
    "show": ("plait.cli.runs.show:show", "Show what each task of a run did, also while it runs."),
    "logs": ("plait.cli.runs.logs:logs", "Print what the tasks of a run printed."),
    "watch": ("plait.cli.runs.watch:watch", "Watch a run until it is over."),
    "start": ("plait.cli.runs.start:start", "Ask a scheduler service for a run."),
    "answer": ("plait.cli.runs.answer:answer", "Answer what a run asks, so that it goes on."),
    "cancel": ("plait.cli.runs.cancel:cancel", "Cancel a run that goes on in another process."),
    "retry": ("plait.cli.runs.retry:retry", "Run the failures of a run again, or one task."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS)
@db_option
def runs() -> None:
    """Look at runs, answer, cancel and retry them. A run is named by its id, or by how that begins or ends."""
