-- The full schema of revision 0008, for fresh files. A change here goes with a new migration in migrations/versions;
-- a test compares the two.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- One row a run. `id` is the run's own number, which the clustered tables below use as their key's first part: it is
-- shorter than the text, and newer runs come later in the file. Never used twice.
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
    logical_at REAL,
    occurrence TEXT
);

CREATE INDEX runs_of_workflow ON runs (workflow, run_id);

CREATE INDEX runs_dated ON runs (workflow, logical_at, run_id) WHERE logical_at IS NOT NULL;

CREATE INDEX runs_below ON runs (parent, run_id) WHERE parent IS NOT NULL;

CREATE INDEX runs_open ON runs (run_id, owner) WHERE state IN ('cancelling', 'paused', 'queued', 'running');

CREATE INDEX runs_unowned ON runs (run_id)
WHERE owner IS NULL AND session = 0 AND state IN ('cancelling', 'paused', 'queued', 'running');

-- No two runs of one occurrence of a trigger.
CREATE UNIQUE INDEX runs_once ON runs (occurrence) WHERE occurrence IS NOT NULL;

CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX runs_of_graph ON runs (graph_hash);

-- One row a task run; `more` is JSON of what SQL never asks for.
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
) WITHOUT ROWID;

CREATE INDEX tasks_of_node ON tasks (run, key, path);

-- One row for the events of one batch (500 at most): `seq` is the last one's number.
CREATE TABLE events (
    run INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) WITHOUT ROWID;

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
) WITHOUT ROWID;

CREATE TABLE scopes (
    run INTEGER NOT NULL,
    scope TEXT NOT NULL,
    path TEXT NOT NULL,
    generation INTEGER NOT NULL,
    length INTEGER NOT NULL,
    keys TEXT,
    PRIMARY KEY (run, scope, path)
) WITHOUT ROWID;

-- Runs that were deleted, whose rows in the clustered tables and whose files are still to go.
CREATE TABLE trash (
    run INTEGER PRIMARY KEY,
    run_id TEXT
);

CREATE TABLE graphs (
    hash TEXT PRIMARY KEY,
    data BLOB NOT NULL
) WITHOUT ROWID;

CREATE TABLE limits (
    key TEXT PRIMARY KEY,
    slots INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE slots (
    run_id TEXT NOT NULL,
    no INTEGER NOT NULL,
    key TEXT NOT NULL,
    slots INTEGER NOT NULL,
    PRIMARY KEY (run_id, no, key)
) WITHOUT ROWID;

CREATE INDEX slots_of_limit ON slots (key, slots);

CREATE TABLE workflows (
    name TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    paused INTEGER NOT NULL,
    failures_in_a_row INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE assets (
    key TEXT NOT NULL,
    partition TEXT NOT NULL,
    run_id TEXT NOT NULL,
    no INTEGER NOT NULL,
    at REAL NOT NULL,
    data_version TEXT,
    metadata BLOB,
    code_version TEXT,
    inputs BLOB,
    data_time REAL,
    observed INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (key, partition)
) WITHOUT ROWID;

-- Retention keeps the runs that made what assets are now.
CREATE INDEX assets_of_run ON assets (run_id);

-- What happened to assets: they were materialized or observed, or a check looked at one.
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
) WITHOUT ROWID;

CREATE INDEX asset_events_of_partition ON asset_events (key, partition, at);

CREATE INDEX asset_events_of_run ON asset_events (run_id);

CREATE INDEX asset_events_in_time ON asset_events (at);

-- Where the automations of assets stand.
CREATE TABLE automations (
    key TEXT PRIMARY KEY,
    at REAL NOT NULL,
    cursor BLOB NOT NULL,
    decision BLOB NOT NULL
) WITHOUT ROWID;

-- `swept_at` marks an owner that was declared dead: it must not come back.
CREATE TABLE owners (
    owner TEXT PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started REAL NOT NULL,
    lease_until REAL NOT NULL,
    swept_at REAL,
    address TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;

-- An id is never used twice: who is late to delete an entry must not hit another one.
CREATE TABLE inbox (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    run_id TEXT NOT NULL,
    data BLOB NOT NULL
);

CREATE INDEX inbox_of_run ON inbox (run_id);

-- Files of definitions as they were last loaded.
CREATE TABLE files (
    path TEXT PRIMARY KEY,
    location TEXT NOT NULL,
    stamp TEXT NOT NULL,
    loaded_at REAL NOT NULL,
    error TEXT NOT NULL,
    traceback TEXT NOT NULL,
    assets BLOB NOT NULL DEFAULT x''
) WITHOUT ROWID;

CREATE INDEX files_of_location ON files (location);

-- Workflows as services run them.
CREATE TABLE deployments (
    workflow TEXT PRIMARY KEY,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    graph_hash TEXT NOT NULL,
    lengths TEXT NOT NULL,
    tags TEXT NOT NULL,
    updated_at REAL NOT NULL
) WITHOUT ROWID;

CREATE INDEX deployments_of_graph ON deployments (graph_hash);

-- When which workflow gets its next run by itself.
CREATE TABLE triggers (
    workflow TEXT NOT NULL,
    no INTEGER NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    catchup INTEGER NOT NULL,
    cursor REAL,
    next_at REAL,
    awaits TEXT NOT NULL DEFAULT '[]',
    state BLOB NOT NULL DEFAULT x'',
    PRIMARY KEY (workflow, no)
) WITHOUT ROWID;

CREATE INDEX triggers_due ON triggers (next_at) WHERE next_at IS NOT NULL;

-- Which trigger waits for what. An update of an asset is a signal only if it is found here.
CREATE TABLE awaited (
    subject TEXT NOT NULL,
    workflow TEXT NOT NULL,
    no INTEGER NOT NULL,
    PRIMARY KEY (subject, workflow, no)
) WITHOUT ROWID;

CREATE INDEX awaited_by ON awaited (workflow);

-- What has happened that triggers wait for, until it is counted. An id is never used twice.
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
);

-- Events that somebody has published.
CREATE TABLE published (
    id TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    at REAL NOT NULL,
    data BLOB NOT NULL
) WITHOUT ROWID;

CREATE INDEX published_by_name ON published (name, id);

CREATE INDEX published_in_time ON published (at);

-- In which space everything is that is known of an asset's partitions.
CREATE TABLE partition_spaces (
    asset TEXT PRIMARY KEY,
    space TEXT NOT NULL
) WITHOUT ROWID;

-- What runs have said of partitions, until it is put into chunks.
CREATE TABLE partition_marks (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    asset TEXT NOT NULL,
    space TEXT NOT NULL,
    failed INTEGER NOT NULL,
    start INTEGER NOT NULL,
    stop INTEGER NOT NULL
);

-- Which partitions are materialized, and which failed last: a row for 65,536 of them.
CREATE TABLE partition_chunks (
    asset TEXT NOT NULL,
    space TEXT NOT NULL,
    failed INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    size INTEGER NOT NULL,
    data BLOB NOT NULL,
    PRIMARY KEY (asset, space, failed, chunk)
) WITHOUT ROWID;

-- Keys of dynamic partitions. A number is never used for two of them.
CREATE TABLE partition_keys (
    name TEXT NOT NULL,
    no INTEGER NOT NULL,
    key TEXT NOT NULL,
    present INTEGER NOT NULL,
    PRIMARY KEY (name, no)
) WITHOUT ROWID;

CREATE UNIQUE INDEX partition_keys_once ON partition_keys (name, key);

-- What a backfill is to do, and how far it is.
CREATE TABLE backfills (
    id TEXT PRIMARY KEY,
    state TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at REAL NOT NULL,
    updated_at REAL NOT NULL,
    plan BLOB NOT NULL,
    cursor BLOB NOT NULL
) WITHOUT ROWID;

CREATE INDEX backfills_open ON backfills (id) WHERE state IN ('cancelling', 'paused', 'running');
