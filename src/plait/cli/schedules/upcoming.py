"""`plait schedules next`: when the workflows of a file run."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from plait.cli.common import near, print_json, say
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.model.graph import Graph
    from plait.services.schedules import ScheduleView
    from plait.worker.found import Found


@click.command("next")
@click.argument("target", type=click.Path())
@click.argument("name", required=False)
@click.option("--count", type=click.IntRange(1, 10_000), default=10, show_default=True, help="So many times each.")
@click.option("--from", "begin", metavar="ISO", help="Count from here (UTC if it names no zone). Default: now.")
@click.option("--previous", is_flag=True, help="The last times instead of the next ones, newest first.")
@json_option
@db_option
def upcoming(target: str, name: str | None, count: int, begin: str | None, previous: bool, as_json: bool) -> int:
    """Show when the workflows of TARGET (a file, a folder or a module), or the one called NAME, run next.

    A time is on the clock of the schedule's own zone. Each run is about the data from one time to the next.

    \b
      plait schedules next flows.py
      plait schedules next flows.py every_morning --count 3 --from 2026-10-24
      plait schedules next flows.py --previous --json
    """
    from plait.services.schedules import occurrences
    from plait.worker.isolated import Request, load_isolated

    at = _moment(begin) if begin is not None else time.time()
    found = load_isolated(Request(target=target, graphs=True))
    views = [
        view for graph in _scheduled(found, target, name) for view in occurrences(graph, at, count, previous=previous)
    ]
    if as_json:
        print_json({"schedules": views})
    else:
        _show(views)
    for problem in found.errors:
        say(f"{near(problem.file)} does not load (plait check tells more): {problem.error.splitlines()[0]}")
    return 1 if found.errors else 0


def _scheduled(found: Found, target: str, name: str | None) -> list[Graph]:
    """The graphs that have schedules. Raises UsageError when NAME has none or is not there."""
    from plait.model.errors import LoadError, UsageError

    graphs = [each.graph for each in found.workflows if each.graph is not None and name in (None, each.name)]
    if name is not None and not graphs:
        if found.errors:
            raise LoadError(found.errors[0].error)
        known = ", ".join(sorted(each.name for each in found.workflows)) or "none"
        raise UsageError(f"{target} has no workflow {name!r}", right=f"one of: {known}")
    scheduled = [graph for graph in graphs if graph.triggers]
    if name is not None and not scheduled:
        raise UsageError(f"{name!r} has no schedule", right='@dag(schedule=cron("0 6 * * *"))')
    return sorted(scheduled, key=lambda graph: graph.name)


def _moment(text: str) -> float:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise click.BadParameter(
            f"{text!r} is not a date like 2026-02-09 or 2026-02-09T06:00", param_hint="--from"
        ) from None
    if not 1900 < at.year < 2200:
        raise click.BadParameter("schedules are known from 1901 to 2199", param_hint="--from")
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp()


def _show(views: list[ScheduleView]) -> None:
    from plait.cli import tables
    from plait.cli.schedules.times import on_clock

    if not views:
        say("no workflow here has a schedule")
        return
    late = any(each.starts_at != each.at for view in views for each in view.times)
    head = ("workflow", "schedule", "time", *(("starts",) if late else ()), "data from")
    rows: list[tuple[str, ...]] = []
    for view in views:
        for each in view.times:
            starts = (on_clock(each.starts_at, view.tz),) if late else ()
            start = on_clock(each.data_interval_start, view.tz)
            rows.append((view.workflow, view.schedule, on_clock(each.at, view.tz), *starts, start))
        if view.waits_for:
            told = ", ".join(view.waits_for[:3]) + (", ..." if len(view.waits_for) > 3 else "")
            rows.append((view.workflow, view.schedule, f"after {told}", *(("",) if late else ()), ""))
        elif not view.times:
            rows.append((view.workflow, view.schedule, "never", *(("",) if late else ()), ""))
    tables.show(head, rows)
