"""What people and programs see of runs, as plain values: the shapes of the command line's JSON (and of the API's)."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec

from plait.engine.asks import asked_of
from plait.model.naming import MapIndex, call_numbers, label, map_index
from plait.model.outcome import ErrorInfo
from plait.model.rows import RunRow, TaskRow
from plait.model.states import RUN_TERMINAL, RunState, TaskState

__all__ = ["MapIndex", "call_numbers", "label", "map_index"]  # besides all that is below
_CACHED = 1
_WITH_ERROR = frozenset({"failed", "crashed", "cancelled", "retry_wait"})
_errors = msgspec.json.Decoder(ErrorInfo)


class AskedView(msgspec.Struct, kw_only=True):
    """What a paused task run asks people: a text, the JSON Schema of the answer, until when."""

    prompt: str
    schema: dict[str, Any] | None = None
    until: str | None = None


class TaskView(msgspec.Struct, kw_only=True):
    """One task run. `map_index` is none outside of mappings, a list in nested ones; `duration_s` is that of the last
    attempt; `error` begins with the exception's type; `error_at` is `file:line`; `asks` is what a paused one asks."""

    key: str
    map_index: MapIndex = None
    state: str
    attempts: int = 0
    duration_s: float | None = None
    error: str | None = None
    error_at: str | None = None
    reason: str | None = None
    name: str | None = None
    cached: bool = False
    started_at: str | None = None
    finished_at: str | None = None
    no: int | None = None
    asks: AskedView | None = None


class RunLine(msgspec.Struct, kw_only=True):
    """One run in a list."""

    run_id: str
    workflow: str
    kind: str
    state: str
    created_at: str
    started_at: str | None = None
    finished_at: str | None = None
    duration_s: float | None = None
    logical_date: str | None = None
    partition: str | None = None
    parent: str | None = None
    target: str = ""
    reason: str | None = None


class StartView(msgspec.Struct, kw_only=True):
    """Something that has started a run: the update of an asset (with the run that made it), or a published event (with
    its data). `at` is ISO 8601 in UTC."""

    asset: str | None = None
    partition: str | None = None
    run_id: str | None = None
    event: str | None = None
    data: Any = None
    at: str | None = None


class RunView(msgspec.Struct, kw_only=True):
    """One run with its task runs. `result` is the workflow's value where it is plain data, else `result_note` says what
    it is.

    `error` is what failed the run: the body's own error, or that of the first task that failed. `tasks_left_out` counts
    what did not fit in a bounded answer. `started_by`: the updates and events that a run was started by, if it was.
    """

    run_id: str
    workflow: str
    state: str
    result: Any = None
    tasks: list[TaskView] = []
    error: str | None = None
    reason: str | None = None
    result_note: str | None = None
    kind: str = ""
    params: Any = None
    logical_date: str | None = None
    partition: str | None = None
    parent: str | None = None
    target: str = ""
    tags: tuple[str, ...] = ()
    created_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    duration_s: float | None = None
    tasks_left_out: int = 0
    started_by: list[StartView] = []


def started_by(extra: Mapping[str, Any]) -> list[StartView]:
    """What a run was started by, as its row tells."""
    found = [
        StartView(asset=each["key"], partition=each["partition"] or None, run_id=each["run_id"], at=iso(each["at"]))
        for each in extra.get("asset_events", ())
    ]
    events = extra.get("events", ())
    return found + [StartView(event=each["name"], data=each["data"], at=iso(each["at"])) for each in events]


def iso(at: float | None) -> str | None:
    """Epoch seconds as ISO 8601 in UTC."""
    return (
        datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if at is not None
        else None
    )


def is_over(state: str) -> bool:
    """Whether a run's state is final."""
    return RunState(state) in RUN_TERMINAL


def run_line(row: RunRow) -> RunLine:
    """A run as lists show it."""
    return RunLine(
        run_id=row.run_id,
        workflow=row.workflow,
        kind=row.kind,
        state=row.state,
        created_at=iso(row.created_at) or "",
        started_at=iso(row.started_at),
        finished_at=iso(row.finished_at),
        duration_s=duration(row.started_at, row.finished_at),
        logical_date=row.logical_date,
        partition=row.partition,
        parent=row.parent,
        target=row.target,
        reason=row.reason or None,
    )


def task_view(row: TaskRow, index: MapIndex = None) -> TaskView:
    """A task run as run objects show it; `index` is its number where it is one of several calls in a flow's body."""
    error = error_of(row.error) if row.state in _WITH_ERROR else None  # a row keeps the error of an attempt before
    return TaskView(
        key=row.key,
        map_index=map_index(row.path) if index is None else index,
        state=row.state,
        attempts=row.attempt,
        duration_s=duration(row.started_at, row.finished_at),
        error=error.text if error is not None else None,
        error_at=(error.where or None) if error is not None else None,
        reason=row.reason or None,
        name=row.name,
        cached=bool(row.flags & _CACHED),
        started_at=iso(row.started_at),
        finished_at=iso(row.finished_at),
        no=row.no,
        asks=_asks(row) if row.state == TaskState.PAUSED.value else None,
    )


def _asks(row: TaskRow) -> AskedView | None:
    asked = asked_of(row)
    if asked is None:
        return None
    return AskedView(prompt=asked.prompt, schema=asked.schema, until=iso(row.wait_until))


def duration(begin: float | None, end: float | None) -> float | None:
    """Seconds from begin to end, none as long as one of them is not known."""
    return round(end - begin, 6) if begin is not None and end is not None else None


def error_of(data: bytes | None) -> ErrorInfo | None:
    """The failure that a row holds. The exception itself, which lies in it pickled, is left alone."""
    return _errors.decode(data) if data else None
