"""What is asked of definitions, their triggers, and the signals that these wait for."""

from plait.adapters.stores.encoding import (
    AUTOMATION_COLUMNS,
    DEPLOYMENT_COLUMNS,
    FILE_COLUMNS,
    PUBLISHED_COLUMNS,
    SIGNAL_COLUMNS,
    TRIGGER_COLUMNS,
)
from plait.adapters.stores.postgres.queries import LOCKS

# --- definitions -----------------------------------------------------------------------------------------------------

TURN_TO_DEFINE = f"SELECT pg_advisory_xact_lock({LOCKS}, 3)"
"""One transaction at a time changes definitions."""


def _replaced(columns: tuple[str, ...]) -> str:
    return ", ".join(f"{column} = excluded.{column}" for column in columns)


def _marks(columns: tuple[str, ...]) -> str:
    return ", ".join(["%s"] * len(columns))


_AUTOMATION = ", ".join(AUTOMATION_COLUMNS)

UPSERT_AUTOMATION = (
    f"INSERT INTO automations ({_AUTOMATION}) VALUES ({_marks(AUTOMATION_COLUMNS)}) "
    f"ON CONFLICT (key) DO UPDATE SET {_replaced(AUTOMATION_COLUMNS[1:])}"
)
"""Where the automation of an asset stands."""

AUTOMATIONS = f"SELECT {_AUTOMATION} FROM automations ORDER BY key"
"""Where all of them stand."""

OLD_AUTOMATIONS = "SELECT key FROM automations WHERE at < %s AND key > %s ORDER BY key LIMIT %s"
"""Those of which nothing was written since a time."""

DELETE_AUTOMATIONS = "DELETE FROM automations WHERE key = ANY (%s::text[])"
"""They are not deployed any more."""

LOCK_AUTOMATION = f"SELECT {_AUTOMATION} FROM automations WHERE key = %s FOR UPDATE"
"""Where one of them stands, for a transaction that changes it."""

SOME_AUTOMATIONS = f"SELECT {_AUTOMATION} FROM automations WHERE key = ANY (%s::text[]) ORDER BY key"
"""Where some of them stand."""

UPSERT_FILE = (
    f"INSERT INTO files ({', '.join(FILE_COLUMNS)}) VALUES ({_marks(FILE_COLUMNS)}) "
    f"ON CONFLICT (path) DO UPDATE SET {_replaced(FILE_COLUMNS[1:])}"
)
"""A file of definitions, as it was loaded."""

FORGET_FILES = "DELETE FROM files WHERE path = ANY (%s::text[])"
"""Files that are gone."""

FILES = f"SELECT {', '.join(FILE_COLUMNS)} FROM files WHERE location = %s ORDER BY path"
"""The files of a location."""

ALL_FILES = f"SELECT {', '.join(FILE_COLUMNS)} FROM files ORDER BY path"
"""All files."""

_DEPLOYMENT = ", ".join(DEPLOYMENT_COLUMNS)

UPSERT_DEPLOYMENT = (
    f"INSERT INTO deployments ({_DEPLOYMENT}) VALUES ({_marks(DEPLOYMENT_COLUMNS)}) "
    f"ON CONFLICT (workflow) DO UPDATE SET {_replaced(DEPLOYMENT_COLUMNS[1:])}"
)
"""A workflow as it is run from now on."""

DEPLOYMENTS = f"SELECT {_DEPLOYMENT} FROM deployments ORDER BY workflow"
"""All of them."""

DEPLOYMENT = f"SELECT {_DEPLOYMENT} FROM deployments WHERE workflow = %s"
"""One of them."""

UNDEPLOY = (
    "DELETE FROM deployments WHERE workflow = ANY (%s::text[])",
    "DELETE FROM triggers WHERE workflow = ANY (%s::text[])",
    "DELETE FROM awaited WHERE workflow = ANY (%s::text[])",
)
"""Workflows that are not defined any more."""

_TRIGGER = ", ".join(TRIGGER_COLUMNS)

UPSERT_TRIGGER = (
    f"INSERT INTO triggers ({_TRIGGER}) VALUES ({_marks(TRIGGER_COLUMNS)}) ON CONFLICT (workflow, no) DO UPDATE "
    f"SET {_replaced(TRIGGER_COLUMNS[2:])} "
    "WHERE (triggers.kind, triggers.spec, triggers.catchup) <> (excluded.kind, excluded.spec, excluded.catchup)"
)
"""A trigger; one that is as it was keeps where it is."""

DROP_TRIGGERS = "DELETE FROM triggers WHERE workflow = %s AND no >= %s"
"""Triggers that a workflow has no more."""

TRIGGERS = f"SELECT {_TRIGGER} FROM triggers ORDER BY workflow, no"
"""All triggers."""

TRIGGERS_OF = f"SELECT {_TRIGGER} FROM triggers WHERE workflow = %s ORDER BY no"
"""A workflow's triggers."""

LOCK_TRIGGERS_OF = f"{TRIGGERS_OF} FOR UPDATE"
"""The same, for a transaction that changes them."""

_GOES_ON = "NOT EXISTS (SELECT 1 FROM workflows WHERE name = workflow AND paused)"

DUE_TRIGGERS = (
    f"SELECT {_TRIGGER} FROM triggers WHERE next_at <= %s AND {_GOES_ON} AND NOT EXISTS "
    "(SELECT 1 FROM unnest(%s::text[], %s::integer[]) AS held (name, number) WHERE name = workflow AND number = no) "
    "ORDER BY next_at, workflow, no LIMIT %s FOR UPDATE OF triggers SKIP LOCKED"
)
"""Triggers whose time has come, but for some, and that no other transaction fires just now."""

NEXT_TRIGGER = f"SELECT next_at FROM triggers WHERE next_at > %s AND {_GOES_ON} ORDER BY next_at LIMIT 1"
"""When the next one is due."""

# --- signals ---------------------------------------------------------------------------------------------------------

FORGET_AWAITED = "DELETE FROM awaited WHERE workflow = %s"
"""A workflow waits for nothing."""

INSERT_AWAITED = "INSERT INTO awaited (subject, workflow, no) VALUES (%s, %s, %s)"
"""A trigger waits for a subject."""

AWAITED = "SELECT 1 FROM awaited LIMIT 1"
"""Whether anybody waits for anything."""

SIGNAL_EVENT = (
    "INSERT INTO signals (subject, kind, at, partition, source, no, workflow, task, data) "
    "SELECT 'event:' || given.name, 'event', given.at, '', given.id, 0, '', '', given.data "
    "FROM (VALUES (%s::text, %s::text, %s::double precision, %s::bytea)) AS given (id, name, at, data) "
    "WHERE EXISTS (SELECT 1 FROM awaited WHERE subject = 'event:' || given.name)"
)
"""A published event for which somebody waits. Its values are those of the event."""

WAITING = "SELECT 1 FROM signals LIMIT 1"
"""Whether anything is not counted."""

_SIGNAL = ", ".join(SIGNAL_COLUMNS)

LAST_SIGNAL = "SELECT coalesce(max(id), 0) FROM signals"
"""What came last."""

TAKE_SIGNALS = (
    "WITH taken AS (DELETE FROM signals WHERE id IN (SELECT id FROM signals ORDER BY id LIMIT %s) "
    f"RETURNING {_SIGNAL}) "
    f"SELECT {_SIGNAL} FROM taken ORDER BY id"
)
"""What came first, which is counted now. One transaction at a time does so (`TURN_TO_DEFINE`)."""

DROP_UNAWAITED = "DELETE FROM signals WHERE NOT EXISTS (SELECT 1 FROM awaited)"
"""Where nobody waits for anything, nobody would ever count them."""

AWAITING = (
    f"SELECT {_TRIGGER} FROM triggers WHERE (workflow, no) IN (SELECT workflow, no FROM awaited "
    f"WHERE subject = ANY (%s::text[])) AND {_GOES_ON} ORDER BY workflow, no FOR UPDATE OF triggers"
)
"""The triggers that wait for some subjects, of workflows that are not paused."""

INSERT_PUBLISHED = f"INSERT INTO published ({', '.join(PUBLISHED_COLUMNS)}) VALUES (%s, %s, %s, %s)"
"""An event that somebody has published."""

_PUBLISHED = ", ".join(PUBLISHED_COLUMNS)

PUBLISHED = f"SELECT {_PUBLISHED} FROM published WHERE id < %s ORDER BY id DESC LIMIT %s"
"""Published events, newest first."""

PUBLISHED_OF = f"SELECT {_PUBLISHED} FROM published WHERE name = %s AND id < %s ORDER BY id DESC LIMIT %s"
"""Those of a name."""

DELETE_PUBLISHED = (
    "DELETE FROM published WHERE id IN (SELECT id FROM published WHERE at < %s ORDER BY at LIMIT %s) RETURNING id"
)
"""What was published long ago."""
