-- The full schema for fresh files. `migrations/` leads older files to the same; a test compares the two.
CREATE TABLE runs (
    run_id TEXT PRIMARY KEY, workflow TEXT NOT NULL, kind TEXT NOT NULL, graph_hash TEXT NOT NULL, state TEXT NOT NULL,
    created_at REAL NOT NULL, started_at REAL, finished_at REAL, params BLOB NOT NULL, logical_date TEXT, partition TEXT,
    parent TEXT, owner TEXT, epoch INTEGER NOT NULL, session INTEGER NOT NULL, engine_min INTEGER NOT NULL,
    reason TEXT NOT NULL, target TEXT NOT NULL, tags TEXT NOT NULL, extra TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX runs_by_workflow ON runs (workflow, run_id);
CREATE INDEX runs_by_parent ON runs (parent) WHERE parent IS NOT NULL;
CREATE INDEX runs_by_owner ON runs (owner) WHERE finished_at IS NULL;
CREATE TABLE task_runs (
    run_id TEXT NOT NULL, no INTEGER NOT NULL, key TEXT NOT NULL, path TEXT NOT NULL, generation INTEGER NOT NULL,
    state TEXT NOT NULL, attempt INTEGER NOT NULL, token INTEGER NOT NULL, executions INTEGER NOT NULL, parent INTEGER,
    child TEXT, spec BLOB, upstream TEXT, name TEXT, wait_until REAL, first_started_at REAL, started_at REAL,
    finished_at REAL, control BLOB, outputs BLOB, error BLOB, log BLOB, reason TEXT NOT NULL, flags INTEGER NOT NULL,
    current INTEGER NOT NULL, PRIMARY KEY (run_id, no)
) WITHOUT ROWID;
CREATE TABLE attempts (
    run_id TEXT NOT NULL, no INTEGER NOT NULL, attempt INTEGER NOT NULL, state TEXT NOT NULL, started_at REAL,
    finished_at REAL, error BLOB, log BLOB, PRIMARY KEY (run_id, no, attempt)
) WITHOUT ROWID;
CREATE TABLE scopes (
    run_id TEXT NOT NULL, scope TEXT NOT NULL, path TEXT NOT NULL, generation INTEGER NOT NULL, length INTEGER NOT NULL,
    keys TEXT, PRIMARY KEY (run_id, scope, path)
) WITHOUT ROWID;
CREATE TABLE events (
    run_id TEXT NOT NULL, seq INTEGER NOT NULL, at REAL NOT NULL, data BLOB NOT NULL, PRIMARY KEY (run_id, seq)
) WITHOUT ROWID;
CREATE TABLE graphs (hash TEXT PRIMARY KEY, graph BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE limits (key TEXT PRIMARY KEY, slots INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE slots (
    key TEXT NOT NULL, run_id TEXT NOT NULL, no INTEGER NOT NULL, slots INTEGER NOT NULL, PRIMARY KEY (key, run_id, no)
) WITHOUT ROWID;
CREATE INDEX slots_by_run ON slots (run_id, no);
CREATE TABLE workflows (
    name TEXT PRIMARY KEY, kind TEXT NOT NULL, paused INTEGER NOT NULL, failures_in_a_row INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE assets (
    key TEXT NOT NULL, partition TEXT NOT NULL, run_id TEXT NOT NULL, no INTEGER NOT NULL, at REAL NOT NULL,
    data_version TEXT, metadata BLOB, PRIMARY KEY (key, partition)
) WITHOUT ROWID;
CREATE TABLE owners (
    owner TEXT PRIMARY KEY, host TEXT NOT NULL, pid INTEGER NOT NULL, started REAL NOT NULL, lease_until REAL NOT NULL
) WITHOUT ROWID;
CREATE TABLE inbox (id INTEGER PRIMARY KEY, run_id TEXT NOT NULL, data BLOB NOT NULL);
CREATE INDEX inbox_by_run ON inbox (run_id, id);
CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL PRIMARY KEY);
