"""Partitions and backfills. What the tables are for is told in schema.sql."""

from alembic import op

revision = "0004"
down_revision = "0003"

STATEMENTS = (
    """
    CREATE TABLE partition_spaces (
        asset TEXT COLLATE "C" PRIMARY KEY,
        space TEXT NOT NULL
    )
    """,
    """
    CREATE TABLE partition_marks (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        asset TEXT NOT NULL,
        space TEXT NOT NULL,
        failed INTEGER NOT NULL,
        start BIGINT NOT NULL,
        stop BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE partition_chunks (
        asset TEXT COLLATE "C" NOT NULL,
        space TEXT COLLATE "C" NOT NULL,
        failed INTEGER NOT NULL,
        chunk BIGINT NOT NULL,
        size INTEGER NOT NULL,
        data BYTEA NOT NULL,
        PRIMARY KEY (asset, space, failed, chunk)
    )
    """,
    """
    CREATE TABLE partition_keys (
        name TEXT COLLATE "C" NOT NULL,
        no INTEGER NOT NULL,
        key TEXT COLLATE "C" NOT NULL,
        present INTEGER NOT NULL,
        PRIMARY KEY (name, no)
    )
    """,
    "CREATE UNIQUE INDEX partition_keys_once ON partition_keys (name, key)",
    """
    CREATE TABLE backfills (
        id TEXT COLLATE "C" PRIMARY KEY,
        state TEXT NOT NULL,
        title TEXT NOT NULL,
        created_at DOUBLE PRECISION NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL,
        plan BYTEA NOT NULL,
        cursor BYTEA NOT NULL
    )
    """,
    "CREATE INDEX backfills_open ON backfills (id) WHERE state IN ('cancelling', 'paused', 'running')",
)


def upgrade() -> None:
    """Add tables and indices."""
    for statement in STATEMENTS:
        op.execute(statement)
