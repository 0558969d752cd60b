"""Options that many commands share. They leave what they were given in the context, where `plait.cli.common` finds
it."""

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


def _remember_db(ctx: click.Context, _param: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.ensure_object(dict)["db"] = value


def db_option(function: F) -> F:
    """`--db URL`: before the command or after it; the last one holds."""
    decorate = click.option(
        "--db",
        metavar="URL",
        expose_value=False,
        callback=_remember_db,
        help="The database. Default: $PLAIT_DB, else the project folder's .plait.",
    )
    return decorate(function)


def json_option(function: F) -> F:
    """`--json`: the result as one JSON object."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")(function)
