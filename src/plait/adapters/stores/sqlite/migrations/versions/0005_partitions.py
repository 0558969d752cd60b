"""Partitions and backfills. What the tables are for is told in schema.sql."""

from alembic import op

revision = "0005"
down_revision = "0004"

STATEMENTS = (
    """
    CREATE TABLE partition_spaces (
        asset TEXT PRIMARY KEY,
        space TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE partition_marks (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        asset TEXT NOT NULL,
        space TEXT NOT NULL,
        failed INTEGER NOT NULL,
        start INTEGER NOT NULL,
        stop INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE partition_chunks (
        asset TEXT NOT NULL,
        space TEXT NOT NULL,
        failed INTEGER NOT NULL,
        chunk INTEGER NOT NULL,
        size INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (asset, space, failed, chunk)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE partition_keys (
        name TEXT NOT NULL,
        no INTEGER NOT NULL,
        key TEXT NOT NULL,
        present INTEGER NOT NULL,
        PRIMARY KEY (name, no)
    ) WITHOUT ROWID
    """,
    "CREATE UNIQUE INDEX partition_keys_once ON partition_keys (name, key)",
    """
    CREATE TABLE backfills (
        id TEXT PRIMARY KEY,
        state TEXT NOT NULL,
        title TEXT NOT NULL,
        created_at REAL NOT NULL,
        updated_at REAL NOT NULL,
        plan BLOB NOT NULL,
        cursor BLOB NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX backfills_open ON backfills (id) WHERE state IN ('cancelling', 'paused', 'running')",
)


def upgrade() -> None:
    """Add tables and indices."""
    for statement in STATEMENTS:
        op.execute(statement)
