"""Stand-ins that a run fills: `logical_date()` and `partition_key()` as defaults of parameters, `unmapped` for
mapping."""

from typing import Any, TypeVar, cast

import msgspec

T = TypeVar("T")


class RunValue(msgspec.Struct, frozen=True):
    """A parameter's default that each run fills: `source` is logical_date or partition_key."""

    source: str


def logical_date() -> Any:
    """As a parameter's default: the run's logical date, the point in time that the run is about.

    A `date` parameter gets its date, a `datetime` parameter the aware point in time (UTC), text ISO 8601. It is set by
    `--date` or by the schedule; a run that nobody gave a date gets the time of its creation.

        @dag(schedule=cron("0 6 * * *"))
        def daily(day: date = logical_date()): ...
    """
    return RunValue("logical_date")


def partition_key() -> Any:
    """As a parameter's default: the partition key of the run (`--partition`)."""
    return RunValue("partition_key")


class Unmapped:
    """A value that `.map` hands to every element as it is."""

    __slots__ = ("value",)

    def __init__(self, value: Any):
        self.value = value


def unmapped(value: T) -> T:
    """Give every element of a `.map` the same value, also if it is a list, a dict or an output.

    load.map(files, unmapped(columns))
    """
    return cast("T", Unmapped(value))
