"""`plait scheduler`: the service that owns runs and fires schedules."""

from __future__ import annotations

import click

from plait.cli.common import say, settings
from plait.cli.options import db_option


@click.command()
@click.argument("targets", nargs=-1, type=click.Path(exists=True))
@click.option("--load-timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, metavar="SECONDS",
              help="How long one file may take to load.")  # fmt: skip
@db_option
def scheduler(targets: tuple[str, ...], load_timeout: float) -> int:
    """Run a scheduler: it deploys the workflows of TARGETS (files and folders), fires their schedules, and goes on with
    every run that was asked for with `plait runs start`, or whose scheduler died. As many as you like may run on one
    database. Tasks run in workers (`plait worker`).

    \b
      plait scheduler flows/
      plait --db postgresql://localhost/plait scheduler flows/
    """
    from plait.bootstrap.service import SchedulerProcess
    from plait.cli.serving import log_to_stderr, on_end, tune_gc

    log_to_stderr("scheduler")
    stopped = False
    process: SchedulerProcess | None = None

    def stop() -> None:
        nonlocal stopped
        stopped = True
        if process is not None:
            process.done.set()

    on_end(stop)
    while not stopped:
        process = SchedulerProcess(settings(), targets, load_timeout=load_timeout)
        try:
            process.begin()
            tune_gc()
            if not stopped:
                say("scheduler: ready")
                process.done.wait()
        finally:
            process.close()
        if not process.lost:
            break
    return 0
