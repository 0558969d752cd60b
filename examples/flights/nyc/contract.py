"""What a row of flights must look like. A row that does not is quarantined; a column that is not there is an error."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from nyc.errors import MissingColumn


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column of the source, which holds text.

    kind      whole: a whole number. clock: a local time of day as HHMM, 5 for 0:05 and 2400 for midnight.
              text: as it is. instant: an ISO 8601 time in UTC, such as 2013-01-01T10:00:00Z.
    required  a null makes the row bad.
    low, high the bounds of a number, both included.
    among     the only values that a text may have.
    """

    kind: Literal["whole", "clock", "text", "instant"]
    required: bool = True
    low: int = 0
    high: int = 0
    among: tuple[str, ...] = ()


def _whole(low: int, high: int, *, required: bool = True) -> Column:
    return Column(kind="whole", low=low, high=high, required=required)


def _clock(*, required: bool = True) -> Column:
    return Column(kind="clock", low=0, high=2400, required=required)


def _text(*among: str, required: bool = True) -> Column:
    return Column(kind="text", among=among, required=required)


# What was planned is required. What happened may be null: a cancelled flight never left, a diverted one never arrived.
COLUMNS: dict[str, Column] = {
    "year": _whole(1987, 2100),
    "month": _whole(1, 12),
    "day": _whole(1, 31),
    "dep_time": _clock(required=False),
    "sched_dep_time": _clock(),
    "dep_delay": _whole(-120, 2880, required=False),  # minutes; below zero: early
    "arr_time": _clock(required=False),
    "sched_arr_time": _clock(),
    "arr_delay": _whole(-180, 2880, required=False),  # minutes
    "carrier": _text(),
    "flight": _whole(1, 9999),
    "tailnum": _text(required=False),
    "origin": _text("EWR", "JFK", "LGA"),
    "dest": _text(),
    "air_time": _whole(1, 1440, required=False),  # minutes
    "distance": _whole(1, 6000),  # miles
    "hour": _whole(0, 24),
    "minute": _whole(0, 59),
    "time_hour": Column(kind="instant"),  # the scheduled hour of departure
}

# What names a flight: two rows with the same values here are one flight told twice.
KEY = ("time_hour", "origin", "carrier", "flight")


def require_columns(found: Iterable[str], *, where: str) -> None:
    """Raises MissingColumn when a column of the contract is not there. Columns beyond the contract are left alone."""
    present = list(found)
    missing = [name for name in COLUMNS if name not in present]
    if missing:
        raise MissingColumn(
            f"{where}: no column {', '.join(repr(name) for name in missing)}. It has: {', '.join(present)}. "
            f"If the source renamed it, rename it back on the way in; if it is gone for good, take it out of "
            f"COLUMNS in {__file__} and out of the steps that read it."
        )
