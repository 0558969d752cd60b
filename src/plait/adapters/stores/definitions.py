"""What of definitions is kept in an SQL store (the port `DefinitionStore`)."""

from collections.abc import Callable, Sequence
from math import inf
from typing import Any, Protocol

from plait.adapters.stores import encoding
from plait.model.rows import AutomationRow, DeploymentRow, FileRow, TriggerRow

Query = Callable[..., list[tuple[Any, ...]]]


class Statements(Protocol):
    """The store's statements, by their names in its `queries.py`."""

    @property
    def FILES(self) -> str: ...
    @property
    def ALL_FILES(self) -> str: ...
    @property
    def DEPLOYMENTS(self) -> str: ...
    @property
    def DEPLOYMENT(self) -> str: ...
    @property
    def TRIGGERS(self) -> str: ...
    @property
    def TRIGGERS_OF(self) -> str: ...
    @property
    def NEXT_TRIGGER(self) -> str: ...
    @property
    def AUTOMATIONS(self) -> str: ...
    @property
    def OLD_AUTOMATIONS(self) -> str: ...
    @property
    def SOME_AUTOMATIONS(self) -> str: ...


class SqlDefinitions:
    """Reads files, deployments and triggers; `ask` runs a statement on a reading connection, `listed` makes one
    parameter of several texts."""

    def __init__(self, ask: Query, queries: Statements, listed: Callable[[Sequence[str]], object]):
        self._ask = ask
        self._queries = queries
        self._listed = listed

    def files(self, location: str | None = None) -> list[FileRow]:
        """The files of a location, or of all, by path."""
        if location is None:
            found = self._ask(self._queries.ALL_FILES)
        else:
            found = self._ask(self._queries.FILES, encoding.printable(location))
        return [encoding.file_of(columns) for columns in found]

    def deployments(self) -> list[DeploymentRow]:
        """All deployed workflows, by name."""
        return [encoding.deployment_of(columns) for columns in self._ask(self._queries.DEPLOYMENTS)]

    def deployment(self, workflow: str) -> DeploymentRow | None:
        """One deployed workflow."""
        found = self._ask(self._queries.DEPLOYMENT, encoding.printable(workflow))
        return encoding.deployment_of(found[0]) if found else None

    def triggers(self, workflow: str | None = None) -> list[TriggerRow]:
        """All triggers, or a workflow's."""
        if workflow is None:
            found = self._ask(self._queries.TRIGGERS)
        else:
            found = self._ask(self._queries.TRIGGERS_OF, encoding.printable(workflow))
        return [encoding.trigger_of(columns) for columns in found]

    def automations(self, keys: Sequence[str] = ()) -> list[AutomationRow]:
        """Where automations stand."""
        if keys:
            found = self._ask(self._queries.SOME_AUTOMATIONS, self._listed(encoding.printable(list(keys))))
        else:
            found = self._ask(self._queries.AUTOMATIONS)
        return [encoding.automation_of(columns) for columns in found]

    def old_automations(self, before: float, after: str = "", limit: int = 1000) -> list[str]:
        """The keys of those of which nothing was written since then."""
        return [key for (key,) in self._ask(self._queries.OLD_AUTOMATIONS, before, encoding.printable(after), limit)]

    def next_trigger(self, after: float = -inf) -> float | None:
        """When the next trigger is due."""
        found = self._ask(self._queries.NEXT_TRIGGER, after)
        return found[0][0] if found else None
