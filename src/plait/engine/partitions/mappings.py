"""From partitions of one asset to those of another one, in both directions, as maths on ranges.

`upstream(...)` says what a set of downstream partitions is made from, `downstream(...)` what is made from a set of
upstream ones: they are each other's transpose, pair by pair. What of it is not there is in `Mapped.missing`, not in
`Mapped.keys`.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from math import inf, prod
from typing import NamedTuple

from plait.engine.partitions.answers import MappingUnknown, Pairs
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.engine.partitions.spaces import MultiSpace, NameSpace, Space, WindowSpace
from plait.model.errors import DefinitionError, ParameterError
from plait.model.partitions import (
    All,
    ByDimension,
    Custom,
    Dimensions,
    InTime,
    Last,
    Mapping,
    SameKey,
    Table,
)

AskCode = Callable[[str, Space, Space, KeySet], Pairs]
"""Asks a code host what the function of a custom mapping says about downstream partitions (C10): see `answers`."""


class Mapped(NamedTuple):
    """What a mapping leads to. `keys` are there; `missing` would be needed, and are not."""

    keys: KeySet
    missing: KeySet = EMPTY


class Sides(NamedTuple):
    """The two sides of a mapping at a moment, and who answers for user code."""

    down: Space
    up: Space
    now: float
    ask: AskCode | None = None


def default(down: Space | None, up: Space | None) -> Mapping:
    """What a downstream asset is made from when nobody says it: its own window's time, the same key, its own key in the
    one dimension that both have, or all. Raises DefinitionError where none of these fits."""
    if down is None or up is None:
        return All()
    if down.name == up.name:
        return SameKey()
    if isinstance(down, WindowSpace) and isinstance(up, WindowSpace):
        return InTime()
    ups = up.parts if isinstance(up, MultiSpace) else {"": up}
    downs = down.parts if isinstance(down, MultiSpace) else {"": down}
    if len(ups) > 1 or len(downs) > 1:
        pairs: list[ByDimension] = []
        for above, space in ups.items():
            equal = [below for below, other in downs.items() if other.name == space.name and _fits(above, below)]
            if len(equal) == 1:
                pairs.append(ByDimension(upstream=above, downstream=equal[0]))
        if pairs:
            return Dimensions(by=tuple(pairs))
    raise DefinitionError("nothing says which partitions belong together", right="say it: mappings={...}")


def _fits(above: str, below: str) -> bool:
    return above == below or "" in (above, below)


def check(mapping: Mapping, down: Space | None, up: Space | None) -> None:
    """Raise DefinitionError for a mapping that does not fit these partitions."""
    match mapping:
        case InTime() if not (isinstance(down, WindowSpace) and isinstance(up, WindowSpace)):
            raise DefinitionError("only windows of time are mapped by their time")
        case InTime() if mapping.first > mapping.last:
            raise DefinitionError(f"the windows from {mapping.first} to {mapping.last} are none")
        case Table() if down is not None and up is not None:
            for key, keys in mapping.upstream.items():
                _checked(down, key)
                for each in keys:
                    _checked(up, each)
        case Dimensions() if down is not None and up is not None:
            for each in mapping.by:
                check(each.mapping, _dimension(down, each.downstream), _dimension(up, each.upstream))
        case _:
            pass


def _checked(space: Space, key: str) -> None:
    if isinstance(space, NameSpace) and space.kept:
        return  # it may come
    try:
        space.ordinal(key)
    except ParameterError as error:
        raise DefinitionError(f"a table of partitions: {error.what}") from None


# --- upstream ---------------------------------------------------------------------------------------------------------


def upstream(mapping: Mapping, keys: KeySet, sides: Sides) -> Mapped:
    """What these downstream partitions are made from. Raises DefinitionError where a mapping does not fit."""
    if not keys:
        return Mapped(EMPTY)
    return _there(_upstream(mapping, keys, sides), sides.up, sides.now)


def _there(keys: KeySet, space: Space, now: float) -> Mapped:
    there = space.all(now)
    return Mapped(keys & there, keys - there)


def _upstream(mapping: Mapping, keys: KeySet, sides: Sides) -> KeySet:
    down, up = sides.down, sides.up
    match mapping:
        case SameKey():
            return keys if down.name == up.name else _same_texts(keys, down, up)
        case InTime():
            if down.name == up.name:
                return KeySet.ranges_of((start + mapping.first, stop + mapping.last) for start, stop in keys.ranges)
            below, above = _windows(down), _windows(up)
            return KeySet.ranges_of(
                (part.first, part.last + 1)
                for start, stop in keys.ranges
                if (
                    part := above.overlapping(
                        below.window(start + mapping.first)[0], below.window(stop + mapping.last)[0]
                    )
                )
            )
        case All():
            return up.all(sides.now)
        case Last():
            return up.all(sides.now).tail(mapping.count)
        case Table():
            texts = (key for key in mapping.upstream if _known(down, key, keys))
            return KeySet.of(up.ordinal(each) for key in texts for each in mapping.upstream[key] if _is_key(up, each))
        case Custom():
            return _asked(mapping, keys, sides).upstream(keys)
        case Dimensions():
            return _by_dimension(mapping, keys, sides)


def _asked(mapping: Custom, keys: KeySet, sides: Sides) -> Pairs:
    if sides.ask is None:
        raise MappingUnknown(f"the function {mapping.ref} maps these partitions, and nobody here can call it")
    return sides.ask(mapping.ref, sides.down, sides.up, keys)


def _same_texts(keys: KeySet, down: Space, up: Space) -> KeySet:
    """Where two spaces number equal keys differently. Names are few; windows of different crons meet in time."""
    if isinstance(down, WindowSpace) and isinstance(up, WindowSpace):
        raise DefinitionError(
            "windows of different lengths have no same key",
            right="PartitionMapping.windows(), which goes by their time",
        )
    small = up if isinstance(up, NameSpace) else down
    names = [small.key(no) for no in small.all(0.0)] if isinstance(small, NameSpace) else [down.key(no) for no in keys]
    return KeySet.of(up.ordinal(key) for key in names if _known(down, key, keys) and _is_key(up, key))


def _known(space: Space, key: str, keys: KeySet) -> bool:
    try:
        return space.ordinal(key) in keys
    except ParameterError:
        return False


def _is_key(space: Space, key: str) -> bool:
    try:
        space.ordinal(key)
    except ParameterError:
        return False
    return True


def _windows(space: Space) -> WindowSpace:
    if isinstance(space, WindowSpace):
        return space
    raise DefinitionError("only windows of time are mapped by their time")


# --- downstream -------------------------------------------------------------------------------------------------------


def downstream(mapping: Mapping, keys: KeySet, sides: Sides) -> KeySet:
    """What is made from these upstream partitions, as far as it is there."""
    if not keys:
        return EMPTY
    return _downstream(mapping, keys, sides) & sides.down.all(sides.now)


def _downstream(mapping: Mapping, keys: KeySet, sides: Sides) -> KeySet:
    down, up = sides.down, sides.up
    match mapping:
        case SameKey():
            return keys if down.name == up.name else _same_texts(keys, up, down)
        case InTime():
            parts = _overlapping(_windows(down), _windows(up), keys)
            return KeySet.ranges_of((part.first - mapping.last, part.last + 1 - mapping.first) for part in parts)
        case All():
            return down.all(sides.now)
        case Last():
            return down.all(sides.now) if keys & up.all(sides.now).tail(mapping.count) else EMPTY
        case Table():
            return KeySet.of(
                down.ordinal(key)
                for key, above in mapping.upstream.items()
                if _is_key(down, key) and any(_known(up, each, keys) for each in above)
            )
        case Custom():
            return _asked(mapping, down.all(sides.now), sides).downstream(keys)
        case Dimensions():
            swapped = Dimensions(
                by=tuple(
                    ByDimension(upstream=b.downstream, downstream=b.upstream, mapping=b.mapping) for b in mapping.by
                )
            )
            return _by_dimension(swapped, keys, Sides(up, down, sides.now, sides.ask), backward=True)


def _overlapping(below: WindowSpace, above: WindowSpace, keys: KeySet) -> Iterator[KeySet]:
    """The windows that overlap those of each range. Ranges that add nothing to what was found are left out at once, so
    that many ranges in few windows cost what these windows do."""
    bounds, end = keys.bounds, -inf
    at = 0
    while at < len(bounds):
        begin = above.window(bounds[at])[0]
        if begin < end:
            covered = above.overlapping(begin, end).last + 1
            covered -= above.window(covered)[0] > end
            at = bisect_right(bounds, covered, at) & ~1  # the first range of which not all is covered
            if at == len(bounds):
                return
            begin = above.window(bounds[at])[0]
        part = below.overlapping(begin, above.window(bounds[at + 1])[0])
        if part:
            end = below.window(part.last)[1]
            yield part
        at += 2


# --- by dimensions ----------------------------------------------------------------------------------------------------


def _dimension(space: Space, name: str) -> Space:
    if not isinstance(space, MultiSpace):
        if name:
            raise DefinitionError(f"partitions without dimensions have none called {name!r}")
        return space
    if name not in space.parts:
        raise DefinitionError(f"there is no dimension {name!r}", right=f"one of: {', '.join(space.names)}")
    return space.parts[name]


def _by_dimension(mapping: Dimensions, keys: KeySet, sides: Sides, *, backward: bool = False) -> KeySet:
    """Dimension by dimension. Where `keys` are more than a box, box by box: those that are equal in all dimensions but
    the last are one."""
    down, up = sides.down, sides.up
    found = EMPTY
    for box in _boxes(down, keys, {each.downstream for each in mapping.by}):
        sets: dict[str, KeySet] = {}
        for name, space in (up.parts if isinstance(up, MultiSpace) else {"": up}).items():
            each = next((one for one in mapping.by if one.upstream == name), None)
            if each is None:
                sets[name] = space.all(sides.now)
                continue
            below = _dimension(down, each.downstream)
            part = Sides(space, below, sides.now, sides.ask) if backward else Sides(below, space, sides.now, sides.ask)
            move = _downstream if backward else _upstream
            sets[name] = move(each.mapping, box[each.downstream], part)
        found |= up.product(sets) if isinstance(up, MultiSpace) else sets[""]
    return found


def _boxes(space: Space, keys: KeySet, used: set[str]) -> list[dict[str, KeySet]]:
    """A set as boxes in the dimensions that matter: for each combination of the others a box, equal ones once."""
    if not isinstance(space, MultiSpace):
        return [{"": keys}]
    if len(used) <= 1:  # of one dimension, whatever goes with it
        return [{name: space.along(keys, name) for name in used}]
    found: dict[tuple[tuple[str, KeySet], ...], None] = {}
    whole = {name: space.along(keys, name) for name in space.names}
    if prod(len(part) for part in whole.values()) == len(keys) and space.product(whole) == keys:
        return [{name: whole[name] for name in used}]
    row = space.row
    for start, stop in keys.ranges:
        for at in range(start - start % row, stop, row):
            part = keys.within(max(start, at), min(stop, at + row))
            found[tuple((name, space.along(part, name)) for name in sorted(used))] = None
    return [dict(each) for each in found]
