"""What is kept of definitions."""

from collections.abc import Sequence
from math import inf
from typing import Protocol

from plait.model.rows import (
    AutomationRow,
    DeploymentRow,
    FileRow,
    TriggerRow,
)


class DefinitionStore(Protocol):
    """What of definitions is kept: files, deployments, triggers. Written through a `Transaction`."""

    def files(self, location: str | None = None) -> list[FileRow]:
        """The files of a location, or of all, by path."""
        ...

    def deployments(self) -> list[DeploymentRow]:
        """All deployed workflows, by name."""
        ...

    def deployment(self, workflow: str) -> DeploymentRow | None: ...

    def triggers(self, workflow: str | None = None) -> list[TriggerRow]:
        """All triggers, or a workflow's, by workflow and number."""
        ...

    def automations(self, keys: Sequence[str] = ()) -> list[AutomationRow]:
        """Where the automations of these assets, or of all, stand, by key."""
        ...

    def old_automations(self, before: float, after: str = "", limit: int = 1000) -> list[str]:
        """The keys, beyond `after`, of automations of which nothing was written since then, at most `limit`, in order.
        (The row of the empty key, which is no asset's, is none of them.)"""
        ...

    def next_trigger(self, after: float = -inf) -> float | None:
        """When the next trigger of a workflow that is not paused is due (epoch seconds), none when there is none. Those
        that are due already at `after` do not count."""
        ...
