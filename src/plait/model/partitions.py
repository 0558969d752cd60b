"""Partitions as plain data: the slices of the world that an asset has a value for, and which slices of one asset
another one is made from.

    Slices
    ├── Windows     kind "windows"   stretches of time between the times of a cron expression
    ├── Names            "static"    names that are listed
    ├── Dynamic          "dynamic"   names that the store keeps, which come and go
    └── Multi            "multi"     every combination of a key of each dimension

    Mapping         which upstream partitions a downstream one is made from
    ├── SameKey     kind "same"        the one of the same key
    ├── InTime           "time"        those whose time is in its own window, or in windows next to it
    ├── All              "all"         all of them
    ├── Last             "last"        the last ones
    ├── Table            "table"       those that are listed
    ├── Dimensions       "dimensions"  by what holds for each dimension
    └── Custom           "custom"      those that a function names, which a code host calls (C10)

What the data means is in `engine.partitions`.
"""

from typing import Annotated

import msgspec

from plait.model.policies import Value
from plait.model.schedules import Naive

RANGE = "..."
"""Between the first and the last key of a range; no key has it."""
SEPARATOR = "|"
"""Between the keys of the dimensions in a key of several dimensions."""


class Windows(Value, kw_only=True, tag_field="kind", tag="windows", forbid_unknown_fields=True):
    """Windows of time: each begins at a time of `cron` on the wall clock of zone `tz`, and ends where the next begins.

    The first one does not begin before `start`, the last one before `end`. A window is there when it has ended, and
    `end_offset` more (or fewer) of them. `format` (of strftime) makes a key of its beginning. `name` is what people
    call it: daily, for instance.
    """

    cron: str
    start: Naive
    end: Naive | None = None
    tz: str = "UTC"
    end_offset: int = 0
    format: str = "%Y-%m-%d"
    name: str = "cron"


class Names(Value, kw_only=True, tag_field="kind", tag="static", forbid_unknown_fields=True):
    """Partitions by name, in this order."""

    keys: Annotated[tuple[str, ...], msgspec.Meta(min_length=1)]


class Dynamic(Value, kw_only=True, tag_field="kind", tag="dynamic", forbid_unknown_fields=True):
    """Partitions whose names the store keeps under `name`."""

    name: Annotated[str, msgspec.Meta(min_length=1)]


Single = Windows | Names | Dynamic


class Dimension(Value, kw_only=True):
    """A dimension by its name."""

    name: str
    of: Single


class Multi(Value, kw_only=True, tag_field="kind", tag="multi", forbid_unknown_fields=True):
    """All combinations of the keys of dimensions, which are sorted by name, as the parts of a key are."""

    dimensions: Annotated[tuple[Dimension, ...], msgspec.Meta(min_length=2)]


Slices = Windows | Names | Dynamic | Multi


class SameKey(Value, tag_field="kind", tag="same"):
    """The upstream partition of the same key."""


class InTime(Value, kw_only=True, tag_field="kind", tag="time", forbid_unknown_fields=True):
    """Upstream windows that overlap the time from `first` to (and with) `last` windows after one's own: -1 and -1 is
    the window before."""

    first: int = 0
    last: int = 0


class All(Value, tag_field="kind", tag="all"):
    """All upstream partitions."""


class Last(Value, kw_only=True, tag_field="kind", tag="last", forbid_unknown_fields=True):
    """The last `count` upstream partitions that are there."""

    count: Annotated[int, msgspec.Meta(ge=1)] = 1


class Table(Value, kw_only=True, tag_field="kind", tag="table", forbid_unknown_fields=True):
    """By downstream key, the upstream keys. What is not listed is made from nothing."""

    upstream: dict[str, tuple[str, ...]]


class ByDimension(Value, kw_only=True):
    """What an upstream dimension is made by: a downstream dimension (empty: a downstream that has none), mapped."""

    upstream: str
    downstream: str
    mapping: "SingleMapping" = SameKey()


class Dimensions(Value, kw_only=True, tag_field="kind", tag="dimensions", forbid_unknown_fields=True):
    """By dimensions. Of an upstream dimension that is not named here, all. A side without dimensions is one dimension
    called by the empty text."""

    by: tuple[ByDimension, ...]


class Custom(Value, kw_only=True, tag_field="kind", tag="custom", forbid_unknown_fields=True):
    """What the function `ref` (module:name) says."""

    ref: str


SingleMapping = SameKey | InTime | All | Last | Table | Custom
Mapping = SingleMapping | Dimensions
