"""Every statement of the SQLite store, by its purpose."""

from collections.abc import Sequence
from typing import Any

from plait.adapters.stores.rows import RUN_COLUMNS, TASK_COLUMNS

_RUN = ", ".join(RUN_COLUMNS)
_TASK = ", ".join(TASK_COLUMNS)
_TASK_BARE = ", ".join("NULL" if name == "outputs" else name for name in TASK_COLUMNS)
_KEPT = ("outputs", "control", "spec", "error", "log")
_SET_TASK = ", ".join(
    f"{name} = COALESCE(excluded.{name}, {name})" if name in _KEPT else f"{name} = excluded.{name}"
    for name in TASK_COLUMNS
    if name != "no"
)
_ENDED = "('success', 'failed', 'cancelled', 'crashed')"

# graphs
HAS_GRAPH = "SELECT 1 FROM graphs WHERE hash = ?"
SAVE_GRAPH = "INSERT OR IGNORE INTO graphs VALUES (?, ?)"
LOAD_GRAPH = "SELECT graph FROM graphs WHERE hash = ?"

# runs
CREATE_RUN = f"INSERT INTO runs ({_RUN}) VALUES ({', '.join('?' * len(RUN_COLUMNS))})"
UPDATE_RUN = f"UPDATE runs SET {', '.join(f'{name} = ?' for name in RUN_COLUMNS[1:])} WHERE run_id = ?"
GET_RUN = f"SELECT {_RUN} FROM runs WHERE run_id = ?"
EPOCH = "SELECT epoch FROM runs WHERE run_id = ?"
FIND_RUNS = f"SELECT {_RUN} FROM runs WHERE (run_id >= ? AND run_id < ?) OR run_id LIKE ? ORDER BY run_id DESC LIMIT ?"
PREVIOUS_RUN = f"""SELECT {_RUN} FROM runs WHERE workflow = ? AND logical_date < ?
    ORDER BY logical_date DESC, run_id DESC LIMIT 1"""
OLD_RUNS = f"SELECT run_id FROM runs WHERE state IN {_ENDED} AND finished_at < ? ORDER BY run_id LIMIT ?"
TABLES_OF_A_RUN = ("task_runs", "attempts", "scopes", "events", "slots", "inbox", "runs")

# task runs: `outputs` are read only where they are wanted
UPSERT_TASK = f"""INSERT INTO task_runs (run_id, {_TASK}) VALUES ({', '.join('?' * (len(TASK_COLUMNS) + 1))})
    ON CONFLICT (run_id, no) DO UPDATE SET {_SET_TASK}"""
ALL_TASKS = f"SELECT {_TASK_BARE} FROM task_runs WHERE run_id = ? ORDER BY no"
TASKS = f"""SELECT {_TASK_BARE} FROM task_runs WHERE run_id = ? AND no > ? AND (current = 1 OR ? = 1)
    ORDER BY no LIMIT ?"""
TASK = f"SELECT {_TASK} FROM task_runs WHERE run_id = ? AND no = ?"
TASK_STATE = "SELECT state FROM task_runs WHERE run_id = ? AND key = ? AND path = ? AND current = 1 ORDER BY no DESC LIMIT 1"

# what goes with them
ADD_EVENT = "INSERT INTO events VALUES (?, ?, ?, ?)"
EVENTS = "SELECT seq, at, data FROM events WHERE run_id = ? AND seq > ? ORDER BY seq LIMIT ?"
LAST_SEQ = "SELECT max(seq) FROM events WHERE run_id = ?"
ADD_ATTEMPT = "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
ATTEMPTS = """SELECT no, attempt, state, started_at, finished_at, error, log FROM attempts WHERE run_id = ?
    ORDER BY no, attempt"""
ADD_SCOPE = "INSERT OR REPLACE INTO scopes VALUES (?, ?, ?, ?, ?, ?)"
SCOPES = "SELECT scope, path, generation, length, keys FROM scopes WHERE run_id = ?"

# limits and slots
SAVE_LIMIT = "INSERT OR REPLACE INTO limits VALUES (?, ?)"
LIMITS = "SELECT key, slots FROM limits ORDER BY key"
LIMIT_SIZE = "SELECT slots FROM limits WHERE key = ?"
USED_BY_OTHERS = "SELECT sum(slots) FROM slots WHERE key = ? AND NOT (run_id = ? AND no = ?)"
TAKE_SLOTS = "INSERT OR REPLACE INTO slots VALUES (?, ?, ?, ?)"
RELEASE = "DELETE FROM slots WHERE run_id = ? AND no = ?"
FREE_RUN = "DELETE FROM slots WHERE run_id = ?"
SLOTS = "SELECT key, run_id, no, slots FROM slots WHERE ? IS NULL OR key = ? ORDER BY key, run_id, no"

# workflows and assets
SAVE_WORKFLOW = "INSERT OR REPLACE INTO workflows VALUES (?, ?, ?, ?)"
WORKFLOW = "SELECT kind, paused, failures_in_a_row FROM workflows WHERE name = ?"
SAVE_ASSET = "INSERT OR REPLACE INTO assets VALUES (?, ?, ?, ?, ?, ?, ?)"

# owners
PROLONG = "UPDATE owners SET lease_until = ? WHERE owner = ?"
REGISTER = "INSERT INTO owners VALUES (?, ?, ?, ?, ?)"
WAS_SWEPT = "SELECT 1 FROM runs WHERE owner = ? LIMIT 1"
OWNERS = "SELECT owner, host, pid, started, lease_until FROM owners ORDER BY owner"
DROP_OWNER = "DELETE FROM owners WHERE owner = ?"
LEASE_OF = """SELECT runs.epoch, runs.owner, runs.state, owners.lease_until FROM runs
    LEFT JOIN owners ON owners.owner = runs.owner WHERE run_id = ?"""
TAKE_OVER = "UPDATE runs SET owner = ?, epoch = ? WHERE run_id = ?"
OPEN_RUNS_OF = f"SELECT run_id, session FROM runs WHERE owner = ? AND state NOT IN {_ENDED}"
CRASH_RUN = "UPDATE runs SET state = 'crashed', reason = ?, finished_at = ?, epoch = epoch + 1 WHERE run_id = ?"
CRASH_TASKS = """UPDATE task_runs SET state = 'crashed', reason = ?, finished_at = ?
    WHERE run_id = ? AND state IN ('dispatched', 'running')"""
DISOWN_RUN = "UPDATE runs SET owner = NULL, epoch = epoch + 1 WHERE run_id = ?"

# inbox
PUT_INBOX = "INSERT INTO inbox (run_id, data) VALUES (?, ?)"
INBOX_RUNS = "SELECT DISTINCT run_id FROM inbox LIMIT 1000"
INBOX = "SELECT id, run_id, data FROM inbox ORDER BY id LIMIT 10000"
DROP_INBOX = "DELETE FROM inbox WHERE id = ?"


def list_runs(
    workflow: str | None, states: Sequence[str], parent: str | None, before: str | None, limit: int
) -> tuple[str, tuple[Any, ...]]:
    """Runs, newest first, by what is given."""
    where: list[str] = []
    values: list[Any] = []
    for clause, value in (("workflow = ?", workflow), ("parent = ?", parent), ("run_id < ?", before)):
        if value is not None:
            where.append(clause)
            values.append(value)
    if states:
        where.append(f"state IN ({', '.join('?' * len(states))})")
        values.extend(states)
    condition = f"WHERE {' AND '.join(where)}" if where else ""
    return f"SELECT {_RUN} FROM runs {condition} ORDER BY run_id DESC LIMIT ?", (*values, limit)  # noqa: S608  no values in it


def outputs(count: int) -> str:
    """The outputs of `count` task runs of a run."""
    return f"SELECT no, outputs FROM task_runs WHERE run_id = ? AND no IN ({', '.join('?' * count)}) AND outputs IS NOT NULL"  # noqa: S608  no values in it


def assets(count: int) -> str:
    """The materializations of `count` assets, or of all."""
    where = f"WHERE key IN ({', '.join('?' * count)})" if count else ""
    return f"SELECT key, partition, run_id, no, at, data_version, metadata FROM assets {where} ORDER BY key, partition"  # noqa: S608  no values in it
