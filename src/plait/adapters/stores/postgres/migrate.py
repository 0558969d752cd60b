"""Migrations of an older schema (`migrating.py`). Each begins with plait's lock; stores that are open go on."""

from pathlib import Path
from typing import Any

import psycopg
from sqlalchemy import Connection, create_engine
from sqlalchemy.pool import NullPool

from plait.adapters.stores import migrating
from plait.adapters.stores.postgres import queries, revisions
from plait.adapters.stores.postgres.server import Server, execute

FOLDER = Path(__file__).with_name("migrations")


def run_migrations(server: Server, target: str | None = None) -> None:
    """Bring the schema to revision `target` (the newest), one revision a transaction."""
    engine = create_engine("postgresql+psycopg://", creator=lambda: _connect(server), poolclass=NullPool)
    steps = migrating.up_to(revisions.REVISIONS, target)
    migrating.migrate(engine, lambda connection: _look(connection, server), FOLDER, steps, server.shown)


def _connect(server: Server) -> psycopg.Connection[Any]:
    made = server.writer()
    made.autocommit = False  # SQLAlchemy ends transactions itself
    return made


def _look(connection: Connection, server: Server) -> str | None:
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)  # that is what the engine's creator makes
    execute(driver, queries.TURN_TO_MIGRATE)
    found = revisions.revision_of(driver, server)
    if found is None:
        revisions.create_schema(driver, server)
    return found
