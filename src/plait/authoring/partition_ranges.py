"""What a run's partition, or range of them, means, from the definition of the partitions as plain data."""

from datetime import datetime
from typing import Any

from plait.engine.partitions import edges, spaces


def keys(spec: dict[str, Any], partition: str) -> list[str]:
    """The keys of a range, of partitions that no store has to be asked for."""
    space = _space(spec, [partition])
    return [space.key(no) for no in spaces.parse(space, partition)]


def window(spec: dict[str, Any], partition: str, known: list[str] | None) -> tuple[datetime, datetime] | None:
    """The time of a partition or range (aware): from its begin to before its end; none if it is not in time. `known`:
    its keys, where only a store has them."""
    space = _space(spec, known or [partition])
    chosen = spaces.parse(space, partition)
    if isinstance(space, spaces.MultiSpace):
        timed = [name for name, each in space.parts.items() if isinstance(each, spaces.WindowSpace)]
        if len(timed) != 1:
            return None
        chosen, space = space.along(chosen, timed[0]), space.parts[timed[0]]
    if not isinstance(space, spaces.WindowSpace):
        return None
    return space.times(chosen.first)[0], space.times(chosen.last)[1]


def _space(spec: dict[str, Any], known: list[str]) -> spaces.Space:
    return spaces.space_of(edges.slices_of(spec), lambda name: {key: no for no, key in enumerate(known)})
