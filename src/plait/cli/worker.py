"""`plait worker`: where the tasks of service-owned runs run."""

from __future__ import annotations

import click

from plait.cli.common import say, settings
from plait.cli.options import db_option


@click.command()
@click.option("--workers", type=click.IntRange(min=1), metavar="N",
              help="How many tasks at once, each in a process of its own. Default: one a CPU.")  # fmt: skip
@click.option("--flows", type=click.IntRange(min=1), default=32, show_default=True, metavar="N",
              help="How many flow bodies at once; most of them wait for their tasks.")  # fmt: skip
@click.option("--grace", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
              help="How long tasks may go on when the worker is told to end.")  # fmt: skip
@db_option
def worker(workers: int | None, flows: int, grace: float) -> int:
    """Run a worker: it connects to every scheduler on the database and runs tasks in warm processes. It outlives
    schedulers: what it is at when one dies goes on, and counts for the one that takes over.

    \b
      plait worker
      plait worker --workers 8
    """
    from plait.bootstrap.service import WorkerProcess
    from plait.cli.serving import log_to_stderr, on_end, tune_gc

    log_to_stderr("worker")
    process = WorkerProcess(settings(), workers=workers, flows=flows)
    on_end(process.stop)
    tune_gc()
    say("worker: ready")
    try:
        process.serve()
    finally:
        process.close(grace)
    return 0
