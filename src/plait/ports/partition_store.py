"""What is kept of partitions and backfills."""

from collections.abc import Sequence
from typing import Protocol

from plait.model.rows import (
    BackfillRow,
    PartitionChunk,
    PartitionMark,
)


class PartitionStore(Protocol):
    """Which partitions of assets are materialized or failed, the keys of dynamic partitions, and backfills.

    What a run says of partitions (`RunBatch.partitions`) lies there as marks, until `compact` has put them into
    chunks, which everything else reads: so a run writes a short row, and a count reads one row for 65,536 partitions.
    """

    def keys(self, name: str) -> dict[str, int]:
        """The keys of dynamic partitions with their numbers, in the order in which they were added first."""
        ...

    def names(self) -> dict[str, int]:
        """The names of all dynamic partitions, by name, and how many keys each has."""
        ...

    def add(self, name: str, keys: Sequence[str]) -> int:
        """Add keys; those that are there stay. A key that was there before gets the number that it had, others get new
        ones, which no key has had. Returns how many are new or there again."""
        ...

    def remove(self, name: str, keys: Sequence[str]) -> int:
        """Take keys out; returns how many were there."""
        ...

    def compact(self, limit: int = 5000) -> int:
        """Put at most `limit` marks, oldest first, into their chunks; returns how many there were. The later mark of an
        ordinal counts."""
        ...

    def sizes(self, assets: Sequence[str]) -> dict[tuple[str, str, bool], int]:
        """How many partitions the chunks of these assets have, by asset, space, and whether they failed."""
        ...

    def chunks(self, asset: str, space: str) -> list[PartitionChunk]:
        """The chunks of an asset in a space, by number."""
        ...

    def spaces(self, assets: Sequence[str]) -> dict[str, str]:
        """In which space each of these assets has all that is known of it. One that is missing has nothing, or what is
        known of it was written otherwise."""
        ...

    def settle(self, asset: str, marks: Sequence[PartitionMark], space: str) -> None:
        """Write marks, and that this space has all that is known of the asset."""
        ...

    def backfills(self, *, open_only: bool = False, limit: int = 50) -> list[BackfillRow]:
        """Newest first; with `open_only` those that are not over, oldest first."""
        ...

    def backfill(self, id: str) -> BackfillRow | None: ...

    def delete_backfills(self, over_before: float, limit: int = 1000) -> int:
        """Delete at most `limit` backfills that were over before then (epoch seconds); returns how many."""
        ...
