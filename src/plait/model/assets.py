"""Assets as data: what should exist, what it is made from, how, and what happened to it.

    AssetGraph ── assets: AssetSpec ── deps: AssetDep        what it is made from
        │            (made, external or observed) ── freshness: Freshness, automation
        ├─ steps: TaskSpec                                   what makes (or observes) one asset or several
        └─ checks: CheckSpec                                 what looks at one

A step's inputs name assets (`FromAsset`); its key is `AssetSpec.step`, its outputs are the assets that it makes. A run
is planned from the graph and a selection (`engine.assets.jobs`): inputs that are selected, too, come from the run, all
others as they were last materialized. Any dialect that has assets lowers to this.
"""

from enum import StrEnum
from typing import Any

import msgspec

from plait.model.automation import Condition
from plait.model.graph import RESULT, TaskSpec
from plait.model.policies import Value


class AssetKind(StrEnum):
    """`made` by a step; `external`: by somebody else, only known by name; `observed`: likewise, but a step looks which
    data version it has."""

    MADE = "made"
    EXTERNAL = "external"
    OBSERVED = "observed"


class AssetDep(Value):
    """An asset is made from asset `key`. `mapping`: which of its partitions a partition is made from, as plain data;
    none is the default of the two partitionings."""

    key: str
    mapping: dict[str, Any] | None = None


class Freshness(Value):
    """When an asset is fresh. Both may be given.

    `deadline`: a cron expression on the clock of zone `tz`: at each of its times the asset has been materialized within
    the last `within` seconds; without, since the time before. `lag`: what it is made from is at most so many seconds
    old, through all that is upstream.
    """

    deadline: str = ""
    tz: str = "UTC"
    within: float | None = None
    lag: float | None = None


class AssetSpec(Value):
    """An asset.

    `step` and `output` say what makes it (for an external one: nothing, ""). `tags`: `key=value` or plain. `partitions`
    is the definition of its partitions as plain data. `io`: the name of the IO manager that keeps its values. `place`:
    file:line. `optional`: its step may leave it out.
    """

    key: str
    kind: AssetKind = AssetKind.MADE
    step: str = ""
    output: str = RESULT
    group: str = "default"
    kinds: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}
    doc: str = ""
    place: str = ""
    deps: tuple[AssetDep, ...] = ()
    partitions: dict[str, Any] | None = None
    code_version: str | None = None
    optional: bool = False
    io: str | None = None
    freshness: Freshness | None = None
    automation: Condition | None = None

    @property
    def upstream(self) -> tuple[str, ...]:
        """The keys of what it is made from."""
        return tuple(dep.key for dep in self.deps)


class CheckSpec(Value):
    """A look at `asset` by `step`, after it was materialized. A failed `blocking` check of severity `error` stops what
    is made from the asset."""

    asset: str
    name: str
    step: TaskSpec
    blocking: bool = False
    severity: str = "error"
    doc: str = ""
    place: str = ""


class AssetGraph(Value):
    """All assets of a place. A step that makes several is there once; `together` names those of which all assets are
    made or none."""

    assets: tuple[AssetSpec, ...] = ()
    steps: tuple[TaskSpec, ...] = ()
    checks: tuple[CheckSpec, ...] = ()
    together: tuple[str, ...] = ()


class HistoryEvent(Value):
    """What `AssetEventRow.data` holds: of a materialization or an observation the data version, code version, metadata
    and the data versions of what it was made from; of a check whether it `passed`, and what it said."""

    data_version: str | None = None
    code_version: str | None = None
    data_time: float | None = None
    inputs: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    passed: bool | None = None
    severity: str = ""
    blocking: bool = False
    description: str = ""


def graph_bytes(graph: AssetGraph) -> bytes:
    """A graph as it is stored."""
    return msgspec.msgpack.encode(graph)


def graph_of(data: bytes) -> AssetGraph:
    """The graph that these bytes hold. Raises msgspec.ValidationError for one that this version cannot read."""
    return msgspec.msgpack.decode(data, type=AssetGraph) if data else AssetGraph()
