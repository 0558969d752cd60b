"""Spaces: how the keys of each kind of partitions are numbered, which are there now, and what people write for them.

A *partition text* names what a run is about, or what somebody selects: a key, or a range `first...last`. Keys of
several dimensions are the keys of these, in the order of their names, with `|` between.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from math import inf, nextafter
from typing import Protocol

import msgspec

from plait.engine.occurrences import zone_of
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.engine.partitions.ticks import HourTicks, ticks
from plait.model.errors import DefinitionError, ParameterError
from plait.model.hashes import blake2b
from plait.model.partitions import RANGE, SEPARATOR, Dynamic, Multi, Names, Slices, Windows

DYNAMIC_BITS = 17
"""So many keys of a dynamic dimension can be told apart in several dimensions: 2 to this power."""
WINDOW_BITS = 27
MOST_BITS = 62
"""An ordinal fits into a number of the stores."""

DynamicKeys = Callable[[str], Mapping[str, int]]
"""The keys that the store keeps under a name, with their numbers, in the order in which they were added."""


class Space(Protocol):
    """Numbers the keys of one kind of partitions. `name` is the same where the numbers mean the same."""

    @property
    def name(self) -> str: ...

    def all(self, now: float) -> KeySet:
        """The partitions that are there at a moment."""
        ...

    def ordinal(self, key: str) -> int:
        """The number of a key. Raises ParameterError for what is none."""
        ...

    def key(self, ordinal: int) -> str:
        """The key of a number."""
        ...

    def span(self, first: str, last: str) -> KeySet:
        """The keys from one to (and with) another one, as people order them. Raises ParameterError."""
        ...


def space_of(slices: Slices, dynamic: DynamicKeys | None = None) -> Space:
    """The space of a definition. `dynamic` is asked where the store keeps the keys. Raises DefinitionError for one that
    is wrong."""
    if has_dynamic(slices):
        if dynamic is None:
            raise DefinitionError("these partitions are kept in the store, and nobody here has one")
        return _space(slices, dynamic)
    return _known(slices)


def has_dynamic(slices: Slices) -> bool:
    """Whether a store keeps some of the keys."""
    parts = [each.of for each in slices.dimensions] if isinstance(slices, Multi) else [slices]
    return any(isinstance(each, Dynamic) for each in parts)


@lru_cache(maxsize=4096)
def _known(slices: Slices) -> Space:
    return _space(slices, lambda _: {})


def _space(slices: Slices, dynamic: DynamicKeys) -> Space:
    match slices:
        case Windows():
            return WindowSpace(slices)
        case Names():
            return NameSpace({key: no for no, key in enumerate(slices.keys)}, f"names:{_short(slices.keys)}", "")
        case Dynamic():
            return NameSpace(dynamic(slices.name), f"dynamic:{slices.name}", slices.name)
        case Multi():
            parts = [(each.name, _space(each.of, dynamic)) for each in slices.dimensions]
            return MultiSpace(parts)


def _short(keys: Sequence[str]) -> str:
    return blake2b(msgspec.json.encode(list(keys)), digest_size=8).hexdigest()


# --- windows of time --------------------------------------------------------------------------------------------------


class WindowSpace:
    """Windows of time. What is between two of them is nothing: one ends where the next begins."""

    def __init__(self, slices: Windows):
        self.slices = slices
        try:
            self._ticks = ticks(slices.cron, slices.tz)
            self.first = self._ticks.number_of_wall(slices.start)
            self._end = self._ticks.number_of_wall(slices.end) if slices.end is not None else None
            self._ticks.moment(self.first)
        except (ValueError, OverflowError) as error:
            raise DefinitionError(f"partitions by {slices.cron!r}: {error}") from None
        zone = slices.tz if isinstance(self._ticks, HourTicks) else ""
        self.name = f"windows:{slices.cron}:{zone}"

    def all(self, now: float) -> KeySet:
        """The windows that have ended, and those that are there ahead of time."""
        ended = self._ticks.number(nextafter(now, inf)) - 1
        stop = ended + self.slices.end_offset
        return KeySet.span(self.first, stop if self._end is None else min(stop, self._end))

    def ordinal(self, key: str) -> int:
        """The number of the window that begins as the key says."""
        number, same = self._number(key), False
        with contextlib.suppress(OverflowError):
            same = number is not None and self.key(number) == key
        if number is None or not same:
            kind = self.slices.name
            what = (
                f"{key!r} is not a key of {kind} partitions"
                if number is None
                else f"no {kind} partition begins at {key!r}"
            )
            raise ParameterError(what, right=f"a key like {self.key(self.first)}")
        if number < self.first:
            raise ParameterError(f"partition {key!r} is before the first one, which is {self.key(self.first)!r}")
        if self._end is not None and number >= self._end:
            raise ParameterError(f"partition {key!r} is not before the end {self.slices.end}")
        return number

    def _number(self, text: str) -> int | None:
        """The number of the window at or after what a text says, none if it says no time."""
        with contextlib.suppress(ValueError, OverflowError):
            return self._ticks.number_of_wall(_strptime(text, self.slices.format))
        if isinstance(self._ticks, HourTicks):  # a wall that comes for the second time
            with contextlib.suppress(ValueError, OverflowError):
                return self._ticks.number(_strptime(text, self.slices.format + "%z").timestamp())
        return None

    def key(self, ordinal: int) -> str:
        """The beginning of a window, as a key; with its offset from UTC where the clock shows it a second time."""
        shown = self._ticks.shown(ordinal)
        if shown.fold:
            return shown.strftime(self.slices.format + "%z")
        return f"{shown:%Y-%m-%d}" if self.slices.format == "%Y-%m-%d" else shown.strftime(self.slices.format)

    def span(self, first: str, last: str) -> KeySet:
        """The windows from one to another."""
        return _span(self, first, last)

    def window(self, ordinal: int) -> tuple[float, float]:
        """The moments at which a window begins and ends."""
        return self._ticks.moment(ordinal), self._ticks.moment(ordinal + 1)

    def times(self, ordinal: int) -> tuple[datetime, datetime]:
        """The same on the clock of the zone."""
        zone = zone_of(self.slices.tz)
        begin, end = self.window(ordinal)
        return datetime.fromtimestamp(begin, zone), datetime.fromtimestamp(end, zone)

    def overlapping(self, begin: float, end: float) -> KeySet:
        """The windows that have a part in a stretch of time, from `begin` to before `end`, whether they are there or
        not."""
        if begin >= end:
            return EMPTY
        first = self._ticks.number(begin)
        if self._ticks.moment(first) > begin:
            first -= 1
        return KeySet.span(first, self._ticks.number(end))

    def since(self, at: datetime) -> int:
        """The number of the first window that does not begin before a wall, or a moment (aware)."""
        return self._ticks.number_of_wall(at) if at.tzinfo is None else self._ticks.number(at.timestamp())

    @property
    def example(self) -> str:
        """What a key looks like."""
        return self.key(self.first)


def _strptime(text: str, format_: str) -> datetime:
    if format_ == "%Y-%m-%d":
        if len(text) != 10:
            raise ValueError(text)
        return datetime.fromisoformat(text)
    return datetime.strptime(text, format_)  # noqa: DTZ007  windows are counted on the wall clock


def _span(space: Space, first: str, last: str) -> KeySet:
    start, stop = space.ordinal(first), space.ordinal(last)
    if start > stop:
        raise ParameterError(f"the range {first}{RANGE}{last} ends before it begins", right=f"{last}{RANGE}{first}")
    return KeySet.span(start, stop + 1)


# --- names ------------------------------------------------------------------------------------------------------------


class NameSpace:
    """Names with their numbers. `kept` is the name under which the store keeps them, empty for listed ones."""

    def __init__(self, numbers: Mapping[str, int], name: str, kept: str):
        self.name = name
        self.kept = kept
        self.numbers = numbers
        self._keys = {no: key for key, no in numbers.items()}

    def all(self, now: float) -> KeySet:
        """All names."""
        del now
        if not self.kept:
            return KeySet.span(0, len(self._keys))
        return KeySet.of(self._keys)

    def ordinal(self, key: str) -> int:
        """The number of a name."""
        number = self.numbers.get(key)
        if number is None:
            shown = ", ".join(list(self.numbers)[:8]) or "none as yet"
            shown += ", ..." if len(self.numbers) > 8 else ""
            right = f"plait partitions add {self.kept} {key}" if self.kept else f"one of: {shown}"
            known = f"; there are: {shown}" if self.kept else ""
            raise ParameterError(f"there is no partition {key!r}{known}", right=right)
        return number

    def key(self, ordinal: int) -> str:
        """The name of a number. One that is not there any more is shown as its number."""
        return self._keys.get(ordinal, f"#{ordinal}")

    def span(self, first: str, last: str) -> KeySet:
        """The names from one to another, in their order, as far as they are there."""
        return _span(self, first, last) & self.all(0.0)


# --- several dimensions -----------------------------------------------------------------------------------------------


class MultiSpace:
    """Combinations of keys. The windows come first in a number, so that time goes on at its end; each of the other
    dimensions has room for as many keys as it may get."""

    def __init__(self, parts: Sequence[tuple[str, Space]]):
        self.names = [name for name, _ in parts]
        self.parts = dict(parts)
        self._order = sorted(self.names, key=lambda name: not isinstance(self.parts[name], WindowSpace))
        self._strides: dict[str, int] = {}
        stride = 1
        for name in reversed(self._order):
            self._strides[name] = stride
            stride *= _room(self.parts[name])
        self.row = _room(self.parts[self._order[-1]])
        """So many numbers differ in the last dimension only."""
        if stride > 1 << MOST_BITS:
            raise DefinitionError(f"the dimensions {', '.join(self.names)} together have too many keys to be numbered")
        self.name = "multi:" + ";".join(f"{name}={space.name}" for name, space in parts)

    def all(self, now: float) -> KeySet:
        """All combinations of what is there."""
        return self.product({name: space.all(now) for name, space in self.parts.items()})

    def product(self, sets: Mapping[str, KeySet]) -> KeySet:
        """All combinations of these keys of each dimension."""
        found = KeySet.span(0, 1)
        for name in reversed(self._order):
            stride, keys = self._strides[name], sets[name]
            if found == KeySet.span(0, stride):
                found = KeySet(tuple(edge * stride for edge in keys.bounds))
            else:
                bounds = found.bounds
                found = KeySet(tuple(edge + key * stride for key in keys for edge in bounds))
        return found

    def split(self, ordinal: int) -> dict[str, int]:
        """The numbers of the keys that a number combines, by dimension."""
        found: dict[str, int] = {}
        for name in self._order:
            found[name], ordinal = divmod(ordinal, self._strides[name])
        return found

    def along(self, keys: KeySet, name: str) -> KeySet:
        """Which keys of a dimension some of these combinations have."""
        stride = self._strides[name]
        place = self._order.index(name)
        room = _room(self.parts[name]) if place else 0
        ranges: list[tuple[int, int]] = []
        for start, stop in keys.ranges:
            low, high = start // stride, (stop - 1) // stride
            if room and low // room != high // room:  # it goes over into the next key of the dimension before
                if high - low + 1 >= room:
                    ranges.append((0, room))
                else:
                    ranges += [(low % room, room), (0, high % room + 1)]
            elif room:
                ranges.append((low % room, high % room + 1))
            else:
                ranges.append((low, high + 1))
        return KeySet.ranges_of(ranges)

    def ordinal(self, key: str) -> int:
        """The number of a combination."""
        return sum(self.parts[name].ordinal(part) * self._strides[name] for name, part in self.texts(key).items())

    def texts(self, key: str) -> dict[str, str]:
        """The parts of a key, by dimension. Raises ParameterError where there are not as many."""
        parts = key.split(SEPARATOR)
        if len(parts) != len(self.names):
            what = f"{key!r} is not a key of the dimensions {', '.join(self.names)}"
            raise ParameterError(what, right=f"a key for each, in this order: {SEPARATOR.join(self.names)}")
        return dict(zip(self.names, parts, strict=True))

    def key(self, ordinal: int) -> str:
        """The key of a combination."""
        numbers = self.split(ordinal)
        return SEPARATOR.join(self.parts[name].key(numbers[name]) for name in self.names)

    def span(self, first: str, last: str) -> KeySet:
        """A range in each dimension."""
        begin, end = self.texts(first), self.texts(last)
        return self.product({name: self.parts[name].span(begin[name], end[name]) for name in self.names})


def _room(space: Space) -> int:
    if isinstance(space, WindowSpace):
        return 1 << WINDOW_BITS
    if isinstance(space, NameSpace) and space.kept:
        if max(space.numbers.values(), default=0) >= 1 << DYNAMIC_BITS:
            raise DefinitionError(f"{space.kept!r} has had too many keys to be a dimension beside others")
        return 1 << DYNAMIC_BITS
    if isinstance(space, NameSpace):
        return len(space.numbers)
    raise TypeError(space)


# --- texts ------------------------------------------------------------------------------------------------------------


def parse(space: Space, text: str, now: float | None = None) -> KeySet:
    """What a partition text names. Of several dimensions, each part may be a range, or `*` for all. With `now`, what is
    not there yet is wrong. Raises ParameterError."""
    if isinstance(space, MultiSpace) and text.count(SEPARATOR) == len(space.names) - 1:
        found = _by_dimension(space, text, now)
    elif RANGE in text:
        first, _, last = text.partition(RANGE)
        found = space.span(first.strip(), last.strip())
    else:
        found = KeySet.span(number := space.ordinal(text), number + 1)
    if now is not None and (later := found - space.all(now)):
        what = f"partition {space.key(later.first)!r} is not there yet"
        there = space.all(now)
        raise ParameterError(what, right=f"at most {space.key(there.last)}" if there else "")
    return found


def _by_dimension(space: MultiSpace, text: str, now: float | None) -> KeySet:
    sets: dict[str, KeySet] = {}
    for name, part in space.texts(text).items():
        own = space.parts[name]
        if part == "*":
            sets[name] = own.all(now if now is not None else 0.0)
        else:
            sets[name] = parse(own, part)
    return space.product(sets)


def text_of(space: Space, keys: KeySet) -> str:
    """The partition text of a key, or of a set that is one range."""
    if keys.last == keys.first:
        return space.key(keys.first)
    return f"{space.key(keys.first)}{RANGE}{space.key(keys.last)}"


def pieces(space: Space, keys: KeySet, size: int) -> Iterator[KeySet]:
    """A set in pieces of at most `size` ordinals, each of which a partition text can name: one range and, in several
    dimensions, one that differs in the last of them only."""
    if not isinstance(space, MultiSpace):
        yield from keys.pieces(size)
        return
    row = space.row
    for start, stop in keys.ranges:
        for at in range(start - start % row, stop, row):
            yield from keys.within(max(start, at), min(stop, at + row)).pieces(size)
