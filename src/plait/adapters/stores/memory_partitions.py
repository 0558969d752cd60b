"""Partitions and backfills in memory: their rows, and the port `PartitionStore`."""

import copy
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager

from plait.adapters.stores.partition_rows import Place, folded
from plait.model.rows import BackfillRow, PartitionChunk, PartitionMark

OPEN = ("cancelling", "paused", "running")


class PartitionTables:
    """What is kept. Whoever calls holds the store's lock."""

    def __init__(self) -> None:
        self.spaces: dict[str, str] = {}
        self.marks: list[PartitionMark] = []
        self.chunks: dict[tuple[Place, bool], PartitionChunk] = {}
        self.keys: dict[str, dict[str, tuple[int, bool]]] = {}
        """By name, the number of each key that was ever there, and whether it is."""
        self.backfills: dict[str, BackfillRow] = {}

    def mark(self, marks: Iterable[PartitionMark], known: Callable[[str], bool]) -> None:
        """What a run says; `known` tells whether an asset was materialized before."""
        for mark in marks:
            if mark.asset not in self.spaces and not known(mark.asset):
                self.spaces[mark.asset] = mark.space
            self.marks.append(mark)

    def put_backfill(self, row: BackfillRow) -> None:
        """Insert a backfill, or move one on."""
        known = self.backfills.get(row.id)
        if known is None:
            self.backfills[row.id] = row
        else:
            known.state, known.updated_at, known.cursor = row.state, row.updated_at, row.cursor


class MemoryPartitions:
    """Reads and writes the tables; `reading` and `writing` are those of the store."""

    def __init__(
        self,
        tables: PartitionTables,
        reading: Callable[[], AbstractContextManager[None]],
        writing: Callable[[], AbstractContextManager[None]],
    ):
        self._tables = tables
        self._reading = reading
        self._writing = writing

    def keys(self, name: str) -> dict[str, int]:
        """The keys of dynamic partitions with their numbers, in order."""
        with self._reading():
            rows = self._tables.keys.get(name, {})
            return {key: no for key, (no, present) in rows.items() if present}

    def names(self) -> dict[str, int]:
        """All dynamic partitions, and how many keys each has."""
        with self._reading():
            counts = {
                name: sum(there for _, there in rows.values()) for name, rows in sorted(self._tables.keys.items())
            }
            return {name: count for name, count in counts.items() if count}

    def add(self, name: str, keys: Sequence[str]) -> int:
        """Add keys; returns how many are new or there again."""
        with self._writing(), self._reading():
            rows = self._tables.keys.setdefault(name, {})
            return sum(self._set(rows, key, present=True) for key in keys)

    def remove(self, name: str, keys: Sequence[str]) -> int:
        """Take keys out; returns how many were there."""
        with self._writing(), self._reading():
            rows = self._tables.keys.get(name, {})
            return sum(self._set(rows, key, present=False) for key in keys if key in rows)

    def _set(self, rows: dict[str, tuple[int, bool]], key: str, *, present: bool) -> bool:
        no, before = rows.get(key, (len(rows), False))
        rows[key] = (no, present)
        return before != present

    def compact(self, limit: int = 5000) -> int:
        """Put marks into their chunks; returns how many there were."""
        with self._writing(), self._reading():
            chunks, marks = self._tables.chunks, self._tables.marks[:limit]

            def chunks_at(place: Place) -> list[PartitionChunk]:
                return [chunks[place, failed] for failed in (False, True) if (place, failed) in chunks]

            for place, rows in folded(marks, chunks_at):
                for row in rows:
                    chunks.pop((place, row.failed), None)
                    if row.size:
                        chunks[place, row.failed] = row
            del self._tables.marks[:limit]
            return len(marks)

    def sizes(self, assets: Sequence[str]) -> dict[tuple[str, str, bool], int]:
        """How many partitions the chunks have, by asset, space, and whether they failed."""
        found: dict[tuple[str, str, bool], int] = {}
        wanted = set(assets)
        with self._reading():
            for row in self._tables.chunks.values():
                if row.asset in wanted:
                    place = (row.asset, row.space, row.failed)
                    found[place] = found.get(place, 0) + row.size
        return found

    def chunks(self, asset: str, space: str) -> list[PartitionChunk]:
        """The chunks of an asset in a space."""
        with self._reading():
            rows = [row for row in self._tables.chunks.values() if (row.asset, row.space) == (asset, space)]
            return sorted((copy.copy(row) for row in rows), key=lambda row: (row.failed, row.chunk))

    def spaces(self, assets: Sequence[str]) -> dict[str, str]:
        """In which space each asset has all that is known of it."""
        with self._reading():
            return {asset: self._tables.spaces[asset] for asset in assets if asset in self._tables.spaces}

    def settle(self, asset: str, marks: Sequence[PartitionMark], space: str) -> None:
        """Write marks, and that this space has all that is known of the asset."""
        with self._writing(), self._reading():
            self._tables.marks += marks
            self._tables.spaces[asset] = space

    def backfills(self, *, open_only: bool = False, limit: int = 50) -> list[BackfillRow]:
        """Newest first; those that are not over, oldest first."""
        with self._reading():
            rows = [copy.copy(row) for _, row in sorted(self._tables.backfills.items(), reverse=not open_only)]
        return [row for row in rows if not open_only or row.state in OPEN][:limit]

    def backfill(self, id: str) -> BackfillRow | None:
        """One backfill."""
        with self._reading():
            row = self._tables.backfills.get(id)
            return copy.copy(row) if row is not None else None

    def delete_backfills(self, over_before: float, limit: int = 1000) -> int:
        """Delete backfills that were over before then; returns how many."""
        with self._writing(), self._reading():
            rows = self._tables.backfills
            gone = [id for id, row in rows.items() if row.state not in OPEN and row.updated_at < over_before][:limit]
            for id in gone:
                del rows[id]
            return len(gone)
