"""`plait runs show`."""

import click

from plait.cli.common import log_reader, open_store, print_json, result_store
from plait.cli.completions import complete_run
from plait.cli.options import db_option, json_option


@click.command()
@click.argument("run_id", shell_complete=complete_run)
@json_option
@db_option
def show(run_id: str, as_json: bool) -> None:
    """Show what each task of RUN_ID did, also while it runs. --json prints the object of `plait run --json`.

    \b
      plait runs show 0199b3f2
      plait runs show 0199b3f2 --json
    """
    from plait.cli.summary import show_failures, show_run
    from plait.services.logs import RunLogs
    from plait.services.queries import RunQueries

    with open_store() as store:
        queries = RunQueries(store, result_store())
        view = queries.view(queries.find(run_id).run_id)
        if as_json:
            print_json(view)
            return
        show_run(view)
        if view.state in ("failed", "crashed"):
            show_failures(queries, RunLogs(store, log_reader()), view)
