"""The revision of a schema: a database without one gets the full schema, a current one is taken as it is.

Only an older one brings in Alembic (`migrate.py`), which takes a second to import.
"""

from pathlib import Path

import psycopg

from plait.adapters.stores.postgres import queries
from plait.adapters.stores.postgres.failures import told
from plait.adapters.stores.postgres.server import Connection, Server, execute
from plait.model.errors import StoreError

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""All revisions, oldest first; a test compares them with the files in migrations/versions."""
HEAD = REVISIONS[-1]
_SCHEMA = Path(__file__).with_name("schema.sql")


def prepare(connection: Connection, server: Server, *, migrate: bool) -> bool:
    """Make plait's tables where there are none. Returns whether they are older and have to be migrated.

    Raises StoreError when they may not be, when they are of a newer plait, or of something else.
    """
    try:
        found = revision_of(connection, server) or create(connection, server)
    except psycopg.Error as error:
        raise told(error, server.shown) from error
    if found == HEAD:
        return False
    if found not in REVISIONS:
        raise StoreError(
            f"{server.shown} is of a newer plait (its schema is {found}, this version knows {HEAD}): "
            "upgrade plait, or use another database"
        )
    if not migrate:
        raise StoreError(
            f"{server.shown} is of an older plait (its schema is {found}, now {HEAD}): run `plait db upgrade`"
        )
    return True


def revision_of(connection: Connection, server: Server) -> str | None:
    """The schema's revision, none where plait has made nothing yet. Raises StoreError for tables of something else."""
    row = execute(connection, queries.LOOK, {"schema": server.schema}).fetchone()
    tables, marked, versions = row if row is not None else (0, False, False)
    if marked and versions:
        found = execute(connection, queries.REVISION).fetchone()
        return found[0] if found is not None else "none"
    if tables:
        raise StoreError(
            f"schema {server.schema!r} of {server.shown} holds tables that are not plait's: "
            "name another one (?schema=NAME), which is made if it is not there"
        )
    return None


def read_revision(server: Server) -> str | None:
    """The revision in a database that nobody needs to have open, none where there are no tables yet."""
    connection = server.reader()
    try:
        return revision_of(connection, server)
    except psycopg.Error as error:
        raise told(error, server.shown) from error
    finally:
        connection.close()


def create(connection: Connection, server: Server) -> str:
    """Make schema and tables, unless another process is quicker; returns the revision."""
    with connection.transaction():
        execute(connection, queries.TURN_TO_MIGRATE)
        found = revision_of(connection, server)
        if found is None:
            create_schema(connection, server)
            connection.execute(_SCHEMA.read_bytes())
            execute(connection, queries.SET_REVISION, (HEAD,))
            found = HEAD
    return found


def create_schema(connection: Connection, server: Server) -> None:
    """Make the schema if it is not there. (IF NOT EXISTS would ask for a right that one may not have.)"""
    if execute(connection, queries.HAS_SCHEMA, (server.schema,)).fetchone() is None:
        execute(connection, f"CREATE SCHEMA {server.schema}")  # a plain name: `Server` looks at it
