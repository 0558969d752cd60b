"""`plait graph`: a workflow's graph in the terminal."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from plait.cli.common import print_json, say
from plait.cli.options import db_option, json_option

if TYPE_CHECKING:
    from plait.model.graph import Graph
    from plait.worker.found import Found


@click.command()
@click.argument("target", type=click.Path())
@click.argument("name", required=False)
@click.option("--select", metavar="EXPR", help="The assets to draw: names, globs, group:raw, +upstream, downstream+.")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Draw at most so many tasks.")
@json_option
@db_option
def graph(target: str, name: str | None, select: str | None, limit: int, as_json: bool) -> int:
    """Draw the graph of the workflow NAME of TARGET, or that of its assets.

    \b
      plait graph flows.py
      plait graph flows.py daily --json
      plait graph assets.py --select "+report"
    """
    from plait.worker.isolated import Request, load_isolated

    found = load_isolated(Request(target=target, graphs=True, select=select))
    chosen = choose(found, target, name, assets=select is not None)
    if as_json:
        print_json(_plain(chosen))
        return 0
    from plait.cli.drawing import draw

    tasks = f"{len(chosen.nodes)} task" + ("" if len(chosen.nodes) == 1 else "s")
    click.echo(f"{chosen.name} ({chosen.kind}, {tasks})" if chosen.kind != "assets" else f"assets ({tasks})")
    click.echo()
    if chosen.kind == "flow":
        click.echo(f"0  ● {chosen.nodes[0].key}")
        say("\na flow's tasks appear as its body runs: plait runs show RUN_ID lists those of a run")
        return 0
    unicode = "utf" in (sys.stdout.encoding or "").lower()
    for line in draw(chosen, most=limit, unicode=unicode):
        click.echo(line)
    return 0


def choose(found: Found, target: str, name: str | None, *, assets: bool = False) -> Graph:
    """The graph that is meant: that of the workflow NAME, the only workflow, or the assets. Raises UsageError
    otherwise."""
    from plait.model.errors import LoadError, UsageError

    workflows = [each for each in found.workflows if name is None or each.name == name]
    own = [each for each in workflows if each.place.rpartition(":")[0] in found.files]
    if name is None and len(own) == 1:  # what a file only imported has to be named
        workflows = own
    if (assets or name == "assets" or (name is None and not workflows)) and found.asset_graph is not None:
        return found.asset_graph
    if len(workflows) == 1 and not assets and workflows[0].graph is not None:
        return workflows[0].graph
    if found.errors:
        raise LoadError(found.errors[0].error)
    known = ", ".join(sorted(each.name for each in found.workflows)) or "none"
    if assets:
        raise UsageError(f"{target} has no assets to select from")
    if name is not None and not workflows:
        raise UsageError(f"{target} has no workflow {name!r}", right=f"one of: {known}")
    if not workflows:
        raise UsageError(f"{target} has no workflow and no asset")
    if name is not None:
        places = "\n".join(each.place for each in workflows)
        raise UsageError(f"several workflows have the name {name!r}", right=f"give the file of one:\n{places}")
    raise UsageError(f"{target} has several workflows", right=f"name one: {known}")


def _plain(graph: Graph) -> dict[str, object]:
    from plait.cli.drawing import layers

    rows = layers(graph)
    return {
        "name": graph.name,
        "kind": graph.kind,
        "nodes": [
            {
                "key": row.spec.key,
                "runner": row.spec.runner,
                "depth": row.depth,
                "group": row.spec.group,
                "mapped": row.spec.mapping is not None,
                "trigger_rule": row.spec.trigger_rule.value,
                "code": f"{row.spec.code.location}:{row.spec.code.line}" if row.spec.code is not None else None,
            }
            for row in rows
        ],
        "edges": [
            {"upstream": edge.upstream, "downstream": edge.downstream, "output": edge.output} for edge in graph.edges
        ],
        "groups": [
            {"key": group.key, "parent": group.parent, "mapped": group.mapping is not None} for group in graph.groups
        ],
        "result": list(graph.result) if graph.result is not None else None,
    }
