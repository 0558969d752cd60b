"""Assets: what is remembered of a materialization, what happened to assets, their automation. What the tables are for
is told in schema.sql."""

from alembic import op

revision = "0003"
down_revision = "0002"

STATEMENTS = (
    "ALTER TABLE assets ADD COLUMN code_version TEXT",
    "ALTER TABLE assets ADD COLUMN inputs BLOB",
    "ALTER TABLE assets ADD COLUMN data_time REAL",
    "ALTER TABLE assets ADD COLUMN observed INTEGER NOT NULL DEFAULT 0",
    "ALTER TABLE files ADD COLUMN assets BLOB NOT NULL DEFAULT x''",
    """
    CREATE TABLE asset_events (
        key TEXT NOT NULL,
        partition TEXT NOT NULL,
        kind TEXT NOT NULL,
        at REAL NOT NULL,
        run_id TEXT NOT NULL,
        no INTEGER NOT NULL,
        name TEXT NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (key, at, partition, run_id, no, kind, name)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX asset_events_of_partition ON asset_events (key, partition, at)",
    "CREATE INDEX asset_events_of_run ON asset_events (run_id)",
    """
    CREATE TABLE automations (
        key TEXT PRIMARY KEY,
        at REAL NOT NULL,
        cursor BLOB NOT NULL,
        decision BLOB NOT NULL
    ) WITHOUT ROWID
    """,
)


def upgrade() -> None:
    """Add columns, indices and tables."""
    for statement in STATEMENTS:
        op.execute(statement)
