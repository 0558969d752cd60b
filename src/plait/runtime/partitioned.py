"""The stored values of an upstream asset for a run's partition: one, or those of several partitions by key."""

from typing import Any

import msgspec

from plait.engine.partitions import edges, mappings
from plait.engine.partitions.edges import Above
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import DynamicKeys, space_of
from plait.model.graph import Graph, TaskSpec
from plait.model.partitions import Mapping, Slices
from plait.model.wire import MAPPED, Upstream
from plait.runtime.hosted import Hosted


def mapped_extra(
    graph: Graph, text: str | None, now: float, dynamic: DynamicKeys | None, ask: AskCode | None
) -> dict[str, Any]:
    """What a run for a partition text keeps in its `extra` of what custom mappings say: they are asked by who makes the
    run, once. Raises MappingUnknown when one has no answer."""
    found: dict[str, dict[str, tuple[list[str], bool]]] = {}
    for node in graph.nodes:
        abouts: dict[str, dict[str, Any]] = node.metadata.get("upstream", {})
        for key, about in abouts.items():
            if about["partitions"] is None or not edges.is_asked(about["mapping"]):
                continue
            mapping: Mapping = msgspec.convert(about["mapping"], Mapping)
            own = node.metadata.get("partitions")
            keys, many = edges.above(mapping, own, about["partitions"], text, now, dynamic or _none, ask)
            found.setdefault(node.key, {})[key] = keys, many
    return {MAPPED: found} if found else {}


def ask_ahead(
    graph: Graph, slices: Slices | None, targets: KeySet, now: float, dynamic: DynamicKeys, ask: AskCode | None
) -> None:
    """Ask the custom mappings of a graph about all partitions for which there may be runs of it. Raises MappingUnknown
    when one has no answer."""
    for node in graph.nodes:
        for about in node.metadata.get("upstream", {}).values():
            if slices is not None and about["partitions"] is not None and edges.is_asked(about["mapping"]):
                mapping: Mapping = msgspec.convert(about["mapping"], Mapping)
                below, above = space_of(slices, dynamic), space_of(edges.slices_of(about["partitions"]), dynamic)
                mappings.upstream(mapping, below.all(now) | targets, Sides(below, above, now, ask))


def _none(name: str) -> dict[str, int]:
    del name
    return {}


def value_of(hosted: Hosted, spec: TaskSpec, key: str) -> Upstream:
    """The value of asset `key` that a task of a run takes. `many` with no keys stands for nothing: the partition before
    the first one."""
    about: dict[str, Any] | None = spec.metadata.get("upstream", {}).get(key)
    if about is None or about["partitions"] is None:
        return Upstream(one=hosted.asset_value(key))
    mapping: Mapping = msgspec.convert(about["mapping"], Mapping)
    said = hosted.row.extra.get(MAPPED, {}).get(spec.key, {}).get(key)
    if said is not None:
        found = Above(*said)
    else:
        text, own = hosted.row.partition, spec.metadata.get("partitions")
        found = edges.above(mapping, own, about["partitions"], text, hosted.row.created_at, hosted.dynamic_keys, None)
    values = [hosted.asset_value_of(key, each) for each in found.keys]
    if found.many:
        return Upstream(many=tuple(values), keys=tuple(found.keys))
    return Upstream(one=values[0]) if values else Upstream(many=())
