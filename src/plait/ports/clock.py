"""Time and ids, which come from outside."""

from typing import Protocol

from plait.model.ids import RunId


class Clock(Protocol):
    """Tells the time. Tests have one that jumps."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        ...


class IdSource(Protocol):
    """Makes the ids that come from outside the engine."""

    def run_id(self) -> RunId:
        """A new run id: a UUIDv7 as text, greater than every one made before by this source."""
        ...
