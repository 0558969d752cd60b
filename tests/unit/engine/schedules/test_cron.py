"""Cron over zones and changes of the clock from 1970 to 2040: forward equals backward, and both equal what a walk over
the minutes finds. The walk reads fields and zones in its own way."""

import calendar
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.engine import cron
from plait.engine.occurrences import following, latest
from plait.engine.schedules import upcoming
from plait.model.schedules import Cron

ZONES = (
    "UTC", "Europe/Berlin", "Europe/London", "Europe/Dublin", "Europe/Lisbon", "Europe/Moscow", "Europe/Istanbul",
    "America/New_York", "America/Sao_Paulo", "America/St_Johns", "America/Havana", "America/Santiago",
    "America/Nuuk", "America/Caracas", "America/Scoresbysund", "Asia/Kathmandu", "Asia/Kolkata", "Asia/Tehran",
    "Asia/Amman", "Asia/Beirut", "Asia/Gaza", "Asia/Pyongyang", "Asia/Dhaka", "Africa/Casablanca", "Africa/Cairo",
    "Africa/Monrovia", "Africa/Juba", "Australia/Lord_Howe", "Australia/Adelaide", "Australia/Eucla",
    "Pacific/Apia", "Pacific/Kwajalein", "Pacific/Chatham", "Pacific/Kiritimati", "Pacific/Norfolk",
    "Antarctica/Troll", "Antarctica/Casey",
)  # fmt: skip
FIRST, LAST = (int(datetime(year, 1, 1, tzinfo=UTC).timestamp()) for year in (1970, 2040))
HOUR, DAY = 3600, 86400


def offset_at(at: float, zone: str) -> float:
    """Seconds."""
    offset = datetime.fromtimestamp(at, ZoneInfo(zone)).utcoffset()
    assert offset is not None
    return offset.total_seconds()


@cache
def changes(zone: str) -> list[int]:
    """When a zone's clock changes, from 1970 to 2040."""
    found: list[int] = []
    for begin in range(FIRST, LAST, 7 * DAY):
        low, high = begin, begin + 7 * DAY
        if offset_at(low, zone) != offset_at(high, zone):
            while high - low > 1:
                middle = (low + high) // 2
                same = offset_at(middle, zone) == offset_at(begin, zone)
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
    return found


# --- strategies ------------------------------------------------------------------------------------------------------


def numbers(low: int, high: int) -> st.SearchStrategy[str]:
    one = st.integers(low, high)
    spans = st.tuples(one, one).map(sorted).map(lambda pair: f"{pair[0]}-{pair[1]}")
    steps = st.tuples(st.sampled_from(["*", f"{low}-{high}"]), st.integers(1, high)).map(lambda t: f"{t[0]}/{t[1]}")
    lists = st.lists(one.map(str) | spans, min_size=1, max_size=3).map(",".join)
    return st.just("*") | steps | lists


DAYS = (
    numbers(1, 31)
    | st.sampled_from(["L", "LW", "1W", "15W", "31W", "L,15", "5W,20", "*/2"])
    | st.just("*")
    | st.just("*")
)
WEEKDAYS = (
    numbers(0, 7) | st.sampled_from(["MON-FRI", "SUN", "FRI#2", "5L", "1#5", "SAT,TUE"]) | st.just("*") | st.just("*")
)
MONTHS = st.just("*") | st.just("*") | numbers(1, 12) | st.sampled_from(["FEB", "MAR,OCT"])
HOURS = numbers(0, 23) | st.sampled_from(["0", "1", "2", "3", "23", "1-3", "*"])
EXPRESSIONS = st.tuples(numbers(0, 59), HOURS, DAYS, MONTHS, WEEKDAYS).map(" ".join)


@st.composite
def schedules(draw: st.DrawFn) -> Cron:
    expression = draw(EXPRESSIONS)
    if draw(st.integers(0, 9)) == 0:
        expression = f"{draw(numbers(0, 59))} {expression}"
    try:
        cron.parse(expression)
    except ValueError as error:
        assume("no such day ever comes" not in str(error))
        raise
    return Cron(cron=expression, tz=draw(st.sampled_from(ZONES)))


@st.composite
def moments(draw: st.DrawFn, zone: str) -> float:
    """Any moment from 1970 to 2040; most are near a change of the clock."""
    known = changes(zone)
    if known and draw(st.integers(0, 2)):
        return draw(st.sampled_from(known)) + draw(st.integers(-3 * HOUR, 3 * HOUR))
    return draw(st.integers(FIRST, LAST) | st.floats(FIRST, LAST))


# --- forward equals backward -----------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(st.data(), schedules())
def test_forward_equals_backward(data: st.DataObject, when: Cron):
    at = data.draw(moments(when.tz))
    after, before = following(when, at), latest(when, at)
    assert before is None or before <= at
    if after is None:  # a day that comes once in a blue moon
        return
    assert after > at
    assert following(when, after - 1) == after
    assert latest(when, after) == latest(when, after + 0.5) == after
    assert latest(when, after - 1) == before
    if before is not None:
        assert following(when, before) == after
        assert latest(when, before) == before


# --- the walk --------------------------------------------------------------------------------------------------------


class Walk(NamedTuple):
    """An expression in the plainest way: the values of its fields, and whether a day is one of its days."""

    minutes: frozenset[int]
    hours: frozenset[int]
    months: frozenset[int]
    days: str
    weekdays: str

    def has(self, wall: datetime) -> bool:
        if wall.minute not in self.minutes or wall.hour not in self.hours or wall.month not in self.months:
            return False
        of_month = any(is_day(term, wall) for term in self.days.split(","))
        of_week = any(is_weekday(term, wall) for term in self.weekdays.split(","))
        both = self.days.startswith("*") or self.weekdays.startswith("*")
        return (of_month and of_week) if both else (of_month or of_week)


def walk_of(expression: str) -> Walk:
    minute, hour, day, month, weekday = expression.split()
    for number, name in enumerate(calendar.month_abbr):
        month = month.replace(name.upper(), str(number)) if name else month
    for number, name in enumerate(("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")):
        weekday = weekday.replace(name, str(number))
    return Walk(values(minute, 0, 59), values(hour, 0, 23), values(month, 1, 12), day, weekday)


def values(field: str, low: int, high: int) -> frozenset[int]:
    found: set[int] = set()
    for term in field.split(","):
        span, _, step = term.partition("/")
        first, _, last = (span if span != "*" else f"{low}-{high}").partition("-")
        found |= set(range(int(first), int(last or (high if step else first)) + 1, int(step or 1)))
    return frozenset(found)


def is_day(term: str, wall: datetime) -> bool:
    last = calendar.monthrange(wall.year, wall.month)[1]
    if term == "L":
        return wall.day == last
    if term.endswith("W"):
        target = last if term == "LW" else int(term[:-1])
        nearest = [
            day for day in range(1, last + 1) if calendar.weekday(wall.year, wall.month, day) < 5 and target <= last
        ]
        if term == "LW":
            return wall.day == nearest[-1]
        return bool(nearest) and wall.day == min(nearest, key=lambda day: (abs(day - target), day))
    return wall.day in values(term, 1, 31)


def is_weekday(term: str, wall: datetime) -> bool:
    weekday, last = wall.isoweekday() % 7, calendar.monthrange(wall.year, wall.month)[1]
    if term.endswith("L"):
        return weekday == int(term[:-1]) % 7 and wall.day + 7 > last
    if "#" in term:
        day, nth = term.split("#")
        return weekday == int(day) % 7 and (wall.day - 1) // 7 + 1 == int(nth)
    return weekday in {value % 7 for value in values(term, 0, 7)}


def walked(expression: str, zone: str, first: int, last: int) -> list[float]:
    """The occurrences between two moments, by looking at every minute of the clock between them."""
    tz, walk = ZoneInfo(zone), walk_of(expression)
    shown = [(at, datetime.fromtimestamp(at, tz).replace(tzinfo=None, fold=0)) for at in range(first, last, 60)]
    if walk.hours == frozenset(range(24)):  # follows the clock
        return [float(at) for at, wall in shown if walk.has(wall)]
    begins = {wall: at for at, wall in reversed(shown)}  # the first of two
    found: set[float] = set()
    wall = shown[0][1]
    highest = max(wall for _, wall in shown)
    while wall <= highest:
        if walk.has(wall):
            found.add(float(begins[wall] if wall in begins else next(at for at, each in shown if each > wall)))
        wall += timedelta(minutes=1)
    return sorted(found)


@settings(max_examples=40, deadline=None)
@given(st.data(), EXPRESSIONS, st.sampled_from([zone for zone in ZONES if zone != "Africa/Monrovia"]))
def test_it_is_what_a_walk_over_the_minutes_finds(data: st.DataObject, expression: str, zone: str):
    try:
        cron.parse(expression)
    except ValueError:
        assume(False)
    middle = int(data.draw(moments(zone))) // 60 * 60
    found = walked(expression, zone, middle - 30 * HOUR, middle + 30 * HOUR)
    begin, end = middle - 4 * HOUR, middle + 4 * HOUR
    when = Cron(cron=expression, tz=zone)
    at, seen = float(begin), list[float]()
    while (after := following(when, at)) is not None and after < end:
        seen.append(after)
        at = after
    assert seen == [each for each in found if begin < each < end]
    for moment in range(begin, end, 17 * 60):
        before = bisect_right(found, moment)
        assert before == 0 or latest(when, moment) == found[before - 1]


# --- clocks change, by example (F11) ---------------------------------------------------------------------------------


def local(expression: str, zone: str, first: str, last: str) -> list[str]:
    """The occurrences from one wall to before another, as the clock shows them."""
    tz, when = ZoneInfo(zone), Cron(cron=expression, tz=zone)
    at, end = (datetime.fromisoformat(text).replace(tzinfo=tz).timestamp() for text in (first, last))
    found: list[str] = []
    at -= 1
    while (after := following(when, at)) is not None and after < end:
        found.append(datetime.fromtimestamp(after, tz).strftime("%d %H:%M %z"))
        at = after
    return found


@pytest.mark.parametrize(
    ("expression", "zone", "first", "last", "fired"),
    [
        # the clock goes forward: 2:30 never is, and the run comes when the gap ends; once
        ("30 2 * * *", "Europe/Berlin", "2026-03-28", "2026-03-31",
         ["28 02:30 +0100", "29 03:00 +0200", "30 02:30 +0200"]),
        ("0,15,30 2 * * *", "Europe/Berlin", "2026-03-29", "2026-03-30", ["29 03:00 +0200"]),
        ("30 2,3 * * *", "America/New_York", "2026-03-08", "2026-03-09", ["08 03:00 -0400", "08 03:30 -0400"]),
        # the clock goes back: 2:30 is twice, and the run comes once
        ("30 2 * * *", "Europe/Berlin", "2026-10-25", "2026-10-27", ["25 02:30 +0200", "26 02:30 +0100"]),
        ("30 1 * * *", "America/New_York", "2026-11-01", "2026-11-03", ["01 01:30 -0400", "02 01:30 -0500"]),
        # what comes each hour follows the clock: no hour without, none with two
        ("30 * * * *", "Europe/Berlin", "2026-03-29T01:00", "2026-03-29T05:00",
         ["29 01:30 +0100", "29 03:30 +0200", "29 04:30 +0200"]),
        ("30 * * * *", "Europe/Berlin", "2026-10-25T01:00", "2026-10-25T04:00",
         ["25 01:30 +0200", "25 02:30 +0200", "25 02:30 +0100", "25 03:30 +0100"]),
        # half an hour
        ("15 2 * * *", "Australia/Lord_Howe", "2026-10-04", "2026-10-06", ["04 02:30 +1100", "05 02:15 +1100"]),
        ("45 1 * * *", "Australia/Lord_Howe", "2026-04-05", "2026-04-07", ["05 01:45 +1100", "06 01:45 +1030"]),
        ("*/20 * * * *", "Australia/Lord_Howe", "2026-04-05T01:20", "2026-04-05T02:10",
         ["05 01:20 +1100", "05 01:40 +1100", "05 01:40 +1030", "05 02:00 +1030"]),
        # midnight that never is, or is twice
        ("0 0 * * *", "America/Sao_Paulo", "2018-11-03", "2018-11-06",
         ["03 00:00 -0300", "04 01:00 -0200", "05 00:00 -0200"]),
        ("30 23 * * *", "America/Sao_Paulo", "2019-02-16", "2019-02-18", ["16 23:30 -0200", "17 23:30 -0300"]),
        ("@daily", "Asia/Beirut", "2026-03-28", "2026-03-31", ["28 00:00 +0200", "29 01:00 +0300", "30 00:00 +0300"]),
        # a zone that changed its offset once, by a quarter of an hour, at midnight
        ("10 0 * * *", "Asia/Kathmandu", "1985-12-31", "1986-01-03",
         ["31 00:10 +0530", "01 00:15 +0545", "02 00:10 +0545"]),
        # winter time in summer, for Ramadan
        ("30 2 * * *", "Africa/Casablanca", "2026-02-14", "2026-02-17",
         ["14 02:30 +0100", "15 02:30 +0100", "16 02:30 +0000"]),
        ("30 2 * * *", "Africa/Casablanca", "2026-03-21", "2026-03-24",
         ["21 02:30 +0000", "22 03:00 +0100", "23 02:30 +0100"]),
        # a day that never was
        ("0 6 * * *", "Pacific/Apia", "2011-12-29", "2012-01-01",
         ["29 06:00 -1000", "31 00:00 +1400", "31 06:00 +1400"]),
    ],
)  # fmt: skip
def test_around_changes_of_the_clock(expression: str, zone: str, first: str, last: str, fired: list[str]):
    assert local(expression, zone, first, last) == fired


@pytest.mark.parametrize("zone", ZONES)
def test_a_daily_job_comes_daily(zone: str):
    """Around each change of the clock in seventy years, whatever the hour: none is left out and none comes twice."""
    for change in changes(zone):
        if abs(offset_at(change, zone) - offset_at(change - 1, zone)) > 6 * HOUR:
            continue  # the date line moved: there is a day less
        for hour, minute in ((0, 0), (1, 30), (2, 30), (23, 59)):
            when = Cron(cron=f"{minute} {hour} * * *", tz=zone)
            runs = upcoming(when, change - 2 * DAY, 4)
            assert all(20 * HOUR <= after - before <= 28 * HOUR for before, after in pairwise(runs))


# --- what expressions mean -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "fired"),
    [
        ("@hourly", ["01 01:00", "01 02:00", "01 03:00"]),
        ("@weekly", ["04 00:00", "11 00:00", "18 00:00"]),
        ("0 0 L * *", ["31 00:00", "28 00:00", "31 00:00"]),
        ("0 0 LW * *", ["30 00:00", "27 00:00", "31 00:00"]),
        ("0 0 15W * *", ["15 00:00", "16 00:00", "16 00:00"]),  # 15 February and 15 March 2026 are Sundays
        ("0 0 1W * *", ["02 00:00", "02 00:00", "01 00:00"]),  # 1 February and 1 March are Sundays
        ("0 0 31W * *", ["30 00:00", "31 00:00", "29 00:00"]),  # 31 January is a Saturday; February has none
        ("0 0 * * FRI#2", ["09 00:00", "13 00:00", "13 00:00"]),
        ("0 0 * * 5L", ["30 00:00", "27 00:00", "27 00:00"]),
        ("0 0 13 * FRI", ["02 00:00", "09 00:00", "13 00:00"]),  # either
        ("30 0 0 * * *", ["02 00:00", "03 00:00", "04 00:00"]),  # half a minute past midnight
        ("0 9-17/4 * * MON-FRI", ["01 09:00", "01 13:00", "01 17:00"]),
    ],
)
def test_expressions(expression: str, fired: list[str]):
    when = Cron(cron=expression)
    at, found = datetime(2026, 1, 1, 0, 30, 30, tzinfo=UTC).timestamp(), list[str]()
    for _ in fired:
        after = following(when, at)
        assert after is not None
        found.append(datetime.fromtimestamp(after, UTC).strftime("%d %H:%M"))
        at = after
    assert found == fired


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("61 6 * * *", "its minute is '61', not 0 to 59"),
        ("0 24 * * *", "its hour is '24'"),
        ("0 6 32W * *", "its day-of-month is '32W'"),
        ("0 6 * FEBR *", "its month is 'FEBR'"),
        ("0 6 * * FUN", "its day-of-week is 'FUN'"),
        ("0 6 * *", "it has 4 fields"),
        ("99 0 6 * * *", "its second is '99'"),
        ("@dayly", "the aliases are @yearly"),
        ("0 0 30 2 *", "no such day ever comes"),
    ],
)
def test_what_is_wrong_is_told_by_its_field(expression: str, told: str):
    with pytest.raises(ValueError, match=told.replace("*", r"\*")):
        cron.parse(expression)
