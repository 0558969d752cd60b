"""Cron expressions as sequences of walls: cronsim's fields, L and #, and W, which it has not (docs/decisions/0002).

cronsim runs without a zone here; what its walls mean where clocks change is `engine.wall`'s say.
"""

import calendar
import copy
import re
from datetime import date, datetime, timedelta
from functools import lru_cache

from cronsim import CronSim, CronSimError

from plait.engine.wall import SECOND

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
FIELDS = ("second", "minute", "hour", "day-of-month", "month", "day-of-week")
ALLOWED = {
    "second": "0 to 59",
    "minute": "0 to 59",
    "hour": "0 to 23",
    "day-of-month": "1 to 31, L (the last), LW (the last weekday) or 15W (the weekday next to the 15th)",
    "month": "1 to 12 or JAN to DEC",
    "day-of-week": "0 to 7 (0 and 7 are Sunday) or SUN to SAT, FRI#2 (the second) or 5L (the last Friday)",
}
_WEEKDAY = re.compile(r"(\d\d?)W")
_EVERY_HOUR, _EVERY_60 = frozenset(range(24)), frozenset(range(60))


class CronWalls:
    """The walls of one expression. `follows`: it runs in every hour. `coarse`: it has no seconds. `daily`: it runs on
    every day. `hours`, `minutes` and `seconds` of its times of day, in order."""

    def __init__(self, expression: str):
        fields = expression.upper().split()
        self._template = sim = _Sim(fields)
        self.follows = set(sim.hours) >= _EVERY_HOUR
        self.coarse = len(fields) == 5
        self.daily = {*fields[-3:]} == {"*"}
        self.hours, self.minutes, self.seconds = sorted(sim.hours), sorted(sim.minutes), sorted(sim.seconds)

    def on(self, day: date) -> bool:
        """Whether it runs on a day."""
        return day.month in self._template.months and self._template.match_day(day)

    def after(self, wall: datetime) -> datetime | None:
        """The first wall after one."""
        sim = copy.copy(self._template)
        sim.dt = wall
        return next(sim, None)

    def until(self, wall: datetime) -> datetime | None:
        """The last wall that is not after one."""
        sim = copy.copy(self._template)
        sim.dt, sim.tick_direction = wall + SECOND, -1
        return next(sim, None)

    def covers(self, wall: datetime) -> tuple[datetime, datetime] | None:
        """The stretch of the clock around a wall of which the expression names all, at most its day: from the first
        wall to before the second. None where it does not name the wall. Without seconds, it names whole minutes."""
        first = wall.replace(second=0) if self.coarse else wall
        if self.until(first) != first:
            return None
        sim = self._template
        if not self.coarse and not set(sim.seconds) >= _EVERY_60:
            return first, first + SECOND
        if not set(sim.minutes) >= _EVERY_60:
            first = first.replace(second=0)
            return first, first + timedelta(minutes=1)
        first = first.replace(minute=0, second=0)
        if not self.follows:
            return first, first + timedelta(hours=1)
        first = first.replace(hour=0)
        return first, first + timedelta(days=1)


class _Sim(CronSim):
    """cronsim with the weekday next to a day of the month (W), as Quartz has it: never in another month."""

    def __init__(self, fields: list[str]):
        if len(fields) not in (5, 6):
            raise CronSimError("Wrong number of fields")
        parts = fields if len(fields) == 6 else ["0", *fields]
        days = parts[3].split(",")
        near = [int(found[1]) for term in days if (found := _WEEKDAY.fullmatch(term))]
        parts[3] = ",".join(_WEEKDAY.sub(r"\1", term) for term in days)
        super().__init__(" ".join(parts), datetime(1970, 1, 1))  # noqa: DTZ001  walls have no zone
        if near:
            plain = [term for term in days if not _WEEKDAY.fullmatch(term)]
            others = CronSim(f"0 0 0 {','.join(plain)} * *", self.dt).days if plain else set[int]()
            self.days = others
        self.near = near

    def match_dom(self, d: date) -> bool:
        """Whether the day of the month matches."""
        return super().match_dom(d) or any(_next_weekday(d.year, d.month, day) == d.day for day in self.near)


def normal(expression: str) -> str:
    """An expression with one blank between its fields; an alias as what it stands for."""
    return ALIASES.get(expression.strip().lower()) or " ".join(expression.split())


@lru_cache(maxsize=4096)
def parse(expression: str) -> CronWalls:
    """The walls of an expression. Raises ValueError that names the field which is wrong."""
    try:
        return CronWalls(normal(expression))
    except CronSimError:
        raise ValueError(_what_is_wrong(normal(expression))) from None


def _what_is_wrong(expression: str) -> str:
    """What is wrong with an expression, by its fields."""
    fields = expression.upper().split()
    if len(fields) == 1 and expression.startswith("@"):
        return f"the aliases are {', '.join(ALIASES)}"
    if len(fields) not in (5, 6):
        return f"it has {len(fields)} fields, not five (or six: with the seconds first)"
    for name, field in zip(FIELDS[-len(fields) :], fields, strict=True):
        alone = ["*"] * 6
        alone[FIELDS.index(name)] = field
        try:
            _Sim(alone)
        except CronSimError:
            return f"its {name} is {field!r}, not {ALLOWED[name]}"
    return "no such day ever comes"


def _next_weekday(year: int, month: int, day: int) -> int | None:
    """The day of the weekday (Monday to Friday) next to a day of a month; none for a day that the month has not."""
    first, last = calendar.monthrange(year, month)
    if day > last:
        return None
    weekday = (first + day - 1) % 7
    if weekday == 5:
        return day - 1 if day > 1 else day + 2
    if weekday == 6:
        return day + 1 if day < last else day - 2
    return day
