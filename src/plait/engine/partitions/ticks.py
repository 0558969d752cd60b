"""The times of a cron expression, numbered: which number a moment has, and which moment a number, without walking.

A number must mean the same window for ever, wherever an asset's windows begin, so numbers are counted from 1970, and
not from the first window. There are two ways:

- `WallTicks` count walls (see `engine.wall`): days that match, and the times on each. What a zone's clock does changes
  no number. A wall that comes twice is its first time; one that never is, the moment at which the gap ends.
- `HourTicks` follow the clock, as what runs in every hour of every day does: they count on the grid of UTC, where the
  hour that is skipped has no number, and the one that comes twice has two. Zones whose clock is changed by a part of an
  hour (Lord Howe, Caracas in 2007) shift that grid; only these changes are looked up.
"""

from bisect import bisect_left, bisect_right
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, Protocol

from plait.engine import wall
from plait.engine.occurrences import zone_of

if TYPE_CHECKING:
    from plait.engine.cron import CronWalls

_EPOCH = date(1970, 1, 1)
_HOUR = 3600
_FIRST_YEAR, _LAST_YEAR = 1900, 2200
"""Windows are known in these years."""
_LOOK_EVERY = 28 * 86400


class Ticks(Protocol):
    """The numbered times of a cron expression in a zone. Numbers and moments rise together."""

    def number(self, at: float) -> int:
        """The number of the first time that is not before a moment."""
        ...

    def moment(self, number: int) -> float:
        """The moment of a number. Raises OverflowError outside of the years that are known."""
        ...

    def number_of_wall(self, at: datetime) -> int:
        """The number of the first time that is not before a wall."""
        ...

    def shown(self, number: int) -> datetime:
        """What the clock shows at a number, with the zone; `fold` is 1 where that comes for the second time."""
        ...


@lru_cache(maxsize=4096)
def ticks(expression: str, tz: str) -> Ticks:
    """The numbered times of an expression on the clock of a zone. Raises ValueError for one that is wrong."""
    from plait.engine import cron  # which not every program needs

    walls = cron.parse(expression)
    zone = zone_of(tz)
    return HourTicks(walls, zone) if walls.follows and walls.daily else WallTicks(walls, zone)


class WallTicks:
    """Times that are counted on the wall clock."""

    def __init__(self, walls: "CronWalls", zone: tzinfo):
        self._zone = zone
        self._is_utc = zone is zone_of("UTC")
        self._hours, self._minutes, self._seconds = walls.hours, walls.minutes, walls.seconds
        self._of_minute = len(self._seconds)
        self._of_hour = len(self._minutes) * self._of_minute
        self._of_day = len(self._hours) * self._of_hour
        self._days = _EveryDay() if walls.daily else _SomeDays(walls)

    def number_of_wall(self, at: datetime) -> int:
        """The number of the first time that is not before a wall."""
        day = at.date()
        before = self._days.before(day) * self._of_day
        return before + self._before_time(at.time()) if self._days.has(day) else before

    def _before_time(self, at: time) -> int:
        """How many times of a day are before a time of day."""
        count = bisect_left(self._hours, at.hour) * self._of_hour
        if at.hour not in self._hours:
            return count
        count += bisect_left(self._minutes, at.minute) * self._of_minute
        if at.minute not in self._minutes:
            return count
        return count + bisect_left(self._seconds, at.second) + (at.microsecond > 0 and at.second in self._seconds)

    def _wall(self, number: int) -> datetime:
        days, rest = divmod(number, self._of_day)
        hour, rest = divmod(rest, self._of_hour)
        minute, second = divmod(rest, self._of_minute)
        of_day = time(self._hours[hour], self._minutes[minute], self._seconds[second])
        return datetime.combine(self._days.day(days), of_day)

    def number(self, at: float) -> int:
        """The number of the first time that is not before a moment."""
        if self._is_utc:  # where every wall is there once
            return self.number_of_wall(datetime.fromtimestamp(ceil(at), UTC).replace(tzinfo=None))
        shown = datetime.fromtimestamp(ceil(at), self._zone)
        number = self.number_of_wall(shown.replace(tzinfo=None, fold=0))
        if shown.fold:  # the walls to come until the fold ends have been before
            while self.moment(number) < at:
                number += 1
        while self.moment(number - 1) >= at:  # walls that never were count where the gap ends
            number -= 1
        return number

    def moment(self, number: int) -> float:
        """The moment of a number."""
        if self._is_utc:
            return self._wall(number).replace(tzinfo=UTC).timestamp()
        return wall.moment_of(self._wall(number), self._zone)

    def shown(self, number: int) -> datetime:
        """The wall of a number: one that never is, where the clock leaves it out."""
        return self._wall(number).replace(tzinfo=self._zone)


class HourTicks:
    """Times in each hour, which follow the clock."""

    def __init__(self, walls: "CronWalls", zone: tzinfo):
        self._zone = zone
        self._inside = [minute * 60 + second for minute in walls.minutes for second in walls.seconds]
        self._begins: list[float] = []
        """From which moment on the grid lies as the next two lists say."""
        self._parts: list[int] = []
        """By which seconds the zone's hours begin before those of UTC."""
        self._added: list[int] = []
        """What is added to a number on that grid."""
        self._firsts: list[int] = []
        for begin, part in parts_of_hour(zone):
            added = 0
            if self._begins:
                added = self.number(begin) - self._on_grid(begin, part)
            self._begins.append(begin)
            self._parts.append(part)
            self._added.append(added)
            self._firsts.append(self._on_grid(begin, part) + added)

    def _on_grid(self, at: float, part: int) -> int:
        hours, rest = divmod(at + part, _HOUR)
        return int(hours) * len(self._inside) + bisect_left(self._inside, rest)

    def number(self, at: float) -> int:
        """The number of the first time that is not before a moment."""
        no = max(0, bisect_right(self._begins, at) - 1)
        return self._on_grid(at, self._parts[no]) + self._added[no]

    def moment(self, number: int) -> float:
        """The moment of a number."""
        no = max(0, bisect_right(self._firsts, number) - 1)
        hours, inside = divmod(number - self._added[no], len(self._inside))
        at = hours * _HOUR + self._inside[inside] - self._parts[no]
        if not _EARLIEST <= at <= _LATEST:
            raise OverflowError(f"no window begins outside of the years {_FIRST_YEAR} to {_LAST_YEAR}")
        return float(at)

    def number_of_wall(self, at: datetime) -> int:
        """The number of the first time that is not before a wall."""
        return self.number(wall.moment_of(at, self._zone))

    def shown(self, number: int) -> datetime:
        """What the clock shows at a number."""
        return datetime.fromtimestamp(self.moment(number), self._zone)


_EARLIEST = datetime(_FIRST_YEAR, 1, 1, tzinfo=UTC).timestamp()
_LATEST = datetime(_LAST_YEAR, 1, 1, tzinfo=UTC).timestamp()


@lru_cache(maxsize=256)
def parts_of_hour(zone: tzinfo) -> tuple[tuple[float, int], ...]:
    """By which seconds the hours of a zone begin before those of UTC, and from which moments on."""

    def part_at(at: float) -> int:
        offset = datetime.fromtimestamp(at, zone).utcoffset()
        assert offset is not None  # it has a zone
        return int(offset.total_seconds()) % _HOUR

    found = [(_EARLIEST, part_at(_EARLIEST))]
    at = _EARLIEST
    while at < _LATEST:
        after = at + _LOOK_EVERY
        if (part := part_at(after)) != found[-1][1]:
            low, high = int(at), int(after)
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if part_at(middle) == part else (middle, high)
            found.append((float(high), part))
        at = after
    return tuple(found)


# --- days -------------------------------------------------------------------------------------------------------------


class _EveryDay:
    def before(self, day: date) -> int:
        return (day - _EPOCH).days

    def has(self, day: date) -> bool:
        del day
        return True

    def day(self, number: int) -> date:
        day = _EPOCH + timedelta(days=number)
        _check_year(day.year)
        return day


class _SomeDays:
    """Days that a cron expression names, numbered from 1970; year by year, as far as anybody asks."""

    def __init__(self, walls: "CronWalls"):
        self._walls = walls
        self._days: dict[int, list[date]] = {}
        self._before: dict[int, int] = {1970: 0}
        """How many days there are before a year."""

    def _of(self, year: int) -> list[date]:
        if year not in self._days:
            _check_year(year)
            first = date(year, 1, 1)
            length = (date(year + 1, 1, 1) - first).days
            days = (first + timedelta(days=no) for no in range(length))
            self._days[year] = [day for day in days if self._walls.on(day)]
        return self._days[year]

    def _before_year(self, year: int) -> int:
        if year not in self._before:
            if year > 1970:
                near = max(each for each in self._before if each < year)
                for each in range(near, year):
                    self._before[each + 1] = self._before[each] + len(self._of(each))
            else:
                near = min(self._before)
                for each in range(near - 1, year - 1, -1):
                    self._before[each] = self._before[each + 1] - len(self._of(each))
        return self._before[year]

    def before(self, day: date) -> int:
        return self._before_year(day.year) + bisect_left(self._of(day.year), day)

    def has(self, day: date) -> bool:
        return self._walls.on(day)

    def day(self, number: int) -> date:
        year = 1970
        while year < _LAST_YEAR - 1 and self._before_year(year + 1) <= number:
            year += 1
        while year > _FIRST_YEAR and self._before_year(year) > number:
            year -= 1
        days = self._of(year)
        index = number - self._before_year(year)
        if not 0 <= index < len(days):
            raise OverflowError(f"no window begins outside of the years {_FIRST_YEAR} to {_LAST_YEAR}")
        return days[index]


def _check_year(year: int) -> None:
    if not _FIRST_YEAR <= year < _LAST_YEAR:
        raise OverflowError(f"no window begins outside of the years {_FIRST_YEAR} to {_LAST_YEAR}")
