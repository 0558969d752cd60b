"""The revision of a file: fresh files get the full schema, current ones are taken as they are.

Only an older one brings in Alembic (`migrate.py`), which takes a second to import.
"""

import contextlib
import sqlite3
from pathlib import Path

from plait.adapters.stores.sqlite.connections import begin, connect, patiently, roll_back
from plait.adapters.stores.sqlite.failures import told
from plait.model.errors import StoreError

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008")
"""All revisions, oldest first; a test compares them with the files in migrations/versions."""
HEAD = REVISIONS[-1]
APPLICATION_ID = 0x706C6169
"""In the header of every file of ours: `plai`."""
PAGE_SIZE = 8192
_SCHEMA = Path(__file__).with_name("schema.sql")


def prepare(connection: sqlite3.Connection, path: Path, *, migrate: bool) -> bool:
    """Give an empty file its schema. Returns whether the file is older and has to be migrated.

    Raises StoreError when it may not be, when it is of a newer plait, or of something else.
    """
    # While others create the file, even a look at it can be refused.
    found = patiently(lambda: _look_or_create(connection, path))
    if found == HEAD:
        return False
    if found not in REVISIONS:
        raise StoreError(
            f"{path} is of a newer plait (its schema is {found}, this version knows {HEAD}): "
            "upgrade plait, or use another database"
        )
    if not migrate:
        raise StoreError(f"{path} is of an older plait (its schema is {found}, now {HEAD}): run `plait db upgrade`")
    return True


def _look_or_create(connection: sqlite3.Connection, path: Path) -> str:
    try:
        found = revision_of(connection, path)
        if found is None:
            return create(connection, path)
        _write_ahead(connection, path)  # a copy (`VACUUM INTO`) begins without
        return found
    except BaseException:
        roll_back(connection)
        raise


def _write_ahead(connection: sqlite3.Connection, path: Path) -> None:
    if connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal":
        return
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreError(f"{path} cannot have a write-ahead log there (only {mode!r}): put it on a local disk")


def revision_of(connection: sqlite3.Connection, path: Path) -> str | None:
    """The file's revision, none when it is empty. Raises StoreError for a database of something else."""
    for _ in range(2):  # between two looks another process may have created everything; the second one is sure
        application = connection.execute("PRAGMA application_id").fetchone()[0]
        if application == APPLICATION_ID:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            return row[0] if row else "none"
        if application == 0 and connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0] == 0:
            return None
    raise StoreError(f"{path} is an SQLite database, but not one of plait: use another file")


def read_revision(path: Path) -> str | None:
    """The revision of a file that nobody needs to have open, none where there is no file yet."""
    if not path.exists() or path.stat().st_size == 0:
        return None
    try:
        with contextlib.closing(connect(path, synchronous="FULL", readonly=True)) as connection:
            return revision_of(connection, path)
    except sqlite3.Error as error:
        raise told(error, path) from error


def create(connection: sqlite3.Connection, path: Path) -> str:
    """Write the full schema into an empty file, unless another process is quicker; returns the file's revision."""
    connection.execute(f"PRAGMA page_size = {PAGE_SIZE}")
    _write_ahead(connection, path)
    begin(connection)
    found = revision_of(connection, path)
    if found is None:
        for statement in statements(_SCHEMA.read_text(encoding="utf-8")):
            connection.execute(statement)
        connection.execute("INSERT INTO alembic_version (version_num) VALUES (?)", (HEAD,))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        found = HEAD
    connection.execute("COMMIT")
    return found


def statements(script: str) -> list[str]:
    """The statements of an SQL script. (`executescript` would commit on its own.)"""
    found: list[str] = []
    pending = ""
    for line in script.splitlines():
        if line.lstrip().startswith("--") or (not pending and not line.strip()):
            continue
        pending += line + "\n"
        if sqlite3.complete_statement(pending):
            found.append(pending.strip().rstrip(";"))
            pending = ""
    return found
