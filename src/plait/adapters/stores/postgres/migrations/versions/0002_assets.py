"""Assets: what is remembered of a materialization, what happened to assets, their automation. What the tables are for
is told in schema.sql."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "ALTER TABLE assets ADD COLUMN code_version TEXT",
    "ALTER TABLE assets ADD COLUMN inputs BYTEA",
    "ALTER TABLE assets ADD COLUMN data_time DOUBLE PRECISION",
    "ALTER TABLE assets ADD COLUMN observed BOOLEAN NOT NULL DEFAULT false",
    "ALTER TABLE files ADD COLUMN assets BYTEA NOT NULL DEFAULT ''::bytea",
    """
    CREATE TABLE asset_events (
        key TEXT COLLATE "C" NOT NULL,
        partition TEXT COLLATE "C" NOT NULL,
        kind TEXT COLLATE "C" NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        run_id TEXT COLLATE "C" NOT NULL,
        no INTEGER NOT NULL,
        name TEXT COLLATE "C" NOT NULL,
        data BYTEA NOT NULL,
        PRIMARY KEY (key, at, partition, run_id, no, kind, name)
    )
    """,
    "CREATE INDEX asset_events_of_partition ON asset_events (key, partition, at)",
    "CREATE INDEX asset_events_of_run ON asset_events (run_id)",
    """
    CREATE TABLE automations (
        key TEXT COLLATE "C" PRIMARY KEY,
        at DOUBLE PRECISION NOT NULL,
        cursor BYTEA NOT NULL,
        decision BYTEA NOT NULL
    )
    """,
)


def upgrade() -> None:
    """Add columns, indices and tables."""
    for statement in STATEMENTS:
        op.execute(statement)
