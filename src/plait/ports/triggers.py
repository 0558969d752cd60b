"""Triggers, which wait for something outside on behalf of a task."""

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from plait.model.ids import RunId, TaskNo


class TriggerEvent(msgspec.Struct, kw_only=True, frozen=True):
    """The event that a deferred task run waits for (plain data), or why it does not come."""

    run_id: RunId
    no: TaskNo
    payload: Any = None
    error: str | None = None


class TriggerSink(Protocol):
    """Takes events, from any thread, quickly."""

    def fired(self, events: Sequence[TriggerEvent]) -> None: ...


class Triggerer(Protocol):
    """Awaits the triggers of one code location's user code, thousands at a time. Knows nothing of stores, runs or
    graphs.

    Each wait that is started and not dropped is told exactly once to the sink that the triggerer was made with. One
    that keeps the event loop from turning fails alone: the others begin again.
    """

    def start(self, run_id: RunId, no: TaskNo, trigger: dict[str, Any]) -> None:
        """Begin a wait; one that this task run had before is dropped. Never blocks for long and never refuses."""
        ...

    def drop(self, run_id: RunId, no: TaskNo) -> None:
        """End this wait, if it is here: nothing is told of it any more."""
        ...

    def stop(self) -> None:
        """End all. Leaves no process, thread or file behind."""
        ...
