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

    def all_nodes(self) -> list["NodePlan"]:
        """The nodes in it and in the scopes in it."""
        nodes = list(self.nodes)
        for inner in self.inner:
            nodes.extend(inner.all_nodes())
        return nodes


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
    """A node with its neighbours. `gate_depths`: the depths at which edges come in; `max_active`: of its task runs.

    `below` and `above` are the nodes that wait for it and that it waits for, by an edge or because a scope is mapped
    over what one emits, each with how many mapped scopes they share. A `body` adds children; a `hook` is called in any
    state of its run; what `outlives` a run that is cancelled (a hook, a teardown) runs all the same. What is `callless`
    needs nothing of the call that added it: it goes on without its body.
    """

    __slots__ = (
        "above", "below", "body", "callless", "depth", "downs", "feeds", "gate_depths", "gate_sizes", "hook", "hooked",
        "index", "key", "max_active", "outlives", "scopes", "slotless", "spec", "ups",
    )  # fmt: skip

    def __init__(self, spec: TaskSpec, index: int, scopes: tuple[ScopePlan, ...]):
        self.spec: Final = spec
        self.key: Final = spec.key
        self.index: Final = index
        self.scopes: Final = scopes
        self.depth: Final = len(scopes)
        self.ups: list[EdgePlan] = []
        self.downs: list[EdgePlan] = []
        self.below: dict[NodePlan, int] = {}
        self.above: dict[NodePlan, int] = {}
        self.gate_depths: tuple[int, ...] = ()
        self.gate_sizes: dict[int, tuple[int, int]] = {}
        self.feeds: list[FeedPlan] = []
        self.slotless: Final = not spec.limits
        self.hooked: Final = bool(spec.hooks)
        self.body: Final = spec.runner == "flow"
        self.hook: Final = spec.runner == "hook"
        self.callless: Final = self.hook or spec.runner in ("pause", "wait")
        self.outlives: Final = self.hook or spec.teardown
        bounds = (spec.max_active, *(scope.spec.concurrency for scope in scopes))
        self.max_active: Final = min((bound for bound in bounds if bound), default=None)


class Plan:
    """A compiled graph. Making one checks it: unknown names, edges in a circle, mapping over oneself."""

    def __init__(self, graph: Graph):
        self.graph: Final = graph
        self.scopes: dict[str, ScopePlan] = {}
        self.nodes: dict[str, NodePlan] = {}
        self.top_scopes: list[ScopePlan] = []
        self.feeds = 0
        self._members: dict[str, list[NodePlan]] = {}
        self._led_to: dict[tuple[str, ...], frozenset[str]] = {}
        groups = {group.key: group for group in graph.groups}
        if len(groups) < len(graph.groups):
            raise DefinitionError(
                f"two groups of {graph.name!r} have the same key", right="give one of them another name"
            )
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
        if spec.mapping is not None and spec.key in groups and groups[spec.key].mapping is not None:
            raise DefinitionError(
                f"a mapped task and a mapped group of {self.graph.name!r} have the key {spec.key!r}",
                right="give one of them another name",
            )
        around = _groups_around(spec, groups)
        chain = [(group.key, group.mapping) for group in around if group.mapping is not None]
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
        for group in around:
            self._members.setdefault(group.key, []).append(node)
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
        up.below[down] = down.above[up] = edge.common

    def _feed(self, scope: ScopePlan) -> None:
        for number, source in enumerate(scope.spec.sources):
            if isinstance(source, OverOutput):
                node = self._node(source.task, f"the mapping of {scope.key!r}")
                if scope in node.scopes:
                    raise DefinitionError(
                        f"{scope.key!r} is mapped over the output of {source.task!r}, which lies in it"
                    )
                if all(known.name != source.output for known in node.spec.outputs):
                    raise DefinitionError(
                        f"task {source.task!r} has no output {source.output!r}, which {scope.key!r} is mapped over"
                    )
                self.feeds += 1
                feed = FeedPlan(node, scope, number, -self.feeds)
                node.feeds.append(feed)
                for waiting in scope.all_nodes():
                    node.below[waiting] = waiting.above[node] = feed.common

    def _sorted(self) -> tuple[NodePlan, ...]:
        """Nodes in an order that respects the edges (Kahn); raises on a cycle, naming its members."""
        waits = {node.key: len(node.above) for node in self.nodes.values()}
        order = [node for node in self.nodes.values() if not node.above]
        for node in order:
            for down in node.below:
                waits[down.key] -= 1
                if waits[down.key] == 0:
                    order.append(down)
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

        return tuple(node for node in self.order if not ignored(node) and all(ignored(down) for down in node.below))

    def led_to(self, branch: tuple[str, ...]) -> frozenset[str]:
        """Where a branch leads that chose these tasks and groups: there, and to everything below."""
        known = self._led_to.get(branch)
        if known is None:
            todo = [node for chosen in branch for node in self._chosen(chosen)]
            seen = {node.key for node in todo}
            while todo:
                for down in todo.pop().below:
                    if down.key not in seen:
                        seen.add(down.key)
                        todo.append(down)
            known = self._led_to[branch] = frozenset(seen)
        return known

    def _chosen(self, key: str) -> list[NodePlan]:
        return [self.nodes[key]] if key in self.nodes else self._members.get(key, [])


def _groups_around(spec: TaskSpec, groups: dict[str, GroupSpec]) -> list[GroupSpec]:
    """The groups that a task lies in, outermost first."""
    around: list[GroupSpec] = []
    key = spec.group
    while key is not None:
        group = groups.get(key)
        if group is None:
            raise DefinitionError(f"task {spec.key!r} lies in the unknown group {key!r}")
        if group in around:
            raise DefinitionError(f"the group {key!r} lies in itself")
        around.append(group)
        key = group.parent
    around.reverse()
    return around


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
        above = min(node.key for node in nodes[path[-1]].above if node.key in left)
        if above in path:
            return [above, *reversed(path[path.index(above) :])]
        path.append(above)
