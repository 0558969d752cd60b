"""`plait runs start`: ask a scheduler service for a run."""

from __future__ import annotations

import click

from plait.cli.common import open_store, print_json, say, settings
from plait.cli.options import db_option, json_option


@click.command()
@click.argument("target", type=click.Path())
@click.argument("name", required=False)
@click.option("-p", "--param", "params", multiple=True, metavar="KEY=VALUE", help="A parameter, as often as needed.")
@click.option("--date", "logical", metavar="ISO", help="The logical date.")
@click.option("--partition", metavar="KEY", help="The partition to materialize.")
@click.option("--select", metavar="EXPR", help="Which assets.")
@json_option
@db_option
def start(
    target: str,
    name: str | None,
    params: tuple[str, ...],
    logical: str | None,
    partition: str | None,
    select: str | None,
    as_json: bool,
) -> int:
    """Ask for a run of the workflow NAME of TARGET, or of its assets; print its id. A scheduler (`plait scheduler`,
    `plait dev`) on this database carries it out, now or when there is one.

    \b
      plait runs start flows.py every_morning --date 2013-02-09
      plait runs watch $(plait runs start flows.py reload -p 'days=["2013-02-09"]')
    """
    from plait.bootstrap.service import request_run
    from plait.cli.run import choose, iso_date, parse_params, split_params
    from plait.cli.running import load

    date = iso_date(logical) if logical is not None else None
    typed = split_params(params)
    definitions = load(target)
    workflow = choose(definitions, name, assets=partition is not None or select is not None)
    if workflow is None and typed:
        raise click.UsageError("-p is for workflows; assets have no parameters")
    if workflow is not None and select is not None:
        raise click.UsageError(f"--select chooses assets, and {workflow.name!r} is a {workflow.kind}")
    with open_store() as store:
        run_id = request_run(
            settings(),
            store,
            definitions,
            workflow,
            params=parse_params(typed, workflow) if workflow is not None else {},
            date=date,
            partition=partition,
            select=select if select is not None or workflow is not None else name,
            target=target,
        )
        served = any(owner.address for owner in store.owners())
    if as_json:
        print_json({"run_id": run_id})
    else:
        click.echo(run_id)
    if not served:
        say("no scheduler is running on this database: the run starts when there is one (plait scheduler, plait dev)")
    return 0
