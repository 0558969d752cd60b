"""What a file or a folder defines: its workflows, assets, checks and limits, found in the modules' names."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, cast

from plait.authoring.asset import Definition
from plait.authoring.asset_graph import asset_graph, live_job
from plait.authoring.checks import Check
from plait.authoring.dag import Dag
from plait.authoring.flow import Flow
from plait.authoring.limits import Limit
from plait.authoring.live import LiveGraph
from plait.authoring.task import Task
from plait.authoring.where import head_of
from plait.engine.assets.index import AssetIndex
from plait.engine.assets.selection import State, select
from plait.engine.partitions.spaces import DynamicKeys
from plait.model.errors import DefinitionError, ParameterError, UsageError

Workflow = Dag[..., Any] | Flow[..., Any]


@dataclass
class Definitions:
    """Everything that was found, by name; `assets` says who makes each asset. `files` says where each name comes
    from."""

    workflows: dict[str, Workflow] = field(default_factory=dict[str, Workflow])
    assets: dict[str, Definition] = field(default_factory=dict[str, Definition])
    checks: list[Check[..., Any]] = field(default_factory=list[Check[..., Any]])
    limits: dict[str, Limit] = field(default_factory=dict[str, Limit])
    tasks: dict[str, Task[..., Any]] = field(default_factory=dict[str, Task[..., Any]])
    files: dict[str, str] = field(default_factory=dict[str, str])
    loaded: set[str] = field(default_factory=set[str])
    _index: AssetIndex | None = field(default=None, repr=False, compare=False)

    def add_module(self, module: ModuleType, file: str) -> None:
        """Add what a module's names hold. What it only imported from a sibling that is loaded too counts once."""
        self.loaded.add(file)
        for value in list(vars(module).values()):
            self.add(value, file)

    def add(self, value: Any, file: str) -> None:
        """Add one definition; anything else is passed over. Raises DefinitionError when its name is taken."""
        match value:
            case Dag() | Flow():
                self._add_workflow(cast("Workflow", value), file)
            case Definition():
                self._add_asset(value, file)
            case Check():
                self._add_check(cast("Check[..., Any]", value))
            case Limit():
                self.limits[value.key] = value
            case Task():
                self.tasks.setdefault(value.name, cast("Task[..., Any]", value))
            case list() | tuple():
                items = cast("Sequence[Any]", value)
                if items and all(isinstance(item, (Definition, Check)) for item in items):
                    for item in items:
                        self.add(item, file)
            case _:
                pass

    def _add_asset(self, made: Definition, file: str) -> None:
        for spec in made.specs:
            known = self.assets.get(spec.key)
            if known is not None and known is not made and known.place != made.place:
                fn = getattr(made, "fn", None)
                raise DefinitionError(
                    f"two assets have the key {spec.key!r}; the other is at {known.place}",
                    where=made.place,
                    wrong=f"@asset\n{head_of(fn)}: ..." if fn is not None else f'external("{spec.key}")',
                    right=f'@asset(key="another_{spec.key}")' + (f"\n{head_of(fn)}: ..." if fn is not None else ""),
                )
            self.assets[spec.key] = made
            self._index = None
            self.files.setdefault(f"asset:{spec.key}", file)

    def _add_check(self, made: Check[..., Any]) -> None:
        known = {(check.place, check.asset, check.name) for check in self.checks}
        if (made.place, made.asset, made.name) not in known:
            self.checks.append(made)
            self._index = None

    def _add_workflow(self, value: Workflow, file: str) -> None:
        known = self.workflows.get(value.name)
        if known is not None and known is not value and known.place != value.place:
            raise DefinitionError(
                f"two workflows have the name {value.name!r}; the other is at {known.place}",
                where=value.place,
                wrong=f"@{value.kind}\n{head_of(value.fn)}: ...",
                right=f'@{value.kind}(name="another_{value.name}")\n{head_of(value.fn)}: ...',
            )
        self.workflows[value.name] = value
        self.files.setdefault(value.name, file)

    def validate(self) -> None:
        """Trace every dag and plan the assets, so that what is wrong is told now."""
        for workflow in self.workflows.values():
            _ = workflow.graph
        if self.assets:
            self.asset_job(None, "assets")

    def workflow(self, name: str | None) -> Workflow:
        """The workflow of that name, or the only one. Raises UsageError that lists what there is."""
        if name is not None:
            if name not in self.workflows:
                known = ", ".join(sorted(self.workflows)) or "none"
                raise UsageError(f"there is no workflow {name!r}", right=f"one of: {known}")
            return self.workflows[name]
        own = [each for each in self.workflows.values() if each.place.rpartition(":")[0] in self.loaded]
        if len(own) == 1 or len(self.workflows) == 1:  # what a file only imported has to be named
            return own[0] if own else next(iter(self.workflows.values()))
        if not self.workflows:
            raise UsageError("there is no workflow here", right="define one with @dag or @flow, or an @asset")
        assets = "; or select assets: --select ..." if self.assets else ""
        known = ", ".join(sorted(self.workflows))
        raise UsageError("there are several workflows here", right=f"name one: {known}{assets}")

    def asset_index(self) -> AssetIndex:
        """The asset graph of all that is here. Raises DefinitionError for what does not fit together."""
        if self._index is None:
            self._index = AssetIndex(asset_graph(self.assets, self.checks))
        return self._index

    def asset_job(
        self,
        selection: str | Sequence[str] | None,
        name: str,
        states: Mapping[str, State] | None = None,
    ) -> LiveGraph:
        """The graph that makes a selection of the assets (an expression, or keys), all of them if none is given.
        `states` answers what a selection may ask of a database (`engine.assets.selection`)."""
        index = self.asset_index()
        if isinstance(selection, str):
            chosen: Sequence[str] = select(selection, index, states)
        else:
            chosen = index.keys if selection is None else self._there(selection)
        return live_job(index, self.assets, self.checks, chosen, name)

    def _there(self, keys: Sequence[str]) -> Sequence[str]:
        gone = [key for key in keys if key not in self.assets]
        if gone:
            known = ", ".join(sorted(self.assets)) or "none"
            raise UsageError(f"there is no asset {gone[0]!r}", right=f"one of: {known}")
        return keys

    def check_partition(self, keys: Iterable[str], partition: str | None, dynamic: DynamicKeys | None = None) -> None:
        """Raise ParameterError unless all of these assets have the partition, or all of a range (or none, where they
        have none). `dynamic` answers for keys that a store keeps."""
        for key in keys:
            made = self.assets.get(key)
            partitions = made.partitions if made is not None else None
            if made is None or partitions is None:
                continue
            if partition is None:
                raise ParameterError(
                    f"asset {key!r} has partitions, and none is given",
                    where=made.place,
                    right=f'plait run ... --partition KEY      # in Python: materialize({key}, partition="...")',
                )
            partitions.check(partition, dynamic)
