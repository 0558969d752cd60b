"""What of definitions is kept in memory (the port `DefinitionStore`)."""

import copy
from collections.abc import Callable, Container, Mapping, Sequence
from contextlib import AbstractContextManager
from math import inf

import msgspec

from plait.adapters.stores import encoding
from plait.model.rows import AutomationRow, DeploymentRow, FileRow, TriggerRow, WorkflowRow


class DefinitionRows:
    """Files, deployments and triggers. A transaction changes a copy of them. Rows are never changed in place; they
    come in through the encoding, so that they are as plain as those of a database."""

    def __init__(self) -> None:
        self.files: dict[str, FileRow] = {}
        self.deployments: dict[str, DeploymentRow] = {}
        self.triggers: dict[tuple[str, int], TriggerRow] = {}
        self.automations: dict[str, AutomationRow] = {}

    def copied(self) -> "DefinitionRows":
        """The same rows, in tables of its own."""
        made = DefinitionRows()
        made.files = dict(self.files)
        made.deployments = dict(self.deployments)
        made.triggers = dict(self.triggers)
        made.automations = dict(self.automations)
        return made

    def graphs(self) -> set[str]:
        """The graphs that deployments need."""
        return {row.graph_hash for row in self.deployments.values()}

    def put_files(self, rows: Sequence[FileRow], gone: Sequence[str]) -> None:
        """Insert or replace files; drop those that are gone."""
        self.files.update((row.path, copy.copy(row)) for row in rows)
        for path in gone:
            self.files.pop(path, None)

    def deploy(self, row: DeploymentRow, triggers: Sequence[TriggerRow]) -> None:
        """Insert or replace a deployment; triggers that are as they were keep where they are."""
        self.deployments[row.workflow] = copy_deployment(row)
        self._drop_triggers(lambda place: place[0] == row.workflow and place[1] >= len(triggers))
        for given in triggers:
            trigger = copy_trigger(given)
            known = self.triggers.get((trigger.workflow, trigger.no))
            if known is None or _what(known) != _what(trigger):
                self.triggers[trigger.workflow, trigger.no] = trigger

    def undeploy(self, workflows: Sequence[str]) -> None:
        """These workflows are not defined any more."""
        for name in workflows:
            self.deployments.pop(name, None)
        self._drop_triggers(lambda place: place[0] in workflows)

    def _drop_triggers(self, unwanted: Callable[[tuple[str, int]], bool]) -> None:
        self.triggers = {place: row for place, row in self.triggers.items() if not unwanted(place)}

    def times(self, workflows: Mapping[str, WorkflowRow]) -> list[tuple[float, tuple[str, int]]]:
        """When triggers of workflows that are not paused are due, in order."""
        paused = {name for name, row in workflows.items() if row.paused}
        return sorted(
            (row.next_at, place)
            for place, row in self.triggers.items()
            if row.next_at is not None and row.workflow not in paused
        )

    def triggers_of(self, workflow: str | None = None) -> list[TriggerRow]:
        """All triggers, or a workflow's, by workflow and number."""
        rows = sorted(self.triggers.items(), key=lambda item: item[0])
        return [copy_trigger(row) for place, row in rows if workflow is None or place[0] == workflow]

    def due(
        self, now: float, limit: int, workflows: Mapping[str, WorkflowRow], held: Container[tuple[str, int]]
    ) -> list[TriggerRow]:
        """Triggers whose time has come, longest due first, but for those that are held."""
        places = [place for at, place in self.times(workflows) if at <= now and place not in held]
        return [copy_trigger(self.triggers[place]) for place in places[:limit]]

    def awaits(self, subject: str) -> bool:
        """Whether any trigger waits for a subject."""
        return any(subject in row.awaits for row in self.triggers.values() if row.awaits)

    def awaiting(self, subjects: Sequence[str], workflows: Mapping[str, WorkflowRow]) -> list[TriggerRow]:
        """The triggers that wait for these, of workflows that are not paused."""
        paused = {name for name, row in workflows.items() if row.paused}
        wanted = set(subjects)
        return [
            copy_trigger(row)
            for _, row in sorted(self.triggers.items())
            if row.awaits and row.workflow not in paused and not wanted.isdisjoint(row.awaits)
        ]

    def advance(self, row: TriggerRow) -> None:
        """A trigger has fired, or counted something."""
        known = self.triggers.get((row.workflow, row.no))
        if known is not None:
            moved = msgspec.structs.replace(known, cursor=row.cursor, next_at=row.next_at, state=row.state)
            self.triggers[row.workflow, row.no] = moved


class MemoryDefinitions:
    """Reads definitions. `rows` and `workflows` give what is committed; `reading` is held meanwhile."""

    def __init__(
        self,
        rows: Callable[[], DefinitionRows],
        workflows: Mapping[str, WorkflowRow],
        reading: Callable[[], AbstractContextManager[None]],
    ):
        self._rows = rows
        self._workflows = workflows
        self._reading = reading

    def files(self, location: str | None = None) -> list[FileRow]:
        """The files of a location, or of all, by path."""
        with self._reading():
            rows = sorted(self._rows().files.items(), key=lambda item: item[0])
            return [copy.copy(row) for _, row in rows if location is None or row.location == location]

    def deployments(self) -> list[DeploymentRow]:
        """All deployed workflows, by name."""
        with self._reading():
            return [copy_deployment(row) for _, row in sorted(self._rows().deployments.items())]

    def deployment(self, workflow: str) -> DeploymentRow | None:
        """One deployed workflow."""
        with self._reading():
            row = self._rows().deployments.get(workflow)
            return copy_deployment(row) if row is not None else None

    def triggers(self, workflow: str | None = None) -> list[TriggerRow]:
        """All triggers, or a workflow's."""
        with self._reading():
            return self._rows().triggers_of(workflow)

    def automations(self, keys: Sequence[str] = ()) -> list[AutomationRow]:
        """Where automations stand."""
        with self._reading():
            rows = sorted(self._rows().automations.items())
            return [copy.copy(row) for key, row in rows if not keys or key in keys]

    def old_automations(self, before: float, after: str = "", limit: int = 1000) -> list[str]:
        """The keys of those of which nothing was written since then."""
        with self._reading():
            rows = sorted(self._rows().automations.items())
            return [key for key, row in rows if key > after and row.at < before][:limit]

    def next_trigger(self, after: float = -inf) -> float | None:
        """When the next trigger is due."""
        with self._reading():
            return next((at for at, _ in self._rows().times(self._workflows) if at > after), None)


def copy_deployment(row: DeploymentRow) -> DeploymentRow:
    """A copy that shares nothing that can be changed."""
    return encoding.deployment_of(encoding.deployment_values(row))


def copy_trigger(row: TriggerRow) -> TriggerRow:
    """A copy that shares nothing that can be changed."""
    return encoding.trigger_of(encoding.trigger_values(row))


def _what(row: TriggerRow) -> tuple[object, ...]:
    return row.kind, row.spec, row.catchup
