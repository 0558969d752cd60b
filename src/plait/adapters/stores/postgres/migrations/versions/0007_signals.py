"""Triggers that wait for updates and events. What the tables are for is told in schema.sql."""

from alembic import op

revision = "0007"
down_revision = "0006"

STATEMENTS = (
    "ALTER TABLE triggers ADD COLUMN awaits TEXT NOT NULL DEFAULT '[]'",
    "ALTER TABLE triggers ADD COLUMN state BYTEA NOT NULL DEFAULT ''::bytea",
    """
    CREATE TABLE awaited (
        subject TEXT COLLATE "C" NOT NULL,
        workflow TEXT COLLATE "C" NOT NULL,
        no INTEGER NOT NULL,
        PRIMARY KEY (subject, workflow, no)
    )
    """,
    "CREATE INDEX awaited_by ON awaited (workflow)",
    """
    CREATE TABLE signals (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        subject TEXT COLLATE "C" NOT NULL,
        kind TEXT NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        partition TEXT NOT NULL,
        source TEXT NOT NULL,
        no INTEGER NOT NULL,
        workflow TEXT NOT NULL,
        task TEXT NOT NULL,
        data BYTEA NOT NULL
    )
    """,
    """
    CREATE TABLE published (
        id TEXT COLLATE "C" PRIMARY KEY,
        name TEXT COLLATE "C" NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        data BYTEA NOT NULL
    )
    """,
    "CREATE INDEX published_by_name ON published (name, id)",
    "CREATE INDEX published_in_time ON published (at)",
)


def upgrade() -> None:
    """Add them."""
    for statement in STATEMENTS:
        op.execute(statement)
