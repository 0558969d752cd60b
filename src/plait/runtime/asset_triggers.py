"""Workflows that start when assets are updated.

Each trigger counts updates since it last fired; its condition says which of them start a run (`engine.watches`). What a
run was started by travels in its row: `extra["asset_events"]`.
"""

from typing import Any

import msgspec

from plait.engine.decide import Decision
from plait.engine.watches import AssetTrigger, keys_of
from plait.model.graph import Graph
from plait.model.rows import AssetRow
from plait.model.schedules import AssetCondition
from plait.runtime.hosted import Hosted
from plait.runtime.scheduler import RunRequest, Scheduler


class _Workflow:
    """A workflow with an asset trigger, and the updates that it has seen since it last started."""

    def __init__(self, graph: Graph, trigger: AssetTrigger):
        self.graph = graph
        self.trigger = trigger
        self.events: list[dict[str, Any]] = []


class AssetTriggers:
    """Starts runs in one scheduler. Updates are what its runs commit."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._by_asset: dict[str, list[_Workflow]] = {}
        scheduler.observers.append(self._observe)

    def add(self, graph: Graph) -> None:
        """From now on, start a workflow by its triggers of the kind `asset`, whose `spec` is an `AssetCondition`."""
        for spec in graph.triggers:
            if spec.kind == "asset":
                condition = msgspec.convert(spec.spec, AssetCondition)
                workflow = _Workflow(graph, AssetTrigger(condition))
                for key in keys_of(condition):
                    self._by_asset.setdefault(key, []).append(workflow)

    def _observe(self, hosted: Hosted, decision: Decision) -> None:
        for asset in decision.assets:
            for workflow in self._by_asset.get(asset.key, ()):
                self._updated(workflow, asset)

    def _updated(self, workflow: _Workflow, asset: AssetRow) -> None:
        workflow.events.append({"key": asset.key, "partition": asset.partition, "run_id": asset.run_id, "no": asset.no})
        if workflow.trigger.update(asset.key) is not None:
            events, workflow.events = workflow.events, []
            self._scheduler.create(
                RunRequest(graph=workflow.graph, session=False, triggered=True, extra={"asset_events": events})
            )
