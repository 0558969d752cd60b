"""`plait list`: what a file, a folder or a module defines."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from plait.cli.common import near, print_json, say
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.worker.found import Found, FoundAsset, FoundWorkflow


@click.command("list")
@click.argument("target", type=click.Path())
@json_option
@db_option
def listing(target: str, as_json: bool) -> int:
    """List the workflows and assets of TARGET (a file, a folder or a module).

    \b
      plait list flows/
      plait list flows.py --json
    """
    from plait.worker.isolated import Request, load_isolated

    found = load_isolated(Request(target=target))
    if as_json:
        print_json(_plain(found))
    else:
        _show(found)
    for problem in found.errors:
        say(f"{near(problem.file)} does not load (plait check tells more): {problem.error.splitlines()[0]}")
    return 1 if found.errors else 0


def _plain(found: Found) -> dict[str, object]:
    return {
        "workflows": [
            {
                "name": each.name,
                "kind": each.kind,
                "schedule": each.schedule or None,
                "tasks": each.tasks,
                "file": each.file,
                "doc": each.doc,
            }
            for each in found.workflows
        ],
        "assets": [
            {
                "name": each.key,
                "kind": "asset",
                "group": each.group,
                "partitions": each.partitions or None,
                "upstream": list(each.upstream),
                "file": each.file,
                "doc": each.doc,
            }
            for each in found.assets
        ],
        "errors": [{"file": each.file, "error": each.error} for each in found.errors],
    }


def _show(found: Found) -> None:
    from plait.cli import tables

    if not found.workflows and not found.assets:
        say("there are no workflows and no assets here")
        return

    def tasks(each: FoundWorkflow) -> str:
        return str(each.tasks) if each.tasks is not None else "as it runs"

    def partitions(made: FoundAsset) -> str:
        return f"{made.partitions} partitions" if made.partitions else "-"

    workflows = sorted(found.workflows, key=lambda one: (one.file, one.name))
    rows = [(each.name, each.kind, each.schedule or "-", tasks(each), near(each.file)) for each in workflows]
    rows += [(made.key, "asset", partitions(made), "1", near(made.file)) for made in found.assets]
    tables.show(("name", "kind", "schedule", "tasks", "file"), rows)
