"""`plait runs logs`."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

import click

from plait.cli.common import log_reader, open_store, say
from plait.cli.completions import complete_run
from plait.cli.options import db_option

if TYPE_CHECKING:
    from plait.model.ids import RunId
    from plait.services.logs import RunLogs

PAUSE = 0.3


@click.command()
@click.argument("run_id", shell_complete=complete_run)
@click.argument("task", required=False)
@click.option("--attempt", type=click.IntRange(min=1), help="The log of this attempt instead of the last one.")
@click.option("-f", "--follow", is_flag=True, help="Go on printing until the run is over.")
@db_option
def logs(run_id: str, task: str | None, attempt: int | None, follow: bool) -> None:
    """Print what the tasks of RUN_ID printed: all of them, TASK (extract), or one element of a mapped one (extract[3]).

    \b
      plait runs logs 0199b3f2
      plait runs logs 0199b3f2 "extract[3]" --attempt 1
      plait runs logs 0199b3f2 --follow
    """
    from plait.services.logs import RunLogs
    from plait.services.queries import RunQueries

    if follow and attempt is not None:
        raise click.UsageError("--follow shows what comes, --attempt what was; give one of them")
    with open_store() as store:
        found = RunQueries(store).find(run_id).run_id
        reader = RunLogs(store, log_reader())
        if follow:
            _follow(reader, found, task)
        else:
            _print(reader, found, task, attempt)


def _print(reader: RunLogs, run_id: RunId, task: str | None, attempt: int | None) -> None:
    out = sys.stdout.buffer
    sources = 0
    for source in reader.sources(run_id, task, attempt):
        sources += 1
        first = True
        for piece in reader.read(run_id, source):
            if first and piece:
                _head(source.title)
                first = False
            out.write(piece)
        out.flush()
    if not sources and attempt is not None:
        say(f"there is no attempt {attempt}")


def _follow(reader: RunLogs, run_id: RunId, task: str | None) -> None:
    out = sys.stdout.buffer
    last: tuple[int, int] | None = None
    began = time.monotonic()

    def pause() -> None:
        nonlocal began
        time.sleep(max(PAUSE, 3 * (time.monotonic() - began - PAUSE)))  # a look at a run of many tasks takes longer
        began = time.monotonic()

    for source, data in reader.follow(run_id, task, pause):
        if (source.row.no, source.attempt) != last:
            _head(f"{source.title}")
            last = (source.row.no, source.attempt)
        out.write(data)
        out.flush()


def _head(title: str) -> None:
    """Which log follows. On stderr, so that stdout is what was printed and nothing else."""
    sys.stdout.flush()
    say(click.style(f"==> {title}", bold=True))
