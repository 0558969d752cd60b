"""What of definitions is kept in the SQLite file (the port `DefinitionStore`)."""

from collections.abc import Callable
from typing import Any

from plait.adapters.stores import encoding
from plait.adapters.stores.sqlite import queries
from plait.model.rows import DeploymentRow, FileRow, TriggerRow

Query = Callable[..., list[tuple[Any, ...]]]


class SqliteDefinitions:
    """Reads files, deployments and triggers; `ask` runs a statement on a reading connection."""

    def __init__(self, ask: Query):
        self._ask = ask

    def files(self, location: str) -> list[FileRow]:
        """The files of a location, by path."""
        return [encoding.file_of(columns) for columns in self._ask(queries.FILES, encoding.printable(location))]

    def deployments(self) -> list[DeploymentRow]:
        """All deployed workflows, by name."""
        return [encoding.deployment_of(columns) for columns in self._ask(queries.DEPLOYMENTS)]

    def deployment(self, workflow: str) -> DeploymentRow | None:
        """One deployed workflow."""
        found = self._ask(queries.DEPLOYMENT, encoding.printable(workflow))
        return encoding.deployment_of(found[0]) if found else None

    def triggers(self, workflow: str | None = None) -> list[TriggerRow]:
        """All triggers, or a workflow's."""
        if workflow is None:
            found = self._ask(queries.TRIGGERS)
        else:
            found = self._ask(queries.TRIGGERS_OF, encoding.printable(workflow))
        return [encoding.trigger_of(columns) for columns in found]

    def next_trigger(self) -> float | None:
        """When the next trigger is due."""
        return self._ask(queries.NEXT_TRIGGER)[0][0]
