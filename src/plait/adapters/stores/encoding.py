"""Rows as columns: what every SQL store shares.

Columns hold what is asked for in SQL; the rest is JSON (for people who look into the database) or MessagePack (where
there are bytes). Nothing is ever unpickled: values of users are opaque bytes.
"""

import functools
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec

from plait.model.errors import StoreError
from plait.model.graph import Graph
from plait.model.ids import MapPath, RunId, TaskNo, Token
from plait.model.outcome import Stored
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AttemptRow,
    AutomationRow,
    BackfillRow,
    DeploymentRow,
    EventRow,
    FileRow,
    InboxRow,
    LimitRow,
    OwnerRow,
    PartitionChunk,
    PartitionMark,
    PublishedRow,
    RunRow,
    ScopeRow,
    SignalRow,
    SlotRow,
    TaskRow,
    TriggerRow,
    WorkflowRow,
)
from plait.model.schedules import Catchup
from plait.model.states import LIVE, RUN_TERMINAL, RunState

FINAL_RUN_STATES = tuple(sorted(state.value for state in RUN_TERMINAL))
OPEN_RUN_STATES = tuple(sorted(state.value for state in RunState if state not in RUN_TERMINAL))
LIVE_TASK_STATES = tuple(sorted(state.value for state in LIVE))
EVENTS_PER_CHUNK = 500

Columns = tuple[Any, ...]

_json = msgspec.json.Encoder()
_pack = msgspec.msgpack.Encoder()
_unpack_any = msgspec.msgpack.Decoder()
_paths = msgspec.json.Decoder(MapPath)
_names = msgspec.json.Decoder(tuple[str, ...])
_lengths = msgspec.json.Decoder(dict[str, int | list[str]])
_specs = msgspec.json.Decoder(dict[str, Any])
_outputs = msgspec.msgpack.Decoder(dict[str, Stored])
_events = msgspec.msgpack.Decoder(list[tuple[int, float, bytes]])


@functools.cache
def _graphs() -> "msgspec.json.Decoder[Graph]":
    """Made when a graph is read: it costs 1 ms, which a process that only writes them never needs."""
    return msgspec.json.Decoder(Graph)


# --- small parts -----------------------------------------------------------------------------------------------------


def as_json(values: Sequence[Any]) -> str:
    """A list as one parameter of a statement, which unfolds it by `json_each`."""
    return _json.encode(values).decode()


def path_text(path: MapPath) -> str:
    """A map path as it is stored and compared."""
    return _json.encode(path).decode() if path else "[]"


def epoch_of(date: str | None) -> float | None:
    """Epoch seconds of an ISO 8601 text, UTC where it names no zone; none for what is no date."""
    if date is None:
        return None
    try:
        moment = datetime.fromisoformat(date)
    except ValueError:
        return None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def printable(value: Any) -> Any:
    """The same row or batch without lone surrogates (file names that are not UTF-8), which no database takes, and
    without NUL, which PostgreSQL does not take."""
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode().replace("\0", "\\x00")
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(
            value, **{name: printable(getattr(value, name)) for name in value.__struct_fields__}
        )
    if isinstance(value, dict):
        return {printable(key): printable(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(printable(item) for item in value)
    return value


# --- graphs ----------------------------------------------------------------------------------------------------------


def graph_bytes(graph: Graph) -> bytes:
    """A graph as it is stored."""
    return _json.encode(graph)


def graph_of(graph_hash: str, data: bytes) -> Graph:
    """The graph that these bytes hold. One that this version cannot read raises StoreError."""
    try:
        return _graphs().decode(data)
    except msgspec.ValidationError as error:
        raise StoreError(f"this version of plait cannot read the stored graph {graph_hash}: {error}") from error


# --- runs ------------------------------------------------------------------------------------------------------------

RUN_COLUMNS = (*RunRow.__struct_fields__, "logical_at")


def run_values(row: RunRow) -> Columns:
    """A run's row as `RUN_COLUMNS`."""
    return (
        *msgspec.structs.astuple(row)[:-2],
        _json.encode(row.tags).decode(),
        _pack.encode(row.extra) if row.extra else None,
        epoch_of(row.logical_date),
    )


def run_of(columns: Sequence[Any]) -> RunRow:
    """The run's row that these `RUN_COLUMNS` hold."""
    values = dict(zip(RunRow.__struct_fields__, columns, strict=False))
    values["session"] = bool(values["session"])
    values["tags"] = _names.decode(values["tags"])
    values["extra"] = _unpack_any.decode(values["extra"]) if values["extra"] else {}
    return RunRow(**values)


# --- task runs -------------------------------------------------------------------------------------------------------


class _More(msgspec.Struct, omit_defaults=True):
    """What of a task row is never asked for in SQL; a new field here needs no migration."""

    generation: int = 0
    executions: int = 0
    parent: TaskNo | None = None
    child: str | None = None
    upstream: tuple[TaskNo, ...] = ()
    name: str | None = None
    wait_until: float | None = None
    first_started_at: float | None = None
    reason: str = ""
    flags: int = 0


_mores = msgspec.json.Decoder(_More)

TASK_COLUMNS = (
    "no", "key", "path", "state", "attempt", "token", "started_at", "finished_at", "current", "more",
    "control", "error", "log", "spec", "outputs",
)  # fmt: skip
KEPT_COLUMNS = TASK_COLUMNS[-5:]
"""Those that keep what is there when they are written as none."""
NOTHING_KEPT = (None,) * len(KEPT_COLUMNS)


def task_values(run: int, rows: Iterable[TaskRow]) -> list[Columns]:
    """Task rows as the run's own number and `TASK_COLUMNS`."""
    encode, pack = _json.encode, _pack.encode
    return [
        (
            run,
            row.no,
            row.key,
            encode(row.path).decode() if row.path else "[]",
            row.state,
            row.attempt,
            row.token,
            row.started_at,
            row.finished_at,
            row.current,
            encode(
                _More(
                    row.generation,
                    row.executions,
                    row.parent,
                    row.child,
                    row.upstream,
                    row.name,
                    row.wait_until,
                    row.first_started_at,
                    row.reason,
                    row.flags,
                )
            ).decode(),
            row.control,
            row.error,
            row.log,
            row.spec,
            pack(row.outputs) if row.outputs is not None else None,
        )
        for row in rows
    ]


def bare_and_full(rows: list[Columns]) -> tuple[list[Columns], list[Columns]]:
    """Part `task_values` into those without any of the kept columns (cut off), and the others. The order of two rows of
    one task run matters: then all count as full."""
    cut = -len(KEPT_COLUMNS)
    bare = [row[:cut] for row in rows if row[cut:] == NOTHING_KEPT]
    if not bare or len({row[:2] for row in rows}) < len(rows):
        return [], rows
    return bare, [row for row in rows if row[cut:] != NOTHING_KEPT] if len(bare) < len(rows) else []


def merged(rows: list[Columns]) -> list[Columns]:
    """One row for each task run, as if `task_values` had been written one after the other."""
    cut = -len(KEPT_COLUMNS)
    found: dict[Columns, Columns] = {}
    for row in rows:
        before = found.get(row[:2])
        if before is not None:
            kept = (new if new is not None else old for new, old in zip(row[cut:], before[cut:], strict=True))
            row = (*row[:cut], *kept)  # noqa: PLW2901  it stands for both from here on
        found[row[:2]] = row
    return list(found.values())


def task_of(columns: Sequence[Any]) -> TaskRow:
    """The task row that these `TASK_COLUMNS` hold; the last one, outputs, may be missing."""
    no, key, path, state, attempt, token, started_at, finished_at, current, more = columns[:10]
    control, error, log, spec = columns[10:14]
    outputs = columns[14] if len(columns) > 14 else None
    rest = _mores.decode(more)
    return TaskRow(
        no=TaskNo(no),
        key=key,
        path=_paths.decode(path) if path != "[]" else (),
        generation=rest.generation,
        state=state,
        attempt=attempt,
        token=Token(token),
        executions=rest.executions,
        parent=rest.parent,
        child=rest.child,
        spec=spec,
        upstream=rest.upstream,
        name=rest.name,
        wait_until=rest.wait_until,
        first_started_at=rest.first_started_at,
        started_at=started_at,
        finished_at=finished_at,
        control=control,
        outputs=_outputs.decode(outputs) if outputs is not None else None,
        error=error,
        log=log,
        reason=rest.reason,
        flags=rest.flags,
        current=bool(current),
    )


def with_reason(more: str, reason: str) -> str:
    """The packed rest of a task row, with another reason."""
    return _json.encode(msgspec.structs.replace(_mores.decode(more), reason=reason)).decode()


def outputs_of(data: bytes) -> dict[str, Stored]:
    """The stored results by name that these bytes hold."""
    return _outputs.decode(data)


# --- events ----------------------------------------------------------------------------------------------------------
# The events of one batch share a row: a row of its own costs an event 1.7 us, its share 0.3 us. The row's key is the
# number of its last event, so that `after` is a range of keys.


def event_chunks(run: int, rows: Sequence[EventRow]) -> list[Columns]:
    """Events, in order of their numbers, as (run, last number, data)."""
    return [
        (run, rows[min(first + EVENTS_PER_CHUNK, len(rows)) - 1].seq, _pack.encode(
            [(row.seq, row.at, row.data) for row in rows[first : first + EVENTS_PER_CHUNK]]
        ))
        for first in range(0, len(rows), EVENTS_PER_CHUNK)
    ]  # fmt: skip


def events_of(chunks: Iterable[bytes], after: int) -> Iterator[EventRow]:
    """The events of these chunks whose number is above `after`."""
    for data in chunks:
        for seq, at, event in _events.decode(data):
            if seq > after:
                yield EventRow(seq=seq, at=at, data=event)


# --- the small rows --------------------------------------------------------------------------------------------------


def attempt_values(run: int, row: AttemptRow) -> Columns:
    """An attempt's row, after the run's own number."""
    return (run, *msgspec.structs.astuple(row))


def attempt_of(columns: Sequence[Any]) -> AttemptRow:
    """The attempt's row of these columns."""
    return AttemptRow(**dict(zip(AttemptRow.__struct_fields__, columns, strict=True)))


def scope_values(run: int, row: ScopeRow) -> Columns:
    """A scope's row, after the run's own number."""
    keys = _json.encode(row.keys).decode() if row.keys is not None else None
    return (run, row.scope, path_text(row.path), row.generation, row.length, keys)


def scope_of(columns: Sequence[Any]) -> ScopeRow:
    """The scope's row of these columns."""
    scope, path, generation, length, keys = columns
    return ScopeRow(
        scope=scope,
        path=_paths.decode(path),
        generation=generation,
        length=length,
        keys=_names.decode(keys) if keys is not None else None,
    )


ASSET_COLUMNS = AssetRow.__struct_fields__
ASSET_EVENT_COLUMNS = AssetEventRow.__struct_fields__
AUTOMATION_COLUMNS = AutomationRow.__struct_fields__


def asset_values(row: AssetRow) -> Columns:
    """An asset's row."""
    return msgspec.structs.astuple(row)


def asset_event_values(row: AssetEventRow) -> Columns:
    """An event's row."""
    return msgspec.structs.astuple(row)


def automation_values(row: AutomationRow) -> Columns:
    """An automation's row."""
    return msgspec.structs.astuple(row)


def asset_of(columns: Sequence[Any]) -> AssetRow:
    """The asset's row of these columns."""
    values = dict(zip(ASSET_COLUMNS, columns, strict=True))
    return AssetRow(**{**values, "observed": bool(values["observed"])})


def asset_event_of(columns: Sequence[Any]) -> AssetEventRow:
    """The event's row of these columns."""
    return AssetEventRow(**dict(zip(ASSET_EVENT_COLUMNS, columns, strict=True)))


def automation_of(columns: Sequence[Any]) -> AutomationRow:
    """The automation's row of these columns."""
    return AutomationRow(**dict(zip(AUTOMATION_COLUMNS, columns, strict=True)))


def workflow_values(row: WorkflowRow) -> Columns:
    """A workflow's row."""
    return msgspec.structs.astuple(row)


def workflow_of(columns: Sequence[Any]) -> WorkflowRow:
    """The workflow's row of these columns."""
    name, kind, paused, failures = columns
    return WorkflowRow(name=name, kind=kind, paused=bool(paused), failures_in_a_row=failures)


def slot_of(columns: Sequence[Any]) -> SlotRow:
    """The slot's row of these columns."""
    key, run_id, no, slots = columns
    return SlotRow(key=key, run_id=RunId(run_id), no=no, slots=slots)


def limit_of(columns: Sequence[Any]) -> LimitRow:
    """The limit's row of these columns."""
    return LimitRow(key=columns[0], slots=columns[1])


def owner_of(columns: Sequence[Any]) -> OwnerRow:
    """The owner's row of these columns."""
    return OwnerRow(**dict(zip(OwnerRow.__struct_fields__, columns, strict=True)))


def inbox_of(columns: Sequence[Any]) -> InboxRow:
    """The inbox row of these columns."""
    number, run_id, data = columns
    return InboxRow(id=number, run_id=RunId(run_id), data=bytes(data))


# --- definitions -----------------------------------------------------------------------------------------------------

FILE_COLUMNS = FileRow.__struct_fields__
DEPLOYMENT_COLUMNS = DeploymentRow.__struct_fields__
TRIGGER_COLUMNS = TriggerRow.__struct_fields__
SIGNAL_COLUMNS = SignalRow.__struct_fields__
PUBLISHED_COLUMNS = PublishedRow.__struct_fields__
_CATCHUPS = (Catchup.LATEST, Catchup.ALL, Catchup.NONE)
"""By the numbers that stand for them."""


def file_values(row: FileRow) -> Columns:
    """A file's row."""
    return msgspec.structs.astuple(row)


def file_of(columns: Sequence[Any]) -> FileRow:
    """The file's row of these columns."""
    return FileRow(**dict(zip(FILE_COLUMNS, columns, strict=True)))


def deployment_values(row: DeploymentRow) -> Columns:
    """A deployment's row."""
    lengths, tags = _json.encode(row.lengths).decode(), _json.encode(row.tags).decode()
    return (row.workflow, row.kind, row.target, row.graph_hash, lengths, tags, row.updated_at)


def deployment_of(columns: Sequence[Any]) -> DeploymentRow:
    """The deployment's row of these columns."""
    values = dict(zip(DEPLOYMENT_COLUMNS, columns, strict=True))
    return DeploymentRow(
        **{**values, "lengths": _lengths.decode(values["lengths"]), "tags": _names.decode(values["tags"])}
    )


def trigger_values(row: TriggerRow) -> Columns:
    """A trigger's row. Its spec is canonical, so that equal ones are equal texts."""
    spec = msgspec.json.encode(row.spec, order="deterministic").decode()
    awaits = _json.encode(row.awaits).decode()
    return (
        row.workflow, row.no, row.kind, spec, _CATCHUPS.index(row.catchup), row.cursor, row.next_at, awaits, row.state
    )  # fmt: skip


def trigger_of(columns: Sequence[Any]) -> TriggerRow:
    """The trigger's row of these columns."""
    values = dict(zip(TRIGGER_COLUMNS, columns, strict=True))
    values["spec"], values["catchup"] = _specs.decode(values["spec"]), _CATCHUPS[values["catchup"]]
    values["awaits"], values["state"] = _names.decode(values["awaits"]), bytes(values["state"])
    return TriggerRow(**values)


def signal_of(columns: Sequence[Any]) -> SignalRow:
    """The signal of these columns."""
    values = dict(zip(SIGNAL_COLUMNS, columns, strict=True))
    return SignalRow(**{**values, "data": bytes(values["data"])})


def published_of(columns: Sequence[Any]) -> PublishedRow:
    """The published event of these columns."""
    values = dict(zip(PUBLISHED_COLUMNS, columns, strict=True))
    return PublishedRow(**{**values, "data": bytes(values["data"])})


# --- partitions ------------------------------------------------------------------------------------------------------

BACKFILL_COLUMNS = BackfillRow.__struct_fields__


def mark_values(row: PartitionMark) -> Columns:
    """A mark's row."""
    return (row.asset, row.space, int(row.failed), row.start, row.stop)


def mark_of(columns: Sequence[Any]) -> PartitionMark:
    """The mark of these columns."""
    asset, space, failed, start, stop = columns
    return PartitionMark(asset=asset, space=space, failed=bool(failed), start=start, stop=stop)


def chunk_values(row: PartitionChunk) -> Columns:
    """A chunk's row."""
    return (row.asset, row.space, int(row.failed), row.chunk, row.size, row.data)


def chunk_of(columns: Sequence[Any]) -> PartitionChunk:
    """The chunk of these columns."""
    asset, space, failed, chunk, size, data = columns
    return PartitionChunk(asset=asset, space=space, failed=bool(failed), chunk=chunk, size=size, data=bytes(data))


def backfill_values(row: BackfillRow) -> Columns:
    """A backfill's row."""
    return msgspec.structs.astuple(row)


def backfill_of(columns: Sequence[Any]) -> BackfillRow:
    """The backfill's row of these columns."""
    values = dict(zip(BACKFILL_COLUMNS, columns, strict=True))
    return BackfillRow(**{**values, "plan": bytes(values["plan"]), "cursor": bytes(values["cursor"])})
