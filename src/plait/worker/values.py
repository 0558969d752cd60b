"""Stored values as the worker and its callers read them: results, values that IO managers keep, and parts of them.

A run over several partitions calls a function once. What that returns by partition key is one value of the task, and
each part of it the value of its partition.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from plait.authoring.io import IOManager
from plait.model.outcome import Stored
from plait.worker import io

PART = "part"
"""The format of a `Stored` that is a part of another one."""


class Part(msgspec.Struct, frozen=True):
    """The value of one partition within what a run returned for several."""

    of: Stored
    asset: str
    partition: str


def part_of(stored: Stored, asset: str, partition: str) -> Stored:
    """The reference to the value of one partition in what was stored for several."""
    if stored.format == io.FORMAT:
        return io.reference(asset, partition)
    return Stored(format=PART, data=msgspec.msgpack.encode(Part(stored, asset, partition)))


def load_value(stored: Stored, managers: Mapping[str, IOManager], get: Callable[[Stored], Any]) -> Any:
    """A stored value; `get` reads from the result store. Raises LookupError for what is not there any more, and for a
    partition of which a run over several has returned nothing by its key."""
    if stored.format == io.FORMAT:
        return io.load(managers, stored)
    if stored.format != PART:
        return get(stored)
    part = msgspec.msgpack.decode(stored.data or b"", type=Part)
    value = get(part.of)
    if isinstance(value, dict) and part.partition in value:
        return value[part.partition]
    raise LookupError(
        f"partition {part.partition!r} of asset {part.asset!r} was made by a run over several partitions, whose value "
        f"({type(value).__name__}) is not by partition; there, return a dict: "
        "{key: ... for key in context.partition_keys}"
    )
