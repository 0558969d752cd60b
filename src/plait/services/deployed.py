"""What a database's services run, and whether it is paused: the read model, and the one thing that people change."""

import difflib
from collections.abc import Callable, Sequence

import msgspec

from plait.engine.admission import pause
from plait.model.errors import UsageError
from plait.model.rows import WorkflowRow
from plait.ports import RunStore
from plait.services.views import iso
from plait.worker.found import trigger_text


class DeploymentView(msgspec.Struct, kw_only=True):
    """A workflow that services run. `schedule` is for people; `next_at` is when time starts its next run, none where
    nothing does, or while it is `paused`."""

    workflow: str
    kind: str
    file: str
    schedule: str | None = None
    next_at: str | None = None
    paused: bool = False
    failures_in_a_row: int = 0
    graph_hash: str = ""
    updated_at: str | None = None


class BrokenFile(msgspec.Struct, kw_only=True):
    """A file that does not load. What it defined before is still in service."""

    file: str
    error: str
    traceback: str = ""
    at: str | None = None


class Deployed(msgspec.Struct, kw_only=True):
    """All workflows by name, and the files that do not load."""

    deployments: list[DeploymentView]
    broken: list[BrokenFile]


class DeployedWorkflows:
    """Looks at what is deployed. `publish` wakes the services."""

    def __init__(self, store: RunStore, publish: Callable[[str], None] = lambda topic: None):
        self._store = store
        self._publish = publish

    def view(self) -> Deployed:
        """What is deployed now."""
        definitions = self._store.definitions
        triggers: dict[str, list[str]] = {}
        times: dict[str, list[float]] = {}
        for row in definitions.triggers():
            triggers.setdefault(row.workflow, []).append(trigger_text(row.kind, row.spec))
            if row.next_at is not None:
                times.setdefault(row.workflow, []).append(row.next_at)
        views: list[DeploymentView] = []
        for deployment in definitions.deployments():
            name = deployment.workflow
            known = self._store.workflow(name) or WorkflowRow(name=name)
            views.append(
                DeploymentView(
                    workflow=name,
                    kind=deployment.kind,
                    file=deployment.target,
                    schedule=", ".join(triggers.get(name, ())) or None,
                    next_at=iso(min(times[name])) if name in times and not known.paused else None,
                    paused=known.paused,
                    failures_in_a_row=known.failures_in_a_row,
                    graph_hash=deployment.graph_hash,
                    updated_at=iso(deployment.updated_at),
                )
            )
        broken = [
            BrokenFile(file=row.path, error=row.error, traceback=row.traceback, at=iso(row.loaded_at))
            for row in definitions.files()
            if row.error
        ]
        return Deployed(deployments=views, broken=broken)

    def pause(self, workflows: Sequence[str], *, paused: bool) -> None:
        """Pause these workflows, or let them go on. Raises UsageError for one that is not deployed; then none is
        changed."""
        for name in workflows:
            self._check(name)
        with self._store.transaction() as tx:
            for name in dict.fromkeys(workflows):
                tx.save_workflow(pause(self._store.workflow(name) or WorkflowRow(name=name), paused=paused))
        self._publish("definitions")

    def _check(self, name: str) -> None:
        if self._store.definitions.deployment(name) is None:
            names = [row.workflow for row in self._store.definitions.deployments()]
            near = difflib.get_close_matches(name, names, n=1)
            raise UsageError(
                f"no workflow {name!r} is deployed in {self._store.url}",
                right=near[0] if near else "plait deployments list   # shows their names",
            )
