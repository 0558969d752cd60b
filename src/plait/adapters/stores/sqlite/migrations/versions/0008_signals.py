"""Triggers that wait for updates and events. What the tables are for is told in schema.sql."""

from alembic import op

revision = "0008"
down_revision = "0007"

STATEMENTS = (
    "ALTER TABLE triggers ADD COLUMN awaits TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE triggers ADD COLUMN state BLOB NOT NULL DEFAULT x''",
    """
    CREATE TABLE awaited (
        subject TEXT NOT NULL,
        workflow TEXT NOT NULL,
        no INTEGER NOT NULL,
        PRIMARY KEY (subject, workflow, no)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX awaited_by ON awaited (workflow)",
    """
    CREATE TABLE signals (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        subject TEXT NOT NULL,
        kind TEXT NOT NULL,
        at REAL NOT NULL,
        partition TEXT NOT NULL,
        source TEXT NOT NULL,
        no INTEGER NOT NULL,
        workflow TEXT NOT NULL,
        task TEXT NOT NULL,
        data BLOB NOT NULL
    )
    """,
    """
    CREATE TABLE published (
        id TEXT PRIMARY KEY,
        name TEXT NOT NULL,
        at REAL NOT NULL,
        data BLOB NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX published_by_name ON published (name, id)",
    "CREATE INDEX published_in_time ON published (at)",
)


def upgrade() -> None:
    """Add them."""
    for statement in STATEMENTS:
        op.execute(statement)
