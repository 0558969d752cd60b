"""From the wall clock of a time zone to moments, forward and backward, over every change of the clock.

A *wall* is a naive datetime, in whole seconds: what a clock on the wall shows. Cron expressions, recurrence rules and
calendars name walls (`Walls`), and know nothing of zones. Moments are epoch seconds (UTC). Where a zone's clock is put
forward there is a gap: walls that never are. Where it is put back there is a fold: walls that are twice.

Which moments a wall means is one of two functions:

- *Fixed* (`follows` is false): a wall in a fold is its first time; one in a gap is the moment at which the gap ends.
  So every wall has one moment, later walls have no earlier ones, and both directions are a search along the walls.
- *Following* the clock, for what happens each hour or more often: a wall in a fold is both times, one in a gap is
  none. So the time between two occurrences stays what it is on other days.
"""

from bisect import bisect_right
from datetime import UTC, datetime, timedelta, tzinfo
from math import floor
from typing import NamedTuple, Protocol

SECOND = timedelta(seconds=1)


class Walls(Protocol):
    """A sequence of walls. `follows`: whether it follows the clock."""

    @property
    def follows(self) -> bool: ...

    def after(self, wall: datetime) -> datetime | None:
        """The first one after a wall, none when there is none."""
        ...

    def until(self, wall: datetime) -> datetime | None:
        """The last one that is not after a wall, none when there is none."""
        ...


class EveryDays:
    """Whole days from an anchor."""

    follows = False

    def __init__(self, anchor: datetime, length: timedelta):
        self._anchor = anchor
        self._length = length

    def after(self, wall: datetime) -> datetime | None:
        """The first one after a wall."""
        return self._anchor + ((wall - self._anchor) // self._length + 1) * self._length

    def until(self, wall: datetime) -> datetime | None:
        """The last one that is not after a wall."""
        return self._anchor + (wall - self._anchor) // self._length * self._length


class Listed:
    """Walls that are listed."""

    follows = False

    def __init__(self, listed: list[datetime]):
        self._listed = listed

    def after(self, wall: datetime) -> datetime | None:
        """The first one after a wall."""
        index = bisect_right(self._listed, wall)
        return self._listed[index] if index < len(self._listed) else None

    def until(self, wall: datetime) -> datetime | None:
        """The last one that is not after a wall."""
        index = bisect_right(self._listed, wall)
        return self._listed[index - 1] if index else None


class Change(NamedTuple):
    """A change of the clock around some wall: `at` which moment, and which walls were left out (`first` to before
    `end`; `gap` is true) or came twice."""

    at: int
    gap: bool
    first: datetime
    end: datetime


def wall_of(at: float, zone: tzinfo) -> datetime:
    """What the clock shows at a moment."""
    return datetime.fromtimestamp(floor(at), zone).replace(tzinfo=None)


def moment_of(wall: datetime, zone: tzinfo) -> float:
    """The moment of a wall: the first of two, the end of the gap for one that never is."""
    change = _change(wall, zone)
    return float(change.at) if change is not None and change.gap else _moment(wall, zone, 0)


def following(walls: Walls, zone: tzinfo, at: float) -> float | None:
    """The first moment of a sequence after a moment."""
    shown = datetime.fromtimestamp(floor(at), zone)
    if walls.follows and zone is not UTC:
        return _following_clock(walls, zone, shown)
    wall = shown.replace(tzinfo=None, fold=0)
    change = _change(wall, zone) if shown.fold else None
    if change is not None:  # the second time of these walls: their moment was the first one
        wall = change.end - SECOND
    found = walls.after(wall)
    while found is not None and (moment := moment_of(found, zone)) <= at:
        found = walls.after(found)
    return moment if found is not None else None  # pyright: ignore[reportPossiblyUnboundVariable]  # the loop's condition ran


def latest(walls: Walls, zone: tzinfo, at: float) -> float | None:
    """The last moment of a sequence that is not after a moment."""
    shown = datetime.fromtimestamp(floor(at), zone)
    if walls.follows and zone is not UTC:
        return _latest_clock(walls, zone, shown)
    wall = shown.replace(tzinfo=None, fold=0)
    change = _change(wall, zone) if shown.fold else None
    if change is not None:  # the walls to come until the fold ends have been before
        wall = change.end - SECOND
    found = walls.until(wall)
    return moment_of(found, zone) if found is not None else None


def _following_clock(walls: Walls, zone: tzinfo, shown: datetime) -> float | None:
    wall = shown.replace(tzinfo=None, fold=0)
    fold = _change(wall, zone)
    found = walls.after(wall)
    while found is not None and (change := _change(found, zone)) is not None and change.gap:
        found = walls.after(change.end - SECOND)
    if fold is not None and (found is None or found >= fold.end):
        again = walls.after(fold.first - SECOND) if shown.fold == 0 else None
        if again is not None and again < fold.end:
            return _moment(again, zone, 1)
    if found is None:
        return None
    return _moment(found, zone, shown.fold if fold is not None and found < fold.end else 0)


def _latest_clock(walls: Walls, zone: tzinfo, shown: datetime) -> float | None:
    wall = shown.replace(tzinfo=None, fold=0)
    fold = _change(wall, zone)
    found = walls.until(wall)
    if fold is not None:
        if found is not None and found >= fold.first:
            return _moment(found, zone, shown.fold)
        before = walls.until(fold.end - SECOND) if shown.fold else None
        if before is not None and before >= fold.first:
            return _moment(before, zone, 0)
    while found is not None and (change := _change(found, zone)) is not None:
        if not change.gap:
            return _moment(found, zone, 1)
        found = walls.until(change.first - SECOND)
    return _moment(found, zone, 0) if found is not None else None


def _moment(wall: datetime, zone: tzinfo, fold: int) -> float:
    return wall.replace(tzinfo=zone, fold=fold).timestamp()


def _change(wall: datetime, zone: tzinfo) -> Change | None:
    """The change of the clock that a wall is left out by, or comes twice by."""
    if zone is UTC:
        return None
    first, second = wall.replace(tzinfo=zone), wall.replace(tzinfo=zone, fold=1)
    before, after = first.utcoffset(), second.utcoffset()
    assert before is not None  # the zone is given
    assert after is not None  # likewise
    if before == after:
        return None
    low, high = sorted((floor(first.timestamp()), floor(second.timestamp())))
    while high - low > 1:  # the offset changes from the one to the other somewhere between
        middle = (low + high) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == before:
            low = middle
        else:
            high = middle
    utc = datetime.fromtimestamp(high, UTC).replace(tzinfo=None)
    lower, upper = sorted((before, after))
    return Change(high, after > before, utc + lower, utc + upper)
