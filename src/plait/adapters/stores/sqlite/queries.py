"""Every statement that the SQLite store sends, named, with its purpose.

Nothing else in plait speaks SQLite's SQL, but for schema.sql and the migrations. Lists of values travel as one JSON
parameter (`json_each`), so that a statement's text is constant and stays prepared.
"""

from plait.adapters.stores.encoding import (
    ASSET_COLUMNS,
    ASSET_EVENT_COLUMNS,
    FINAL_RUN_STATES,
    KEPT_COLUMNS,
    LIVE_TASK_STATES,
    OPEN_RUN_STATES,
    RUN_COLUMNS,
    TASK_COLUMNS,
)


def _texts(values: tuple[str, ...]) -> str:
    return "(" + ", ".join(f"'{value}'" for value in values) + ")"


def marks(count: int) -> str:
    """So many parameters."""
    return ", ".join("?" * count)


OPEN = f"state IN {_texts(OPEN_RUN_STATES)}"
"""A run that goes on. The very text of the index `runs_open`, so that SQLite uses it."""
FINAL = f"state IN {_texts(FINAL_RUN_STATES)}"
LIVE = f"state IN {_texts(LIVE_TASK_STATES)}"

_RUN = ", ".join(RUN_COLUMNS[:-1])
_TASK = ", ".join(TASK_COLUMNS[:-1])
_RUN_NUMBER = "(SELECT id FROM runs WHERE run_id = ?)"

# --- runs: written by a transaction ----------------------------------------------------------------------------------

INSERT_RUN = f"INSERT INTO runs ({', '.join(RUN_COLUMNS)}) VALUES ({marks(len(RUN_COLUMNS))})"
"""A new run."""

HAS_OCCURRENCE = "SELECT 1 FROM runs WHERE occurrence = ?"
"""Whether an occurrence of a trigger has its run."""

FENCE = "SELECT id, epoch FROM runs WHERE run_id = ?"
"""The run's own number, and the epoch under which it may be written."""

UPDATE_RUN = f"UPDATE runs SET {', '.join(f'{column} = ?' for column in RUN_COLUMNS[1:])} WHERE id = ?"
"""A run's row as its scheduler has it."""


def _upsert_task(columns: tuple[str, ...]) -> str:
    # What names a task run never changes under its number; leaving it out spares the index.
    changes = [
        f"{column} = coalesce(excluded.{column}, {column})"
        if column in KEPT_COLUMNS
        else f"{column} = excluded.{column}"
        for column in columns
        if column not in ("no", "key", "path")
    ]
    return (
        f"INSERT INTO tasks (run, {', '.join(columns)}) VALUES ({marks(1 + len(columns))}) "
        f"ON CONFLICT (run, no) DO UPDATE SET {', '.join(changes)}"
    )


UPSERT_TASK = _upsert_task(TASK_COLUMNS)
"""A task run, new or changed. The hot one."""

UPSERT_BARE_TASK = _upsert_task(TASK_COLUMNS[: -len(KEPT_COLUMNS)])
"""The same for a row that has none of the columns that keep what is there, as at its dispatch: a tenth cheaper."""

INSERT_EVENTS = "INSERT INTO events (run, seq, data) VALUES (?, ?, ?)"
"""A chunk of events under its last one's number."""

UPSERT_ATTEMPT = f"INSERT OR REPLACE INTO attempts VALUES ({marks(8)})"
"""An attempt before a task run's last one."""

UPSERT_SCOPE = f"INSERT OR REPLACE INTO scopes VALUES ({marks(6)})"
"""A scope that was expanded; a new generation replaces the old one."""

_ASSET = ", ".join(ASSET_COLUMNS)
UPSERT_ASSET = (
    f"INSERT INTO assets ({_ASSET}) VALUES ({marks(len(ASSET_COLUMNS))}) ON CONFLICT (key, partition) DO UPDATE SET "
    f"{', '.join(f'{column} = excluded.{column}' for column in ASSET_COLUMNS[2:])} WHERE excluded.at >= assets.at"
)
"""The latest materialization; one that comes late does not hide a newer one."""

_ASSET_EVENT = ", ".join(ASSET_EVENT_COLUMNS)
INSERT_ASSET_EVENT = f"INSERT OR REPLACE INTO asset_events ({_ASSET_EVENT}) VALUES ({marks(len(ASSET_EVENT_COLUMNS))})"
"""Something that happened to an asset."""

UPSERT_WORKFLOW = f"INSERT OR REPLACE INTO workflows VALUES ({marks(4)})"
"""What is remembered of a workflow."""

# --- graphs ----------------------------------------------------------------------------------------------------------

HAS_GRAPH = "SELECT 1 FROM graphs WHERE hash = ?"
"""Whether a graph is there."""

INSERT_GRAPH = "INSERT OR IGNORE INTO graphs (hash, data) VALUES (?, ?)"
"""Keep a graph; what is there stays."""

GET_GRAPH = "SELECT data FROM graphs WHERE hash = ?"
"""A graph by its hash."""

DELETE_UNUSED_GRAPHS = (
    "DELETE FROM graphs WHERE hash IN (SELECT value FROM json_each(?)) "
    "AND NOT EXISTS (SELECT 1 FROM runs WHERE graph_hash = graphs.hash) "
    "AND NOT EXISTS (SELECT 1 FROM deployments WHERE graph_hash = graphs.hash)"
)
"""Graphs of deleted runs that no run and no deployment has any more."""

# --- runs: read ------------------------------------------------------------------------------------------------------

GET_RUN = f"SELECT {_RUN} FROM runs WHERE run_id = ?"
"""One run."""

RUN_NUMBER = "SELECT id FROM runs WHERE run_id = ?"
"""A run's own number."""

RUNS_BEGINNING = f"SELECT {_RUN} FROM runs WHERE run_id >= ? AND run_id < ? ORDER BY run_id DESC LIMIT ?"
"""Runs whose id begins so: a range of the index."""

RUNS_ENDING = f"SELECT {_RUN} FROM runs WHERE substr(run_id, -?) = ? ORDER BY run_id DESC LIMIT ?"
"""Runs whose id ends so: looks at every id, newest first."""

LIST_RUNS = f"SELECT {_RUN} FROM runs WHERE {{}} ORDER BY run_id DESC LIMIT ?"
"""Runs, newest first, by some of the conditions below."""

OF_WORKFLOW = "workflow = ?"
OF_PARENT = "parent = ?"
BEFORE_RUN = "run_id < ?"
IN_STATES = "state IN (SELECT value FROM json_each(?))"

PREVIOUS_RUN = (
    f"SELECT {_RUN} FROM runs WHERE workflow = ? AND logical_at < ? ORDER BY logical_at DESC, run_id DESC LIMIT 1"
)
"""The run of a workflow before a date; of several at one date the newest."""

LAST_EVENT = "SELECT max(seq) FROM events WHERE run = ?"
"""The number of a run's last event."""

ALL_TASKS = f"SELECT {_TASK} FROM tasks WHERE run = ? ORDER BY no"
"""All task runs of a run, every generation, in the order in which they were made."""

ALL_SCOPES = "SELECT scope, path, generation, length, keys FROM scopes WHERE run = ? ORDER BY scope, path"
"""All expanded scopes of a run."""

PAGE_OF_TASKS = (
    f"SELECT {_TASK} FROM tasks WHERE run = {_RUN_NUMBER} AND no > ? AND (current OR NOT ?) "
    "ORDER BY no LIMIT coalesce(?, -1)"
)
"""Task runs by number, current ones or all; a limit of NULL is none."""

ONE_TASK = f"SELECT {_TASK}, outputs FROM tasks WHERE run = {_RUN_NUMBER} AND no = ?"
"""One task run with its results."""

OUTPUTS = (
    f"SELECT no, outputs FROM tasks WHERE run = {_RUN_NUMBER} AND no IN (SELECT value FROM json_each(?)) "
    "AND outputs IS NOT NULL"
)
"""The results of some task runs."""

TASK_STATE = (
    f"SELECT state FROM tasks WHERE run = {_RUN_NUMBER} AND key = ? AND path = ? AND current = 1 "
    "ORDER BY no DESC LIMIT 1"
)
"""The state of a node's task run, by its current generation."""

ATTEMPTS = (
    "SELECT no, attempt, state, started_at, finished_at, error, log FROM attempts "
    f"WHERE run = {_RUN_NUMBER} ORDER BY no, attempt"
)
"""The attempts before the last ones."""

EVENTS = f"SELECT data FROM events WHERE run = {_RUN_NUMBER} AND seq > ? ORDER BY seq"
"""Chunks of events that hold some after a number; read as far as needed."""

# --- limits ----------------------------------------------------------------------------------------------------------

LIMIT_SIZE = "SELECT slots FROM limits WHERE key = ?"
"""How many slots a limit has."""

SLOTS_USED = "SELECT coalesce(sum(slots), 0) FROM slots WHERE key = ?"
"""How many of them are taken."""

SLOTS_HELD = "SELECT slots FROM slots WHERE run_id = ? AND no = ? AND key = ?"
"""How many of them this one holds."""

TAKE_SLOTS = f"INSERT OR REPLACE INTO slots (run_id, no, key, slots) VALUES ({marks(4)})"
"""Hold slots."""

RELEASE_SLOTS = "DELETE FROM slots WHERE run_id = ? AND no = ?"
"""Give all slots of a task run back."""

UPSERT_LIMIT = f"INSERT OR REPLACE INTO limits VALUES ({marks(2)})"
"""Declare or resize a limit."""

LIMITS = "SELECT key, slots FROM limits ORDER BY key"
"""All limits."""

SLOTS = "SELECT key, run_id, no, slots FROM slots ORDER BY key, run_id, no"
"""Who holds what."""

SLOTS_OF_RUN = "SELECT key, run_id, no, slots FROM slots WHERE run_id = ? ORDER BY key, no"
"""What a run holds."""

SLOTS_OF_LIMIT = "SELECT key, run_id, no, slots FROM slots WHERE key = ? ORDER BY run_id, no"
"""Who holds slots of one limit."""

GET_WORKFLOW = "SELECT name, kind, paused, failures_in_a_row FROM workflows WHERE name = ?"
"""What is remembered of a workflow."""

ASSETS = f"SELECT {_ASSET} FROM assets ORDER BY key, partition"
"""All latest materializations."""

SOME_ASSETS = f"SELECT {_ASSET} FROM assets WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key, partition"
"""Those of some assets."""

ASSET = f"SELECT {_ASSET} FROM assets WHERE key = ? AND partition = ?"
"""That of one asset's partition."""

_BACKWARDS = "ORDER BY at DESC, partition DESC, run_id DESC, no DESC, kind DESC, name DESC LIMIT ?"
_OF_KINDS = "(? OR kind IN (SELECT value FROM json_each(?)))"
ASSET_HISTORY = f"SELECT {_ASSET_EVENT} FROM asset_events WHERE key = ? AND at < ? AND {_OF_KINDS} {_BACKWARDS}"
"""What happened to an asset, newest first; all of it, or some kinds."""

PARTITION_HISTORY = (
    f"SELECT {_ASSET_EVENT} FROM asset_events INDEXED BY asset_events_of_partition "
    f"WHERE key = ? AND partition = ? AND at < ? AND {_OF_KINDS} {_BACKWARDS}"
)
"""The same of one of its partitions."""

ASSET_UPDATES = (
    f"SELECT {_ASSET_EVENT} FROM asset_events INDEXED BY asset_events_in_time "
    "WHERE at >= ? AND kind IN ('materialized', 'observed') ORDER BY at, key, partition, run_id, no LIMIT ?"
)
"""What was made or observed since a moment, of all assets."""

# --- owners ----------------------------------------------------------------------------------------------------------

RENEW = (
    "UPDATE owners SET host = ?, pid = ?, started = ?, lease_until = ?, address = ? "
    "WHERE owner = ? AND swept_at IS NULL"
)
"""Prolong a lease."""

REGISTER = "INSERT OR IGNORE INTO owners (host, pid, started, lease_until, address, owner) VALUES (?, ?, ?, ?, ?, ?)"
"""A new owner; nothing happens to one that was swept."""

OWNERS = "SELECT owner, host, pid, started, lease_until, address FROM owners WHERE swept_at IS NULL ORDER BY owner"
"""Who is there."""

RELEASE_OWNER = "DELETE FROM owners WHERE owner = ?"
"""An owner that ends in order."""

LEASE_OF = "SELECT lease_until FROM owners WHERE owner = ? AND swept_at IS NULL"
"""Until when an owner's lease holds."""

HOLDER = "SELECT id, owner, epoch, state FROM runs WHERE run_id = ?"
"""Who has a run."""

TAKE_OVER = "UPDATE runs SET owner = ?, epoch = ? WHERE id = ?"
"""Give a run to another owner under a new epoch."""

IS_SWEPT = "SELECT 1 FROM owners WHERE owner = ? AND swept_at IS NOT NULL"
"""Whether an owner was declared dead: it leases nothing any more."""

CLAIMABLE = (
    f"SELECT run_id FROM runs WHERE owner IS NULL AND session = 0 AND {OPEN} "
    f"UNION SELECT run_id FROM inbox JOIN runs USING (run_id) WHERE session = 0 AND {FINAL} "
    "AND NOT EXISTS (SELECT 1 FROM owners WHERE owners.owner = runs.owner AND swept_at IS NULL) "
    "ORDER BY run_id LIMIT ?"
)
"""Service-owned runs that nobody owns and that have something to do, oldest first. One that is over keeps the name of
the owner that ended it, which may be long gone."""

CLAIM = "UPDATE runs SET owner = ?, epoch = epoch + 1 WHERE run_id IN (SELECT value FROM json_each(?))"
"""Give them to an owner."""

HELD_BY = f"SELECT id, run_id, {OPEN} FROM runs WHERE run_id IN (SELECT value FROM json_each(?)) AND owner = ?"
"""Those of some runs that an owner has, and whether they go on."""

FREE_SLOTS_OF_RUN = "DELETE FROM slots WHERE run_id = ?"
"""Everything that a run holds."""

MARK_SWEPT = (
    "INSERT INTO owners (owner, host, pid, started, lease_until, swept_at) VALUES (:owner, '', 0, 0, 0, :now) "
    "ON CONFLICT (owner) DO UPDATE SET swept_at = :now WHERE swept_at IS NULL"
)
"""An owner is dead, for good."""

FORGET_SWEPT = "DELETE FROM owners WHERE swept_at < ?"
"""Owners that were declared dead long ago."""

OPEN_RUNS_OF = (
    f"SELECT id, run_id, session FROM runs WHERE {OPEN} AND owner IN (SELECT value FROM json_each(?)) ORDER BY run_id"
)
"""The open runs of some owners."""

OWNED = f"SELECT run_id FROM runs WHERE {OPEN} AND owner = ? AND session = 0 ORDER BY run_id"
"""The open service-owned runs of an owner, oldest first."""

FREE_SLOTS_OF = (
    "DELETE FROM slots WHERE run_id IN (SELECT DISTINCT slots.run_id FROM slots JOIN runs USING (run_id) "
    "WHERE runs.owner IN (SELECT value FROM json_each(?)) AND runs.session)"
)
"""Everything that the session-owned runs of some owners hold."""

FREE_OTHER_SLOTS = "DELETE FROM slots WHERE run_id = ? AND no NOT IN (SELECT value FROM json_each(?))"
"""What a run holds, but for some of its task numbers."""

CRASH_RUN = (
    "UPDATE runs SET state = 'crashed', reason = ?, finished_at = ?, owner = NULL, epoch = epoch + 1 WHERE id = ?"
)
"""A session-owned run whose owner died; the new epoch keeps a late write of that owner out."""

ORPHAN_RUN = "UPDATE runs SET owner = NULL, epoch = epoch + 1 WHERE id = ?"
"""A service-owned run whose owner died: any scheduler may take it."""

LIVE_TASKS = f"SELECT no, more FROM tasks WHERE run = ? AND {LIVE}"
"""Task runs that were executing."""

CRASH_TASK = "UPDATE tasks SET state = 'crashed', finished_at = ?, more = ? WHERE run = ? AND no = ?"
"""A task run that died with its owner."""

# --- inbox -----------------------------------------------------------------------------------------------------------

PUT_INBOX = "INSERT INTO inbox (run_id, data) VALUES (?, ?)"
"""Leave a stimulus."""

READ_INBOX = (
    "SELECT inbox.id, run_id, data FROM inbox JOIN runs USING (run_id) WHERE owner = ? ORDER BY inbox.id LIMIT ?"
)
"""What is there for the runs of an owner, oldest first."""

FORGET_INBOX = "DELETE FROM inbox WHERE id IN (SELECT value FROM json_each(?))"
"""Nobody can decide it."""

DECIDED = "DELETE FROM inbox WHERE id = ?"
"""It was decided."""

# --- retention -------------------------------------------------------------------------------------------------------

_OLD = (
    f"finished_at < ? AND {FINAL} AND (parent IS NULL OR NOT EXISTS "
    "(SELECT 1 FROM runs AS whole WHERE whole.run_id = substr(runs.parent, 1, instr(runs.parent, '/') - 1))) "
    "AND (session OR NOT EXISTS (SELECT 1 FROM inbox WHERE inbox.run_id = runs.run_id)) "
    "AND NOT EXISTS (SELECT 1 FROM assets WHERE assets.run_id = runs.run_id AND NOT observed)"
)
OLD_RUNS = f"SELECT id FROM runs WHERE {_OLD} ORDER BY finished_at, run_id LIMIT ?"
"""Final runs that ended before a time, are no part of another one, have not made what an asset is now, and of which a
service has nothing to decide. Looks at all that stay, too."""

STILL_OLD = f"SELECT id, run_id, graph_hash FROM runs WHERE {_OLD} AND id IN (SELECT value FROM json_each(?))"
"""Those of these runs of which it is still so."""

DROP_RUN = (
    "INSERT INTO trash (run, run_id) SELECT id, run_id FROM runs WHERE id = ?",
    "DELETE FROM runs WHERE id = ?",
)
"""Make a run vanish, by its own number; its clustered rows follow (`DELETE_PARTS`)."""

DROP_RUN_BY_ID = (
    "DELETE FROM slots WHERE run_id = ?",
    "DELETE FROM inbox WHERE run_id = ?",
    "DELETE FROM asset_events WHERE run_id = ?",
)
"""What belongs to a run by its id."""

DROP_STRAY_INBOX = "DELETE FROM inbox WHERE NOT EXISTS (SELECT 1 FROM runs WHERE runs.run_id = inbox.run_id)"
"""Stimuli for runs that are not there."""

TRASH = "SELECT run, run_id FROM trash ORDER BY run LIMIT ?"
"""Runs that have vanished. Those of an older version of plait have no id there, and no files that are told of."""

DELETE_PARTS = (
    "DELETE FROM tasks WHERE run = :run AND no IN (SELECT no FROM tasks WHERE run = :run ORDER BY no LIMIT :most)",
    "DELETE FROM events WHERE run = :run AND seq IN (SELECT seq FROM events WHERE run = :run ORDER BY seq LIMIT :most)",
    "DELETE FROM attempts WHERE run = :run AND no IN (SELECT DISTINCT no FROM attempts WHERE run = :run LIMIT :most)",
    "DELETE FROM scopes WHERE run = :run AND (scope, path) IN "
    "(SELECT scope, path FROM scopes WHERE run = :run LIMIT :most)",
)
"""A bounded part of a deleted run's rows, table by table."""

EMPTIED = "DELETE FROM trash WHERE run = ? AND run_id IS NULL"
"""Nothing is left of a deleted run that has no files."""

FORGET_TRASH = "DELETE FROM trash WHERE run_id IN (SELECT value FROM json_each(?))"
"""Nothing is left of deleted runs, here and elsewhere."""
