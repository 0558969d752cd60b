"""Sets of ordinals as sorted ranges, and the form in which the store keeps them.

The work of an operation grows with the number of ranges, not with the ordinals in them. A store keeps a set in chunks
of 65,536 ordinals, each at most 8 KB, so that one more ordinal rewrites one chunk, whatever the size of the set.
"""

import re
import struct
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from itertools import accumulate

CHUNK = 1 << 16
"""Ordinals in a chunk."""
_BITMAP_BYTES = CHUNK // 8
_MOST_PAIRS = _BITMAP_BYTES // 4
_ONES = re.compile("1+")


class KeySet:
    """An immutable set of ordinals. `bounds` are the edges of its ranges, ascending: start, stop, start, stop ..., a
    stop not being part of its range."""

    __slots__ = ("_counts", "bounds")

    def __init__(self, bounds: tuple[int, ...] = ()):
        self.bounds = bounds
        self._counts: list[int] | None = None

    @classmethod
    def span(cls, start: int, stop: int) -> "KeySet":
        """One range, from `start` to before `stop`."""
        return cls((start, stop)) if start < stop else EMPTY

    @classmethod
    def of(cls, ordinals: Iterable[int]) -> "KeySet":
        """A set of these ordinals, in any order."""
        bounds: list[int] = []
        for each in sorted(set(ordinals)):
            if bounds and bounds[-1] == each:
                bounds[-1] = each + 1
            else:
                bounds += (each, each + 1)
        return cls(tuple(bounds))

    @classmethod
    def ranges_of(cls, ranges: Iterable[tuple[int, int]]) -> "KeySet":
        """A set of these ranges, in any order, which may overlap."""
        edges: list[int] = []
        for start, stop in ranges:
            if start < stop:
                edges += (start * 2, stop * 2 + 1)
        return cls(_covered(sorted(edges), 1))

    # --- looking ------------------------------------------------------------------------------------------------------

    @property
    def ranges(self) -> list[tuple[int, int]]:
        """The ranges, in order, none of which touches another one."""
        return list(zip(self.bounds[::2], self.bounds[1::2], strict=True))

    def __len__(self) -> int:
        return sum(self.bounds[1::2]) - sum(self.bounds[::2])

    def __bool__(self) -> bool:
        return bool(self.bounds)

    def __contains__(self, ordinal: int) -> bool:
        return bisect_right(self.bounds, ordinal) % 2 == 1

    def __iter__(self) -> Iterator[int]:
        for start, stop in self.ranges:
            yield from range(start, stop)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and self.bounds == other.bounds

    def __hash__(self) -> int:
        return hash(self.bounds)

    def __repr__(self) -> str:
        shown = ", ".join(f"{start}..{stop - 1}" for start, stop in self.ranges[:5])
        return f"<{len(self)} ordinals: {shown}{', ...' if len(self.bounds) > 10 else ''}>"

    @property
    def first(self) -> int:
        """The least ordinal of a set that is not empty."""
        return self.bounds[0]

    @property
    def last(self) -> int:
        """The greatest ordinal of a set that is not empty."""
        return self.bounds[-1] - 1

    def page(self, offset: int, limit: int) -> "KeySet":
        """The part from the `offset`-th ordinal on, at most `limit` of them; a negative offset is 0."""
        if self._counts is None:
            self._counts = list(accumulate(stop - start for start, stop in self.ranges))
        counts = self._counts
        ranges: list[tuple[int, int]] = []
        offset = max(0, offset)
        at = bisect_right(counts, offset)
        skip = offset - (counts[at - 1] if at else 0)
        while limit > 0 and at < len(counts):
            start, stop = self.bounds[2 * at] + skip, self.bounds[2 * at + 1]
            stop = min(stop, start + limit)
            ranges.append((start, stop))
            limit -= stop - start
            at, skip = at + 1, 0
        return KeySet(tuple(edge for each in ranges for edge in each))

    def tail(self, count: int) -> "KeySet":
        """The last `count` ordinals."""
        return self.page(max(0, len(self) - count), count)

    def within(self, start: int, stop: int) -> "KeySet":
        """The part from `start` to before `stop`; costs a search and a copy of that part."""
        if start >= stop:
            return EMPTY
        low, high = bisect_right(self.bounds, start), bisect_left(self.bounds, stop)
        head = (start,) if low % 2 else ()
        tail = (stop,) if high % 2 else ()
        return KeySet(head + self.bounds[low:high] + tail)

    def pieces(self, size: int) -> Iterator["KeySet"]:
        """The set in pieces of at most `size` ordinals, each one range, in order."""
        for start, stop in self.ranges:
            for at in range(start, stop, size):
                yield KeySet((at, min(stop, at + size)))

    # --- algebra ------------------------------------------------------------------------------------------------------

    def __or__(self, other: "KeySet") -> "KeySet":
        if not self.bounds or not other.bounds:
            return self if self.bounds else other
        edges = _edges(self.bounds, 0, 1) + _edges(other.bounds, 0, 1)
        edges.sort()
        return KeySet(_covered(edges, 1))

    def __and__(self, other: "KeySet") -> "KeySet":
        if not self.bounds or not other.bounds:
            return EMPTY
        if self.bounds == other.bounds:
            return self
        if len(other.bounds) == 2:
            start, stop = other.bounds
            if start <= self.bounds[0] and self.bounds[-1] <= stop:
                return self
            return self.within(start, stop)
        if len(self.bounds) == 2:
            return other.within(*self.bounds)
        edges = _edges(self.bounds, 1, 0) + _edges(other.bounds, 1, 0)
        edges.sort()
        return KeySet(_covered(edges, 2))

    def __sub__(self, other: "KeySet") -> "KeySet":
        if not self.bounds or not other.bounds:
            return self
        if self.bounds[-1] <= other.bounds[0] or other.bounds[-1] <= self.bounds[0]:
            return self
        if self.bounds == other.bounds:
            return EMPTY
        low = min(self.bounds[0], other.bounds[0]) - 1
        high = max(self.bounds[-1], other.bounds[-1]) + 1
        return self & KeySet((low, *other.bounds, high))

    def issubset(self, other: "KeySet") -> bool:
        """Whether all of it is in another one."""
        return not self - other


EMPTY = KeySet()


def _edges(bounds: tuple[int, ...], start: int, stop: int) -> list[int]:
    """The edges as numbers that sort: the lowest bit says whether it is a start or a stop, and which comes first where
    a range ends at which another one begins. That is told apart by `_covered` through the order of the two."""
    found = [0] * len(bounds)
    found[::2] = [edge * 2 + start for edge in bounds[::2]]
    found[1::2] = [edge * 2 + stop for edge in bounds[1::2]]
    return found


def _covered(edges: list[int], times: int) -> tuple[int, ...]:
    """Where sorted edges cover at least so many times. For one, starts are even numbers; for two, stops are."""
    opens = times - 1
    found: list[int] = []
    depth = 0
    for edge in edges:
        if edge & 1 == opens:
            depth += 1
            if depth == times:
                found.append(edge >> 1)
        else:
            if depth == times:
                found.append(edge >> 1)
            depth -= 1
    return tuple(found)


# --- chunks -----------------------------------------------------------------------------------------------------------


def chunks(keys: KeySet) -> Iterator[tuple[int, KeySet]]:
    """The chunks of a set: their numbers, and what is in them, counted from the chunk's begin."""
    at = 0
    bounds = keys.bounds
    while at < len(bounds):
        number = bounds[at] // CHUNK
        base = number * CHUNK
        part = keys.within(base, base + CHUNK)
        yield number, KeySet(tuple(edge - base for edge in part.bounds))
        while at < len(bounds) and bounds[at + 1] <= base + CHUNK:
            at += 2
        if at < len(bounds) and bounds[at] < base + CHUNK:  # this range goes on: one chunk after the other
            bounds = (base + CHUNK, *bounds[at + 1 :])
            at = 0


def encode_chunk(part: KeySet) -> bytes:
    """A chunk as bytes: pairs of a range's first and last ordinal, or a bitmap where that is shorter."""
    if len(part.bounds) <= 2 * _MOST_PAIRS - 2:
        edges = [edge - (no & 1) for no, edge in enumerate(part.bounds)]
        return struct.pack(f"<{len(edges)}H", *edges)
    bits = 0
    for start, stop in part.ranges:
        bits |= ((1 << (stop - start)) - 1) << start
    return bits.to_bytes(_BITMAP_BYTES, "little")


def decode_chunk(data: bytes) -> KeySet:
    """What `encode_chunk` made bytes of."""
    if len(data) < _BITMAP_BYTES:
        edges = struct.unpack(f"<{len(data) // 2}H", data)
        return KeySet(tuple(edge + (no & 1) for no, edge in enumerate(edges)))
    text = format(int.from_bytes(data, "little"), "b")[::-1]
    return KeySet(tuple(edge for found in _ONES.finditer(text) for edge in found.span()))


def joined(parts: Iterable[tuple[int, bytes]]) -> KeySet:
    """A set from its chunks, in the order of their numbers."""
    bounds: list[int] = []
    for number, data in parts:
        for edge in decode_chunk(data).bounds:
            place = edge + number * CHUNK
            if bounds and len(bounds) % 2 == 0 and bounds[-1] == place:
                bounds.pop()  # the range went over the edge of a chunk
            else:
                bounds.append(place)
    return KeySet(tuple(bounds))
