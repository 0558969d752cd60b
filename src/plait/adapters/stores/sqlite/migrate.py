"""Migrations of an older file, by Alembic. Imported only where one is needed: Alembic and SQLAlchemy take a second.

Each revision is one transaction, begun with the write lock: other processes wait, or go on between two of them; one
that dies leaves whole revisions; and of two that migrate at the same time each finds out, once it has the lock, what
is left.
"""

import sqlite3
import threading
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from plait.adapters.stores.sqlite import revisions
from plait.adapters.stores.sqlite.connections import begin, connect
from plait.model.errors import StoreError

FOLDER = Path(__file__).with_name("migrations")
_TURN = threading.Lock()
"""Alembic's context is global: one migration at a time in a process."""


def config() -> Config:
    """Alembic's configuration, without a file."""
    made = Config()
    made.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    return made


def run_migrations(path: Path, target: str | None = None) -> None:
    """Bring the file to revision `target` (the newest), one revision a transaction."""
    target = target or revisions.HEAD
    engine = create_engine(
        "sqlite://", creator=lambda: connect(path, synchronous="FULL"), poolclass=NullPool, isolation_level=None
    )
    event.listen(engine, "begin", _begin)
    with _TURN:
        try:
            while _one_more(engine.connect(), path, target):
                pass
        except SQLAlchemyError as error:
            raise StoreError(
                f"{path} could not be migrated to revision {target}; each step is done or was not begun: {error}"
            ) from error


def _begin(connection: Connection) -> None:
    begin(_driver(connection))


def _driver(connection: Connection) -> sqlite3.Connection:
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)  # that is what the engine's creator makes
    return found


def _one_more(connection: Connection, path: Path, target: str) -> bool:
    """Apply the next revision. False when there is none left."""
    with connection, connection.begin():
        found = revisions.revision_of(_driver(connection), path)
        if found == target:
            return False
        if found is not None and found not in revisions.REVISIONS:
            raise StoreError(f"{path} was migrated by a newer plait just now: upgrade plait")
        settings = config()
        settings.attributes["connection"] = connection
        following = revisions.REVISIONS[0 if found is None else revisions.REVISIONS.index(found) + 1]
        command.upgrade(settings, following)
        return True
