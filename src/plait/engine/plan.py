"""A graph compiled for deciding: neighbours, mapped scopes, gate depths, leaves. Immutable, shared by all runs of a
graph.

Depths: a node's `scopes` are the mapped scopes it lies in, outermost first. An edge's `common` is how many of them
both ends share; the downstream's task runs at one path prefix of that length share one gate for all edges of that
depth.
"""

from collections.abc import Iterable
from typing import Final

from plait.model.errors import DefinitionError
from plait.model.graph import Graph, GroupSpec, MapSpec, OverOutput, TaskSpec
from plait.model.policies import OutcomeRule


class ScopePlan:
    """A mapped group or a mapped task. `parents` are the scopes around it, `nodes` the nodes directly in it."""

    __slots__ = ("inner", "key", "nodes", "parents", "spec")

    def __init__(self, key: str, spec: MapSpec, parents: tuple["ScopePlan", ...]):
        self.key: Final = key
        self.spec: Final = spec
        self.parents: Final = parents
        self.nodes: list[NodePlan] = []
        self.inner: list[ScopePlan] = []

    @property
    def depth(self) -> int:
        """How many path elements its instances' parents have."""
        return len(self.parents)


class EdgePlan:
    """An edge between compiled nodes. `leaves` is set when it leaves a scope of its upstream, and so aggregates;
    `optional` when its output need not be emitted."""

    __slots__ = ("common", "down", "guard", "leaves", "optional", "output", "up")

    def __init__(self, up: "NodePlan", down: "NodePlan", output: str | None, guard: bool):
        self.up: Final = up
        self.down: Final = down
        self.output: Final = output
        self.guard: Final = guard
        self.common: Final = common_depth(up.scopes, down.scopes)
        self.leaves: Final = len(up.scopes) > self.common
        self.optional: Final = output is not None and any(o.name == output and not o.required for o in up.spec.outputs)


class FeedPlan:
    """A node whose output a scope maps over. `index` (negative) tells its gates from those of nodes."""

    __slots__ = ("common", "index", "scope", "source")

    def __init__(self, node: "NodePlan", scope: ScopePlan, source: int, index: int):
        self.scope: Final = scope
        self.source: Final = source
        self.index: Final = index
        self.common: Final = common_depth(node.scopes, scope.parents)


class NodePlan:
    """A node with its neighbours. `gate_depths`: the depths at which edges come in; `max_active`: of its task runs."""

    __slots__ = (
        "depth", "downs", "feeds", "gate_depths", "gate_sizes", "hooked", "index", "key", "max_active", "scopes",
        "slotless", "spec", "ups",
    )  # fmt: skip

    def __init__(self, spec: TaskSpec, index: int, scopes: tuple[ScopePlan, ...]):
        self.spec: Final = spec
        self.key: Final = spec.key
        self.index: Final = index
        self.scopes: Final = scopes
        self.depth: Final = len(scopes)
        self.ups: list[EdgePlan] = []
        self.downs: list[EdgePlan] = []
        self.gate_depths: tuple[int, ...] = ()
        self.gate_sizes: dict[int, tuple[int, int]] = {}
        self.feeds: list[FeedPlan] = []
        self.slotless: Final = not spec.limits
        self.hooked: Final = bool(spec.hooks)
        own = spec.mapping.concurrency if spec.mapping else None
        self.max_active: Final = min((n for n in (spec.max_active, own) if n), default=None)


class Plan:
    """A compiled graph. Making one checks it: unknown names, edges in a circle, mapping over oneself."""

    def __init__(self, graph: Graph):
        self.graph: Final = graph
        self.scopes: dict[str, ScopePlan] = {}
        self.nodes: dict[str, NodePlan] = {}
        self.top_scopes: list[ScopePlan] = []
        self.feeds = 0
        self._descendants: dict[str, frozenset[str]] = {}
        groups = {group.key: group for group in graph.groups}
        for spec in graph.nodes:
            self._add_node(spec, groups)
        for edge in graph.edges:
            self._add_edge(edge.upstream, edge.downstream, edge.output, edge.guard)
        for scope in self.scopes.values():
            self._feed(scope)
        for node in self.nodes.values():
            _size_gates(node)
        self.order: Final = self._sorted()
        self.leaves: Final = self._leaves()

    def _add_node(self, spec: TaskSpec, groups: dict[str, GroupSpec]) -> None:
        if spec.key in self.nodes:
            raise DefinitionError(
                f"two tasks of {self.graph.name!r} have the key {spec.key!r}",
                right="give one of them another name",
            )
        chain: list[tuple[str, MapSpec]] = []
        group_key = spec.group
        while group_key is not None:
            group = groups.get(group_key)
            if group is None:
                raise DefinitionError(f"task {spec.key!r} lies in the unknown group {group_key!r}")
            if group.mapping is not None:
                chain.append((group.key, group.mapping))
            group_key = group.parent
        chain.reverse()
        if spec.mapping is not None:
            chain.append((spec.key, spec.mapping))
        scopes: tuple[ScopePlan, ...] = ()
        for key, mapping in chain:
            scope = self.scopes.get(key)
            if scope is None:
                scope = self.scopes[key] = ScopePlan(key, mapping, scopes)
                (scopes[-1].inner if scopes else self.top_scopes).append(scope)
            scopes = (*scopes, scope)
        node = NodePlan(spec, len(self.nodes), scopes)
        self.nodes[spec.key] = node
        if scopes:
            scopes[-1].nodes.append(node)

    def _node(self, key: str, asked_by: str) -> NodePlan:
        node = self.nodes.get(key)
        if node is None:
            raise DefinitionError(f"{asked_by} names {key!r}, which is not a task of {self.graph.name!r}")
        return node

    def _add_edge(self, upstream: str, downstream: str, output: str | None, guard: bool) -> None:
        up = self._node(upstream, f"an edge to {downstream!r}")
        down = self._node(downstream, f"an edge from {upstream!r}")
        if output is not None and all(known.name != output for known in up.spec.outputs):
            raise DefinitionError(f"task {upstream!r} has no output {output!r}, which {downstream!r} waits for")
        edge = EdgePlan(up, down, output, guard)
        up.downs.append(edge)
        down.ups.append(edge)

    def _feed(self, scope: ScopePlan) -> None:
        for number, source in enumerate(scope.spec.sources):
            if isinstance(source, OverOutput):
                node = self._node(source.task, f"the mapping of {scope.key!r}")
                if scope in node.scopes:
                    raise DefinitionError(
                        f"{scope.key!r} is mapped over the output of {source.task!r}, which lies in it"
                    )
                self.feeds += 1
                node.feeds.append(FeedPlan(node, scope, number, -self.feeds))

    def _sorted(self) -> tuple[NodePlan, ...]:
        """Nodes in an order that respects the edges (Kahn); raises on a cycle, naming its members."""
        waits = {node.key: len(node.ups) for node in self.nodes.values()}
        order = [node for node in self.nodes.values() if not node.ups]
        for node in order:
            for edge in node.downs:
                waits[edge.down.key] -= 1
                if waits[edge.down.key] == 0:
                    order.append(edge.down)
        if len(order) < len(self.nodes):
            circle = _find_circle({key for key, left in waits.items() if left}, self.nodes)
            raise DefinitionError(
                f"the tasks of {self.graph.name!r} wait for each other in a circle: {' -> '.join(circle)}",
                right="remove one of these dependencies",
            )
        return tuple(order)

    def _leaves(self) -> tuple[NodePlan, ...]:
        """The tasks that decide the outcome by Airflow's rule: nothing but teardowns downstream, and no teardown
        itself."""
        if self.graph.outcome is not OutcomeRule.LEAVES:
            return ()

        def ignored(node: NodePlan) -> bool:
            return node.spec.teardown and not node.spec.counts

        return tuple(
            node for node in self.order if not ignored(node) and all(ignored(edge.down) for edge in node.downs)
        )

    def descendants(self, key: str) -> frozenset[str]:
        """The keys of all tasks below `key`, itself not among them."""
        known = self._descendants.get(key)
        if known is None:
            seen: set[str] = set()
            todo = [self.nodes[key]]
            while todo:
                for edge in todo.pop().downs:
                    if edge.down.key not in seen:
                        seen.add(edge.down.key)
                        todo.append(edge.down)
            known = self._descendants[key] = frozenset(seen)
        return known


def _size_gates(node: NodePlan) -> None:
    """How many edges and guards come in at each depth."""
    for edge in node.ups:
        edges, guards = node.gate_sizes.get(edge.common, (0, 0))
        node.gate_sizes[edge.common] = (edges, guards + 1) if edge.guard else (edges + 1, guards)
    node.gate_depths = tuple(sorted(node.gate_sizes))


def common_depth(one: tuple[ScopePlan, ...], other: tuple[ScopePlan, ...]) -> int:
    """How many scopes two chains share, from the outermost."""
    depth = 0
    for a, b in zip(one, other, strict=False):
        if a is not b:
            break
        depth += 1
    return depth


def _find_circle(among: Iterable[str], nodes: dict[str, NodePlan]) -> list[str]:
    left = set(among)
    path: list[str] = [min(left)]
    while True:
        above = min(edge.up.key for edge in nodes[path[-1]].ups if edge.up.key in left)
        if above in path:
            return [above, *reversed(path[path.index(above) :])]
        path.append(above)
