"""The schema's version: fresh files get the full schema, older ones are led there by Alembic, newer ones are refused.

Alembic takes a second to import, so it is imported only when a file is older than this version.
"""

import sqlite3
from importlib import resources
from pathlib import Path

from plait.adapters.stores.sqlite.connect import begin, connect
from plait.model.errors import StoreError

HEAD = "0001"
"""The newest revision in `migrations/versions`; a test holds the two together."""
REVISIONS = ("0001",)
"""All revisions, oldest first."""


def revision(connection: sqlite3.Connection) -> str | None:
    """The file's revision; none for a fresh file. Raises StoreError for a file that is not plait's."""
    names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not names:
        return None
    if "alembic_version" not in names or "task_runs" not in names:
        raise StoreError("this database has tables, but not plait's; use another with --db")
    row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    return row[0] if row else None


def prepare(connection: sqlite3.Connection, path: Path, *, migrate: bool) -> None:
    """Bring a file to this version's schema, or say why not."""
    found = revision(connection)
    if found == HEAD:
        return
    if found is None:
        _create(connection, path)
        return
    if found not in REVISIONS:
        raise StoreError(
            f"{path} was written by a newer plait (its schema is {found!r}, this version knows {HEAD!r}); "
            "upgrade plait, or use another database with --db"
        )
    if not migrate:
        raise StoreError(f"{path} has the older schema {found!r}; run `plait db upgrade`")
    upgrade(path)


def _create(connection: sqlite3.Connection, path: Path) -> None:
    """Make the full schema, unless another process was faster."""
    begin(connection, path)
    try:
        if revision(connection) is None:
            for statement in schema().split(";\n"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
        connection.execute("COMMIT")
    except BaseException:
        connection.execute("ROLLBACK")
        raise


def schema() -> str:
    """The full schema as SQL."""
    return resources.files("plait.adapters.stores.sqlite").joinpath("schema.sql").read_text(encoding="utf-8")


def status(path: Path) -> tuple[str | None, str]:
    """The file's revision (none: there is no file yet) and this version's."""
    if not path.exists():
        return None, HEAD
    connection = connect(path, synchronous="FULL")
    try:
        return revision(connection), HEAD
    finally:
        connection.close()


def upgrade(path: Path, to: str = "head") -> None:
    """Apply what is missing, by Alembic; each migration is one transaction, so a broken-off upgrade goes on where it was."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(resources.files("plait.adapters.stores.sqlite").joinpath("migrations")))
    config.set_main_option("sqlalchemy.url", f"sqlite:///{path}".replace("%", "%%"))
    command.upgrade(config, to)
