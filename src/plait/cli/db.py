"""`plait db`: the database's schema."""

import click

from plait.cli.common import print_json, settings
from plait.cli.options import db_option, json_option


@click.group()
@db_option
def db() -> None:
    """The database: upgrade its schema, look at its version. The embedded one upgrades itself when it is used."""


@db.command()
@db_option
def upgrade() -> None:
    """Bring the database to the schema of this version of plait.

    \b
      plait db upgrade
      plait db upgrade --db sqlite:////srv/plait/plait.db
      plait db upgrade --db postgresql://plait@db.example/plait
    """
    from plait import bootstrap

    where = settings()
    before, head = bootstrap.schema_status(where)
    bootstrap.upgrade_schema(where)
    done = "was up to date" if before == head else f"is at {head} now" + (f", it was at {before}" if before else "")
    click.echo(f"{where.shown_db} {done}")


@db.command()
@json_option
@db_option
def status(as_json: bool) -> int:
    """Show the schema's version in the database, and the one of this version of plait. Exit code 1 if they differ.

    \b
      plait db status
      plait db status --json
    """
    from plait import bootstrap

    where = settings()
    found, head = bootstrap.schema_status(where)
    if as_json:
        print_json({"db": where.shown_db, "revision": found, "head": head, "up_to_date": found == head})
    else:
        state = (
            "there is no database yet" if found is None else "up to date" if found == head else "run plait db upgrade"
        )
        click.echo(f"database:  {where.shown_db}\nrevision:  {found or '-'}\nhead:      {head}\n{state}")
    return 0 if found in (None, head) else 1
