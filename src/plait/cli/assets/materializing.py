"""`plait assets materialize`."""

import click

from plait.cli.options import db_option, json_option


@click.command("materialize")
@click.argument("target", type=click.Path())
@click.argument("select", required=False)
@click.option("--partition", metavar="KEY", help="The partition to materialize.")
@click.option("--executor", type=click.Choice(["inline", "threads", "processes"]), help="As for plait run.")
@click.option("--workers", type=click.IntRange(min=1), metavar="N", help="How many worker processes.")
@json_option
@db_option
def materialize(
    target: str, select: str | None, partition: str | None, executor: str | None, workers: int | None, as_json: bool
) -> int:
    """Make the assets of TARGET (a file, a folder or a module) that SELECT says, or all, in this process; as `plait
    run` does it.

    \b
      plait assets materialize flows.py
      plait assets materialize flows.py "stale and +report"
      plait assets materialize flows.py "group:raw" --partition 2013-01-01
    """
    from plait.cli.run import materialize_assets

    return materialize_assets(target, select, partition=partition, executor=executor, workers=workers, as_json=as_json)
