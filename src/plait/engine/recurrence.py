"""Recurrence rules (RFC 5545) as sequences of walls.

python-dateutil says which days. It walks along a rule from its beginning; so that a rule of 1970 costs no more than one
of today, each look walks from a beginning of its own, which is a whole number of the rule's periods later. What a rule
takes from its beginning (the time of day, the weekday, ...) is written into it first. A rule whose periods are days or
shorter (`_ShortWalls`) is counted here, on the days that dateutil says: walking along its minutes takes half a minute
where the next one is years away. A rule with COUNT is walked once and kept.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, tzinfo
from functools import lru_cache

from dateutil.rrule import rrule, rrulestr

from plait.engine.recurrence_parts import FREQUENCIES, WEEKDAYS, WHICH_DAYS, parts_of, until_of
from plait.engine.wall import SECOND, Listed, Walls

MOST_A_PERIOD = 50_000
"""Occurrences in one period, from which on a rule has to be written with a finer FREQ."""
FAR = timedelta(days=366 * 50)
"""How far a rule is looked along for an occurrence."""
DAY, HOUR, MINUTE = timedelta(days=1), timedelta(hours=1), timedelta(minutes=1)
_DAYS = {"YEARLY": 366, "MONTHLY": 31, "WEEKLY": 7}
_UNITS = {"DAILY": DAY, "HOURLY": HOUR, "MINUTELY": MINUTE, "SECONDLY": SECOND}


@lru_cache(maxsize=1024)
def parse(text: str, since: datetime, zone: tzinfo) -> Walls:
    """The walls of a rule from `since` on. Raises ValueError that names the part which is wrong."""
    parts = parts_of(text)
    since = since.replace(microsecond=0)
    until = until_of(parts["UNTIL"], zone) if "UNTIL" in parts else None
    if parts["FREQ"] in _UNITS:
        walls: Walls = _ShortWalls(parts, since, until)
    else:
        walls = _LongWalls(parts, since, until)
    if "COUNT" in parts:
        return _Counted(walls, since, int(parts["COUNT"]))
    return walls


class _LongWalls:
    """The walls of a rule whose periods are weeks, months or years."""

    follows = False

    def __init__(self, parts: Mapping[str, str], since: datetime, until: datetime | None):
        self._frequency = parts["FREQ"]
        self._interval = int(parts.get("INTERVAL", "1"))
        self._since = since
        self._until = until
        self._first_weekday = WEEKDAYS.index(parts.get("WKST", "MO"))
        times = 1
        for name in ("BYHOUR", "BYMINUTE", "BYSECOND"):
            times *= len(parts[name].split(",")) if name in parts else 1
        if times * _DAYS[self._frequency] > MOST_A_PERIOD:
            raise ValueError(f"it names {times} times of each day; write it with FREQ=HOURLY or FREQ=MINUTELY")
        self._rule = _made(_complete(parts, since), since)

    def after(self, wall: datetime) -> datetime | None:
        """The first wall after one."""
        end = _later(max(wall, self._since))
        return self._from(wall, min(end, self._until) if self._until is not None else end).after(wall)

    def until(self, wall: datetime) -> datetime | None:
        """The last wall that is not after one."""
        if self._until is not None:
            wall = min(wall, self._until)
        back = DAY
        while wall >= self._since:
            begin = wall - back
            found = self._from(begin, wall).before(wall, inc=True)
            if found is not None:
                return found
            if begin <= self._since or back > FAR:
                return None
            back *= 8
        return None

    def _from(self, wall: datetime, until: datetime) -> rrule:
        """The rule from the beginning of a period that is not after a wall, until another one."""
        begin = self._since
        if wall > begin:
            begin = max(begin, self._period_before(wall))
        return self._rule.replace(dtstart=begin, until=until)

    def _period_before(self, wall: datetime) -> datetime:
        """Where the rule can begin anew: the first moment of one of its own periods, the one before that of a wall."""
        since, interval = self._since, self._interval
        if self._frequency == "YEARLY":
            year = since.year + ((wall.year - since.year) // interval - 1) * interval
            return datetime(max(1, year), 1, 1)  # noqa: DTZ001  walls have no zone
        if self._frequency == "MONTHLY":
            months = (wall.year - since.year) * 12 + wall.month - since.month
            month = since.year * 12 + since.month - 1 + (months // interval - 1) * interval
            return datetime(max(1, month // 12), month % 12 + 1, 1)  # noqa: DTZ001  likewise
        monday = _floor(since, DAY) - timedelta(days=(since.weekday() - self._first_weekday) % 7)
        return monday + ((wall - monday) // (7 * DAY * interval) - 1) * 7 * DAY * interval


class _ShortWalls:
    """The walls of a rule whose periods are days or shorter: every so many, on some days, in some hours and minutes.
    `follows`: it runs in every hour."""

    def __init__(self, parts: Mapping[str, str], since: datetime, until: datetime | None):
        self._unit = _UNITS[parts["FREQ"]]
        self._step = self._unit * int(parts.get("INTERVAL", "1"))
        self.follows = self._step <= HOUR and "BYHOUR" not in parts
        self._since, self._until = since, until
        self._begin = _floor(since, self._unit)
        self._hours, self._minutes, self._seconds = (
            frozenset(_numbers(parts, name)) if name in parts else None for name in ("BYHOUR", "BYMINUTE", "BYSECOND")
        )
        self._offsets = self._inside(since, _numbers(parts, "BYSETPOS"))
        self._days = _days(parts)

    def after(self, wall: datetime) -> datetime | None:
        """The first wall after one."""
        far = _later(max(wall, self._since))
        wall = max(wall, self._since - SECOND)
        period = self._aligned(_floor(wall, self._unit), up=True)
        while period is not None and period <= far:
            later = self._passed(period, up=True)
            if later is not None:
                period = self._aligned(later, up=True) if later is not _NOWHERE else None
                continue
            found = next((each for each in self._in(period) if each > wall), None)
            if found is not None:
                return found if self._until is None or found <= self._until else None
            period += self._step
        return None

    def until(self, wall: datetime) -> datetime | None:
        """The last wall that is not after one."""
        if self._until is not None:
            wall = min(wall, self._until)
        far = wall - FAR
        period: datetime | None = self._aligned(wall, up=False)
        while period is not None and period >= max(self._begin, far):
            earlier = self._passed(period, up=False)
            if earlier is not None:
                period = self._aligned(earlier, up=False) if earlier is not _NOWHERE else None
                continue
            found = max((each for each in self._in(period) if each <= wall), default=None)
            if found is not None:
                return found if found >= self._since else None
            period -= self._step
        return None

    def _passed(self, period: datetime, *, up: bool) -> datetime | None:
        """Where to go on where a period is on a day, in an hour or a minute that the rule leaves out; `_NOWHERE` when
        no such day comes any more, none where it is not left out."""
        if self._days is not None:
            midnight = _floor(period, DAY)
            day = self._days.after(midnight - SECOND)
            if day != midnight:
                day = day if up else self._days.until(midnight)
                return _NOWHERE if day is None else day if up else day + DAY - SECOND
        if self._hours is not None and self._unit < DAY and period.hour not in self._hours:
            hour = _floor(period, HOUR)
            return hour + HOUR if up else hour - SECOND
        if self._minutes is not None and self._unit < HOUR and period.minute not in self._minutes:
            minute = _floor(period, MINUTE)
            return minute + MINUTE if up else minute - SECOND
        return None

    def _aligned(self, wall: datetime, *, up: bool) -> datetime:
        """The first period not before a wall, or the last one not after it."""
        count = (wall - self._begin) // self._step
        if up and self._begin + count * self._step < wall:
            count += 1
        return self._begin + count * self._step

    def _in(self, period: datetime) -> Iterator[datetime]:
        """The walls in one period, in order."""
        if self._unit == SECOND and self._seconds is not None and period.second not in self._seconds:
            return iter(())
        return (period + offset for offset in self._offsets)

    def _inside(self, since: datetime, positions: list[int]) -> list[timedelta]:
        """How far behind its begin the walls in a period are."""
        hours = sorted(self._hours if self._hours is not None else {since.hour}) if self._unit == DAY else [0]
        minutes = sorted(self._minutes if self._minutes is not None else {since.minute}) if self._unit >= HOUR else [0]
        seconds = sorted(self._seconds if self._seconds is not None else {since.second}) if self._unit > SECOND else [0]
        every = [timedelta(hours=h, minutes=m, seconds=s) for h in hours for m in minutes for s in seconds]
        if not positions:
            return every
        chosen = {each - 1 if each > 0 else len(every) + each for each in positions}
        if not chosen & set(range(len(every))):
            raise ValueError(f"its BYSETPOS chooses none of the {len(every)} times in a period")
        return [offset for index, offset in enumerate(every) if index in chosen]


class _Counted(Listed):
    """The first so many walls of a rule."""

    def __init__(self, walls: Walls, since: datetime, count: int):
        every: list[datetime] = []
        wall = walls.after(since - SECOND)
        while wall is not None and len(every) < count:
            every.append(wall)
            wall = walls.after(wall)
        super().__init__(every)
        self.follows = walls.follows


_NOWHERE = datetime.max  # noqa: DTZ901  walls have no zone


def _later(wall: datetime) -> datetime:
    """How far a look from a wall goes."""
    return wall + FAR if wall < _NOWHERE - FAR else _NOWHERE


def _floor(wall: datetime, unit: timedelta) -> datetime:
    return wall - (wall - datetime.min) % unit  # noqa: DTZ901  walls have no zone


def _made(parts: Mapping[str, str], since: datetime) -> rrule:
    made = rrulestr(";".join(f"{name}={value}" for name, value in parts.items()), dtstart=since)
    assert isinstance(made, rrule)  # the text is one rule
    return made


def _days(parts: Mapping[str, str]) -> _LongWalls | None:
    """The days that a rule is restricted to, as a rule for their midnights; none where it is not."""
    days = {name: value for name, value in parts.items() if name in (*WHICH_DAYS, "BYMONTH", "WKST")}
    if not days.keys() - {"WKST"}:
        return None
    if days.keys() <= {"WKST", "BYMONTH"}:
        days["BYDAY"] = ",".join(WEEKDAYS)
    always = datetime(1, 1, 1)  # noqa: DTZ001  walls have no zone
    return _LongWalls({**days, "FREQ": "YEARLY"}, always, None)


def _numbers(parts: Mapping[str, str], name: str) -> list[int]:
    return [int(term) for term in parts[name].split(",")] if name in parts else []


def _complete(parts: Mapping[str, str], since: datetime) -> dict[str, str]:
    """A rule with all that it takes from its beginning written out; its COUNT and UNTIL are ours to see to."""
    frequency = FREQUENCIES.index(parts["FREQ"])
    whole = {"WKST": "MO", **{name: value for name, value in parts.items() if name not in ("COUNT", "UNTIL")}}
    if not any(name in parts for name in WHICH_DAYS):
        if frequency == 0:
            whole.setdefault("BYMONTH", str(since.month))
        if frequency <= 1:
            whole["BYMONTHDAY"] = str(since.day)
        elif frequency == 2:
            whole["BYDAY"] = WEEKDAYS[since.weekday()]
    whole.setdefault("BYHOUR", str(since.hour))
    whole.setdefault("BYMINUTE", str(since.minute))
    whole.setdefault("BYSECOND", str(since.second))
    return whole
