"""Migrations of an older file (`migrating.py`). Each begins with the write lock."""

import sqlite3
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import NullPool

from plait.adapters.stores import migrating
from plait.adapters.stores.sqlite import revisions
from plait.adapters.stores.sqlite.connections import begin, connect

FOLDER = Path(__file__).with_name("migrations")


def run_migrations(path: Path, target: str | None = None) -> None:
    """Bring the file to revision `target` (the newest), one revision a transaction."""
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path, synchronous="FULL"), poolclass=NullPool, isolation_level=None
    )
    event.listen(engine, "begin", lambda connection: begin(_driver(connection)))
    migrating.migrate(
        engine,
        lambda connection: revisions.revision_of(_driver(connection), path),
        FOLDER,
        migrating.up_to(revisions.REVISIONS, target),
        str(path),
    )


def _driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)  # that is what the engine's creator makes
    return found
