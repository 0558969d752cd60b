"""The statements that the PostgreSQL store sends through psycopg's cursors, named, with their purpose.

Nothing else in plait speaks PostgreSQL's SQL, but for `batches.py`, which has those of the hot path, schema.sql and the
migrations. Rows are locked in one order (see there), so that two transactions never wait for each other (F12).
"""

from plait.adapters.stores.encoding import (
    ASSET_COLUMNS,
    ASSET_EVENT_COLUMNS,
    FINAL_RUN_STATES,
    LIVE_TASK_STATES,
    OPEN_RUN_STATES,
    RUN_COLUMNS,
    TASK_COLUMNS,
)

LOCKS = 0x706C6169
"""The class of plait's advisory locks (`plai`); they are the database's, whatever the schema."""


def _texts(values: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


OPEN = f"state IN {_texts(OPEN_RUN_STATES)}"
"""A run that goes on. The very text of the index `runs_open`, so that PostgreSQL uses it."""
FINAL = f"state IN {_texts(FINAL_RUN_STATES)}"
LIVE = f"state IN {_texts(LIVE_TASK_STATES)}"

_RUN = ", ".join(RUN_COLUMNS[:-1])
_TASK = ", ".join(TASK_COLUMNS[:-1])
_RUN_NUMBER = "(SELECT id FROM runs WHERE run_id = %s)"

# --- limits ----------------------------------------------------------------------------------------------------------

UPSERT_LIMITS = (
    "INSERT INTO limits (key, slots) SELECT * FROM unnest(%s::text[], %s::bigint[]) "
    "ON CONFLICT (key) DO UPDATE SET slots = excluded.slots"
)
"""Declare or resize limits."""

LIMITS = "SELECT key, slots FROM limits ORDER BY key"
"""All limits."""

SLOTS = "SELECT key, run_id, no, slots FROM slots ORDER BY key, run_id, no"
"""Who holds what."""

SLOTS_OF_RUN = "SELECT key, run_id, no, slots FROM slots WHERE run_id = %s ORDER BY key, no"
"""What a run holds."""

SLOTS_OF_LIMIT = "SELECT key, run_id, no, slots FROM slots WHERE key = %s ORDER BY run_id, no"
"""Who holds slots of one limit."""

# --- graphs ----------------------------------------------------------------------------------------------------------

INSERT_GRAPH = "INSERT INTO graphs (hash, data) VALUES (%s, %s) ON CONFLICT DO NOTHING"
"""Keep a graph; what is there stays."""

HAS_GRAPH = "SELECT 1 FROM graphs WHERE hash = %s"
"""Whether a graph is there."""

GET_GRAPH = "SELECT data FROM graphs WHERE hash = %s"
"""A graph by its hash."""

# --- runs: read ------------------------------------------------------------------------------------------------------

GET_RUN = f"SELECT {_RUN} FROM runs WHERE run_id = %s"
"""One run."""

RUN_NUMBER = "SELECT id FROM runs WHERE run_id = %s"
"""A run's own number."""

RUNS_BEGINNING = f"SELECT {_RUN} FROM runs WHERE run_id >= %s AND run_id < %s ORDER BY run_id DESC LIMIT %s"
"""Runs whose id begins so: a range of the index."""

RUNS_ENDING = f"SELECT {_RUN} FROM runs WHERE right(run_id, %s) = %s ORDER BY run_id DESC LIMIT %s"
"""Runs whose id ends so: looks at every id, newest first."""

LIST_RUNS = f"SELECT {_RUN} FROM runs WHERE {{}} ORDER BY run_id DESC LIMIT %s"
"""Runs, newest first, by some of the conditions below."""

OF_WORKFLOW = "workflow = %s"
OF_PARENT = "parent = %s"
BEFORE_RUN = "run_id < %s"
IN_STATES = "state = ANY (%s::text[])"

PREVIOUS_RUN = (
    f"SELECT {_RUN} FROM runs WHERE workflow = %s AND logical_at < %s ORDER BY logical_at DESC, run_id DESC LIMIT 1"
)
"""The run of a workflow before a date; of several at one date the newest."""

LAST_EVENT = "SELECT max(seq) FROM events WHERE run = %s"
"""The number of a run's last event."""

ALL_TASKS = f"SELECT {_TASK} FROM tasks WHERE run = %s ORDER BY no"
"""All task runs of a run, every generation, in the order in which they were made."""

ALL_SCOPES = "SELECT scope, path, generation, length, keys FROM scopes WHERE run = %s ORDER BY scope, path"
"""All expanded scopes of a run."""

PAGE_OF_TASKS = (
    f"SELECT {_TASK} FROM tasks WHERE run = {_RUN_NUMBER} AND no > %s AND (current OR NOT %s) ORDER BY no LIMIT %s"
)
"""Task runs by number, current ones or all; a limit of NULL is none."""

ONE_TASK = f"SELECT {_TASK}, outputs FROM tasks WHERE run = {_RUN_NUMBER} AND no = %s"
"""One task run with its results."""

OUTPUTS = (
    f"SELECT no, outputs FROM tasks WHERE run = {_RUN_NUMBER} AND no = ANY (%s::integer[]) AND outputs IS NOT NULL"
)
"""The results of some task runs."""

TASK_STATE = (
    f"SELECT state FROM tasks WHERE run = {_RUN_NUMBER} AND key = %s AND path = %s AND current "
    "ORDER BY no + 0 DESC LIMIT 1"
)
"""The state of a node's task run, by its current generation. (A plain `no` would have all of the run's tasks read, from
the last one on.)"""

ATTEMPTS = (
    "SELECT no, attempt, state, started_at, finished_at, error, log FROM attempts "
    f"WHERE run = {_RUN_NUMBER} ORDER BY no, attempt"
)
"""The attempts before the last ones."""

EVENTS = f"SELECT seq, data FROM events WHERE run = {_RUN_NUMBER} AND seq > %s ORDER BY seq LIMIT %s"
"""Some chunks of events after a number."""

GET_WORKFLOW = "SELECT name, kind, paused, failures_in_a_row FROM workflows WHERE name = %s"
"""What is remembered of a workflow."""

_ASSET = ", ".join(ASSET_COLUMNS)
ASSETS = f"SELECT {_ASSET} FROM assets ORDER BY key, partition"
"""All latest materializations."""

SOME_ASSETS = f"SELECT {_ASSET} FROM assets WHERE key = ANY (%s::text[]) ORDER BY key, partition"
"""Those of some assets."""

ASSET = f"SELECT {_ASSET} FROM assets WHERE key = %s AND partition = %s"
"""That of one asset's partition."""

_ASSET_EVENT = ", ".join(ASSET_EVENT_COLUMNS)
_BACKWARDS = "ORDER BY at DESC, partition DESC, run_id DESC, no DESC, kind DESC, name DESC LIMIT %s"
_OF_KINDS = "(%s OR kind = ANY (%s::text[]))"
ASSET_HISTORY = f"SELECT {_ASSET_EVENT} FROM asset_events WHERE key = %s AND at < %s AND {_OF_KINDS} {_BACKWARDS}"
"""What happened to an asset, newest first; all of it, or some kinds."""

PARTITION_HISTORY = (
    f"SELECT {_ASSET_EVENT} FROM asset_events "
    f"WHERE key = %s AND partition = %s AND at < %s AND {_OF_KINDS} {_BACKWARDS}"
)
"""The same of one of its partitions."""

ASSET_UPDATES = (
    f"SELECT {_ASSET_EVENT} FROM asset_events "
    "WHERE at >= %s AND kind IN ('materialized', 'observed') ORDER BY at, key, partition, run_id, no LIMIT %s"
)
"""What was made or observed since a moment, of all assets."""

# --- owners ----------------------------------------------------------------------------------------------------------

RENEW = (
    "INSERT INTO owners (owner, host, pid, started, lease_until, address) VALUES (%s, %s, %s, %s, %s, %s) "
    "ON CONFLICT (owner) DO UPDATE SET host = excluded.host, pid = excluded.pid, started = excluded.started, "
    "lease_until = excluded.lease_until, address = excluded.address WHERE owners.swept_at IS NULL"
)
"""Register an owner, or prolong its lease; nothing happens to one that was swept."""

WAIT_NO_MORE = "SET synchronous_commit = off"
"""For the heartbeats that follow the first one."""

OWNERS = "SELECT owner, host, pid, started, lease_until, address FROM owners WHERE swept_at IS NULL ORDER BY owner"
"""Who is there."""

RELEASE_OWNER = "DELETE FROM owners WHERE owner = %s"
"""An owner that ends in order."""

LEASE_OF = "SELECT lease_until FROM owners WHERE owner = %s AND swept_at IS NULL"
"""Until when an owner's lease holds."""

HOLDER = "SELECT id, owner, epoch, state FROM runs WHERE run_id = %s FOR NO KEY UPDATE"
"""Who has a run, which nobody else gives away until this transaction ends."""

TAKE_OVER = "UPDATE runs SET owner = %s, epoch = %s WHERE id = %s"
"""Give a run to another owner under a new epoch."""

FREE_SLOTS_OF_RUN = "DELETE FROM slots WHERE run_id = ANY (%s::text[])"
"""Everything that runs hold."""

FREE_OTHER_SLOTS = "DELETE FROM slots WHERE run_id = %s AND NOT no = ANY (%s::integer[])"
"""What a run holds, but for some of its task numbers."""

UNOWNED = f"owner IS NULL AND NOT session AND {OPEN}"
"""A service-owned run that nobody owns, and that goes on. The very text of the index `runs_unowned`."""

_ASKED = (
    f"NOT session AND {FINAL} AND run_id IN (SELECT run_id FROM inbox) "
    "AND NOT EXISTS (SELECT 1 FROM owners WHERE owners.owner = runs.owner AND swept_at IS NULL)"
)
"""One that is over, to which something is said. It keeps the name of the owner that ended it, who may be long gone."""

IS_SWEPT = "SELECT swept_at IS NOT NULL FROM owners WHERE owner = %s FOR SHARE"
"""Whether an owner was declared dead: it leases nothing any more. It stays as it is until this transaction ends."""

OWNED = f"SELECT run_id FROM runs WHERE {OPEN} AND owner = %s AND NOT session ORDER BY run_id"
"""The open service-owned runs of an owner, oldest first."""

HAS_CLAIMABLE = f"SELECT EXISTS (SELECT 1 FROM runs WHERE {UNOWNED}) OR EXISTS (SELECT 1 FROM runs WHERE {_ASKED})"
"""Whether there is anything to claim."""

CLAIMABLE = (
    f"SELECT run_id, id FROM runs WHERE {UNOWNED} ORDER BY run_id LIMIT %s FOR NO KEY UPDATE SKIP LOCKED",
    f"SELECT run_id, id FROM runs WHERE {_ASKED} ORDER BY run_id LIMIT %s FOR NO KEY UPDATE OF runs SKIP LOCKED",
)
"""Service-owned runs that nobody owns and that have something to do, oldest first; what another process claims just now
is its own."""

CLAIM = "UPDATE runs SET owner = %s, epoch = epoch + 1 WHERE id = ANY (%s::bigint[])"
"""Give them to an owner."""

HELD_BY = (
    f"SELECT id, run_id, {OPEN} FROM runs WHERE run_id = ANY (%s::text[]) AND owner = %s ORDER BY id FOR NO KEY UPDATE"
)
"""Those of some runs that an owner has, and whether they go on."""

MARK_SWEPT = (
    "INSERT INTO owners (owner, host, pid, started, lease_until, swept_at) "
    "SELECT owner, '', 0, 0, 0, %s FROM unnest(%s::text[]) AS dead (owner) ORDER BY owner "
    "ON CONFLICT (owner) DO UPDATE SET swept_at = excluded.swept_at WHERE owners.swept_at IS NULL"
)
"""Owners are dead, for good."""

FORGET_SWEPT = "DELETE FROM owners WHERE swept_at < %s"
"""Owners that were declared dead long ago."""

OPEN_RUNS_OF = (
    f"SELECT id, run_id, session FROM runs WHERE {OPEN} AND owner = ANY (%s::text[]) ORDER BY id FOR NO KEY UPDATE"
)
"""The open runs of some owners, which nobody else changes until this transaction ends."""

FREE_SLOTS_OF = (
    "DELETE FROM slots WHERE run_id IN (SELECT DISTINCT slots.run_id FROM slots JOIN runs USING (run_id) "
    "WHERE runs.owner = ANY (%s::text[]) AND runs.session)"
)
"""Everything that the session-owned runs of some owners hold."""

CRASH_RUNS = (
    "UPDATE runs SET state = 'crashed', reason = %s, finished_at = %s, owner = NULL, epoch = epoch + 1 "
    "WHERE id = ANY (%s::bigint[])"
)
"""Session-owned runs whose owner died; the new epoch keeps a late write of that owner out."""

ORPHAN_RUNS = "UPDATE runs SET owner = NULL, epoch = epoch + 1 WHERE id = ANY (%s::bigint[])"
"""Service-owned runs whose owner died: any scheduler may take them."""

LIVE_TASKS = f"SELECT run, no, more FROM tasks WHERE run = ANY (%s::bigint[]) AND {LIVE}"
"""Task runs that were executing."""

CRASH_TASKS = (
    "UPDATE tasks SET state = 'crashed', finished_at = %s, more = dead.more "
    "FROM unnest(%s::bigint[], %s::integer[], %s::text[]) AS dead (run, no, more) "
    "WHERE tasks.run = dead.run AND tasks.no = dead.no"
)
"""Task runs that died with their owners."""

# --- inbox -----------------------------------------------------------------------------------------------------------

PUT_INBOX = "INSERT INTO inbox (run_id, data) VALUES (%s, %s)"
"""Leave a stimulus."""

READ_INBOX = (
    "SELECT inbox.id, run_id, data FROM inbox JOIN runs USING (run_id) WHERE owner = %s ORDER BY inbox.id LIMIT %s"
)
"""What is there for the runs of an owner, oldest first."""

FORGET_INBOX = "DELETE FROM inbox WHERE id = ANY (%s::bigint[])"
"""Nobody can decide it."""

# --- retention -------------------------------------------------------------------------------------------------------

KEEP_GRAPHS = f"SELECT pg_advisory_xact_lock({LOCKS}, 1)"
"""No run is made until this transaction ends; waits for those that are being made."""

_OLD = (
    f"finished_at < %s AND {FINAL} AND (parent IS NULL OR NOT EXISTS "
    "(SELECT 1 FROM runs AS whole WHERE whole.run_id = split_part(runs.parent, '/', 1))) "
    "AND (session OR NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.run_id = runs.run_id)) "
    'AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.run_id COLLATE "C" = runs.run_id AND NOT observed)'
)
OLD_RUNS = f"SELECT id FROM runs WHERE {_OLD} ORDER BY finished_at, run_id LIMIT %s"
"""Final runs that ended before a time, are no part of another one, have not made what an asset is now, and of which a
service has nothing to decide. Looks at all that stay, too."""

STILL_OLD = (
    f"SELECT id, run_id, graph_hash FROM runs WHERE {_OLD} AND id = ANY (%s::bigint[]) ORDER BY id "
    "FOR UPDATE SKIP LOCKED"
)
"""Those of these runs of which it is still so, and that nobody is at."""

DROP_RUNS = (
    "INSERT INTO trash (run, run_id) SELECT id, run_id FROM runs WHERE id = ANY (%s::bigint[])",
    "DELETE FROM runs WHERE id = ANY (%s::bigint[])",
)
"""Make runs vanish, by their own numbers; their many rows follow (`DELETE_PARTS`)."""

DROP_RUNS_BY_ID = (
    "DELETE FROM slots WHERE run_id = ANY (%s::text[])",
    "DELETE FROM inbox WHERE run_id = ANY (%s::text[])",
    "DELETE FROM asset_events WHERE run_id = ANY (%s::text[])",
)
"""What belongs to runs by their ids."""

DROP_STRAY_INBOX = "DELETE FROM inbox WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = inbox.run_id)"
"""Stimuli for runs that are not there."""

DELETE_UNUSED_GRAPHS = (
    "DELETE FROM graphs WHERE hash = ANY (%s::text[]) "
    "AND NOT EXISTS (SELECT 1 FROM runs WHERE graph_hash = graphs.hash) "
    "AND NOT EXISTS (SELECT 1 FROM deployments WHERE graph_hash = graphs.hash)"
)
"""Graphs of deleted runs that no run and no deployment has any more."""

HAS_TRASH = "SELECT 1 FROM trash LIMIT 1"
"""Whether there is any."""

TRASH = "SELECT run, run_id FROM trash ORDER BY run LIMIT %s FOR UPDATE SKIP LOCKED"
"""Runs that have vanished, and that nobody else deletes just now. Those of an older version of plait have no id there,
and no files that are told of."""

DELETE_PARTS = (
    "DELETE FROM tasks WHERE run = %(run)s AND no = ANY "
    "(ARRAY(SELECT no FROM tasks WHERE run = %(run)s ORDER BY no LIMIT %(most)s))",
    "DELETE FROM events WHERE run = %(run)s AND seq = ANY "
    "(ARRAY(SELECT seq FROM events WHERE run = %(run)s ORDER BY seq LIMIT %(most)s))",
    "DELETE FROM attempts WHERE run = %(run)s AND no = ANY "
    "(ARRAY(SELECT DISTINCT no FROM attempts WHERE run = %(run)s LIMIT %(most)s))",
    "DELETE FROM scopes WHERE run = %(run)s AND (scope, path) IN "
    "(SELECT scope, path FROM scopes WHERE run = %(run)s LIMIT %(most)s)",
)
"""A bounded part of a deleted run's rows, table by table."""

EMPTIED = "DELETE FROM trash WHERE run = %s AND run_id IS NULL"
"""Nothing is left of a deleted run that has no files."""

FORGET_TRASH = "DELETE FROM trash WHERE run_id = ANY (%s::text[])"
"""Nothing is left of deleted runs, here and elsewhere."""

# --- the schema ------------------------------------------------------------------------------------------------------

LOOK = (
    "SELECT count(*), "
    "bool_or(relname = 'alembic_version' AND obj_description(pg_class.oid, 'pg_class') = 'plait'), "
    "bool_or(relname = 'runs') "
    "FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
    "WHERE nspname = %(schema)s AND relkind IN ('r', 'p', 'v', 'm')"
)
"""How many tables and views a schema has, and whether they are plait's."""

REVISION = "SELECT version_num FROM alembic_version"
"""The schema's revision."""

SET_REVISION = "INSERT INTO alembic_version (version_num) VALUES (%s)"
"""A fresh schema has the newest one."""

HAS_SCHEMA = "SELECT 1 FROM pg_namespace WHERE nspname = %s"
"""Whether a schema is there."""

TURN_TO_MIGRATE = f"SELECT pg_advisory_xact_lock({LOCKS}, 2)"
"""One process at a time makes or migrates tables."""
