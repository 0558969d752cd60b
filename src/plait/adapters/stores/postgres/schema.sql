-- The full schema of revision 0007, for fresh databases. A change here goes with a new migration in migrations/versions;
-- a test compares the two. All names are relative to the schema that the URL names (`plait`).
-- Text that is a key is compared byte by byte (COLLATE "C"), as SQLite and Python do.

CREATE TABLE alembic_version (
    version_num VARCHAR(32) NOT NULL,
    CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);

-- By this the tables are known to be plait's.
COMMENT ON TABLE alembic_version IS 'plait';

-- One row a run. `id` is the run's own number, which the tables below use as their key's first part: it is shorter than
-- the text, and never used twice.
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
) WITH (fillfactor = 50);

CREATE INDEX runs_of_workflow ON runs (workflow, run_id);

CREATE INDEX runs_dated ON runs (workflow, logical_at, run_id) WHERE logical_at IS NOT NULL;

CREATE INDEX runs_below ON runs (parent, run_id) WHERE parent IS NOT NULL;

CREATE INDEX runs_open ON runs (run_id, owner) WHERE state IN ('cancelling', 'paused', 'queued', 'running');

CREATE INDEX runs_unowned ON runs (run_id)
WHERE owner IS NULL AND NOT session AND state IN ('cancelling', 'paused', 'queued', 'running');

-- No two runs of one occurrence of a trigger.
CREATE UNIQUE INDEX runs_once ON runs (occurrence) WHERE occurrence IS NOT NULL;

CREATE INDEX runs_finished ON runs (finished_at) WHERE finished_at IS NOT NULL;

CREATE INDEX runs_of_graph ON runs (graph_hash);

-- One row a task run; `more` is JSON of what SQL never asks for. Two thirds of a page are left free: the row of an end is
-- twice as long as that of a dispatch, and where it fits into the same page no index is written.
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
) WITH (fillfactor = 30);

CREATE INDEX tasks_of_node ON tasks (run, key, path);

-- One row for the events of one batch (500 at most): `seq` is the last one's number.
CREATE TABLE events (
    run BIGINT NOT NULL,
    seq BIGINT NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (run, seq)
);

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
);

CREATE TABLE scopes (
    run BIGINT NOT NULL,
    scope TEXT COLLATE "C" NOT NULL,
    path TEXT COLLATE "C" NOT NULL,
    generation INTEGER NOT NULL,
    length INTEGER NOT NULL,
    keys TEXT,
    PRIMARY KEY (run, scope, path)
);

-- Runs that were deleted, whose rows in the tables above and whose files are still to go.
CREATE TABLE trash (
    run BIGINT PRIMARY KEY,
    run_id TEXT COLLATE "C"
);

CREATE TABLE graphs (
    hash TEXT COLLATE "C" PRIMARY KEY,
    data BYTEA NOT NULL
);

CREATE TABLE limits (
    key TEXT COLLATE "C" PRIMARY KEY,
    slots BIGINT NOT NULL
);

CREATE TABLE slots (
    run_id TEXT COLLATE "C" NOT NULL,
    no INTEGER NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    slots BIGINT NOT NULL,
    PRIMARY KEY (run_id, no, key)
);

CREATE INDEX slots_of_limit ON slots (key, run_id, no) INCLUDE (slots);

CREATE TABLE workflows (
    name TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT NOT NULL,
    paused BOOLEAN NOT NULL,
    failures_in_a_row INTEGER NOT NULL
);

CREATE TABLE assets (
    key TEXT COLLATE "C" NOT NULL,
    partition TEXT COLLATE "C" NOT NULL,
    run_id TEXT NOT NULL,
    no INTEGER NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    data_version TEXT,
    metadata BYTEA,
    code_version TEXT,
    inputs BYTEA,
    data_time DOUBLE PRECISION,
    observed BOOLEAN NOT NULL DEFAULT false,
    PRIMARY KEY (key, partition)
);

-- Retention keeps the runs that made what assets are now.
CREATE INDEX assets_of_run ON assets (run_id COLLATE "C");

-- What happened to assets: they were materialized or observed, or a check looked at one.
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
);

CREATE INDEX asset_events_of_partition ON asset_events (key, partition, at);

CREATE INDEX asset_events_of_run ON asset_events (run_id);

CREATE INDEX asset_events_in_time ON asset_events (at);

-- Where the automations of assets stand.
CREATE TABLE automations (
    key TEXT COLLATE "C" PRIMARY KEY,
    at DOUBLE PRECISION NOT NULL,
    cursor BYTEA NOT NULL,
    decision BYTEA NOT NULL
);

-- `swept_at` marks an owner that was declared dead: it must not come back.
CREATE TABLE owners (
    owner TEXT COLLATE "C" PRIMARY KEY,
    host TEXT NOT NULL,
    pid INTEGER NOT NULL,
    started DOUBLE PRECISION NOT NULL,
    lease_until DOUBLE PRECISION NOT NULL,
    swept_at DOUBLE PRECISION,
    address TEXT NOT NULL DEFAULT ''
);

-- An id is never used twice: who is late to delete an entry must not hit another one.
CREATE TABLE inbox (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    run_id TEXT COLLATE "C" NOT NULL,
    data BYTEA NOT NULL
);

CREATE INDEX inbox_of_run ON inbox (run_id, id);

-- Files of definitions as they were last loaded.
CREATE TABLE files (
    path TEXT COLLATE "C" PRIMARY KEY,
    location TEXT COLLATE "C" NOT NULL,
    stamp TEXT NOT NULL,
    loaded_at DOUBLE PRECISION NOT NULL,
    error TEXT NOT NULL,
    traceback TEXT NOT NULL,
    assets BYTEA NOT NULL DEFAULT ''::bytea
);

CREATE INDEX files_of_location ON files (location);

-- Workflows as services run them.
CREATE TABLE deployments (
    workflow TEXT COLLATE "C" PRIMARY KEY,
    kind TEXT NOT NULL,
    target TEXT NOT NULL,
    graph_hash TEXT COLLATE "C" NOT NULL,
    lengths TEXT NOT NULL,
    tags TEXT NOT NULL,
    updated_at DOUBLE PRECISION NOT NULL
);

CREATE INDEX deployments_of_graph ON deployments (graph_hash);

-- When which workflow gets its next run by itself.
CREATE TABLE triggers (
    workflow TEXT COLLATE "C" NOT NULL,
    no INTEGER NOT NULL,
    kind TEXT NOT NULL,
    spec TEXT NOT NULL,
    catchup SMALLINT NOT NULL,
    cursor DOUBLE PRECISION,
    next_at DOUBLE PRECISION,
    awaits TEXT NOT NULL DEFAULT '[]',
    state BYTEA NOT NULL DEFAULT ''::bytea,
    PRIMARY KEY (workflow, no)
);

CREATE INDEX triggers_due ON triggers (next_at) WHERE next_at IS NOT NULL;

-- Which trigger waits for what. An update of an asset is a signal only if it is found here.
CREATE TABLE awaited (
    subject TEXT COLLATE "C" NOT NULL,
    workflow TEXT COLLATE "C" NOT NULL,
    no INTEGER NOT NULL,
    PRIMARY KEY (subject, workflow, no)
);

CREATE INDEX awaited_by ON awaited (workflow);

-- What has happened that triggers wait for, until it is counted. An id is never used twice.
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
);

-- Events that somebody has published.
CREATE TABLE published (
    id TEXT COLLATE "C" PRIMARY KEY,
    name TEXT COLLATE "C" NOT NULL,
    at DOUBLE PRECISION NOT NULL,
    data BYTEA NOT NULL
);

CREATE INDEX published_by_name ON published (name, id);

CREATE INDEX published_in_time ON published (at);

-- In which space everything is that is known of an asset's partitions.
CREATE TABLE partition_spaces (
    asset TEXT COLLATE "C" PRIMARY KEY,
    space TEXT NOT NULL
);

-- What runs have said of partitions, until it is put into chunks.
CREATE TABLE partition_marks (
    id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    asset TEXT NOT NULL,
    space TEXT NOT NULL,
    failed INTEGER NOT NULL,
    start BIGINT NOT NULL,
    stop BIGINT NOT NULL
);

-- Which partitions are materialized, and which failed last: a row for 65,536 of them.
CREATE TABLE partition_chunks (
    asset TEXT COLLATE "C" NOT NULL,
    space TEXT COLLATE "C" NOT NULL,
    failed INTEGER NOT NULL,
    chunk BIGINT NOT NULL,
    size INTEGER NOT NULL,
    data BYTEA NOT NULL,
    PRIMARY KEY (asset, space, failed, chunk)
);

-- Keys of dynamic partitions. A number is never used for two of them.
CREATE TABLE partition_keys (
    name TEXT COLLATE "C" NOT NULL,
    no INTEGER NOT NULL,
    key TEXT COLLATE "C" NOT NULL,
    present INTEGER NOT NULL,
    PRIMARY KEY (name, no)
);

CREATE UNIQUE INDEX partition_keys_once ON partition_keys (name, key);

-- What a backfill is to do, and how far it is.
CREATE TABLE backfills (
    id TEXT COLLATE "C" PRIMARY KEY,
    state TEXT NOT NULL,
    title TEXT NOT NULL,
    created_at DOUBLE PRECISION NOT NULL,
    updated_at DOUBLE PRECISION NOT NULL,
    plan BYTEA NOT NULL,
    cursor BYTEA NOT NULL
);

CREATE INDEX backfills_open ON backfills (id) WHERE state IN ('cancelling', 'paused', 'running');
