"""A graph as lines of text: one row a task, layer by layer, with lanes for the edges beside them, as `git log --graph`
has them.

Each task whose downstream is not drawn yet owns a lane. A task's row is preceded by a row that joins the lanes of its
upstream tasks to its own, where that is not straight down. A graph that needs too many lanes gets none: each row names
its upstream tasks anyway.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from plait.model.graph import Edge, Graph, OverLiteral, TaskSpec
from plait.model.policies import TriggerRule

MOST_LANES = 16
MOST_NAMES = 4
UNICODE = dict(
    zip(
        ("node", "|", "-", "+", "end_left", "end_right", "left", "right", "corner_left", "corner_right", "both", "tee"),
        "●│─┼╯╰┤├╮╭┬┴",
        strict=True,
    )
) | {"from": "←", "times": "\u00d7"}
ASCII = dict(zip(UNICODE, "*|-+'`++..++", strict=False)) | {"from": "<-", "times": "x"}


@dataclass
class Row:
    """A task in the order of the drawing: its depth, and what is directly upstream, with whether only the order
    counts."""

    spec: TaskSpec
    depth: int
    upstream: dict[str, bool]


def layers(graph: Graph) -> list[Row]:
    """The tasks by depth (the longest way from a task without upstream), then as the graph has them."""
    upstream: dict[str, dict[str, bool]] = {node.key: {} for node in graph.nodes}
    below: dict[str, list[str]] = {node.key: [] for node in graph.nodes}
    for edge in graph.edges:
        if edge.upstream not in upstream or edge.downstream not in upstream:
            continue  # an edge to or from a group: its tasks have edges of their own
        if edge.upstream not in upstream[edge.downstream]:
            below[edge.upstream].append(edge.downstream)
        known = upstream[edge.downstream].get(edge.upstream, True)
        upstream[edge.downstream][edge.upstream] = known and _is_order(edge)
    depth = _depths(upstream, below)
    rows = [Row(node, depth[node.key], upstream[node.key]) for node in graph.nodes]
    return sorted(rows, key=lambda row: row.depth)


def _is_order(edge: Edge) -> bool:
    return edge.output is None


def _depths(upstream: Mapping[str, Mapping[str, bool]], below: Mapping[str, Sequence[str]]) -> dict[str, int]:
    missing = {key: len(above) for key, above in upstream.items()}
    depth = dict.fromkeys(upstream, 0)
    ready = [key for key, count in missing.items() if count == 0]
    while ready:
        key = ready.pop()
        for other in below[key]:
            depth[other] = max(depth[other], depth[key] + 1)
            missing[other] -= 1
            if missing[other] == 0:
                ready.append(other)
    return depth


def draw(graph: Graph, *, most: int = 100, unicode: bool = True) -> list[str]:
    """The drawing's lines. Of more than `most` tasks the rest is counted."""
    signs = UNICODE if unicode else ASCII
    rows = layers(graph)
    shown = rows[:most]
    lanes = _Lanes(shown, signs)
    wide = lanes.width > MOST_LANES
    size = 2 if wide else 2 * lanes.width
    digits = len(str(shown[-1].depth)) if shown else 1
    lines: list[str] = []
    depth = -1
    for row in shown:
        join, mark = ("", f"{signs['node']} ") if wide else lanes.of(row.spec.key)
        if join:
            lines.append(f"{'':{digits}}  {join}".rstrip())
        first = f"{row.depth:>{digits}}" if row.depth != depth else " " * digits
        depth = row.depth
        lines.append(f"{first}  {mark.ljust(size)}{_label(row, graph, signs)}")
    if len(rows) > len(shown):
        lines.append(f"{'':{digits}}  … and {len(rows) - len(shown)} more tasks, to depth {rows[-1].depth}")
    return lines + _legend(graph, shown, signs)


class _Lanes:
    """Which task owns which lane, row by row."""

    def __init__(self, rows: Sequence[Row], signs: Mapping[str, str]):
        self._signs = signs
        self._drawn: dict[str, tuple[str, str]] = {}
        self.width = 1
        left = dict.fromkeys((row.spec.key for row in rows), 0)
        for row in rows:
            for key in row.upstream:
                if key in left:
                    left[key] += 1
        owners: list[str | None] = []
        for row in rows:
            self._place(row, owners, left)

    def of(self, key: str) -> tuple[str, str]:
        """The joining row before a task, and the lanes of its own row."""
        return self._drawn[key]

    def _place(self, row: Row, owners: list[str | None], left: dict[str, int]) -> None:
        key = row.spec.key
        sources = [at for at, owner in enumerate(owners) if owner in row.upstream]
        for at in sources:
            left[owners[at] or ""] -= 1
        ended = [at for at in sources if left[owners[at] or ""] == 0]
        before = list(owners)
        for at in ended:
            owners[at] = None
        own = ended[0] if ended else next((at for at, owner in enumerate(owners) if owner is None), len(owners))
        if own == len(owners):
            owners.append(None)
        owners[own] = key
        join = self._join(before, sources, ended, own) if sources and sources != [own] else ""
        mark = "".join(
            f"{self._signs['node'] if at == own else self._signs['|'] if owner else ' '} "
            for at, owner in enumerate(owners)
        )
        if left[key] == 0:
            owners[own] = None
        while owners and owners[-1] is None:
            owners.pop()
        self.width = max(self.width, len(before), own + 1)
        self._drawn[key] = (join, mark)

    def _join(self, before: Sequence[str | None], sources: Sequence[int], ended: Sequence[int], own: int) -> str:
        signs = self._signs
        low, high = min(*sources, own), max(*sources, own)
        cells: list[str] = []
        for at in range(max(len(before), own + 1)):
            passing = at < len(before) and before[at] is not None
            if at == own:
                sign = self._corner(at in sources, low < own, own < high)
            elif at in sources:
                sign = self._source(at, low, high, own, at in ended)
            elif low < at < high:
                sign = signs["+"] if passing else signs["-"]
            else:
                sign = signs["|"] if passing else " "
            cells.append(sign + (signs["-"] if low <= at < high else " "))
        return "".join(cells)

    def _source(self, at: int, low: int, high: int, own: int, ends: bool) -> str:
        """Where an upstream task's lane meets the joining line: it ends there or goes on, at the line's end or on its
        way."""
        side = "left" if at > own else "right"
        if low < at < high:
            return self._signs["tee" if ends else "+"]
        return self._signs[f"end_{side}" if ends else side]

    def _corner(self, straight: bool, from_left: bool, from_right: bool) -> str:
        signs = self._signs
        if straight:
            return signs["left"] if from_left and not from_right else signs["right"] if not from_left else signs["+"]
        if from_left and from_right:
            return signs["both"]
        return signs["corner_left"] if from_left else signs["corner_right"]


def _label(row: Row, graph: Graph, signs: Mapping[str, str]) -> str:
    spec = row.spec
    parts = [spec.key]
    mark = _mapped(spec, graph, signs)
    if mark:
        parts.append(mark)
    if spec.trigger_rule is not TriggerRule.ALL_SUCCESS:
        parts.append(f"({spec.trigger_rule.value})")
    if spec.setup or spec.teardown:
        parts.append("(setup)" if spec.setup else "(teardown)")
    if row.upstream:
        names = [f"({key})" if order else key for key, order in row.upstream.items()]
        more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
        parts.append(f" {signs['from']} {', '.join(names[:MOST_NAMES])}{more}")
    return " ".join(parts)


def _mapped(spec: TaskSpec, graph: Graph, signs: Mapping[str, str]) -> str:
    """`x7` where the number is known, `x` where it is not, one for each mapping that it is in."""
    groups = {group.key: group for group in graph.groups}
    found = [spec.mapping] if spec.mapping is not None else []
    key = spec.group
    while key is not None and key in groups:
        mapping = groups[key].mapping
        if mapping is not None:
            found.append(mapping)
        key = groups[key].parent
    marks: list[str] = []
    for mapping in found:
        sizes = [source.length for source in mapping.sources if isinstance(source, OverLiteral)]
        known = len(sizes) == len(mapping.sources) and sizes
        count = ""
        if known:
            total = 1
            for size in sizes:
                total *= size
            count = str(total if mapping.how == "product" else sizes[0])
        marks.append(signs["times"] + count)
    return "".join(marks)


def _legend(graph: Graph, rows: Sequence[Row], signs: Mapping[str, str]) -> list[str]:
    notes: list[str] = []
    if any(order for row in rows for order in row.upstream.values()):
        notes.append("(name): only the order counts")
    if any(_mapped(row.spec, graph, signs) for row in rows):
        notes.append(f"{signs['times']}: once per element")
    found = [f"groups: {', '.join(_group(group.key, graph, signs) for group in graph.groups)}"] if graph.groups else []
    return ([""] if notes or found else []) + found + (["; ".join(notes)] if notes else [])


def _group(key: str, graph: Graph, signs: Mapping[str, str]) -> str:
    group = next(each for each in graph.groups if each.key == key)
    inside = sum(
        node.group is not None and (node.group == key or node.group.startswith(f"{key}.")) for node in graph.nodes
    )
    return f"{key} ({inside}{' ' + signs['times'] if group.mapping is not None else ''})"
