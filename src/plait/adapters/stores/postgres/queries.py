"""Every statement that the PostgreSQL store sends, named, with its purpose.

Nothing else in plait speaks PostgreSQL's SQL, but for schema.sql and the migrations. A `Statement` belongs to the hot
path (`pipeline.py`): it takes one array for each column, so that it writes a whole batch. The others are texts for
psycopg's cursors. Rows are locked in the order of limits, runs (by number), and then what belongs to runs; keys that
several runs may write (slots, assets, workflows) come sorted: so two transactions never wait for each other (F12).
"""

from plait.adapters.stores.encoding import (
    FINAL_RUN_STATES,
    KEPT_COLUMNS,
    LIVE_TASK_STATES,
    OPEN_RUN_STATES,
    RUN_COLUMNS,
    TASK_COLUMNS,
)
from plait.adapters.stores.postgres.pipeline import Statement

TYPES = {
    "attempt": "integer", "created_at": "double precision", "current": "boolean", "control": "bytea", "epoch": "bigint",
    "engine_min": "integer", "error": "bytea", "extra": "bytea", "finished_at": "double precision", "log": "bytea",
    "logical_at": "double precision", "no": "integer", "outputs": "bytea", "params": "bytea", "run": "bigint",
    "session": "boolean", "spec": "bytea", "started_at": "double precision", "token": "bigint",
}  # fmt: skip
"""Types of columns; the others are text."""

LOCKS = 0x706C6169
"""The class of plait's advisory locks (`plai`); they are the database's, whatever the schema."""


def _types(columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(TYPES.get(column, "text") for column in columns)


def _unnest(types: tuple[str, ...]) -> str:
    return "unnest(" + ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1)) + ")"


def _texts(values: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


OPEN = f"state IN {_texts(OPEN_RUN_STATES)}"
"""A run that goes on. The very text of the index `runs_open`, so that PostgreSQL uses it."""
FINAL = f"state IN {_texts(FINAL_RUN_STATES)}"
LIVE = f"state IN {_texts(LIVE_TASK_STATES)}"

_RUN = ", ".join(RUN_COLUMNS[:-1])
_TASK = ", ".join(TASK_COLUMNS[:-1])
_RUN_NUMBER = "(SELECT id FROM runs WHERE run_id = %s)"

# --- a transaction ---------------------------------------------------------------------------------------------------

BEGIN = Statement("begin", "BEGIN")
COMMIT = Statement("commit", "COMMIT")
ROLLBACK = Statement("rollback", "ROLLBACK")

RUN_NUMBERS = Statement("run_numbers", "SELECT run_id, id, epoch FROM runs WHERE run_id = ANY ($1::text[])", ("text",))
"""The runs' own numbers, and the epochs under which they may be written."""

FENCE = Statement(
    "fence",
    "SELECT 1 / (count(*) FILTER (WHERE held.epoch = asked.epoch) = cardinality($1::bigint[]))::integer FROM "
    "(SELECT id, epoch FROM runs WHERE id = ANY ($1::bigint[]) ORDER BY id FOR NO KEY UPDATE) AS held "
    "JOIN unnest($1::bigint[], $2::bigint[]) AS asked (id, epoch) USING (id)",
    ("bigint", "bigint"),
)
"""Lock runs, and fail (by a division by zero) unless all of them have these epochs: then nothing that comes behind is
carried out, COMMIT included, and the whole transaction is one round trip."""

STALE = "22012"
"""The SQLSTATE of a fence that does not hold."""

SHARE_GRAPHS = Statement("share_graphs", f"SELECT pg_advisory_xact_lock_shared({LOCKS}, 1)")
"""No graph is deleted while a run is being made that may need it."""

INSERT_GRAPHS = Statement(
    "insert_graphs",
    f"INSERT INTO graphs (hash, data) SELECT * FROM {_unnest(('text', 'bytea'))} ON CONFLICT DO NOTHING",
    ("text", "bytea"),
)
"""Put back a graph that retention took just before its next run."""

INSERT_RUNS = Statement(
    "insert_runs",
    f"INSERT INTO runs ({', '.join(RUN_COLUMNS)}) SELECT * FROM {_unnest(_types(RUN_COLUMNS))} "
    "ON CONFLICT (run_id) DO NOTHING RETURNING id",
    _types(RUN_COLUMNS),
)
"""New runs; one whose id is there already gets no number."""

_CHANGED_RUN = ("run", *RUN_COLUMNS[1:])
UPDATE_RUNS = Statement(
    "update_runs",
    f"UPDATE runs SET {', '.join(f'{column} = changed.{column}' for column in RUN_COLUMNS[1:])} "
    f"FROM {_unnest(_types(_CHANGED_RUN))} AS changed ({', '.join(_CHANGED_RUN)}) WHERE runs.id = changed.run",
    _types(_CHANGED_RUN),
)
"""Runs' rows as their scheduler has them."""


def _upsert_tasks(name: str, columns: tuple[str, ...]) -> Statement:
    # What names a task run never changes under its number; leaving it out spares the indices.
    changes = [
        f"{column} = coalesce(excluded.{column}, tasks.{column})"
        if column in KEPT_COLUMNS
        else f"{column} = excluded.{column}"
        for column in columns
        if column not in ("no", "key", "path")
    ]
    types = _types(("run", *columns))
    return Statement(
        name,
        f"INSERT INTO tasks (run, {', '.join(columns)}) SELECT * FROM {_unnest(types)} "
        f"ON CONFLICT (run, no) DO UPDATE SET {', '.join(changes)}",
        types,
    )


UPSERT_TASKS = _upsert_tasks("upsert_tasks", TASK_COLUMNS)
"""Task runs, new or changed. The hot one."""

UPSERT_BARE_TASKS = _upsert_tasks("upsert_bare_tasks", TASK_COLUMNS[: -len(KEPT_COLUMNS)])
"""The same for rows that have none of the columns that keep what is there, as at their dispatch."""

INSERT_EVENTS = Statement(
    "insert_events",
    f"INSERT INTO events (run, seq, data) SELECT * FROM {_unnest(('bigint', 'bigint', 'bytea'))}",
    ("bigint", "bigint", "bytea"),
)
"""Chunks of events under their last one's number."""

_ATTEMPT = ("run", "no", "attempt", "state", "started_at", "finished_at", "error", "log")
UPSERT_ATTEMPTS = Statement(
    "upsert_attempts",
    f"INSERT INTO attempts ({', '.join(_ATTEMPT)}) SELECT * FROM {_unnest(_types(_ATTEMPT))} "
    "ON CONFLICT (run, no, attempt) DO UPDATE SET "
    + ", ".join(f"{column} = excluded.{column}" for column in _ATTEMPT[3:]),
    _types(_ATTEMPT),
)
"""Attempts before the last ones of their task runs."""

_SCOPE = ("bigint", "text", "text", "integer", "integer", "text")
UPSERT_SCOPES = Statement(
    "upsert_scopes",
    f"INSERT INTO scopes (run, scope, path, generation, length, keys) SELECT * FROM {_unnest(_SCOPE)} "
    "ON CONFLICT (run, scope, path) DO UPDATE SET "
    "generation = excluded.generation, length = excluded.length, keys = excluded.keys",
    _SCOPE,
)
"""Scopes that were expanded; a new generation replaces the old one."""

_ASSET = ("text", "text", "text", "integer", "double precision", "text", "bytea")
UPSERT_ASSETS = Statement(
    "upsert_assets",
    f"INSERT INTO assets (key, partition, run_id, no, at, data_version, metadata) SELECT * FROM {_unnest(_ASSET)} "
    "ON CONFLICT (key, partition) DO UPDATE SET run_id = excluded.run_id, no = excluded.no, at = excluded.at, "
    "data_version = excluded.data_version, metadata = excluded.metadata WHERE excluded.at >= assets.at",
    _ASSET,
)
"""The latest materializations; one that comes late does not hide a newer one."""

_WORKFLOW = ("text", "text", "boolean", "integer")
UPSERT_WORKFLOWS = Statement(
    "upsert_workflows",
    f"INSERT INTO workflows (name, kind, paused, failures_in_a_row) SELECT * FROM {_unnest(_WORKFLOW)} "
    "ON CONFLICT (name) DO UPDATE SET kind = excluded.kind, paused = excluded.paused, "
    "failures_in_a_row = excluded.failures_in_a_row",
    _WORKFLOW,
)
"""What is remembered of workflows."""

# --- slots -----------------------------------------------------------------------------------------------------------

LOCK_LIMITS = Statement(
    "lock_limits",
    "SELECT key, slots FROM limits WHERE key = ANY ($1::text[]) ORDER BY key FOR NO KEY UPDATE",
    ("text",),
)
"""The sizes of limits, which nobody else grants slots of until this transaction ends."""

TRY_LIMITS = Statement(
    "try_limits",
    "SELECT key, slots FROM limits WHERE key = ANY ($1::text[]) ORDER BY key FOR NO KEY UPDATE SKIP LOCKED",
    ("text",),
)
"""The same of those that nobody else has locked."""

COUNT_LIMITS = Statement("count_limits", "SELECT count(*) FROM limits WHERE key = ANY ($1::text[])", ("text",))
"""How many limits there are, locked or not."""

SLOTS_USED = Statement(
    "slots_used", "SELECT key, sum(slots) FROM slots WHERE key = ANY ($1::text[]) GROUP BY key", ("text",)
)
"""How many slots of limits are taken."""

SLOTS_HELD = Statement(
    "slots_held",
    "SELECT key, run_id, no, slots FROM slots WHERE run_id = ANY ($1::text[]) AND key = ANY ($2::text[])",
    ("text", "text"),
)
"""Which of them some runs hold."""

_SLOT = ("text", "integer", "text", "bigint")
TAKE_SLOTS = Statement(
    "take_slots",
    f"INSERT INTO slots (run_id, no, key, slots) SELECT * FROM {_unnest(_SLOT)} "
    "ON CONFLICT (run_id, no, key) DO UPDATE SET slots = excluded.slots",
    _SLOT,
)
"""Hold slots."""

RELEASE_SLOTS = Statement(
    "release_slots",
    f"DELETE FROM slots USING {_unnest(('text', 'integer'))} AS given (run_id, no) "
    "WHERE slots.run_id = given.run_id AND slots.no = given.no",
    ("text", "integer"),
)
"""Give all slots of task runs back."""

UPSERT_LIMITS = (
    "INSERT INTO limits (key, slots) SELECT * FROM unnest(%s::text[], %s::bigint[]) "
    "ON CONFLICT (key) DO UPDATE SET slots = excluded.slots"
)
"""Declare or resize limits."""

LIMITS = "SELECT key, slots FROM limits ORDER BY key"
"""All limits."""

SLOTS = "SELECT key, run_id, no, slots FROM slots ORDER BY key, run_id, no"
"""Who holds what."""

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

ALL_TASKS = f"SELECT {_TASK} FROM tasks WHERE run = %s"
"""All task runs of a run, every generation."""

ALL_SCOPES = "SELECT scope, path, generation, length, keys FROM scopes WHERE run = %s"
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

ASSETS = "SELECT key, partition, run_id, no, at, data_version, metadata FROM assets ORDER BY key, partition"
"""All latest materializations."""

SOME_ASSETS = (
    "SELECT key, partition, run_id, no, at, data_version, metadata FROM assets "
    "WHERE key = ANY (%s::text[]) ORDER BY key, partition"
)
"""Those of some assets."""

ASSET = "SELECT key, partition, run_id, no, at, data_version, metadata FROM assets WHERE key = %s AND partition = %s"
"""That of one asset's partition."""

# --- owners ----------------------------------------------------------------------------------------------------------

RENEW = (
    "INSERT INTO owners (owner, host, pid, started, lease_until) VALUES (%s, %s, %s, %s, %s) "
    "ON CONFLICT (owner) DO UPDATE SET host = excluded.host, pid = excluded.pid, started = excluded.started, "
    "lease_until = excluded.lease_until WHERE owners.swept_at IS NULL"
)
"""Register an owner, or prolong its lease; nothing happens to one that was swept."""

OWNERS = "SELECT owner, host, pid, started, lease_until FROM owners WHERE swept_at IS NULL ORDER BY owner"
"""Who is there."""

RELEASE_OWNER = "DELETE FROM owners WHERE owner = %s"
"""An owner that ends in order."""

LEASE_OF = "SELECT lease_until FROM owners WHERE owner = %s AND swept_at IS NULL"
"""Until when an owner's lease holds."""

HOLDER = "SELECT id, owner, epoch, state FROM runs WHERE run_id = %s FOR NO KEY UPDATE"
"""Who has a run, which nobody else gives away until this transaction ends."""

TAKE_OVER = "UPDATE runs SET owner = %s, epoch = %s WHERE id = %s"
"""Give a run to another owner under a new epoch."""

FREE_SLOTS_OF_RUN = "DELETE FROM slots WHERE run_id = %s"
"""Everything that a run holds."""

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
    "WHERE runs.owner = ANY (%s::text[]))"
)
"""Everything that the runs of some owners hold."""

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

HAS_INBOX = "SELECT 1 FROM inbox WHERE run_id = ANY (%s::text[]) LIMIT 1"
"""Whether there is anything."""

TAKE_INBOX = (
    "DELETE FROM inbox WHERE id = ANY (ARRAY(SELECT id FROM inbox WHERE run_id = ANY (%s::text[]) ORDER BY id LIMIT %s "
    "FOR UPDATE SKIP LOCKED)) RETURNING id, run_id, data"
)
"""Take the oldest; what another process takes just now is its own. (ARRAY: PostgreSQL would carry out the subquery of
an IN several times, and take more each time.)"""

# --- retention -------------------------------------------------------------------------------------------------------

KEEP_GRAPHS = f"SELECT pg_advisory_xact_lock({LOCKS}, 1)"
"""No run is made until this transaction ends; waits for those that are being made."""

OLD_RUNS = (
    f"SELECT id, run_id, graph_hash FROM runs WHERE finished_at < %s AND {FINAL} ORDER BY finished_at LIMIT %s "
    "FOR UPDATE SKIP LOCKED"
)
"""Final runs that ended before a time, and that nobody is at."""

DROP_RUNS = (
    "INSERT INTO trash (run) SELECT unnest(%s::bigint[])",
    "DELETE FROM runs WHERE id = ANY (%s::bigint[])",
)
"""Make runs vanish, by their own numbers; their many rows follow (`DELETE_PARTS`)."""

DROP_RUNS_BY_ID = (
    "DELETE FROM slots WHERE run_id = ANY (%s::text[])",
    "DELETE FROM inbox WHERE run_id = ANY (%s::text[])",
)
"""What belongs to runs by their ids."""

DROP_STRAY_INBOX = "DELETE FROM inbox WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = inbox.run_id)"
"""Stimuli for runs that are not there."""

DELETE_UNUSED_GRAPHS = (
    "DELETE FROM graphs WHERE hash = ANY (%s::text[]) "
    "AND NOT EXISTS (SELECT 1 FROM runs WHERE graph_hash = graphs.hash)"
)
"""Graphs of deleted runs that no run has any more."""

TRASH = "SELECT run FROM trash ORDER BY run FOR UPDATE SKIP LOCKED"
"""Runs whose rows are still to be deleted, and that nobody else deletes just now."""

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

EMPTIED = "DELETE FROM trash WHERE run = %s"
"""Nothing is left of a deleted run."""

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
