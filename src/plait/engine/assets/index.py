"""An asset graph, ready to be asked: what is upstream and downstream, in which order things are made.

What an asset is made from, and is not defined, counts as an external asset.
"""

from collections.abc import Collection, Iterable, Mapping

from plait.model.assets import AssetGraph, AssetKind, AssetSpec, CheckSpec
from plait.model.errors import DefinitionError
from plait.model.graph import TaskSpec


class AssetIndex:
    """Looks things up in an asset graph. `specs` has all assets by key, upstream ones first (those in a circle last);
    `upstream` and `downstream` have the neighbours of each."""

    def __init__(self, graph: AssetGraph):
        self.graph = graph
        given = {spec.key: spec for spec in graph.assets}
        for spec in graph.assets:
            for key in spec.upstream:
                if key not in given:
                    given[key] = AssetSpec(key=key, kind=AssetKind.EXTERNAL)
        self.upstream: dict[str, tuple[str, ...]] = {key: _once(spec.upstream) for key, spec in given.items()}
        self.downstream: dict[str, list[str]] = {key: [] for key in given}
        for key, above in self.upstream.items():
            for other in above:
                self.downstream[other].append(key)
        self.specs: dict[str, AssetSpec] = {key: given[key] for key in _sorted(self.upstream)}
        self.steps: dict[str, TaskSpec] = {step.key: step for step in graph.steps}
        self.made_by: dict[str, list[str]] = {}
        """The assets of each step, in order."""
        for spec in given.values():
            if spec.step:
                self.made_by.setdefault(spec.step, []).append(spec.key)
        self.checks: dict[str, list[CheckSpec]] = {}
        for check in graph.checks:
            self.checks.setdefault(check.asset, []).append(check)

    @property
    def keys(self) -> list[str]:
        """All keys, upstream ones first."""
        return list(self.specs)

    def runnable(self) -> list[str]:
        """Those that a step makes or observes."""
        return [key for key, spec in self.specs.items() if spec.step]

    def above(self, keys: Iterable[str], steps: int | None = None) -> set[str]:
        """What is upstream of these, so many steps far (none: all the way), without themselves unless in a circle."""
        return _walk(set(keys), self.upstream, steps)

    def below(self, keys: Iterable[str], steps: int | None = None) -> set[str]:
        """What is downstream of these."""
        return _walk(set(keys), self.downstream, steps)

    def completed(self, keys: Collection[str]) -> list[str]:
        """These and what is made together with them, upstream ones first."""
        chosen = set(keys)
        for step in self.graph.together:
            members = self.made_by.get(step, ())
            if chosen.intersection(members):
                chosen.update(members)
        return [key for key in self.specs if key in chosen]


def merged(graphs: Iterable[AssetGraph]) -> AssetGraph:
    """The assets of several places together; what is there twice, as defined at the same place, counts once. Raises
    DefinitionError when two different ones have one key."""
    assets: dict[str, AssetSpec] = {}
    steps: dict[str, TaskSpec] = {}
    checks: dict[tuple[str, str], CheckSpec] = {}
    together: dict[str, None] = {}
    for graph in graphs:
        for spec in graph.assets:
            known = assets.setdefault(spec.key, spec)
            if known.place != spec.place:
                raise DefinitionError(
                    f"two assets have the key {spec.key!r}; the other is at {known.place}",
                    where=spec.place or None,
                    right=f'@asset(key="another_{spec.key}")',
                )
        steps.update((step.key, step) for step in graph.steps)
        checks.update(((check.asset, check.name), check) for check in graph.checks)
        together.update(dict.fromkeys(graph.together))
    return AssetGraph(
        assets=tuple(assets.values()),
        steps=tuple(steps.values()),
        checks=tuple(checks.values()),
        together=tuple(together),
    )


def part(graph: AssetGraph, file: str) -> AssetGraph:
    """What of a graph is defined in one file, by the places."""
    assets = tuple(spec for spec in graph.assets if _file(spec.place) == file)
    wanted = {spec.step for spec in assets}
    return AssetGraph(
        assets=assets,
        steps=tuple(step for step in graph.steps if step.key in wanted),
        checks=tuple(check for check in graph.checks if _file(check.place) == file),
        together=tuple(step for step in graph.together if step in wanted),
    )


def _file(place: str) -> str:
    return place.rpartition(":")[0]


def _once(keys: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(keys))


def _walk(start: set[str], edges: Mapping[str, Collection[str]], steps: int | None) -> set[str]:
    found: set[str] = set()
    edge = start
    while edge and (steps is None or steps > 0):
        edge = {other for key in edge for other in edges.get(key, ())} - found
        found |= edge
        steps = None if steps is None else steps - 1
    return found


def _sorted(upstream: Mapping[str, tuple[str, ...]]) -> list[str]:
    """Depth first from each asset, in the order in which they are given."""
    order: list[str] = []
    done: set[str] = set()
    for root in upstream:
        stack = [] if root in done else [(root, iter(upstream[root]))]
        done.add(root)
        while stack:
            key, above = stack[-1]
            step = next((other for other in above if other not in done), None)
            if step is None:
                order.append(key)
                stack.pop()
            else:
                done.add(step)
                stack.append((step, iter(upstream[step])))
    return order
