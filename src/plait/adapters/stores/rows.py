"""Rows to columns and back: what the SQL stores share."""

from collections.abc import Sequence
from typing import Any

import msgspec

from plait.model.outcome import Stored
from plait.model.rows import RunRow, ScopeRow, TaskRow

RUN_COLUMNS = RunRow.__struct_fields__
TASK_COLUMNS = TaskRow.__struct_fields__
_encode = msgspec.json.encode
_outputs = msgspec.msgpack.Encoder()
_outputs_decoder = msgspec.msgpack.Decoder(dict[str, Stored])
_path = msgspec.json.Decoder(tuple[int | str, ...])
_numbers = msgspec.json.Decoder(tuple[int, ...])
_texts = msgspec.json.Decoder(tuple[str, ...])
_extra = msgspec.json.Decoder(dict[str, Any])


def run_values(row: RunRow) -> tuple[Any, ...]:
    """A run row in the order of RUN_COLUMNS."""
    return (
        row.run_id, row.workflow, row.kind, row.graph_hash, row.state, row.created_at, row.started_at, row.finished_at,
        row.params, row.logical_date, row.partition, row.parent, row.owner, row.epoch, int(row.session), row.engine_min,
        row.reason, row.target, _encode(row.tags).decode(), _encode(row.extra).decode(),
    )  # fmt: skip


def run_row(values: Sequence[Any]) -> RunRow:
    """A run row from its columns."""
    named = dict(zip(RUN_COLUMNS, values, strict=True))
    named["session"] = bool(named["session"])
    named["tags"] = _texts.decode(named["tags"])
    named["extra"] = _extra.decode(named["extra"])
    return RunRow(**named)


def path_text(path: tuple[int | str, ...]) -> str:
    """A map path as text."""
    return _encode(path).decode() if path else "[]"


def task_values(run_id: str, row: TaskRow) -> tuple[Any, ...]:
    """A task row in the order of TASK_COLUMNS, after its run."""
    return (
        run_id, row.no, row.key, path_text(row.path), row.generation, row.state, row.attempt, row.token, row.executions,
        row.parent, row.child, row.spec, _encode(row.upstream).decode() if row.upstream else None, row.name,
        row.wait_until, row.first_started_at, row.started_at, row.finished_at, row.control,
        _outputs.encode(row.outputs) if row.outputs else None, row.error, row.log, row.reason, row.flags, row.current,
    )  # fmt: skip


def task_row(values: Sequence[Any]) -> TaskRow:
    """A task row from its columns (without the run's)."""
    named = dict(zip(TASK_COLUMNS, values, strict=True))
    named["path"] = _path.decode(named["path"])
    named["upstream"] = _numbers.decode(named["upstream"]) if named["upstream"] else ()
    named["outputs"] = outputs_of(named["outputs"])
    named["current"] = bool(named["current"])
    return TaskRow(**named)


def outputs_of(blob: bytes | None) -> dict[str, Stored] | None:
    """The stored results that a column holds."""
    return _outputs_decoder.decode(blob) if blob else None


def scope_row(values: Sequence[Any]) -> ScopeRow:
    """A scope row from its columns (without the run's)."""
    scope, path, generation, length, keys = values
    return ScopeRow(
        scope=scope,
        path=_path.decode(path),
        generation=generation,
        length=length,
        keys=_texts.decode(keys) if keys is not None else None,
    )
