"""`plait runs cancel`."""

import time

import click

from plait.cli.common import open_store, ring, say
from plait.cli.completions import complete_run
from plait.cli.options import db_option


@click.command()
@click.argument("run_id", shell_complete=complete_run)
@click.option("--reason", default="cancelled by plait runs cancel", metavar="TEXT", help="Why; the run remembers it.")
@click.option("--timeout", type=click.FloatRange(min=0), default=60.0, show_default=True, metavar="SECONDS",
              help="How long to wait for the run's end.")  # fmt: skip
@db_option
def cancel(run_id: str, reason: str, timeout: float) -> int:
    """Cancel RUN_ID, which goes on in another process, and wait until it has ended.

    \b
      plait runs cancel 0199b3f2
    """
    from plait import bootstrap
    from plait.services.queries import RunQueries
    from plait.services.runs import Ended, RunRequests

    with open_store() as store:
        row = RunQueries(store).find(run_id)
        requests = RunRequests(store, bootstrap.clock(), time.sleep, ring)
        requests.cancel(row, reason)
        ended, row = requests.wait(row.run_id, timeout)
    if ended is Ended.OVER:
        click.echo(f"run {row.run_id} of {row.workflow}: {row.state}")
        return 0
    if ended is Ended.NO_OWNER:
        say(f"nobody owns run {row.run_id} at the moment: it is cancelled when somebody takes it over")
    else:
        say(f"run {row.run_id} is {row.state}; its process has not ended it within {timeout:g} s")
    return 1
