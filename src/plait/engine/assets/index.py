"""An asset graph, ready to be asked: what is upstream and downstream, in which order things are made.

What an asset is made from, and is not defined, counts as an external asset.
"""

from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple

import msgspec
from msgspec.structs import replace

from plait.engine.partitions import edges
from plait.model.assets import AssetGraph, AssetKind, AssetSpec, CheckSpec, graph_of
from plait.model.errors import DefinitionError
from plait.model.graph import FromAsset, TaskSpec
from plait.model.hashes import blake2b
from plait.model.rows import FileRow


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
        self._mapped: dict[str, set[str]] = {}
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

    def mapped(self, key: str) -> set[str]:
        """What an asset is made from by other partitions than its own; itself, if it is made from its own past."""
        if key not in self._mapped:
            own = self.specs[key]
            self._mapped[key] = {
                dep.key
                for dep in own.deps
                if dep.key == key
                or not edges.is_own(
                    edges.mapping_of(own.partitions, self.specs[dep.key].partitions, dep.mapping),
                    own.partitions,
                    self.specs[dep.key].partitions,
                )
            }
        return self._mapped[key]

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


def unknown(graph: AssetGraph) -> tuple[AssetSpec, str] | None:
    """An asset whose function takes the value of something that is no asset of the graph, and what that is; none if
    there is no such asset. (What is only named in `deps` may be made elsewhere.)"""
    known = {spec.key for spec in graph.assets}
    makers = {spec.step: spec for spec in reversed(graph.assets) if spec.step}
    for step in graph.steps:
        for binding in step.inputs.values():
            if isinstance(binding, FromAsset) and binding.key not in known and step.key in makers:
                return makers[step.key], binding.key
    return None


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
        for step in graph.steps:
            steps.setdefault(step.key, step)
        for check in graph.checks:
            checks.setdefault((check.asset, check.name), check)
        together.update(dict.fromkeys(graph.together))
    return AssetGraph(
        assets=tuple(assets.values()),
        steps=tuple(steps.values()),
        checks=tuple(checks.values()),
        together=tuple(together),
    )


def part(graph: AssetGraph, file: str, files: Mapping[str, str]) -> AssetGraph:
    """What of a graph is defined in one file. `files` says it of assets whose place does not."""
    places = {spec.key: _file(spec.place, files.get(spec.key, "")) for spec in graph.assets}
    assets = tuple(spec for spec in graph.assets if places[spec.key] == file)
    wanted = {spec.step for spec in assets}
    known = set(places.values())
    return AssetGraph(
        assets=assets,
        steps=tuple(step for step in graph.steps if step.key in wanted),
        checks=tuple(
            check
            for check in graph.checks
            if (own if (own := _file(check.place, "")) in known else places.get(check.asset)) == file
        ),
        together=tuple(step for step in graph.together if step in wanted),
    )


def _file(place: str, otherwise: str) -> str:
    return otherwise or place.rpartition(":")[0]


class Source(NamedTuple):
    """The file and the code location of an asset; `version` changes when any file of the location does."""

    path: str
    location: str
    version: str = ""


class Deployed(NamedTuple):
    """The assets of a database's files. `sources`: where each asset is from, by key; `problems`: keys that two of them
    use, of which the first one counts."""

    graph: AssetGraph
    sources: dict[str, Source]
    problems: tuple[str, ...] = ()

    @property
    def locations(self) -> dict[str, str]:
        """The code location of each asset, by key."""
        return {key: source.location for key, source in self.sources.items()}


def deployed(files: Iterable[FileRow]) -> Deployed:
    """The assets of all files that a store keeps, in their order. What this version cannot read is left out, and
    told."""
    files = list(files)
    graphs: list[AssetGraph] = []
    sources: dict[str, Source] = {}
    problems: list[str] = []
    versions = _versions(files)
    for row in files:
        try:
            graph = graph_of(row.assets)
        except msgspec.MsgspecError as error:
            problems.append(f"{row.path}: its assets cannot be read: {error}")
            continue
        taken = {spec.key for spec in graph.assets if spec.key in sources}
        problems += [f"{row.path}: asset {key!r} is defined in {sources[key].location}, too" for key in sorted(taken)]
        source = Source(row.path, row.location, versions[row.location])
        sources.update((spec.key, source) for spec in graph.assets if spec.key not in taken)
        if taken:
            graph = replace(graph, assets=tuple(spec for spec in graph.assets if spec.key not in taken))
        graphs.append(graph)
    return Deployed(merged(graphs), sources, tuple(problems))


def _versions(files: Iterable[FileRow]) -> dict[str, str]:
    """The version of each code location: a hash of the stamps of its files."""
    stamps: dict[str, list[tuple[str, str]]] = {}
    for row in files:
        stamps.setdefault(row.location, []).append((row.path, row.stamp))
    return {
        location: blake2b(msgspec.json.encode(sorted(each)), digest_size=8).hexdigest()
        for location, each in stamps.items()
    }


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
