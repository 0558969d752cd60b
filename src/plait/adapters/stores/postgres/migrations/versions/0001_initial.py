"""The first schema. What the tables are for is told in schema.sql."""

from alembic import op

revision = "0001"
down_revision = None

STATEMENTS = (
    "COMMENT ON TABLE alembic_version IS 'plait'",
    """
    CREATE TABLE runs (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id TEXT COLLATE "C" NOT NULL UNIQUE,
        workflow TEXT COLLATE "C" NOT NULL,
        kind TEXT NOT NULL,
        graph_hash TEXT COLLATE "C" NOT NULL,
        state TEXT COLLATE "C" NOT NULL,
        created_at DOUBLE PRECISION NOT NULL,
        started_at DOUBLE PRECISION,
        finished_at DOUBLE PRECISION,
        params BYTEA NOT NULL,
        logical_date TEXT,
        partition TEXT,
        parent TEXT COLLATE "C",
        owner TEXT COLLATE "C",
        epoch BIGINT NOT NULL,
        session BOOLEAN NOT NULL,
        engine_min INTEGER NOT NULL,
        reason TEXT NOT NULL,
        target TEXT NOT NULL,
        tags TEXT NOT NULL,
        extra BYTEA,
        logical_at DOUBLE PRECISION,
        occurrence TEXT COLLATE "C"
    ) WITH (fillfactor = 50)
    """,
    "CREATE INDEX runs_of_workflow ON runs (workflow, run_id)",
    "CREATE INDEX runs_dated ON runs (workflow, logical_at, run_id) WHERE logical_at IS NOT NULL",
    "CREATE INDEX runs_below ON runs (parent, run_id) WHERE parent IS NOT NULL",
    "CREATE INDEX runs_open ON runs (run_id, owner) WHERE state IN ('cancelling', 'paused', 'queued', 'running')",
    """
    CREATE INDEX runs_unowned ON runs (run_id)
    WHERE owner IS NULL AND NOT session AND state IN ('cancelling', 'paused', 'queued', 'running')
    """,
    "CREATE UNIQUE INDEX runs_once ON runs (occurrence) WHERE occurrence IS NOT NULL",
    "CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL",
    "CREATE INDEX runs_of_graph ON runs (graph_hash)",
    """
    CREATE TABLE tasks (
        run BIGINT NOT NULL,
        token BIGINT NOT NULL,
        started_at DOUBLE PRECISION,
        finished_at DOUBLE PRECISION,
        no INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        current BOOLEAN NOT NULL,
        key TEXT COLLATE "C" NOT NULL,
        path TEXT COLLATE "C" NOT NULL,
        state TEXT COLLATE "C" NOT NULL,
        more TEXT NOT NULL,
        control BYTEA,
        error BYTEA,
        log BYTEA,
        spec BYTEA,
        outputs BYTEA,
        PRIMARY KEY (run, no)
    ) WITH (fillfactor = 30)
    """,
    "CREATE INDEX tasks_of_node ON tasks (run, key, path)",
    """
    CREATE TABLE events (
        run BIGINT NOT NULL,
        seq BIGINT NOT NULL,
        data BYTEA NOT NULL,
        PRIMARY KEY (run, seq)
    )
    """,
    """
    CREATE TABLE attempts (
        run BIGINT NOT NULL,
        no INTEGER NOT NULL,
        attempt INTEGER NOT NULL,
        state TEXT NOT NULL,
        started_at DOUBLE PRECISION,
        finished_at DOUBLE PRECISION,
        error BYTEA,
        log BYTEA,
        PRIMARY KEY (run, no, attempt)
    )
    """,
    """
    CREATE TABLE scopes (
        run BIGINT NOT NULL,
        scope TEXT COLLATE "C" NOT NULL,
        path TEXT COLLATE "C" NOT NULL,
        generation INTEGER NOT NULL,
        length INTEGER NOT NULL,
        keys TEXT,
        PRIMARY KEY (run, scope, path)
    )
    """,
    """
    CREATE TABLE trash (
        run BIGINT PRIMARY KEY
    )
    """,
    """
    CREATE TABLE graphs (
        hash TEXT COLLATE "C" PRIMARY KEY,
        data BYTEA NOT NULL
    )
    """,
    """
    CREATE TABLE limits (
        key TEXT COLLATE "C" PRIMARY KEY,
        slots BIGINT NOT NULL
    )
    """,
    """
    CREATE TABLE slots (
        run_id TEXT COLLATE "C" NOT NULL,
        no INTEGER NOT NULL,
        key TEXT COLLATE "C" NOT NULL,
        slots BIGINT NOT NULL,
        PRIMARY KEY (run_id, no, key)
    )
    """,
    "CREATE INDEX slots_of_limit ON slots (key, run_id, no) INCLUDE (slots)",
    """
    CREATE TABLE workflows (
        name TEXT COLLATE "C" PRIMARY KEY,
        kind TEXT NOT NULL,
        paused BOOLEAN NOT NULL,
        failures_in_a_row INTEGER NOT NULL
    )
    """,
    """
    CREATE TABLE assets (
        key TEXT COLLATE "C" NOT NULL,
        partition TEXT COLLATE "C" NOT NULL,
        run_id TEXT NOT NULL,
        no INTEGER NOT NULL,
        at DOUBLE PRECISION NOT NULL,
        data_version TEXT,
        metadata BYTEA,
        PRIMARY KEY (key, partition)
    )
    """,
    """
    CREATE TABLE owners (
        owner TEXT COLLATE "C" PRIMARY KEY,
        host TEXT NOT NULL,
        pid INTEGER NOT NULL,
        started DOUBLE PRECISION NOT NULL,
        lease_until DOUBLE PRECISION NOT NULL,
        swept_at DOUBLE PRECISION,
        address TEXT NOT NULL DEFAULT ''
    )
    """,
    """
    CREATE TABLE inbox (
        id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        run_id TEXT COLLATE "C" NOT NULL,
        data BYTEA NOT NULL
    )
    """,
    "CREATE INDEX inbox_of_run ON inbox (run_id, id)",
    """
    CREATE TABLE files (
        path TEXT COLLATE "C" PRIMARY KEY,
        location TEXT COLLATE "C" NOT NULL,
        stamp TEXT NOT NULL,
        loaded_at DOUBLE PRECISION NOT NULL,
        error TEXT NOT NULL,
        traceback TEXT NOT NULL
    )
    """,
    "CREATE INDEX files_of_location ON files (location)",
    """
    CREATE TABLE deployments (
        workflow TEXT COLLATE "C" PRIMARY KEY,
        kind TEXT NOT NULL,
        target TEXT NOT NULL,
        graph_hash TEXT COLLATE "C" NOT NULL,
        lengths TEXT NOT NULL,
        tags TEXT NOT NULL,
        updated_at DOUBLE PRECISION NOT NULL
    )
    """,
    "CREATE INDEX deployments_of_graph ON deployments (graph_hash)",
    """
    CREATE TABLE triggers (
        workflow TEXT COLLATE "C" NOT NULL,
        no INTEGER NOT NULL,
        kind TEXT NOT NULL,
        spec TEXT NOT NULL,
        catchup SMALLINT NOT NULL,
        cursor DOUBLE PRECISION,
        next_at DOUBLE PRECISION,
        PRIMARY KEY (workflow, no)
    )
    """,
    "CREATE INDEX triggers_due ON triggers (next_at) WHERE next_at IS NOT NULL",
)


def upgrade() -> None:
    """Make all tables."""
    for statement in STATEMENTS:
        op.execute(statement)
