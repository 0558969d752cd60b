"""`plait run`: run a workflow in this process, or materialize assets."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import click

from plait.cli.common import open_queries, say
from plait.cli.options import db_option, json_option
from plait.model.states import RunState

if TYPE_CHECKING:
    from plait.authoring.definitions import Definitions, Workflow
    from plait.model.ids import RunId
    from plait.model.rows import RunRow
    from plait.runtime.session import Session


@click.command()
@click.argument("target", type=click.Path())
@click.argument("name", required=False)
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE",
              help="A parameter. JSON where it is JSON, else text. May be given several times.")  # fmt: skip
@click.option("--date", "logical", metavar="ISO", help="The logical date: 2013-02-09 or 2013-02-09T06:00.")
@click.option("--partition", metavar="KEY", help="The partition to materialize.")
@click.option(
    "--select", metavar="EXPR", help="The assets to materialize: names, globs, group:raw, +upstream, downstream+."
)
@click.option("--resume", metavar="RUN_ID", help="Go on with a crashed run, or rerun the failures of a failed one.")
@click.option("--executor", type=click.Choice(["inline", "threads", "processes"]),
              help="Where tasks run that do not say it themselves. Default: processes.")  # fmt: skip
@click.option(
    "--workers", type=click.IntRange(min=1), metavar="N", help="How many worker processes. Default: one a core."
)
@json_option
@db_option
def run(**given: Any) -> int:
    """Run the workflow NAME of TARGET (a file, a folder or a module), or materialize its assets.

    NAME may be left out where there is one workflow, or where the assets are meant. The exit code is 0 for success and
    1 if the run failed. Ctrl-C cancels the run; once more kills it.

    \b
      plait run flows.py
      plait run flows.py daily --date 2013-02-09 -p retries=3
      plait run assets.py --partition 2013-01-01 --select "+report"
      plait run flows.py --resume 0199b3f2
    """
    return _run(Asked(**given))


@dataclass(frozen=True)
class Asked:
    """What was typed."""

    target: str
    name: str | None
    params: tuple[str, ...]
    logical: str | None
    partition: str | None
    select: str | None
    resume: str | None
    executor: str | None
    workers: int | None
    as_json: bool


def _run(asked: Asked) -> int:
    from plait.cli.running import load

    date_ = iso_date(asked.logical) if asked.logical is not None else None
    params = split_params(asked.params)
    definitions = load(asked.target)
    if asked.resume is not None:
        return _resume(asked, asked.resume, definitions)
    workflow = choose(definitions, asked.name, assets=asked.partition is not None or asked.select is not None)
    if workflow is not None:
        return _run_workflow(asked, workflow, params, date_)
    if params:
        raise click.UsageError("-p is for workflows; assets have no parameters")
    return _run_assets(asked, definitions)


def _run_workflow(asked: Asked, workflow: Workflow, params: dict[str, str], date_: str | None) -> int:
    if asked.select is not None:
        raise click.UsageError(f"--select chooses assets, and {workflow.name!r} is a {workflow.kind}")
    values = parse_params(params, workflow)

    def begin(session: Session) -> RunId:
        return session.start(workflow, values, date=date_, partition=asked.partition)

    return _carry_out(asked, begin, f"{workflow.kind} {workflow.name}")


def _run_assets(asked: Asked, definitions: Definitions) -> int:
    select = asked.select if asked.select is not None else asked.name

    def begin(session: Session) -> RunId:
        return session.start_assets(definitions, select=select, partition=asked.partition)

    return _carry_out(asked, begin, "assets" + (f" {select}" if select else ""))


def materialize_assets(
    target: str,
    select: str | None,
    *,
    partition: str | None,
    executor: str | None,
    workers: int | None,
    as_json: bool,
) -> int:
    """Materialize a selection of the assets of a target, as `plait run` does it."""
    from plait.cli.running import load

    asked = Asked(
        target=target, name=None, params=(), logical=None, partition=partition, select=select, resume=None,
        executor=executor, workers=workers, as_json=as_json,
    )  # fmt: skip
    definitions = load(target)
    if not definitions.assets:
        from plait.model.errors import UsageError

        raise UsageError("there are no assets here")
    return _run_assets(asked, definitions)


def _resume(asked: Asked, text: str, definitions: Definitions) -> int:
    row = _find(definitions, text, asked.name)
    if row.state == RunState.SUCCESS.value:  # it was killed after it had succeeded: the same command, the same result
        from plait.cli.running import show_past

        say(f"run {row.run_id} has succeeded already")
        return show_past(row.run_id, as_json=asked.as_json)

    def again(session: Session) -> RunId:
        session.resume(row.run_id, definitions)
        return row.run_id

    return _carry_out(asked, again, f"{row.kind} {row.workflow}, resumed")


def _carry_out(asked: Asked, begin: Callable[[Session], RunId], title: str) -> int:
    from plait.cli.running import carry_out

    return carry_out(
        asked.target, begin, title=title, executor=asked.executor, workers=asked.workers, as_json=asked.as_json
    )


def choose(definitions: Definitions, name: str | None, *, assets: bool) -> Workflow | None:
    """The workflow that is meant, none where the assets are."""
    from plait.model.errors import UsageError

    if name is not None:
        if name not in definitions.workflows and name in definitions.assets:
            return None
        return definitions.workflow(name)
    if definitions.assets and (assets or not definitions.workflows):
        return None
    if assets and not definitions.assets and not definitions.workflows:
        raise UsageError("there are no assets here")
    return definitions.workflow(None)


def _find(definitions: Definitions, text: str, name: str | None) -> RunRow:
    """The run to resume. Raises UsageError if it is one of another workflow than the one that was named."""
    from plait.model.errors import UsageError

    with open_queries() as queries:
        row = queries.find(text)
    if name is not None and name != row.workflow and name in definitions.workflows:
        raise UsageError(f"run {row.run_id} is one of {row.workflow!r}, not of {name!r}")
    return row


# --- what was typed ---------------------------------------------------------------------------------------------------


def split_params(params: Sequence[str]) -> dict[str, str]:
    """`key=value` texts as a dict. Raises BadParameter for one without a key."""
    found: dict[str, str] = {}
    for text in params:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            raise click.BadParameter(f"{text!r} is not KEY=VALUE", param_hint="-p")
        found[key.strip()] = value
    return found


def parse_params(given: dict[str, str], workflow: Workflow) -> dict[str, Any]:
    """JSON where it is JSON, else text. A parameter that takes text gets what was typed: `-p version=3` is "3" for a
    `str`."""
    types = {param.name: param.schema.get("type") for param in workflow.graph.params}
    return {key: parse_value(value, text=types.get(key) == "string") for key, value in given.items()}


def parse_value(value: str, *, text: bool = False) -> Any:
    """One value; where `text` is wanted, only JSON's own text is taken out of its quotes."""

    def no_number(_constant: str) -> Any:
        raise ValueError  # NaN and Infinity are not JSON

    try:
        parsed = json.loads(value, parse_constant=no_number)
    except ValueError:
        return value
    return value if text and not isinstance(parsed, str) else parsed


def iso_date(value: str) -> str:
    """An ISO date or point in time, as ISO text. Raises BadParameter for anything else."""
    try:
        return date.fromisoformat(value).isoformat() if len(value) <= 10 else datetime.fromisoformat(value).isoformat()
    except ValueError:
        raise click.BadParameter(
            f"{value!r} is not a date like 2013-02-09 or 2013-02-09T06:00", param_hint="--date"
        ) from None
