"""The graph of a run that makes a selection of assets. What is not selected is read as it was last materialized."""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

from plait.engine.assets.index import AssetIndex
from plait.engine.partitions import edges
from plait.engine.plan import Plan
from plait.model.assets import AssetKind, AssetSpec, CheckSpec
from plait.model.errors import DefinitionError
from plait.model.graph import Binding, DictOf, Edge, FromAsset, FromOutput, Graph, ListOf, TaskSpec
from plait.model.policies import OutcomeRule

Edges = dict[tuple[str, str, str | None], Edge]


def plan(index: AssetIndex, selected: Collection[str], name: str) -> Graph:
    """The graph that makes these assets (external ones aside), what is made together with them, and their checks.
    Raises DefinitionError when they wait for each other in a circle."""
    keys = [key for key in index.completed(selected) if index.specs[key].step]
    made = _Job(index, keys)
    for step in dict.fromkeys(index.specs[key].step for key in keys):
        made.add_step(step)
    for key in keys:
        for check in index.checks.get(key, ()):
            made.add_check(check)
    results = [index.specs[key] for key in keys if index.specs[key].kind is AssetKind.MADE]
    graph = Graph(
        name=name,
        kind="assets",
        nodes=tuple(made.nodes),
        edges=tuple(made.edges.values()),
        outcome=OutcomeRule.ANY_FAILURE,
        result=(results[-1].step, results[-1].output) if results else None,
    )
    _check(graph, index)
    return graph


class _Job:
    """A graph in the making."""

    def __init__(self, index: AssetIndex, keys: Collection[str]):
        self.index = index
        self.chosen = set(keys)
        self.nodes: list[TaskSpec] = []
        self.edges: Edges = {}
        self.mappings: dict[str, dict[str, Any]] = {}
        """Of the step that is being added: what it is made from by other partitions than the run's own."""

    def add_step(self, key: str) -> None:
        """A step with those of its outputs that are selected."""
        step = self.index.steps[key]
        members = [self.index.specs[asset] for asset in self.index.made_by[key]]
        ours = [spec for spec in members if spec.key in self.chosen]
        self.mappings = _mappings(self.index, ours)
        inputs = {name: self._bound(binding, key) for name, binding in step.inputs.items()}
        for spec in ours:
            for dep in spec.upstream:
                self._after(dep, key)
        about = {spec.key: {"deps": list(spec.upstream), "code_version": spec.code_version} for spec in ours}
        metadata = {**step.metadata, "assets": about}
        partitions = next((spec.partitions for spec in ours if spec.partitions is not None), None)
        if partitions is not None:
            metadata["partitions"] = partitions
        if self.mappings:
            metadata["upstream"] = self.mappings
        names = {spec.output for spec in members} - {spec.output for spec in ours}
        outputs = tuple(output for output in step.outputs if output.name not in names)
        self.nodes.append(replace(step, inputs=inputs, outputs=outputs, metadata=metadata))

    def add_check(self, check: CheckSpec) -> None:
        """A check is a task below its asset; a blocking one stands before everything that is made from the asset."""
        key = check.step.key
        self.mappings = {}
        inputs = {name: self._bound(binding, key) for name, binding in check.step.inputs.items()}
        self._after(check.asset, key)
        if check.blocking:
            for below in self.index.downstream[check.asset]:
                step = self.index.specs[below].step
                if below in self.chosen and step != self.index.specs[check.asset].step:
                    self.edges[key, step, None] = Edge(upstream=key, downstream=step)
        about = {"check": check.name, "asset": check.asset, "blocking": check.blocking, "severity": check.severity}
        metadata = {**check.step.metadata, **about}
        partitions = self.index.specs[check.asset].partitions
        if partitions is not None:
            metadata["partitions"] = partitions
        self.nodes.append(replace(check.step, inputs=inputs, metadata=metadata))

    def _bound(self, binding: Binding, to: str) -> Binding:
        """A binding of a step or check, whose asset comes from this run if it is selected."""
        if isinstance(binding, FromAsset):
            spec = self._made_here(binding.key, to)
            if spec is None or spec.kind is not AssetKind.MADE:
                return binding
            if binding.key in self.mappings:  # of other partitions than the run's: as they are stored, after this one
                self._after(binding.key, to)
                return binding
            self.edges[spec.step, to, spec.output] = Edge(upstream=spec.step, downstream=to, output=spec.output)
            return FromOutput(task=spec.step, output=spec.output)
        if isinstance(binding, ListOf):
            return replace(binding, items=tuple(self._bound(item, to) for item in binding.items))
        if isinstance(binding, DictOf):
            return replace(binding, items={name: self._bound(item, to) for name, item in binding.items.items()})
        return binding

    def _after(self, asset: str, key: str) -> None:
        """A node comes after an asset, whatever it takes of it."""
        spec = self._made_here(asset, key)
        if spec is None or (spec.step, key, spec.output) in self.edges:
            return
        output = spec.output if spec.optional else None
        self.edges[spec.step, key, output] = Edge(upstream=spec.step, downstream=key, output=output)

    def _made_here(self, asset: str, by: str) -> AssetSpec | None:
        """An asset that another node of this run makes, or observes."""
        spec = self.index.specs.get(asset)
        return spec if spec is not None and asset in self.chosen and spec.step != by else None


def _mappings(index: AssetIndex, ours: Sequence[AssetSpec]) -> dict[str, dict[str, Any]]:
    """What a step is made from by other partitions than that of its run, by key: `partitions` and `mapping`. Raises
    DefinitionError for partitions that do not fit together."""
    found: dict[str, dict[str, Any]] = {}
    for spec in ours:
        for dep in spec.deps:
            up = index.specs[dep.key].partitions
            try:
                mapping = edges.mapping_of(spec.partitions, up, dep.mapping)
            except DefinitionError as error:
                raise DefinitionError(
                    f"{spec.key!r} is made from {dep.key!r}: {error.what}", where=spec.place or None,
                    right=error.right or f"deps=[PartitionMapping.windows().of({dep.key!r})]",
                ) from None  # fmt: skip
            if not edges.is_own(mapping, spec.partitions, up) or dep.key == spec.key:
                found[dep.key] = {"partitions": up, "mapping": msgspec.to_builtins(mapping)}
    return found


def _check(graph: Graph, index: AssetIndex) -> None:
    """Raise DefinitionError for what a plan refuses, told of assets: that they wait for each other in a circle."""
    try:
        Plan(graph)
    except DefinitionError as error:
        circle = error.what.rpartition(": ")[2]
        steps = [step for step in circle.split(" -> ") if step in index.made_by]
        if not steps:
            raise
        spec = index.specs[index.made_by[steps[0]][0]]
        raise DefinitionError(
            f"the assets wait for each other in a circle: {circle}",
            where=spec.place or None,
            wrong=error.wrong,
            right=error.right,
        ) from None
