"""The scheduler service: addresses of owners, occurrences of triggers, deployments; ids in the inbox are never used
twice. What the tables are for is told in schema.sql."""

from alembic import op

revision = "0002"
down_revision = "0001"

STATEMENTS = (
    "ALTER TABLE runs ADD COLUMN occurrence TEXT",
    """
    CREATE INDEX runs_unowned ON runs (run_id)
    WHERE owner IS NULL AND session = 0 AND state IN ('cancelling', 'paused', 'queued', 'running')
    """,
    "CREATE UNIQUE INDEX runs_once ON runs (occurrence) WHERE occurrence IS NOT NULL",
    "ALTER TABLE owners ADD COLUMN address TEXT NOT NULL DEFAULT ''",
    """
    CREATE TABLE files (
        path TEXT PRIMARY KEY,
        location TEXT NOT NULL,
        stamp TEXT NOT NULL,
        loaded_at REAL NOT NULL,
        error TEXT NOT NULL,
        traceback TEXT NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX files_of_location ON files (location)",
    """
    CREATE TABLE deployments (
        workflow TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        target TEXT NOT NULL,
        graph_hash TEXT NOT NULL,
        lengths TEXT NOT NULL,
        tags TEXT NOT NULL,
        updated_at REAL NOT NULL
    ) WITHOUT ROWID
    """,
    "CREATE INDEX deployments_of_graph ON deployments (graph_hash)",
    """
    CREATE TABLE triggers (
        workflow TEXT NOT NULL,
        no INTEGER NOT NULL,
        kind TEXT NOT NULL,
        spec TEXT NOT NULL,
        catchup INTEGER NOT NULL,
        cursor REAL,
        next_at REAL,
        PRIMARY KEY (workflow, no)
    ) WITHOUT ROWID
    """,
    "CREATE INDEX triggers_due ON triggers (next_at) WHERE next_at IS NOT NULL",
    "CREATE TABLE inbox_before AS SELECT id, run_id, data FROM inbox",
    "DROP TABLE inbox",
    """
    CREATE TABLE inbox (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL,
        data BLOB NOT NULL
    )
    """,
    "INSERT INTO inbox (id, run_id, data) SELECT id, run_id, data FROM inbox_before ORDER BY id",
    "DROP TABLE inbox_before",
    "CREATE INDEX inbox_of_run ON inbox (run_id)",
)


def upgrade() -> None:
    """Add columns, indices and tables; make the inbox anew."""
    for statement in STATEMENTS:
        op.execute(statement)
