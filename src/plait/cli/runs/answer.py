"""`plait runs answer`."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import click

from plait.cli.common import open_store, ring, say
from plait.cli.completions import complete_run
from plait.cli.options import db_option
from plait.cli.run import parse_value, split_params

if TYPE_CHECKING:
    from plait.engine.asks import Question


@click.command()
@click.argument("run_id", shell_complete=complete_run)
@click.argument("task", required=False)
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE",
              help="A field of the answer. JSON where it is JSON, else text. May be given several times.")  # fmt: skip
@click.option("--json", "value", metavar="JSON", help="The whole answer as JSON: true, 5, '\"text\"', '{...}'.")
@click.option("--timeout", type=click.FloatRange(min=0), default=10.0, show_default=True, metavar="SECONDS",
              help="How long to wait until the run has taken it.")  # fmt: skip
@db_option
def answer(run_id: str, task: str | None, params: tuple[str, ...], value: str | None, timeout: float) -> int:
    """Answer what RUN_ID asks, so that it goes on. TASK names the question where there are several.

    Without an answer it shows what is asked. An answer that does not fit is refused, and says which field is wrong.

    \b
      plait runs answer 0199b3f2
      plait runs answer 0199b3f2 -p approved=true -p amount=100
      plait runs answer 0199b3f2 approve --json true
    """
    from plait import bootstrap
    from plait.services.queries import RunQueries
    from plait.services.runs import RunRequests

    def read(question: Question) -> Any:
        return _answer(run_id, question, params, value)

    with open_store() as store:
        row = RunQueries(store).find(run_id)
        requests = RunRequests(store, bootstrap.clock(), time.sleep, ring)
        question = requests.answer(row, task, read)
        taken = requests.wait_taken(row, question, timeout)
        owned = taken or requests.has_owner(row)
    if taken:
        click.echo(f"run {row.run_id} of {row.workflow}: {question.task} goes on")
        return 0
    if not owned:
        say(f"nobody owns run {row.run_id} at the moment: it gets the answer when it is resumed")
        if row.target:
            say(f"plait run {row.target} --resume {row.run_id}")
        return 0
    say(f"the process of run {row.run_id} has not taken the answer within {timeout:g} s; it is left for it")
    return 1


def _answer(run_id: str, question: Question, params: tuple[str, ...], value: str | None) -> Any:
    """What was typed. Raises UsageError that tells what is asked if that is nothing."""
    from plait.cli.summary import how_to_answer

    schema = question.asked.schema or {}
    if params and value is not None:
        raise click.UsageError("an answer is either -p KEY=VALUE (its fields) or --json (the whole)")
    if value is not None:
        try:
            return json.loads(value)
        except ValueError as error:
            raise click.BadParameter(f"{value!r} is not JSON: {error}", param_hint="--json") from None
    if params:
        fields = schema.get("properties", {})
        given = split_params(params)
        return {key: parse_value(text, text=fields.get(key, {}).get("type") == "string") for key, text in given.items()}
    say(f"{question.task} asks: {question.asked.prompt}")
    if schema:
        say(f"the answer is: {json.dumps(schema, indent=2)}")
    raise click.UsageError(f"answer it with: {how_to_answer(run_id, question.task, schema)}")
