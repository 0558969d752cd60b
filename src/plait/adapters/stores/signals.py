"""What of signals and published events is kept in an SQL store (the port `SignalStore`)."""

from typing import Protocol

from plait.adapters.stores import encoding
from plait.adapters.stores.partitions import Change, Query
from plait.model.rows import PublishedRow

LAST = "~"
"""After every id."""


class Statements(Protocol):
    """The store's statements, by their names in its `queries.py`."""

    @property
    def AWAITED(self) -> str: ...
    @property
    def WAITING(self) -> str: ...
    @property
    def PUBLISHED(self) -> str: ...
    @property
    def PUBLISHED_OF(self) -> str: ...
    @property
    def DELETE_PUBLISHED(self) -> str: ...


class SqlSignals:
    """Reads with `ask`, on a reading connection, and writes with `change`."""

    def __init__(self, ask: Query, change: Change, queries: Statements):
        self._ask = ask
        self._change = change
        self._queries = queries

    def any_awaited(self) -> bool:
        """Whether any deployed trigger waits for a signal."""
        return bool(self._ask(self._queries.AWAITED))

    def waiting(self) -> bool:
        """Whether there are signals that nobody has counted."""
        return bool(self._ask(self._queries.WAITING))

    def published(self, *, name: str | None = None, before: str | None = None, limit: int = 50) -> list[PublishedRow]:
        """Published events, newest first."""
        first = before if before is not None else LAST
        if name is None:
            found = self._ask(self._queries.PUBLISHED, first, limit)
        else:
            found = self._ask(self._queries.PUBLISHED_OF, encoding.printable(name), first, limit)
        return [encoding.published_of(columns) for columns in found]

    def delete_published(self, before: float, limit: int = 1000) -> int:
        """Delete old events."""
        return len(self._change(lambda query: query(self._queries.DELETE_PUBLISHED, before, limit)))
