"""What of partitions and backfills is kept in an SQL store (the port `PartitionStore`)."""

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeVar

from plait.adapters.stores import encoding
from plait.adapters.stores.partition_rows import Place, folded
from plait.model.rows import BackfillRow, PartitionChunk, PartitionMark

T = TypeVar("T")
Query = Callable[..., list[tuple[Any, ...]]]
"""Carries out a statement with values."""


class Change(Protocol):
    """Calls a function with a query of a transaction of its own, which begins with `turn` where there is one."""

    def __call__(self, act: Callable[[Query], T]) -> T: ...


class Statements(Protocol):
    """The store's statements, by their names in its `queries.py`."""

    @property
    def INSERT_MARK(self) -> str: ...
    @property
    def FIRST_MARKS(self) -> str: ...
    @property
    def DROP_MARKS(self) -> str: ...
    @property
    def CHUNKS_AT(self) -> str: ...
    @property
    def UPSERT_CHUNK(self) -> str: ...
    @property
    def DROP_CHUNK(self) -> str: ...
    @property
    def CHUNKS(self) -> str: ...
    @property
    def SIZES(self) -> str: ...
    @property
    def SPACES(self) -> str: ...
    @property
    def SET_SPACE(self) -> str: ...
    @property
    def KEYS(self) -> str: ...
    @property
    def NAMES(self) -> str: ...
    @property
    def ADD_KEY(self) -> str: ...
    @property
    def REMOVE_KEY(self) -> str: ...
    @property
    def BACKFILLS(self) -> str: ...
    @property
    def OPEN_BACKFILLS(self) -> str: ...
    @property
    def BACKFILL(self) -> str: ...
    @property
    def DELETE_BACKFILLS(self) -> str: ...


class SqlPartitions:
    """Reads with `ask`, on a reading connection, and writes with `change`. `listed` makes a sequence the value of one
    parameter."""

    def __init__(self, ask: Query, change: Change, listed: Callable[[Sequence[Any]], Any], queries: Statements):
        self._ask = ask
        self._change = change
        self._listed = listed
        self._queries = queries

    # --- dynamic keys -------------------------------------------------------------------------------------------------

    def keys(self, name: str) -> dict[str, int]:
        """The keys of dynamic partitions with their numbers, in order."""
        return {key: int(no) for key, no in self._ask(self._queries.KEYS, encoding.printable(name))}

    def names(self) -> dict[str, int]:
        """All dynamic partitions, and how many keys each has."""
        return {name: int(count) for name, count in self._ask(self._queries.NAMES)}

    def add(self, name: str, keys: Sequence[str]) -> int:
        """Add keys; returns how many are new or there again."""
        name, keys = encoding.printable(name), encoding.printable(list(keys))
        return self._change(lambda run: sum(len(run(self._queries.ADD_KEY, name, key, name)) for key in keys))

    def remove(self, name: str, keys: Sequence[str]) -> int:
        """Take keys out; returns how many were there."""
        name, keys = encoding.printable(name), encoding.printable(list(keys))
        return self._change(lambda run: sum(len(run(self._queries.REMOVE_KEY, name, key)) for key in keys))

    # --- status -------------------------------------------------------------------------------------------------------

    def compact(self, limit: int = 5000) -> int:
        """Put marks into their chunks; returns how many there were."""
        if not self._ask(self._queries.FIRST_MARKS, 1):
            return 0
        return self._change(lambda run: self._compact(run, limit))

    def _compact(self, run: Query, limit: int) -> int:
        found = run(self._queries.FIRST_MARKS, limit)
        marks = [encoding.mark_of(columns[1:]) for columns in found]

        def chunks_at(place: Place) -> list[PartitionChunk]:
            return [encoding.chunk_of(columns) for columns in run(self._queries.CHUNKS_AT, *place)]

        for _, rows in folded(marks, chunks_at):
            for row in rows:
                values = encoding.chunk_values(row)
                if row.size:
                    run(self._queries.UPSERT_CHUNK, *values)
                else:
                    run(self._queries.DROP_CHUNK, *values[:4])
        run(self._queries.DROP_MARKS, self._listed([columns[0] for columns in found]))
        return len(found)

    def sizes(self, assets: Sequence[str]) -> dict[tuple[str, str, bool], int]:
        """How many partitions the chunks have, by asset, space, and whether they failed."""
        found = self._ask(self._queries.SIZES, self._listed(encoding.printable(list(assets))))
        return {(asset, space, bool(failed)): int(size) for asset, space, failed, size in found}

    def chunks(self, asset: str, space: str) -> list[PartitionChunk]:
        """The chunks of an asset in a space."""
        found = self._ask(self._queries.CHUNKS, encoding.printable(asset), encoding.printable(space))
        return [encoding.chunk_of(columns) for columns in found]

    def spaces(self, assets: Sequence[str]) -> dict[str, str]:
        """In which space each asset has all that is known of it."""
        return dict(self._ask(self._queries.SPACES, self._listed(encoding.printable(list(assets)))))

    def settle(self, asset: str, marks: Sequence[PartitionMark], space: str) -> None:
        """Write marks, and that this space has all that is known of the asset."""

        def act(run: Query) -> None:
            for mark in marks:
                run(self._queries.INSERT_MARK, *encoding.mark_values(encoding.printable(mark)))
            run(self._queries.SET_SPACE, encoding.printable(asset), encoding.printable(space))

        self._change(act)

    # --- backfills ----------------------------------------------------------------------------------------------------

    def backfills(self, *, open_only: bool = False, limit: int = 50) -> list[BackfillRow]:
        """Newest first; those that are not over, oldest first."""
        statement = self._queries.OPEN_BACKFILLS if open_only else self._queries.BACKFILLS
        return [encoding.backfill_of(columns) for columns in self._ask(statement, limit)]

    def backfill(self, id: str) -> BackfillRow | None:
        """One backfill."""
        found = self._ask(self._queries.BACKFILL, id)
        return encoding.backfill_of(found[0]) if found else None

    def delete_backfills(self, over_before: float, limit: int = 1000) -> int:
        """Delete backfills that were over before then; returns how many."""
        return len(self._change(lambda run: run(self._queries.DELETE_BACKFILLS, over_before, limit)))
