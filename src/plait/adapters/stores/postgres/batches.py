"""The statements of the hot path, named, with their purpose: each takes one array for each column, so that it writes a
whole batch (`pipeline.py`).

Rows are locked in the order of graphs, limits, runs (by number), and then what belongs to runs; what several runs may
write (slots, assets, workflows) comes sorted. All transactions do it so, those of `queries.py` too: so two never wait
for each other (F12).
"""

from plait.adapters.stores.encoding import ASSET_COLUMNS, ASSET_EVENT_COLUMNS, KEPT_COLUMNS, RUN_COLUMNS, TASK_COLUMNS
from plait.adapters.stores.postgres.pipeline import Statement
from plait.adapters.stores.postgres.queries import LOCKS

TYPES = {
    "at": "double precision", "attempt": "integer", "created_at": "double precision", "current": "boolean",
    "control": "bytea", "data": "bytea", "data_time": "double precision", "epoch": "bigint", "engine_min": "integer",
    "error": "bytea", "extra": "bytea", "finished_at": "double precision", "inputs": "bytea", "log": "bytea",
    "logical_at": "double precision", "metadata": "bytea", "no": "integer", "observed": "boolean", "outputs": "bytea",
    "params": "bytea", "run": "bigint", "session": "boolean", "spec": "bytea", "started_at": "double precision",
    "token": "bigint",
}  # fmt: skip
"""Types of columns; the others are text."""


def _types(columns: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(TYPES.get(column, "text") for column in columns)


def _unnest(types: tuple[str, ...]) -> str:
    return "unnest(" + ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(types, 1)) + ")"


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
    "ON CONFLICT DO NOTHING RETURNING id",
    _types(RUN_COLUMNS),
)
"""New runs; one whose id or occurrence is there already gets no number. Waits for others that make the same."""

HAS_OCCURRENCE = Statement("has_occurrence", "SELECT 1 FROM runs WHERE occurrence = ANY ($1::text[])", ("text",))
"""Whether there is a run of an occurrence."""

IS_SWEPT = Statement(
    "is_swept", "SELECT swept_at IS NOT NULL FROM owners WHERE owner = ANY ($1::text[]) FOR SHARE", ("text",)
)
"""Whether an owner was declared dead. It stays as it is until this transaction ends: who sweeps it then sees what was
made for it."""

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

UPSERT_ASSETS = Statement(
    "upsert_assets",
    f"INSERT INTO assets ({', '.join(ASSET_COLUMNS)}) SELECT * FROM {_unnest(_types(ASSET_COLUMNS))} "
    f"ON CONFLICT (key, partition) DO UPDATE SET "
    f"{', '.join(f'{column} = excluded.{column}' for column in ASSET_COLUMNS[2:])} WHERE excluded.at >= assets.at",
    _types(ASSET_COLUMNS),
)
"""The latest materializations; one that comes late does not hide a newer one."""

_EVENT_PLACE = tuple(column for column in ASSET_EVENT_COLUMNS if column != "data")
INSERT_ASSET_EVENTS = Statement(
    "insert_asset_events",
    f"INSERT INTO asset_events ({', '.join(ASSET_EVENT_COLUMNS)}) "
    f"SELECT * FROM {_unnest(_types(ASSET_EVENT_COLUMNS))} "
    f"ON CONFLICT ({', '.join(_EVENT_PLACE)}) DO UPDATE SET data = excluded.data",
    _types(ASSET_EVENT_COLUMNS),
)
"""What happened to assets."""

_HAPPENED = ", ".join(ASSET_EVENT_COLUMNS)
_KNOWN = " AND ".join(f"known.{column} = new.{column}" for column in _EVENT_PLACE)
SIGNAL_ASSETS = Statement(
    "signal_assets",
    "INSERT INTO signals (subject, kind, at, partition, source, no, workflow, task, data) "
    "SELECT 'asset:' || new.key, new.kind, new.at, new.partition, new.run_id, new.no, runs.workflow, "
    "coalesce((SELECT tasks.key FROM tasks WHERE tasks.run = runs.id AND tasks.no = new.no), ''), new.data "
    f"FROM {_unnest(_types(ASSET_EVENT_COLUMNS))} WITH ORDINALITY AS new ({_HAPPENED}, place) "
    'JOIN runs ON runs.run_id = new.run_id COLLATE "C" '
    "WHERE new.kind IN ('materialized', 'observed') "
    "AND EXISTS (SELECT 1 FROM awaited WHERE subject = 'asset:' || new.key) "
    f"AND NOT EXISTS (SELECT 1 FROM asset_events AS known WHERE {_KNOWN}) ORDER BY place",
    _types(ASSET_EVENT_COLUMNS),
)
"""What has happened to assets for which somebody waits; before it is written, because what is there counts no more."""

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

# --- the rest --------------------------------------------------------------------------------------------------------

DECIDED = Statement("decided", "DELETE FROM inbox WHERE id = ANY ($1::bigint[])", ("bigint",))
"""It was decided."""

ADVANCE_TRIGGERS = Statement(
    "advance_triggers",
    "UPDATE triggers SET cursor = fired.cursor, next_at = fired.next_at, state = fired.state "
    f"FROM {_unnest(('text', 'integer', 'double precision', 'double precision', 'bytea'))} "
    "AS fired (workflow, no, cursor, next_at, state) "
    "WHERE triggers.workflow = fired.workflow AND triggers.no = fired.no",
    ("text", "integer", "double precision", "double precision", "bytea"),
)
"""Triggers have fired, or counted something."""

_MARK = ("text", "text", "integer", "bigint", "bigint")

NEW_SPACES = Statement(
    "new_spaces",
    "INSERT INTO partition_spaces (asset, space) SELECT DISTINCT ON (asset) asset, space "
    "FROM unnest($1::text[], $2::text[]) AS new (asset, space) "
    "WHERE NOT EXISTS (SELECT 1 FROM assets WHERE key = asset) ORDER BY asset ON CONFLICT DO NOTHING",
    ("text", "text"),
)
"""The first that is known of an asset: so it is all. Before its rows are written."""

INSERT_MARKS = Statement(
    "insert_marks",
    f"INSERT INTO partition_marks (asset, space, failed, start, stop) SELECT * FROM {_unnest(_MARK)}",
    _MARK,
)
"""What runs say of partitions."""
