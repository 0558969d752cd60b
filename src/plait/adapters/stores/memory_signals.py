"""Signals and published events, in memory (the port `SignalStore`)."""

from collections.abc import Callable
from contextlib import AbstractContextManager

import msgspec

from plait.adapters.stores.memory_definitions import DefinitionRows
from plait.model.rows import AssetEventRow, PublishedRow, SignalRow

SIGNALS = ("materialized", "observed")
"""What happens to assets that triggers wait for."""


class SignalTables:
    """What is not counted as yet, and what was published. Whoever calls holds the store's lock."""

    def __init__(self) -> None:
        self.signals: dict[int, SignalRow] = {}
        self.published: dict[str, PublishedRow] = {}
        self._ids = 0

    def signal(self, row: SignalRow) -> None:
        """Something has happened for which somebody waits."""
        self._ids += 1
        self.signals[self._ids] = msgspec.structs.replace(row, id=self._ids)

    def drop(self, ids: list[int]) -> None:
        """It is counted."""
        for id in ids:
            self.signals.pop(id, None)


def of_asset(row: AssetEventRow, workflow: str, task: str) -> SignalRow:
    """The signal of what has happened to an asset."""
    return SignalRow(
        id=0,
        subject=f"asset:{row.key}",
        kind=row.kind,
        at=row.at,
        partition=row.partition,
        source=row.run_id,
        no=row.no,
        workflow=workflow,
        task=task,
        data=row.data,
    )


def of_event(row: PublishedRow) -> SignalRow:
    """The signal of a published event."""
    return SignalRow(id=0, subject=f"event:{row.name}", kind="event", at=row.at, source=row.id, data=row.data)


class MemorySignals:
    """Reads signals and published events. `reading` and `writing` are the store's."""

    def __init__(
        self,
        tables: SignalTables,
        definitions: Callable[[], DefinitionRows],
        reading: Callable[[], AbstractContextManager[None]],
        writing: Callable[[], AbstractContextManager[None]],
    ):
        self._tables = tables
        self._definitions = definitions
        self._reading = reading
        self._writing = writing

    def any_awaited(self) -> bool:
        """Whether any deployed trigger waits for a signal."""
        with self._reading():
            return any(row.awaits for row in self._definitions().triggers.values())

    def waiting(self) -> bool:
        """Whether there are signals that nobody has counted."""
        with self._reading():
            return bool(self._tables.signals)

    def published(self, *, name: str | None = None, before: str | None = None, limit: int = 50) -> list[PublishedRow]:
        """Published events, newest first."""
        with self._reading():
            rows = [row for _, row in sorted(self._tables.published.items(), reverse=True)]
        return [row for row in rows if name in (None, row.name) and (before is None or row.id < before)][:limit]

    def delete_published(self, before: float, limit: int = 1000) -> int:
        """Delete old events."""
        with self._writing(), self._reading():
            rows = sorted(self._tables.published.values(), key=lambda row: row.at)
            gone = [row.id for row in rows if row.at < before][:limit]
            for id in gone:
                del self._tables.published[id]
            return len(gone)
