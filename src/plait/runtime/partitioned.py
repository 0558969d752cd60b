"""The stored values of an upstream asset for a run's partition: one, or those of several partitions by key."""

from collections.abc import Callable
from typing import Any

import msgspec

from plait.engine.assets.news import News
from plait.engine.partitions import edges, mappings
from plait.engine.partitions.edges import Above
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import DynamicKeys, Space, parse, space_of
from plait.model.graph import Graph, TaskSpec
from plait.model.partitions import RANGE, Mapping, Slices
from plait.model.wire import MAPPED, Upstream
from plait.runtime.hosted import Hosted


def mapped_extra(
    graph: Graph,
    text: str | None,
    now: float,
    dynamic: DynamicKeys | None,
    ask_of: Callable[[str], AskCode | None],
) -> dict[str, Any]:
    """What a run for a partition text keeps in its `extra` of what custom mappings say: they are asked by who makes the
    run, once. `ask_of` gives who answers for an asset. Raises MappingUnknown when one has no answer."""
    found: dict[str, dict[str, tuple[list[int], bool]]] = {}
    for node in graph.nodes:
        abouts: dict[str, dict[str, Any]] = node.metadata.get("upstream", {})
        for key, about in abouts.items():
            if about["partitions"] is None or not edges.is_asked(about["mapping"]):
                continue
            mapping: Mapping = msgspec.convert(about["mapping"], Mapping)
            own, up = node.metadata.get("partitions"), space_of(edges.slices_of(about["partitions"]), dynamic or _none)
            asset = next(iter(node.metadata.get("assets", ())), "")
            keys, many = edges.above(mapping, own, up, text, now, dynamic or _none, ask_of(asset))
            found.setdefault(node.key, {})[key] = list(keys.bounds), many
    return {MAPPED: found} if found else {}


def is_asked(graph: Graph) -> bool:
    """Whether only user code knows what some of a graph is made from."""
    abouts = (about for node in graph.nodes for about in node.metadata.get("upstream", {}).values())
    return any(edges.is_asked(about["mapping"]) for about in abouts)


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


def _above(hosted: Hosted, spec: TaskSpec, key: str) -> tuple[Space, Above]:
    """Which partitions of asset `key` a task of a run is made from: as was said when the run was made, if only user
    code knows it."""
    about = spec.metadata["upstream"][key]
    up = space_of(edges.slices_of(about["partitions"]), hosted.dynamic_keys)
    said = hosted.row.extra.get(MAPPED, {}).get(spec.key, {}).get(key)
    if said is not None:
        bounds, many = said
        return up, Above(KeySet(tuple(bounds)), many)
    mapping: Mapping = msgspec.convert(about["mapping"], Mapping)
    text, own = hosted.row.partition, spec.metadata.get("partitions")
    return up, edges.above(mapping, own, up, text, hosted.row.created_at, hosted.dynamic_keys, None)


def value_of(hosted: Hosted, spec: TaskSpec, key: str) -> Upstream:
    """The value of asset `key` that a task of a run takes. `many` with no keys stands for nothing: the partition before
    the first one."""
    about: dict[str, Any] | None = spec.metadata.get("upstream", {}).get(key)
    if about is None or about["partitions"] is None:
        return _alike(hosted, spec, key)
    up, found = _above(hosted, spec, key)
    keys = edges.texts(up, found.keys)
    values = hosted.values_in(hosted.asset_row_of(key, each) for each in keys)
    if found.many:
        return Upstream(many=tuple(values), keys=tuple(keys))
    return Upstream(one=values[0]) if values else Upstream(many=())


def change_of(hosted: Hosted, spec: TaskSpec, key: str) -> tuple[str, float] | None:
    """What stands for the data version of the partitions of asset `key` that a task of a run is made from, and up to
    when they are: the last change among them; none when there is none."""
    up, found = _above(hosted, spec, key)
    change = News(hosted.history).latest(key, up, found.keys)
    if change is None:
        return None
    row = hosted.asset_row_of(key, change.event.partition)
    return change.mark, row.data_time if row is not None and row.data_time is not None else change.at


def _alike(hosted: Hosted, spec: TaskSpec, key: str) -> Upstream:
    """The value of an asset of the same partitions, or of none. A run over several takes what was made for just these,
    or the values of each, by key, where one of them is newer than that."""
    whole, own, text = hosted.asset_row(key), spec.metadata.get("partitions"), hosted.row.partition
    if own is not None and text is not None and RANGE in text:
        space = space_of(edges.slices_of(own), hosted.dynamic_keys)
        numbers = parse(space, text)
        keys = [space.key(no) for no in numbers] if len(numbers) <= edges.MOST_KEYS else []
        rows = [row for each in keys if (row := hosted.asset_row_of(key, each)) is not None]
        if rows and len(rows) == len(keys) and (whole is None or max(row.at for row in rows) > whole.at):
            return Upstream(many=tuple(hosted.values_in(rows)), keys=tuple(keys))
    return Upstream(one=hosted.values_in([whole])[0])
