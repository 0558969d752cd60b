"""Migrations by Alembic, as the SQL stores do them. Imported only where one is needed: Alembic and SQLAlchemy take a
second.

Each revision is one transaction, which begins with a lock and looks again at what is left: other processes wait, or go
on between two of them; one that dies leaves whole revisions; and of two that migrate at the same time each finds out,
once it has the lock, what is left.
"""

import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import SQLAlchemyError

from plait.model.errors import StoreError

_TURN = threading.Lock()
"""Alembic's context is global: one migration at a time in a process."""


def config(folder: Path) -> Config:
    """Alembic's configuration for the scripts of a folder, without a file."""
    made = Config()
    made.set_main_option("script_location", str(folder).replace("%", "%%"))
    return made


def up_to(revisions: Sequence[str], target: str | None) -> Sequence[str]:
    """The revisions as far as `target`, all of them for none."""
    return revisions if target is None else revisions[: revisions.index(target) + 1]


def migrate(
    engine: Engine, look: Callable[[Connection], str | None], folder: Path, revisions: Sequence[str], name: str
) -> None:
    """Bring a database to the last of these revisions, whose scripts are in `folder`.

    `look` gives its revision, none when it is empty, in a transaction that has the lock; `name` is the database's.
    """
    with _TURN:
        try:
            while _one_more(engine.connect(), look, folder, revisions, name):
                pass
        except SQLAlchemyError as error:
            raise StoreError(
                f"{name} could not be migrated to revision {revisions[-1]}; each step is done or was not begun: {error}"
            ) from error


def _one_more(
    connection: Connection,
    look: Callable[[Connection], str | None],
    folder: Path,
    revisions: Sequence[str],
    name: str,
) -> bool:
    """Apply the next revision. False when there is none left."""
    with connection, connection.begin():
        found = look(connection)
        if found == revisions[-1]:
            return False
        if found is not None and found not in revisions:
            raise StoreError(f"{name} was migrated by a newer plait just now: upgrade plait")
        settings = config(folder)
        settings.attributes["connection"] = connection
        command.upgrade(settings, revisions[0 if found is None else revisions.index(found) + 1])
        return True
