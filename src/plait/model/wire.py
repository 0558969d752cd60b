"""What travels between a dispatcher and the workers. Encoded as MessagePack; versioned by `PROTOCOL`."""

from typing import Any

import msgspec

from plait.model.graph import CodeRef
from plait.model.ids import MapPath, RunId, TaskNo, Token
from plait.model.outcome import Outcome, Stored

PROTOCOL = 1
DATA_INTERVAL = "data_interval"
"""In the `extra` of a run: what it is about, from the first to before the second (ISO 8601), if anything says so."""

PARTITION_KEYS = "partition_keys"
"""Likewise: the keys of a run for several partitions, where only a store knows them."""
MAPPED = "mapped"
"""Likewise: the upstream partitions that custom mappings named when the run was made, by node and asset: the
edges of their ranges, and whether they may be any number."""

STARTED_BY = ("asset_events", "events")
"""Likewise: the updates of assets and the published events that started it, as `engine.conditions` tells them."""


class RunInfo(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """What every execution of one run shares; a worker gets it once per run.

    `target` is the code location (absolute file, folder or module); `params` is JSON; `logical_date` ISO 8601.
    """

    run_id: RunId
    workflow: str
    target: str
    graph_hash: str = ""
    params: bytes = b"{}"
    logical_date: str | None = None
    partition: str | None = None
    started_at: float = 0.0
    tags: tuple[str, ...] = ()
    extra: dict[str, Any] = {}


class Upstream(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """The stored values behind one binding of an execution.

    `one`: a single value, of which `at` names the element that is meant, if any; `many`: the values of a scope that was
    left, in order, none where one was not emitted, with `keys` as their names where the scope has keys.
    """

    one: Stored | None = None
    at: int | str | None = None
    many: tuple[Stored | None, ...] | None = None
    keys: tuple[str, ...] | None = None


class Execution(msgspec.Struct, kw_only=True, frozen=True, omit_defaults=True):
    """One hand-off of one task run. `upstream` has an entry per `task/output` that its bindings name, and per
    `@scope/source` for the element of a mapping; `call` is a pickled (args, kwargs) for a flow's child; `timeout` is in
    seconds; `resume` is what a deferred or paused execution gets back (see `model.commands.Execute`); `versions` are
    the data versions of the assets that it is made from, and up to when they are (epoch seconds), as far as known."""

    run: RunInfo
    no: TaskNo
    token: Token
    key: str
    path: MapPath = ()
    attempt: int = 1
    max_attempts: int = 1
    runner: str = "python"
    timeout: float | None = None
    upstream: dict[str, Upstream] = {}
    versions: dict[str, tuple[str, float]] = {}
    code: CodeRef | None = None
    call: bytes | None = None
    child: str | None = None
    resume: Any = None


class Started(msgspec.Struct, frozen=True, array_like=True, tag="started"):
    """A worker began an execution; `segment` and `offset` tell where its output begins."""

    run_id: RunId
    no: TaskNo
    token: Token
    at: float
    segment: str = ""
    offset: int = 0


class Finished(msgspec.Struct, frozen=True, array_like=True, tag="finished"):
    """An execution ended, well or badly, or its process did (verdict crashed, the reason in `outcome.error`)."""

    run_id: RunId
    no: TaskNo
    token: Token
    outcome: Outcome


class Returned(msgspec.Struct, frozen=True, array_like=True, tag="returned"):
    """An execution that was never started comes back: its worker ended, or it was recalled."""

    run_id: RunId
    no: TaskNo
    token: Token


Report = Started | Finished | Returned


def travels(value: Any) -> bool:
    """Whether plain data can be told to a worker: whole numbers beyond 64 bits cannot."""
    try:
        msgspec.msgpack.encode(value)
    except OverflowError:
        return False
    return True
