"""`plait deployments list`."""

import click

from plait.cli.common import local_time, near, open_store, print_json, say
from plait.cli.options import db_option, json_option


@click.command("list")
@json_option
@db_option
def listing(as_json: bool) -> int:
    """List the workflows that schedulers on this database run; then the files that do not load. What such a file
    defined before is still in service.

    \b
      plait deployments list
      plait deployments list --json
    """
    from plait.services.deployed import DeployedWorkflows

    with open_store() as store:
        found = DeployedWorkflows(store).view()
    if as_json:
        print_json(found)
        return 0
    if found.deployments:
        from plait.cli import tables

        tables.show(
            ("workflow", "kind", "schedule", "next run", "state", "file"),
            [
                (
                    each.workflow,
                    each.kind,
                    each.schedule or "-",
                    local_time(each.next_at) or "-",
                    ("paused", "yellow") if each.paused else "active",
                    near(each.file),
                )
                for each in found.deployments
            ],
        )
    else:
        say("nothing is deployed: plait dev TARGET, or plait scheduler TARGET")
    for broken in found.broken:
        say(f"\n{near(broken.file)} does not load: {broken.error}")
        if broken.traceback:
            say(broken.traceback)
    return 0
