"""The first schema. What the tables are for is told in schema.sql."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    """
    CREATE TABLE runs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        run_id TEXT NOT NULL UNIQUE,
        workflow TEXT NOT NULL,
        kind TEXT NOT NULL,
        graph_hash TEXT NOT NULL,
        state TEXT NOT NULL,
        created_at REAL NOT NULL,
        started_at REAL,
        finished_at REAL,
        params BLOB NOT NULL,
        logical_date TEXT,
        partition TEXT,
        parent TEXT,
        owner TEXT,
        epoch INTEGER NOT NULL,
        session INTEGER NOT NULL,
        engine_min INTEGER NOT NULL,
        reason TEXT NOT NULL,
        target TEXT NOT NULL,
        tags TEXT NOT NULL,
        extra BLOB,
        logical_at REAL
    )
    """,
    """
    CREATE INDEX runs_of_workflow ON runs (workflow, run_id)
    """,
    """
    CREATE INDEX runs_dated ON runs (workflow, logical_at, run_id) WHERE logical_at IS NOT NULL
    """,
    """
    CREATE INDEX runs_below ON runs (parent, run_id) WHERE parent IS NOT NULL
    """,
    """
    CREATE INDEX runs_open ON runs (run_id, owner) WHERE state IN ('cancelling', 'paused', 'queued', 'running')
    """,
    """
    CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL
    """,
    """
    CREATE INDEX runs_of_graph ON runs (graph_hash)
    """,
    """
    CREATE TABLE tasks (
        run INTEGER NOT NULL,
        no INTEGER NOT NULL,
        key TEXT NOT NULL,
        path TEXT NOT NULL,
        state TEXT NOT NULL,
        attempt INTEGER NOT NULL,
        token INTEGER NOT NULL,
        started_at REAL,
        finished_at REAL,
        current INTEGER NOT NULL,
        more TEXT NOT NULL,
        control BLOB,
        error BLOB,
        log BLOB,
        spec BLOB,
        outputs BLOB,
        PRIMARY KEY (run, no)
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX tasks_of_node ON tasks (run, key, path)
    """,
    """
    CREATE TABLE events (
        run INTEGER NOT NULL,
        seq INTEGER NOT NULL,
        data BLOB NOT NULL,
        PRIMARY KEY (run, seq)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE attempts (
        run INTEGER NOT NULL,
        no INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        started_at REAL,
        finished_at REAL,
        error BLOB,
        log BLOB,
        PRIMARY KEY (run, no, attempt)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE scopes (
        run INTEGER NOT NULL,
        scope TEXT NOT NULL,
        path TEXT NOT NULL,
        generation INTEGER NOT NULL,
        length INTEGER NOT NULL,
        keys TEXT,
        PRIMARY KEY (run, scope, path)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE trash (
        run INTEGER PRIMARY KEY
    )
    """,
    """
    CREATE TABLE graphs (
        hash TEXT PRIMARY KEY,
        data BLOB NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE limits (
        key TEXT PRIMARY KEY,
        slots INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE slots (
        run_id TEXT NOT NULL,
        no INTEGER NOT NULL,
        key TEXT NOT NULL,
        slots INTEGER NOT NULL,
        PRIMARY KEY (run_id, no, key)
    ) WITHOUT ROWID
    """,
    """
    CREATE INDEX slots_of_limit ON slots (key, slots)
    """,
    """
    CREATE TABLE workflows (
        name TEXT PRIMARY KEY,
        kind TEXT NOT NULL,
        paused INTEGER NOT NULL,
        failures_in_a_row INTEGER NOT NULL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE assets (
        key TEXT NOT NULL,
        partition TEXT NOT NULL,
        run_id TEXT NOT NULL,
        no INTEGER NOT NULL,
        at REAL NOT NULL,
        data_version TEXT,
        metadata BLOB,
        PRIMARY KEY (key, partition)
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE owners (
        owner TEXT PRIMARY KEY,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started REAL NOT NULL,
        lease_until REAL NOT NULL,
        swept_at REAL
    ) WITHOUT ROWID
    """,
    """
    CREATE TABLE inbox (
        id INTEGER PRIMARY KEY,
        run_id TEXT NOT NULL,
        data BLOB NOT NULL
    )
    """,
    """
    CREATE INDEX inbox_of_run ON inbox (run_id)
    """,
)


def upgrade() -> None:
    """Make all tables."""
    for statement in STATEMENTS:
        op.execute(statement)
    op.execute("PRAGMA application_id = 1886151017")
