"""The entry point: the group of all commands, and how errors become messages and exit codes.

Exit codes: 0 success; 1 a run failed, or what was checked is not in order; 2 wrong use; 130 interrupted; 141 the reader
of our output went away; 70 a mistake of plait's own, the only case that shows a traceback of plait.
"""

import os
import sys
from typing import Any, NoReturn

import click

from plait._version import __version__
from plait.cli.lazy import LazyGroup
from plait.cli.options import db_option

WRONG_USE, OUR_FAULT, INTERRUPTED, BROKEN_PIPE = 2, 70, 130, 141
COMPLETE = "_PLAIT_COMPLETE"
"""The variable by which a shell asks for completions."""

COMMANDS = {
    "run": ("plait.cli.run:run", "Run a workflow, or materialize assets."),
    "check": ("plait.cli.check:check", "Load every definition in isolation, and tell what does not load."),
    "list": ("plait.cli.listing:listing", "List the workflows and assets of a file, folder or module."),
    "graph": ("plait.cli.graph:graph", "Draw a workflow's graph in the terminal."),
    "dev": ("plait.cli.dev:dev", "Run a scheduler and a worker for files of workflows."),
    "scheduler": ("plait.cli.scheduler:scheduler", "Run a scheduler service."),
    "worker": ("plait.cli.worker:worker", "Run a worker for the tasks of services."),
    "deployments": ("plait.cli.deployments:deployments", "What services run: list it, pause it, let it go on."),
    "runs": ("plait.cli.runs:runs", "Look at runs: list, show, logs, watch; start, answer, cancel, retry."),
    "assets": ("plait.cli.assets:assets", "Assets: list, show, what is stale and why, make them."),
    "backfill": ("plait.cli.backfill:backfill", "Make many partitions of assets, or run a workflow for many dates."),
    "backfills": ("plait.cli.backfills:backfills", "Look at backfills: list, show; pause, resume, cancel."),
    "partitions": ("plait.cli.partitions:partitions", "See which partitions are made; add keys to dynamic ones."),
    "schedules": ("plait.cli.schedules:schedules", "See when workflows run next, and where deployed schedules stand."),
    "events": ("plait.cli.events:events", "Publish events, for which workflows wait; list them."),
    "db": ("plait.cli.db:db", "The database: upgrade it, look at its version."),
    "config": ("plait.cli.config:config", "Show the settings, and where each comes from."),
    "init": ("plait.cli.init:init", "Make a project skeleton that runs."),
    "doctor": ("plait.cli.doctor:doctor", "Check that this machine has what plait needs."),
    "completion": ("plait.cli.completion:completion", "Print the script that completes commands in a shell."),
}


@click.group(
    cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="plait", message="%(prog)s %(version)s")
@db_option
def cli() -> None:
    """plait runs workflows: DAGs of tasks, flows of plain Python, and assets.

    \b
      plait init demo            a project that runs
      plait run demo/flows.py    run it
      plait runs list            what ran
    """


def main(args: list[str] | None = None) -> NoReturn:
    """Run the command line and exit."""
    sys.exit(run_cli(args))


def run_cli(args: list[str] | None = None) -> int:
    """Run the command line; the exit code."""
    if sys.platform == "win32" and not {"doctor", "--help", "--version"} & set(args if args is not None else sys.argv):
        click.echo("plait runs on Linux and macOS. On Windows, use it in WSL (wsl --install).", err=True)
        return WRONG_USE
    try:
        result = _invoke(sys.argv[1:] if args is None else args)
        sys.stdout.flush()
        return result
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return WRONG_USE
    except BrokenPipeError:
        return _broken_pipe()
    except Exception as error:  # noqa: BLE001  the one place where every error becomes a message
        return _told(error)


def _invoke(args: list[str]) -> int:
    """What click's own `main` does, but for its errors: it would end the process for some of them."""
    instruction = os.environ.get(COMPLETE)
    if instruction:
        from click.shell_completion import shell_complete

        return shell_complete(cli, {}, "plait", COMPLETE, instruction)
    with cli.make_context("plait", list(args)) as context:
        result: Any = cli.invoke(context)
    return result if isinstance(result, int) else 0


def _told(error: Exception) -> int:
    """Tell what went wrong. What plait raises on purpose says all there is to say; anything else is our own mistake."""
    from plait.model.errors import EngineError, PlaitError

    if isinstance(error, PlaitError) and not isinstance(error, EngineError):
        click.echo(f"plait: {error}", err=True)
        return WRONG_USE
    import traceback

    traceback.print_exception(error)
    click.echo(f"\nplait {__version__} made a mistake; please report what you see above.", err=True)
    return OUR_FAULT


def _broken_pipe() -> int:
    """Who read our output went away (`| head`): be quiet, also when Python flushes at its exit."""
    null = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:
            os.dup2(null, stream.fileno())
    return BROKEN_PIPE
