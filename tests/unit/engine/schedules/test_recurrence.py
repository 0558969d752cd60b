"""Recurrence rules: what dateutil says when it walks along a rule from its beginning, at any distance from it, in both
directions; and quickly."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from plait.engine import recurrence
from plait.engine.occurrences import following, latest
from plait.model.schedules import Rule

SECOND = timedelta(seconds=1)
BERLIN = ZoneInfo("Europe/Berlin")
BEGINS = st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(lambda at: at.replace(microsecond=0))  # noqa: DTZ001


def some(low: int, high: int) -> st.SearchStrategy[str]:
    return st.lists(st.integers(low, high).filter(bool), min_size=1, max_size=3, unique=True).map(
        lambda found: ",".join(map(str, found))
    )


def listed(low: int, high: int) -> st.SearchStrategy[str]:
    return st.lists(st.integers(low, high), min_size=1, max_size=3).map(lambda found: ",".join(map(str, found)))


WEEKDAYS = st.lists(st.sampled_from(recurrence.WEEKDAYS), min_size=1, max_size=3, unique=True).map(",".join)
NTH = st.tuples(st.sampled_from(["1", "-1", "2"]), st.sampled_from(recurrence.WEEKDAYS)).map("".join)
PARTS = {
    "BYMONTH": listed(1, 12),
    "BYHOUR": listed(0, 23),
    "BYMINUTE": listed(0, 59),
    "BYSECOND": listed(0, 59),
    "BYSETPOS": st.sampled_from(["1", "-1", "1,-1"]),
    "WKST": st.sampled_from(["MO", "SU"]),
}
DAYS = {
    "YEARLY": {
        "BYMONTHDAY": some(-31, 31), "BYYEARDAY": some(-366, 366), "BYWEEKNO": some(-53, 53), "BYDAY": WEEKDAYS | NTH,
    },
    "MONTHLY": {"BYMONTHDAY": some(-31, 31), "BYDAY": WEEKDAYS | NTH},
    "WEEKLY": {"BYDAY": WEEKDAYS},
    "DAILY": {"BYMONTHDAY": some(-31, 31), "BYDAY": WEEKDAYS},
    "HOURLY": {"BYDAY": WEEKDAYS},
    "MINUTELY": {"BYDAY": WEEKDAYS},
}  # fmt: skip


@st.composite
def rules(draw: st.DrawFn) -> str:
    frequency = draw(st.sampled_from(list(DAYS)))
    parts = {**PARTS, **DAYS[frequency]}
    names = draw(st.lists(st.sampled_from(list(parts)), max_size=3, unique=True))
    text = [f"FREQ={frequency}", *(f"{name}={draw(parts[name])}" for name in names)]
    if draw(st.booleans()):
        text.append(f"INTERVAL={draw(st.integers(1, 40))}")
    return ";".join(text)


@settings(max_examples=60, deadline=None)
@given(rules(), BEGINS, st.integers(0, 2_000))
def test_it_is_what_dateutil_finds_from_the_beginning(text: str, since: datetime, far: int):
    try:
        walls = recurrence.parse(text, since, UTC)
        plain = rrulestr(f"WKST=MO;{text}" if "WKST" not in text else text, dtstart=since)
    except ValueError:  # parts that leave nothing
        assume(False)
    often = "HOURLY" in text or "MINUTELY" in text
    wall = since + timedelta(hours=far) if often else since + timedelta(days=far, minutes=far)
    horizon = wall + timedelta(days=100 if often else 4_000)
    expected = (each for each in plain if each > wall)
    before = wall
    for _ in range(4):
        after = walls.after(before)
        if after is None or after > horizon:
            break  # dateutil walks there for minutes
        assert after == next(expected)
        assert walls.until(after) == after
        last = walls.until(after - SECOND)
        assert last == before or (before == wall and (last is None or last <= wall))
        before = after


@pytest.mark.parametrize(
    ("rule", "fired"),
    [
        ("FREQ=MONTHLY;BYDAY=-1FR", ["2026-01-30 18:00", "2026-02-27 18:00", "2026-03-27 18:00"]),
        ("FREQ=MONTHLY;INTERVAL=2", ["2026-03-30 18:00", "2026-05-30 18:00", "2026-07-30 18:00"]),
        ("FREQ=WEEKLY;BYDAY=MO,TH;BYHOUR=6,18", ["2026-02-02 06:00", "2026-02-02 18:00", "2026-02-05 06:00"]),
        ("FREQ=DAILY;UNTIL=20260131", ["2026-01-30 18:00", "2026-01-31 18:00"]),
        ("FREQ=DAILY;UNTIL=20260131T170000Z", ["2026-01-30 18:00", "2026-01-31 18:00"]),
        ("FREQ=HOURLY;COUNT=3", ["2026-01-30 18:00", "2026-01-30 19:00", "2026-01-30 20:00"]),
        ("RRULE:freq=yearly;bymonth=2;bymonthday=29", ["2028-02-29 18:00", "2032-02-29 18:00"]),
        ("FREQ=MINUTELY;INTERVAL=90", ["2026-01-30 18:00", "2026-01-30 19:30", "2026-01-30 21:00"]),
    ],
)
def test_rules(rule: str, fired: list[str]):
    when = Rule(rrule=rule, since=datetime(2026, 1, 30, 18), tz="Europe/Berlin")  # noqa: DTZ001  a wall
    at, found = datetime(2026, 1, 30, 12, tzinfo=UTC).timestamp(), list[str]()
    if "INTERVAL=2" in rule:
        at += 86400
    for _ in fired:
        after = following(when, at)
        assert after is not None
        found.append(datetime.fromtimestamp(after, UTC).astimezone(BERLIN).strftime("%Y-%m-%d %H:%M"))
        at = after
    assert found == fired


@pytest.mark.parametrize(
    ("rule", "told"),
    [
        ("FREQ=SOMETIMES", "its FREQ is 'SOMETIMES', not one of YEARLY"),
        ("FREQ=DAILY;BYHOUR=24", "its BYHOUR is '24', not 0 to 23"),
        ("FREQ=MONTHLY;BYDAY=FRY", "its BYDAY is 'FRY', not weekdays"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "its BYMONTHDAY is '0', not -31 to 31 without 0"),
        ("FREQ=DAILY;BYDAY=-1FR", "the n-th weekday goes with FREQ=MONTHLY"),
        ("FREQ=DAILY;UNTIL=tomorrow", "its UNTIL is 'TOMORROW', not a date"),
        ("FREQ=DAILY;BYNOON=1", "there is no part 'BYNOON'"),
        ("BYDAY=MO", "it has no FREQ"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "both COUNT and UNTIL"),
        ("FREQ=DAILY;COUNT=99999", "its COUNT is '99999', not 1 to 10000"),
        ("DTSTART:20260101T000000\nRRULE:FREQ=DAILY", "DTSTART is `start`"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ twice"),
        ("often", "its part 'OFTEN' is not NAME=VALUE"),
        ("FREQ=HOURLY;BYSETPOS=5", "chooses none of the 1 times"),
    ],
)
def test_what_is_wrong_is_told_by_its_part(rule: str, told: str):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  its text is looked at below
        recurrence.parse(rule, datetime(2026, 1, 1), UTC)  # noqa: DTZ001  a wall
    assert told in str(caught.value)


def test_clocks_change():
    """A time that never is, is as much later; one that is twice counts once; what comes each hour follows the clock."""
    nightly = Rule(rrule="FREQ=DAILY", since=datetime(2026, 1, 1, 2, 30), tz="Europe/Berlin")  # noqa: DTZ001  a wall
    hourly = Rule(rrule="FREQ=HOURLY", since=datetime(2026, 1, 1, 0, 30), tz="Europe/Berlin")  # noqa: DTZ001  likewise
    for day, nights, hours in (("2026-03-29", 1, 23), ("2026-10-25", 1, 25), ("2026-06-01", 1, 24)):
        begin = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
        end = (begin.replace(tzinfo=None) + timedelta(days=1)).replace(tzinfo=BERLIN)
        for when, wanted in ((nightly, nights), (hourly, hours)):
            found, at = 0, begin.timestamp() - 1
            while (after := following(when, at)) is not None and after < end.timestamp():
                assert latest(when, after) == after
                assert latest(when, after - 1) == latest(when, at)
                found, at = found + 1, after
            assert found == wanted
