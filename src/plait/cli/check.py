"""`plait check`: load every definition in isolation."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import click

from plait.cli.common import is_terminal, near, print_json, say
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.worker.found import Found

COUNT_EVERY = 0.2


@click.command()
@click.argument("target", type=click.Path())
@click.option("--load-timeout", type=click.FloatRange(min=0.1), default=30.0, show_default=True, metavar="SECONDS",
              help="How long one file may take.")  # fmt: skip
@json_option
@db_option
def check(target: str, load_timeout: float, as_json: bool) -> int:
    """Load every definition of TARGET (a file, a folder or a module), without running a flow.

    Each file is loaded in a process of its own: one that is broken, hangs, exits or crashes is told, and the others are
    found all the same. Exit code 1 if one does not load.

    \b
      plait check flows/
      plait check flows/ --json
    """
    from plait.worker.isolated import Request, load_isolated

    found = load_isolated(Request(target=target, timeout=load_timeout), told=_counter())
    found.warnings += _unknown_assets(found)
    if as_json:
        print_json(
            {
                "files": len(found.files),
                "workflows": [{"name": each.name, "kind": each.kind, "file": each.file} for each in found.workflows],
                "assets": [{"name": each.key, "kind": "asset", "file": each.file} for each in found.assets],
                "errors": [{"file": each.file, "error": each.error} for each in found.errors],
                "warnings": found.warnings,
            }
        )
    else:
        _show(found)
    return 1 if found.errors else 0


def _unknown_assets(found: Found) -> list[str]:
    """Workflows that wait for assets which are not here. That may be meant: another project's, or a word too much."""
    import difflib

    known = {each.key for each in found.assets} | {each.key for each in found.defined.assets}
    told: list[str] = []
    for each in found.workflows:
        for key in each.waits_for:
            if key not in known:
                near_it = difflib.get_close_matches(key, sorted(known), 1)
                hint = f"; did you mean {near_it[0]!r}?" if near_it else ""
                told.append(
                    f"{each.name!r} waits for asset {key!r}, which nothing here defines{hint}\n  at {each.place}"
                )
    return told


def _counter() -> Callable[[Found], None] | None:
    """Counts the files that are done, where people see it."""
    if not is_terminal(sys.stderr):
        return None
    done = 0
    told = time.monotonic()

    def count(_found: Found) -> None:
        nonlocal done, told
        done += 1
        if time.monotonic() - told > COUNT_EVERY:
            told = time.monotonic()
            sys.stderr.write(f"\r{done} files loaded\r")
            sys.stderr.flush()

    return count


def _show(found: Found) -> None:
    for text in found.warnings:
        say(f"warning: {text}")
    for problem in found.errors:
        say(click.style(f"{near(problem.file)}", fg="red", bold=True))
        say(_indented(problem.error))
        if problem.traceback:
            say(_indented(problem.traceback.rstrip(), 4))
        say("")
    flows = sum(each.kind == "flow" for each in found.workflows)
    dags = len(found.workflows) - flows
    counts = [_count(dags, "dag"), _count(flows, "flow"), _count(len(found.assets), "asset")]
    click.echo(f"{_count(len(found.files), 'file')}: {', '.join(counts)}; {_count(len(found.errors), 'error')}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" + ("" if number == 1 else "s")


def _indented(text: str, by: int = 2) -> str:
    return "\n".join(" " * by + line for line in text.splitlines())
