"""`plait config`: the settings in force, and where each comes from."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from plait.cli.common import print_json, settings
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.bootstrap import Settings


@click.command()
@json_option
@db_option
def config(as_json: bool) -> None:
    """Show the settings in force, and where each comes from.

    \b
      plait config
      PLAIT_HOME=/srv/plait plait config --json
    """
    rows = effective(settings())
    if as_json:
        print_json({name: {"value": value, "source": source} for name, value, source in rows})
        return
    from plait.cli import tables

    tables.show(("setting", "value", "source"), rows)


def effective(where: Settings) -> list[tuple[str, str, str]]:
    """Name, value and source of each setting."""
    given = (click.get_current_context().find_object(dict) or {}).get("db")
    home = "$PLAIT_HOME" if os.environ.get("PLAIT_HOME") else _why_project(where.home.parent)
    db = "--db" if given else "$PLAIT_DB" if os.environ.get("PLAIT_DB") else "in home"
    results = "$PLAIT_RESULTS" if os.environ.get("PLAIT_RESULTS") else "in home"
    retention = "$PLAIT_RETENTION_DAYS" if os.environ.get("PLAIT_RETENTION_DAYS") else "default"
    return [
        ("home", str(where.home), home),
        ("db", where.shown_db, db),
        ("results", where.results, results),
        ("logs", str(where.logs), "in home"),
        ("retention", _days(where.retention_days), retention),
    ]


def _days(days: float) -> str:
    return f"{days:g} days" if days else "for ever"


def _why_project(folder: Path) -> str:
    from plait.bootstrap import ROOT_MARKS

    mark = next((mark for mark in ROOT_MARKS if (folder / mark).exists()), None)
    return f"the project folder, by its {mark}" if mark else "the current folder"
