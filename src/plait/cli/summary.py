"""What a run came to, for people: what each task did, what failed and how, the result."""

from __future__ import annotations

import json
import shlex
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from plait.cli import tables
from plait.cli.common import STATE_STYLES, local_time, near, say, seconds, short_id
from plait.services.views import RunView, StartView, TaskView, label

if TYPE_CHECKING:
    from plait.model.outcome import ErrorInfo
    from plait.model.rows import TaskRow
    from plait.services.logs import RunLogs
    from plait.services.queries import RunQueries

MOST_KEYS = 60
MOST_STARTS = 3
TIMES = "\u00d7"
MOST_FAILURES = 3
MOST_ERRORS = 8
LOG_LINES = 12
MOST_LOG_LINES = 60
"""Of which those that are shown are taken: the stack of a process that crashed is mostly plait's own."""
MOST_RESULT = 4000
_RANK = {"failed": 0, "crashed": 0, "upstream_failed": 1, "cancelled": 2, "running": 3, "success": 9}


def show_run(view: RunView, *, head: bool = True) -> None:
    """What each task did, then the run's state and result; on stdout."""
    if head:
        _show_head(view)
    show_tasks(view.tasks)
    _show_questions(view)
    if view.tasks_left_out:
        click.echo(f"and {view.tasks_left_out:,} more task runs")
    took = f" in {seconds(view.duration_s)}" if view.duration_s is not None else ""
    click.echo(
        f"\nrun {view.run_id} of {view.workflow}: {tables.paint(view.state, STATE_STYLES.get(view.state))}{took}"
    )
    if view.reason:
        click.echo(f"reason: {view.reason}")
    if view.error and view.state != "success":
        click.echo(f"error: {_first_line(view.error)}")
    if view.result_note:
        click.echo(f"result: {view.result_note}")
    elif view.result is not None:
        text = json.dumps(view.result, ensure_ascii=False)
        click.echo(f"result: {text if len(text) <= MOST_RESULT else text[:MOST_RESULT] + ' … (--json shows all)'}")


def _show_head(view: RunView) -> None:
    facts = [("workflow", f"{view.workflow} ({view.kind})"), ("created", local_time(view.created_at))]
    facts += [("logical date", view.logical_date)] if view.logical_date else []
    facts += [("partition", view.partition)] if view.partition else []
    facts += [("parameters", json.dumps(view.params, ensure_ascii=False))] if view.params else []
    facts += [("target", near(view.target))] if view.target else []
    facts += [("started by", _started_by(view.started_by))] if view.started_by else []
    for name, value in facts:
        click.echo(f"{name + ':':<14}{value}")
    click.echo()


def _started_by(found: Sequence[StartView]) -> str:
    told = [
        f"update of {each.asset} by run {short_id(each.run_id or '')}" if each.asset else f"event {each.event}"
        for each in found[:MOST_STARTS]
    ]
    return ", ".join(told) + (f", and {len(found) - MOST_STARTS} more" if len(found) > MOST_STARTS else "")


def show_tasks(tasks: Sequence[TaskView]) -> None:
    """A row a task; the runs of a mapped one together. Of very many tasks: those that did not succeed, and the sums."""
    by_key: dict[str, list[TaskView]] = {}
    for task in tasks:
        by_key.setdefault(task.key, []).append(task)
    groups = list(by_key.values())
    if len(groups) > MOST_KEYS:
        sums = Counter(task.state for task in tasks)
        click.echo(
            f"{len(tasks):,} task runs: {', '.join(f'{count:,} {state}' for state, count in sums.most_common())}"
        )
        groups = [group for group in groups if any(task.state != "success" for task in group)][:MOST_KEYS]
    if groups:
        tables.show(("task", "state", "attempts", "duration", "error"), [_row(group) for group in groups])
    many = [group for group in groups if len(group) > 1]
    for group in many:
        _show_errors(group)


def _show_questions(view: RunView) -> None:
    """What the run asks people, and how that is answered."""
    asked = [task for task in view.tasks if task.asks is not None]
    for task in asked:
        name = label(task.key, task.map_index)
        until = f" (until {local_time(task.asks.until)})" if task.asks is not None and task.asks.until else ""
        click.echo(f"\n{name} asks{until}: {task.asks.prompt if task.asks is not None else ''}")
        click.echo(f"  {how_to_answer(view.run_id, name if len(asked) > 1 else '', task.asks and task.asks.schema)}")


def how_to_answer(run_id: str, task: str, schema: dict[str, Any] | None) -> str:
    """The command that answers a question."""
    fields = list((schema or {}).get("properties", {}))
    told = " ".join(f"-p {field}=..." for field in fields) if fields else "--json ..."
    return f"plait runs answer {run_id} {_quoted(task)}{told}"


def _quoted(task: str) -> str:
    return f"{shlex.quote(task)} " if task else ""


def _row(group: Sequence[TaskView]) -> tuple[tables.Cell, ...]:
    worst = min(group, key=lambda task: _RANK.get(task.state, 4))
    style = STATE_STYLES.get(worst.state)
    if len(group) == 1:
        one = group[0]
        name = label(one.key, one.map_index) + (f" ({one.name})" if one.name else "")
        state = one.state + (" (cached)" if one.cached else "")
        return name, (state, style), str(one.attempts or ""), seconds(one.duration_s), _error(one)
    states = Counter(task.state for task in group)
    words = ", ".join(f"{count:,} {state}" for state, count in sorted(states.items(), key=lambda item: -item[1]))
    took = [task.duration_s for task in group if task.duration_s is not None]
    length = f"{seconds(sum(took))} in all, {seconds(max(took))} at most" if took else ""
    return (
        f"{group[0].key} {TIMES}{len(group):,}",
        (words, style),
        f"{sum(task.attempts for task in group):,}",
        length,
        "",
    )


def _error(task: TaskView) -> str:
    if task.error is None:
        return task.reason or ""
    return _first_line(task.error) + (f"  {near_place(task.error_at)}" if task.error_at else "")


def _show_errors(group: Sequence[TaskView]) -> None:
    failed = [task for task in group if task.error is not None]
    for task in failed[:MOST_ERRORS]:
        click.echo(f"  {label(task.key, task.map_index)}: {_error(task)}")
    if len(failed) > MOST_ERRORS:
        click.echo(f"  and {len(failed) - MOST_ERRORS:,} more of {group[0].key}")


def near_place(place: str) -> str:
    """`file:line` with the file as people like it."""
    file, colon, line = place.rpartition(":")
    return f"{near(file)}{colon}{line}" if file else place


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


# --- failures ---------------------------------------------------------------------------------------------------------


def show_failures(queries: RunQueries, logs: RunLogs, view: RunView) -> None:
    """The first failures of a run with their tracebacks and the end of their logs, on stderr."""
    from plait.model.ids import RunId

    run_id = RunId(view.run_id)
    alike: dict[tuple[str, str], list[tuple[TaskRow, ErrorInfo]]] = {}
    for row, error in queries.failures(run_id):
        alike.setdefault((error.type, error.where), []).append((row, error))  # a body fails with the error of its task
    for (row, error), *more in list(alike.values())[:MOST_FAILURES]:
        _show_failure(row, error, logs.tail(run_id, row, MOST_LOG_LINES), len(more))
    if len(alike) > MOST_FAILURES:
        say(f"\nother failures: plait runs show {view.run_id}")


def _show_failure(row: TaskRow, error: ErrorInfo, log: str, more: int) -> None:
    from plait.services.views import map_index

    name = label(row.key, map_index(row.path))
    others = f", and {more} more like it" if more else ""
    say(click.style(f"\n{name} {row.state} (attempt {row.attempt}{others})", fg="red", bold=True))
    say("\n".join(f"  {line}" for line in of_user(error).splitlines()))
    last = _without_own_frames(log.splitlines())[-LOG_LINES:]
    if last:
        say("  the last lines of its log:")
        say("\n".join(f"  | {line}" for line in last))


def of_user(error: ErrorInfo) -> str:
    """A traceback without plait's own frames, or the error's text where there is none."""
    shown = _without_own_frames(error.traceback.rstrip().splitlines())
    return "\n".join(shown) if shown else error.text


def _without_own_frames(lines: Sequence[str]) -> list[str]:
    """Lines without the frames of plait and of Python's own start, in tracebacks and in what faulthandler writes."""
    from plait.worker.found import OWN_FOLDER

    shown: list[str] = []
    skipping = False
    for line in lines:
        if line.startswith("  File "):
            skipping = line.startswith((f'  File "{OWN_FOLDER}', '  File "<frozen '))
        elif not line.startswith("   "):
            skipping = False
        if not skipping:
            shown.append(line)
    return shown
