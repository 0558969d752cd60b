"""The rows that a store keeps: the truth for recovery. Times are epoch seconds (UTC)."""

from typing import Any

import msgspec

from plait.model.ids import MapPath, RunId, TaskNo, Token
from plait.model.outcome import Stored
from plait.model.schedules import Catchup


class RunRow(msgspec.Struct, kw_only=True):
    """One run. `owner` is the process that leases it, `epoch` grows with each take-over, `session` tells a
    session-owned run from a service-owned one. `params` is plain data; `result` is set when it ended.
    `occurrence` names what of a trigger the run is for: no two runs have the same."""

    run_id: RunId
    workflow: str
    kind: str
    graph_hash: str
    state: str
    created_at: float
    started_at: float | None = None
    finished_at: float | None = None
    params: bytes = b"{}"
    logical_date: str | None = None
    partition: str | None = None
    parent: str | None = None
    owner: str | None = None
    epoch: int = 1
    session: bool = True
    engine_min: int = 1
    reason: str = ""
    target: str = ""
    occurrence: str | None = None
    tags: tuple[str, ...] = ()
    extra: dict[str, Any] = {}


class TaskRow(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One task run, written when it is first dispatched or resolved, and again when that changes.

    `control` is what the engine needs of the outcome (emitted, lengths, branch), `outputs` the stored results by
    name, `error` the encoded ErrorInfo; both are none where nothing changes. `child` is the replay key of a flow's
    child, `spec` its encoded node.
    """

    no: TaskNo
    key: str
    path: MapPath
    generation: int
    state: str
    attempt: int
    token: Token
    executions: int = 0
    parent: TaskNo | None = None
    child: str | None = None
    spec: bytes | None = None
    upstream: tuple[TaskNo, ...] = ()
    name: str | None = None
    wait_until: float | None = None
    first_started_at: float | None = None
    started_at: float | None = None
    finished_at: float | None = None
    control: bytes | None = None
    outputs: dict[str, Stored] | None = None
    error: bytes | None = None
    log: bytes | None = None
    reason: str = ""
    flags: int = 0
    current: bool = True


class AttemptRow(msgspec.Struct, kw_only=True):
    """An attempt before the task run's last one: how it ended."""

    no: TaskNo
    attempt: int
    state: str
    started_at: float | None = None
    finished_at: float | None = None
    error: bytes | None = None
    log: bytes | None = None


class ScopeRow(msgspec.Struct, kw_only=True):
    """A mapped scope that was expanded below `path`: its elements' names."""

    scope: str
    path: MapPath
    generation: int
    length: int
    keys: tuple[str, ...] | None = None


class EventRow(msgspec.Struct, kw_only=True):
    """One recorded event: `seq` numbers it within its run, `data` is the encoded event."""

    seq: int
    at: float
    data: bytes


class SlotRow(msgspec.Struct, kw_only=True):
    """Slots of a limit that one task run (or a run: `no` is -1) of one run holds."""

    key: str
    run_id: RunId
    no: int
    slots: int


class LimitRow(msgspec.Struct, kw_only=True):
    """A limit and its size."""

    key: str
    slots: int


class WorkflowRow(msgspec.Struct, kw_only=True):
    """What is remembered of a workflow across its runs."""

    name: str
    kind: str = "dag"
    paused: bool = False
    failures_in_a_row: int = 0


class AssetRow(msgspec.Struct, kw_only=True):
    """The latest materialization of an asset's partition (empty text for an asset without partitions), or what was
    observed last of one that is made elsewhere (`observed`).

    `code_version` and `inputs` (JSON: the data versions of the assets that it was made from, by key) are those of that
    time; `data_time`: up to when what it is made from is in it (epoch seconds).
    """

    key: str
    partition: str
    run_id: RunId
    no: TaskNo
    at: float
    data_version: str | None = None
    metadata: bytes | None = None
    code_version: str | None = None
    inputs: bytes | None = None
    data_time: float | None = None
    observed: bool = False


class AssetEventRow(msgspec.Struct, kw_only=True):
    """Something that happened to an asset's partition: `kind` is materialized, observed or check (of the check `name`).
    `data` is JSON, see `model.assets.HistoryEvent`. It goes with its run."""

    key: str
    partition: str
    kind: str
    at: float
    run_id: RunId
    no: TaskNo
    name: str = ""
    data: bytes = b"{}"


class AutomationRow(msgspec.Struct, kw_only=True):
    """Where the automation of an asset stands: what it remembers (`cursor`) and what it decided last (`decision`), both
    encoded by `engine.automation`; `at`: when that was."""

    key: str
    at: float
    cursor: bytes
    decision: bytes


class PartitionMark(msgspec.Struct, kw_only=True, frozen=True):
    """Partitions of an asset were materialized, or `failed` to be: the ordinals from `start` to before `stop` in the
    space of that name (see `engine.partitions`)."""

    asset: str
    space: str
    failed: bool
    start: int
    stop: int


class PartitionChunk(msgspec.Struct, kw_only=True):
    """Partitions of an asset that are materialized, or that failed last, by chunks of ordinals: `size` of them are in
    chunk number `chunk`, as `data` tells (`engine.partitions.keysets`)."""

    asset: str
    space: str
    failed: bool
    chunk: int
    size: int
    data: bytes


class BackfillRow(msgspec.Struct, kw_only=True):
    """A backfill: what it is to do (`plan`, which never changes) and how far it is (`cursor`), both encoded
    (`engine.backfill`). `title` is for people."""

    id: str
    state: str
    title: str
    created_at: float
    updated_at: float
    plan: bytes
    cursor: bytes


class OwnerRow(msgspec.Struct, kw_only=True):
    """A process that owns runs, and until when its lease holds. `address`: where workers connect to it; empty for one
    that takes no workers."""

    owner: str
    host: str
    pid: int
    started: float
    lease_until: float
    address: str = ""


class InboxRow(msgspec.Struct, kw_only=True, frozen=True):
    """An encoded stimulus that lies in the inbox for the owner of a run."""

    id: int
    run_id: RunId
    data: bytes


class FileRow(msgspec.Struct, kw_only=True):
    """A file of definitions as it was last loaded. `location` is the target that a service was given; `stamp` tells
    whether the file has changed since; `error` (with `traceback`) is why it does not load, empty if it does; `assets`
    encodes the assets that it defines (`model.assets.AssetGraph`)."""

    path: str
    location: str
    stamp: str
    loaded_at: float
    error: str = ""
    traceback: str = ""
    assets: bytes = b""


class DeploymentRow(msgspec.Struct, kw_only=True):
    """A workflow as a service runs it. `target` is the code location that workers load; `graph_hash` the version that
    new runs get; `lengths` those of the defaults that scopes map over."""

    workflow: str
    kind: str
    target: str
    graph_hash: str
    lengths: dict[str, int | list[str]] = {}
    tags: tuple[str, ...] = ()
    updated_at: float = 0.0


class TriggerRow(msgspec.Struct, kw_only=True):
    """A trigger of a deployed workflow: its number `no` among those of the workflow, and what it is (`TriggerSpec`).

    `cursor`: the latest occurrence that is settled (epoch seconds), or since when it counts; `next_at`: when it fires
    next, none for one that never does, or that no time fires. `awaits`: what it waits for but time, as subjects of
    signals; `state`: what of it has happened since it fired last, encoded by `engine.conditions`.
    """

    workflow: str
    no: int
    kind: str
    spec: dict[str, Any]
    catchup: Catchup = Catchup.LATEST
    cursor: float | None = None
    next_at: float | None = None
    awaits: tuple[str, ...] = ()
    state: bytes = b""


class SignalRow(msgspec.Struct, kw_only=True, frozen=True):
    """Something has happened for which triggers wait; it lies there until it is counted.

    `subject` is `asset:KEY` or `event:NAME`; `kind` is materialized, observed or event; `source` the run, or the id of
    the published event; `no`, `workflow` and `task` say which task run it was. `data` is JSON: of an asset
    `model.assets.HistoryEvent`, of an event its payload. An id is never used twice.
    """

    id: int
    subject: str
    kind: str
    at: float
    partition: str = ""
    source: str = ""
    no: int = 0
    workflow: str = ""
    task: str = ""
    data: bytes = b"{}"


class PublishedRow(msgspec.Struct, kw_only=True, frozen=True):
    """An event that somebody has published by its name. `data` is its payload, as JSON; ids grow with time."""

    id: str
    name: str
    at: float
    data: bytes
