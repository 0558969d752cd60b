"""The stored values of an upstream asset for a run's partition: one, or those of several partitions by key."""

from typing import Any

import msgspec

from plait.engine.partitions import edges
from plait.model.graph import TaskSpec
from plait.model.partitions import Mapping
from plait.model.wire import Upstream
from plait.runtime.hosted import Hosted


def value_of(hosted: Hosted, spec: TaskSpec, key: str) -> Upstream:
    """The value of asset `key` that a task of a run takes. `many` with no keys stands for nothing: the partition before
    the first one."""
    about: dict[str, Any] | None = spec.metadata.get("upstream", {}).get(key)
    if about is None or about["partitions"] is None:
        return Upstream(one=hosted.asset_value(key))
    mapping: Mapping = msgspec.convert(about["mapping"], Mapping)
    text, own = hosted.row.partition, spec.metadata.get("partitions")
    found = edges.above(mapping, own, about["partitions"], text, hosted.row.created_at, hosted.dynamic_keys, None)
    values = [hosted.asset_value_of(key, each) for each in found.keys]
    if found.many:
        return Upstream(many=tuple(values), keys=tuple(found.keys))
    return Upstream(one=values[0]) if values else Upstream(many=())
