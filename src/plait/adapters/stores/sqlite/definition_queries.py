"""What is asked of definitions, their triggers, and the signals that these wait for."""

from plait.adapters.stores.encoding import (
    AUTOMATION_COLUMNS,
    DEPLOYMENT_COLUMNS,
    FILE_COLUMNS,
    PUBLISHED_COLUMNS,
    SIGNAL_COLUMNS,
    TRIGGER_COLUMNS,
)
from plait.adapters.stores.sqlite.queries import marks

# --- definitions -----------------------------------------------------------------------------------------------------

UPSERT_AUTOMATION = (
    f"INSERT OR REPLACE INTO automations ({', '.join(AUTOMATION_COLUMNS)}) VALUES ({marks(len(AUTOMATION_COLUMNS))})"
)
"""Where the automation of an asset stands."""

AUTOMATIONS = f"SELECT {', '.join(AUTOMATION_COLUMNS)} FROM automations ORDER BY key"
"""Where all of them stand."""

SOME_AUTOMATIONS = (
    f"SELECT {', '.join(AUTOMATION_COLUMNS)} FROM automations "
    "WHERE key IN (SELECT value FROM json_each(?)) ORDER BY key"
)
"""Where some of them stand."""

OLD_AUTOMATIONS = "SELECT key FROM automations WHERE at < ? AND key > ? ORDER BY key LIMIT ?"
"""Those of which nothing was written since a time."""

DELETE_AUTOMATIONS = "DELETE FROM automations WHERE key IN (SELECT value FROM json_each(?))"
"""They are not deployed any more."""

AUTOMATION = f"SELECT {', '.join(AUTOMATION_COLUMNS)} FROM automations WHERE key = ?"
"""Where one of them stands."""

UPSERT_FILE = f"INSERT OR REPLACE INTO files ({', '.join(FILE_COLUMNS)}) VALUES ({marks(len(FILE_COLUMNS))})"
"""A file of definitions, as it was loaded."""

FORGET_FILE = "DELETE FROM files WHERE path = ?"
"""A file that is gone."""

FILES = f"SELECT {', '.join(FILE_COLUMNS)} FROM files WHERE location = ? ORDER BY path"
"""The files of a location."""

ALL_FILES = f"SELECT {', '.join(FILE_COLUMNS)} FROM files ORDER BY path"
"""All files."""

_DEPLOYMENT = ", ".join(DEPLOYMENT_COLUMNS)

UPSERT_DEPLOYMENT = f"INSERT OR REPLACE INTO deployments ({_DEPLOYMENT}) VALUES ({marks(len(DEPLOYMENT_COLUMNS))})"
"""A workflow as it is run from now on."""

DEPLOYMENTS = f"SELECT {_DEPLOYMENT} FROM deployments ORDER BY workflow"
"""All of them."""

DEPLOYMENT = f"SELECT {_DEPLOYMENT} FROM deployments WHERE workflow = ?"
"""One of them."""

UNDEPLOY = (
    "DELETE FROM deployments WHERE workflow = ?",
    "DELETE FROM triggers WHERE workflow = ?",
    "DELETE FROM awaited WHERE workflow = ?",
)
"""A workflow that is not defined any more."""

_TRIGGER = ", ".join(TRIGGER_COLUMNS)

UPSERT_TRIGGER = (
    f"INSERT INTO triggers ({_TRIGGER}) VALUES ({marks(len(TRIGGER_COLUMNS))}) ON CONFLICT (workflow, no) DO UPDATE "
    "SET kind = excluded.kind, spec = excluded.spec, catchup = excluded.catchup, "
    "cursor = excluded.cursor, next_at = excluded.next_at, awaits = excluded.awaits, state = excluded.state "
    "WHERE kind != excluded.kind OR spec != excluded.spec OR catchup != excluded.catchup"
)
"""A trigger; one that is as it was keeps where it is."""

DROP_TRIGGERS = "DELETE FROM triggers WHERE workflow = ? AND no >= ?"
"""Triggers that a workflow has no more."""

TRIGGERS = f"SELECT {_TRIGGER} FROM triggers ORDER BY workflow, no"
"""All triggers."""

TRIGGERS_OF = f"SELECT {_TRIGGER} FROM triggers WHERE workflow = ? ORDER BY no"
"""A workflow's triggers."""

_GOES_ON = "NOT EXISTS (SELECT 1 FROM workflows WHERE name = workflow AND paused)"

DUE_TRIGGERS = (
    f"SELECT {_TRIGGER} FROM triggers WHERE next_at <= ? AND {_GOES_ON} AND (workflow, no) NOT IN "
    "(SELECT value ->> 0, value ->> 1 FROM json_each(?)) ORDER BY next_at, workflow, no LIMIT ?"
)
"""Triggers whose time has come, of workflows that are not paused, but for some."""

NEXT_TRIGGER = f"SELECT next_at FROM triggers WHERE next_at > ? AND {_GOES_ON} ORDER BY next_at LIMIT 1"
"""When the next one is due."""

ADVANCE_TRIGGER = "UPDATE triggers SET cursor = ?, next_at = ?, state = ? WHERE workflow = ? AND no = ?"
"""A trigger has fired, or counted something."""

# --- signals ---------------------------------------------------------------------------------------------------------

FORGET_AWAITED = "DELETE FROM awaited WHERE workflow = ?"
"""A workflow waits for nothing."""

INSERT_AWAITED = "INSERT INTO awaited (subject, workflow, no) VALUES (?, ?, ?)"
"""A trigger waits for a subject."""

AWAITED = "SELECT 1 FROM awaited LIMIT 1"
"""Whether anybody waits for anything."""

_SIGNAL = ", ".join(SIGNAL_COLUMNS)
_NEW_SIGNAL = "subject, kind, at, partition, source, no, workflow, task, data"

SIGNAL_ASSET = (
    f"INSERT INTO signals ({_NEW_SIGNAL}) SELECT 'asset:' || :key, :kind, :at, :partition, :run_id, :no, "
    "coalesce((SELECT workflow FROM runs WHERE run_id = :run_id), ''), "
    "coalesce((SELECT key FROM tasks WHERE run = (SELECT id FROM runs WHERE run_id = :run_id) AND no = :no), ''), "
    ":data "
    "WHERE :kind IN ('materialized', 'observed') AND EXISTS (SELECT 1 FROM awaited WHERE subject = 'asset:' || :key) "
    "AND NOT EXISTS (SELECT 1 FROM asset_events WHERE key = :key AND at = :at AND partition = :partition "
    "AND run_id = :run_id AND no = :no AND kind = :kind AND name = :name)"
)
"""What has happened to an asset for which somebody waits; before it is written, because what is there counts no more.
Its values are those of an asset's event."""

SIGNAL_EVENT = (
    f"INSERT INTO signals ({_NEW_SIGNAL}) SELECT 'event:' || :name, 'event', :at, '', :id, 0, '', '', :data "
    "WHERE EXISTS (SELECT 1 FROM awaited WHERE subject = 'event:' || :name)"
)
"""A published event for which somebody waits. Its values are those of the event."""

WAITING = "SELECT 1 FROM signals LIMIT 1"
"""Whether anything is not counted."""

LAST_SIGNAL = "SELECT coalesce(max(id), 0) FROM signals"
"""What came last."""

FIRST_SIGNALS = f"SELECT {_SIGNAL} FROM signals ORDER BY id LIMIT ?"
"""What came first."""

DROP_SIGNALS = "DELETE FROM signals WHERE id <= ?"
"""It is counted."""

DROP_UNAWAITED = "DELETE FROM signals WHERE NOT EXISTS (SELECT 1 FROM awaited)"
"""Where nobody waits for anything, nobody would ever count them."""

AWAITING = (
    f"SELECT {_TRIGGER} FROM triggers WHERE (workflow, no) IN (SELECT workflow, no FROM awaited "
    f"WHERE subject IN (SELECT value FROM json_each(?))) AND {_GOES_ON} ORDER BY workflow, no"
)
"""The triggers that wait for some subjects, of workflows that are not paused."""

INSERT_PUBLISHED = f"INSERT INTO published ({', '.join(PUBLISHED_COLUMNS)}) VALUES (?, ?, ?, ?)"
"""An event that somebody has published."""

_PUBLISHED = ", ".join(PUBLISHED_COLUMNS)

PUBLISHED = f"SELECT {_PUBLISHED} FROM published WHERE id < ? ORDER BY id DESC LIMIT ?"
"""Published events, newest first."""

PUBLISHED_OF = f"SELECT {_PUBLISHED} FROM published WHERE name = ? AND id < ? ORDER BY id DESC LIMIT ?"
"""Those of a name."""

DELETE_PUBLISHED = (
    "DELETE FROM published WHERE id IN (SELECT id FROM published WHERE at < ? ORDER BY at LIMIT ?) RETURNING id"
)
"""What was published long ago."""
