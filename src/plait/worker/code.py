"""Finding the live graph behind a run: by its target, from the code that this process has loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING

from plait.authoring.dag import Dag
from plait.authoring.flow import Flow
from plait.authoring.live import LiveGraph
from plait.model.errors import LoadError
from plait.model.wire import RunInfo

if TYPE_CHECKING:
    from plait.authoring.definitions import Definitions, Workflow


class LoadedCode:
    """Live graphs by run: what a session registered itself, else the target's definitions, loaded once."""

    def __init__(self) -> None:
        self._registered: dict[str, LiveGraph] = {}
        self._definitions: dict[str, Definitions] = {}
        self._jobs: dict[tuple[str, str], LiveGraph] = {}

    def register(self, graph: LiveGraph) -> None:
        """Take a live graph that this process made itself (a script's or a notebook's); a newer one replaces it."""
        self._registered[graph.graph.hash()] = graph

    def add(self, target: str, definitions: Definitions) -> None:
        """Take the loaded definitions of a target."""
        self._definitions[target] = definitions

    def live(self, info: RunInfo) -> LiveGraph:
        """The graph of a run with its functions."""
        known = self._registered.get(info.graph_hash)
        if known is not None:
            return known
        definitions = self._definitions.get(info.target)
        if definitions is None:
            if not info.target:
                raise LoadError(f"the code of {info.workflow!r} was defined in a process that is gone")
            from plait.worker.loading import load_target  # a script's code is registered: it loads nothing

            definitions = self._definitions[info.target] = load_target(info.target, validate=False)
        if "assets" in info.extra:
            return self._asset_job(info, definitions)
        workflow: Workflow | None = definitions.workflows.get(info.workflow)
        if not isinstance(workflow, (Dag, Flow)):
            raise LoadError(f"{info.target} does not define {info.workflow!r} any more")
        return workflow.live

    def _asset_job(self, info: RunInfo, definitions: Definitions) -> LiveGraph:
        key = (info.target, info.graph_hash)
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = definitions.asset_job(info.extra["assets"], info.workflow)
        return job
