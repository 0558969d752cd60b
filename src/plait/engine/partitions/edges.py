"""Which partitions of an upstream asset a run's partition is made from: told by the graph of a run, as plain data."""

from functools import lru_cache
from typing import Any, NamedTuple

import msgspec

from plait.engine.partitions import mappings
from plait.engine.partitions.answers import is_custom
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import DynamicKeys, Space, parse, space_of
from plait.model.errors import DefinitionError
from plait.model.partitions import All, Last, Mapping, SameKey, Slices

Plain = dict[str, Any]


def slices_of(spec: Plain) -> Slices:
    """A definition of partitions from plain data."""
    return _slices(msgspec.json.encode(spec))


@lru_cache(maxsize=4096)
def _slices(data: bytes) -> Slices:
    found: Slices = msgspec.json.decode(data, type=Slices)
    return found


def mapping_of(down: Plain | None, up: Plain | None, mapping: Plain | None) -> Mapping | None:
    """How two partitionings map: as is said, or by default; none where the upstream asset has no partitions, and its
    value is the whole. Raises DefinitionError for what does not fit."""
    if up is None:
        return None
    below = space_of(slices_of(down), _none) if down is not None else None
    above = space_of(slices_of(up), _none)
    if mapping is None:
        return mappings.default(below, above)
    said: Mapping = msgspec.convert(mapping, Mapping)
    mappings.check(said, below, above)
    return said


def _none(name: str) -> dict[str, int]:
    del name
    return {}


def is_asked(mapping: Plain | None) -> bool:
    """Whether only user code knows a mapping."""
    return mapping is not None and is_custom(msgspec.convert(mapping, Mapping))


def is_own(mapping: Mapping | None, down: Plain | None, up: Plain | None) -> bool:
    """Whether a run that is for one partition has just that of the upstream asset, too: they may be made in one run,
    and the value goes from the one to the other."""
    return mapping is None or (isinstance(mapping, SameKey) and down is not None and down == up)


class Above(NamedTuple):
    """The upstream partitions of a run's partition: the text names one or (with `many`) any number. None of them is
    there for the first partitions of what is made from its own past."""

    keys: KeySet
    many: bool


def above(
    mapping: Mapping,
    down: Plain | None,
    up: Space,
    text: str | None,
    now: float,
    dynamic: DynamicKeys,
    ask: AskCode | None,
) -> Above:
    """Which upstream partitions a run for a partition text (none: it has no partitions) is made from."""
    if down is None or text is None:
        if isinstance(mapping, Last):
            return Above(up.all(now).tail(mapping.count), many=mapping.count > 1)
        return Above(up.all(now), many=True)
    below = space_of(slices_of(down), dynamic)
    found = mappings.upstream(mapping, parse(below, text), Sides(below, up, now, ask))
    single = len(found.keys) + len(found.missing) == 1 and not isinstance(mapping, All)
    return Above(found.keys, many=not single)


MOST_KEYS = 10_000


def texts(space: Space, keys: KeySet) -> list[str]:
    """The keys of partitions whose values are to be loaded. Raises DefinitionError when they are too many."""
    if len(keys) > MOST_KEYS:
        raise DefinitionError(
            f"{len(keys):,} partitions are too many to be loaded at once",
            right="name the asset in deps, and read what you need of it yourself",
        )
    return [space.key(no) for no in keys]
