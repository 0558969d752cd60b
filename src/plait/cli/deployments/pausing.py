"""`plait deployments pause` and `resume`."""

import click

from plait.cli.common import open_store, ring, say
from plait.cli.options import db_option


@click.command()
@click.argument("workflows", nargs=-1, required=True, metavar="WORKFLOW...")
@db_option
def pause(workflows: tuple[str, ...]) -> int:
    """Pause WORKFLOW: schedules start no runs of it. What was asked for by hand runs all the same, and so does what has
    started.

    \b
      plait deployments pause daily
    """
    return _set(workflows, paused=True)


@click.command()
@click.argument("workflows", nargs=-1, required=True, metavar="WORKFLOW...")
@db_option
def resume(workflows: tuple[str, ...]) -> int:
    """Let the schedules of WORKFLOW go on. With catchup=True the runs that were missed are started, without it the
    latest of them.

    \b
      plait deployments resume daily
    """
    return _set(workflows, paused=False)


def _set(workflows: tuple[str, ...], *, paused: bool) -> int:
    from plait.services.deployed import DeployedWorkflows

    with open_store() as store:
        DeployedWorkflows(store, ring).pause(workflows, paused=paused)
    for name in workflows:
        say(f"{name}: {'paused' if paused else 'goes on'}")
    return 0
