"""Schedules and what is made of them: forward equals backward for any combination, and each means what it says."""

import time
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.engine.occurrences import following, interval_around, interval_of, latest
from plait.engine.schedule_specs import check, describe, parse, spec_of, timed
from plait.engine.schedules import previous, upcoming
from plait.model.errors import DefinitionError
from plait.model.schedules import (
    AllOf,
    AnyOf,
    AssetCondition,
    AssetUpdates,
    Cron,
    Dates,
    Edge,
    Event,
    Interval,
    Rule,
    TimedSchedule,
    Union,
    When,
    Without,
)

BERLIN = ZoneInfo("Europe/Berlin")
HOUR, DAY = 3600.0, 86400.0


def at(text: str, zone: ZoneInfo | None = None) -> float:
    """Epoch seconds of an ISO time."""
    return datetime.fromisoformat(text).replace(tzinfo=zone or UTC).timestamp()


def shown(moments: list[float], zone: ZoneInfo | None = None) -> list[str]:
    return [datetime.fromtimestamp(each, zone or UTC).strftime("%m-%d %H:%M") for each in moments]


NOON = at("2026-11-26T12:00")

# --- forward equals backward -----------------------------------------------------------------------------------------

TZ = st.sampled_from(["UTC", "Europe/Berlin", "America/Sao_Paulo", "Australia/Lord_Howe"])
DATES = st.lists(st.dates(date(2018, 1, 1), date(2020, 1, 1)), min_size=1, max_size=30).map(tuple)
SIMPLE = (
    st.builds(Cron, cron=st.sampled_from(["0 6 * * *", "*/20 * * * *", "0 0 * * 0", "30 2 1 * *", "* * * * 6"]), tz=TZ)
    | st.builds(
        Interval,
        seconds=st.sampled_from([7000.1, HOUR, DAY, 7 * DAY, 1e6 / 3]),
        anchor=st.datetimes(datetime(2010, 1, 1), datetime(2019, 6, 1), timezones=st.just(UTC)),  # noqa: DTZ001
        tz=TZ,
    )
    | st.builds(
        Rule,
        rrule=st.sampled_from(["FREQ=DAILY;INTERVAL=3", "FREQ=MINUTELY;INTERVAL=50", "FREQ=MONTHLY;BYDAY=-1SU"]),
        since=st.just(datetime(2015, 1, 31, 0, 15)),  # noqa: DTZ001  a wall
        tz=TZ,
    )
    | st.builds(Dates, days=DATES, seconds=st.sampled_from([0.0, 9000.0]), tz=TZ)
)
COMBINED = st.recursive(
    SIMPLE,
    lambda parts: (
        st.builds(Union, parts=st.lists(parts, min_size=1, max_size=3).map(tuple))
        | st.builds(Without, base=parts, without=parts)
    ),
    max_leaves=4,
)


@st.composite
def schedules(draw: st.DrawFn) -> TimedSchedule:
    when = draw(COMBINED)
    edges = st.none() | st.datetimes(datetime(2018, 1, 1), datetime(2019, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
    start, end = draw(edges), draw(edges)
    if start is not None and end is not None and start >= end:
        start = None
    values = {name: getattr(when, name) for name in when.__struct_fields__}
    return type(when)(**{**values, "start": start, "end": end})


@settings(max_examples=25, deadline=None)
@given(schedules(), st.floats(at("2017-11-01"), at("2019-04-01")))
def test_forward_equals_backward(when: TimedSchedule, moment: float):
    after, before = following(when, moment), latest(when, moment)
    assert before is None or before <= moment
    if after is None:
        return
    assert after > moment
    assert latest(when, after) == after
    assert latest(when, after - 1e-5) == before
    assert before is None or following(when, before) == after
    assert when.start is None or after >= when.start.timestamp()
    assert when.end is None or after < when.end.timestamp()


@given(SIMPLE)
def test_as_plain_data_and_back(when: TimedSchedule):
    spec = spec_of(when)
    assert parse(spec.kind, spec.spec) == when


# --- each kind -------------------------------------------------------------------------------------------------------


def test_an_interval_is_counted_from_its_anchor_and_not_before_it():
    when = Interval(seconds=90 * 60.0, anchor=datetime(2026, 11, 26, 7, tzinfo=UTC))
    assert shown(upcoming(when, at("2026-11-26"), 3)) == ["11-26 07:00", "11-26 08:30", "11-26 10:00"]
    assert latest(when, at("2026-11-26T06:59")) is None


def test_an_interval_of_whole_days_keeps_the_time_of_day_of_its_zone():
    anchor = datetime(2026, 10, 20, 6, tzinfo=BERLIN)
    on_the_clock = Interval(seconds=DAY, anchor=anchor, tz="Europe/Berlin")
    elapsed = Interval(seconds=DAY, anchor=anchor)
    begin = at("2026-10-24", BERLIN)
    assert shown(upcoming(on_the_clock, begin, 3), BERLIN) == ["10-24 06:00", "10-25 06:00", "10-26 06:00"]
    assert shown(upcoming(elapsed, begin, 3), BERLIN) == ["10-24 06:00", "10-25 05:00", "10-26 05:00"]


def test_a_calendar_has_days_and_points_in_time():
    when = Dates(
        days=(date(2026, 12, 24), date(2026, 3, 29)),
        times=(datetime(2026, 7, 1, 13, 30),),  # noqa: DTZ001  a wall
        seconds=2.5 * HOUR,
        tz="Europe/Berlin",
    )
    assert shown(upcoming(when, at("2026-01-01"), 9), BERLIN) == ["03-29 03:00", "07-01 13:30", "12-24 02:30"]
    assert shown(previous(when, NOON, 9), BERLIN) == ["07-01 13:30", "03-29 03:00"]


def test_a_union_has_each_moment_once():
    when = Union(parts=(Cron(cron="0 */6 * * *"), Cron(cron="0 */4 * * *")))
    found = shown(upcoming(when, at("2026-11-25T23:59"), 6))
    assert found == ["11-26 00:00", "11-26 04:00", "11-26 06:00", "11-26 08:00", "11-26 12:00", "11-26 16:00"]


WORKDAYS = Cron(cron="0 6 * * MON-FRI", tz="Europe/Berlin")
CHRISTMAS = Dates(days=tuple(date(2026, 12, day) for day in (24, 25, 26)), tz="Europe/Berlin")


def test_days_of_a_calendar_take_away_all_that_is_on_them():
    when = Without(base=WORKDAYS, without=CHRISTMAS)
    found = ["12-22 06:00", "12-23 06:00", "12-28 06:00", "12-29 06:00"]
    assert shown(upcoming(when, at("2026-12-22"), 4), BERLIN) == found
    assert shown(previous(when, at("2026-12-29T23:00"), 4), BERLIN) == found[::-1]


def test_an_expression_takes_away_the_minutes_that_it_names():
    often = Cron(cron="*/15 * * * * *")
    when = Without(base=often, without=Cron(cron="* 9-17 * * *"))
    assert shown(upcoming(when, at("2026-11-26T08:59:44"), 2)) == ["11-26 08:59", "11-26 18:00"]
    assert shown(previous(when, at("2026-11-26T17:59"), 1)) == ["11-26 08:59"]


def test_what_is_left_after_a_nested_exclusion():
    """Each day but the first days of months; yet not but those in January."""
    firsts = Without(base=Cron(cron="* * 1 * *"), without=Cron(cron="* * * 1 *"))
    when = Without(base=Cron(cron="0 12 * * *"), without=firsts)
    assert shown(upcoming(when, at("2026-12-30T13:00"), 3)) == ["12-31 12:00", "01-01 12:00", "01-02 12:00"]
    assert shown(upcoming(when, at("2026-01-31T13:00"), 2)) == ["02-02 12:00", "02-03 12:00"]


def test_parts_have_their_own_begin_and_end():
    old = Cron(cron="0 6 * * *", end=datetime(2026, 11, 27, tzinfo=UTC))
    new = Cron(cron="0 7 * * *", start=datetime(2026, 11, 27, tzinfo=UTC))
    when = Union(parts=(old, new))
    assert shown(upcoming(when, at("2026-11-25T12:00"), 3)) == ["11-26 06:00", "11-27 07:00", "11-28 07:00"]


def test_start_is_the_first_and_end_is_not_the_last():
    when = Cron(cron="0 0 * * *", start=datetime(2026, 1, 2, tzinfo=UTC), end=datetime(2026, 1, 4, tzinfo=UTC))
    assert shown(upcoming(when, 0.0, 9)) == ["01-02 00:00", "01-03 00:00"]
    assert shown(previous(when, NOON, 9)) == ["01-03 00:00", "01-02 00:00"]


# --- data intervals --------------------------------------------------------------------------------------------------


def about(when: TimedSchedule, moment: str) -> list[str]:
    return shown(list(interval_of(when, at(moment))))


def test_a_data_interval_goes_from_the_occurrence_before_to_the_occurrence():
    weekdays = Cron(cron="0 6 * * MON-FRI")
    assert about(weekdays, "2026-11-26T06:00") == ["11-25 06:00", "11-26 06:00"]
    assert about(weekdays, "2026-11-30T06:00") == ["11-27 06:00", "11-30 06:00"]  # a Monday: the weekend with it
    assert about(Cron(cron="0 6 * * *", width=HOUR), "2026-11-26T06:00") == ["11-26 05:00", "11-26 06:00"]


def test_the_first_one_begins_where_the_one_before_would_have_been():
    """The start of a schedule cuts no interval; where nothing is before, the next one says how long it is."""
    daily = Cron(cron="0 0 * * *", start=datetime(2026, 1, 2, tzinfo=UTC))
    assert about(daily, "2026-01-02") == ["01-01 00:00", "01-02 00:00"]
    rule = Rule(rrule="FREQ=WEEKLY", since=datetime(2026, 1, 8))  # noqa: DTZ001  a wall
    assert about(rule, "2026-01-08") == ["01-01 00:00", "01-08 00:00"]
    assert about(Dates(days=(date(2026, 1, 2),)), "2026-01-02") == ["01-02 00:00", "01-02 00:00"]


@pytest.mark.parametrize(
    ("more", "logical", "interval"),
    [
        ({}, "2026-11-26T06:00", ["11-25 06:00", "11-26 06:00"]),
        ({}, "2026-11-26T15:00", ["11-25 06:00", "11-26 06:00"]),
        ({}, "2026-11-26T00:00", ["11-24 06:00", "11-25 06:00"]),
        ({"logical": Edge.START}, "2026-11-26T06:00", ["11-26 06:00", "11-27 06:00"]),
        ({"logical": Edge.START}, "2026-11-26T15:00", ["11-26 06:00", "11-27 06:00"]),
        ({"logical": Edge.START, "width": 0.0}, "2026-11-26T06:00", ["11-26 06:00", "11-26 06:00"]),
        ({"logical": Edge.START, "width": HOUR}, "2026-11-26T05:00", ["11-26 05:00", "11-26 06:00"]),
    ],
)
def test_a_run_that_a_person_asks_for_has_the_interval_of_its_date(more: dict, logical: str, interval: list[str]):
    found = interval_around(Cron(cron="0 6 * * *", **more), at(logical))
    assert found is not None
    assert shown(list(found)) == interval


# --- plain data ------------------------------------------------------------------------------------------------------

EXPRESSIONS: list[tuple[When, str]] = [
    (AnyOf(parts=(Cron(cron="0 6 * * *"), AssetUpdates(op="asset", key="orders"))), "0 6 * * * or asset orders"),
    (AllOf(parts=(Cron(cron="0 6 * * *"), Event(name="ready", match={"region": "eu"}))), "0 6 * * * and event ready"),
    (
        AssetUpdates(op="all", parts=(AssetCondition(op="asset", key="a"), AssetCondition(op="asset", key="b"))),
        "asset a and asset b",
    ),
    (
        AllOf(parts=(AnyOf(parts=(Event(name="a"), Event(name="b"))), Union(parts=(Cron(cron="0 6 * * *"),)))),
        "(event a or event b) and (0 6 * * *)",
    ),
]


@pytest.mark.parametrize(("when", "told"), EXPRESSIONS)
def test_times_updates_and_events_are_data(when: When, told: str):
    spec = spec_of(when)
    again = parse(spec.kind, spec.spec)
    assert describe(again) == describe(when) == told
    check(again)
    with pytest.raises(DefinitionError, match="has no times of its own") as caught:
        timed(spec.kind, spec.spec)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("kind", "spec", "told"),
    [
        ("crom", {}, "there are no triggers of the kind 'crom'"),
        ("cron", {}, "required field `cron`"),
        ("cron", {"cron": "0 6 * * *", "timezone": "UTC"}, "unknown field `timezone`"),
        ("cron", {"cron": "0 6 * *"}, "it has 4 fields"),
        ("cron", {"cron": "0 6 * * *", "tz": "Mars/Olympus"}, "'Mars/Olympus' is not a time zone"),
        ("cron", {"cron": "0 6 * * *", "start": "2026-01-01T00:00:00"}, "timezone component - at `start`"),
        ("interval", {"seconds": 0, "anchor": "2026-01-01T00:00:00Z"}, "`float` > 0.0 - at `seconds`"),
        ("rrule", {"rrule": "FREQ=NOW", "since": "2026-01-01T00:00:00"}, "its FREQ is 'NOW'"),
        ("dates", {}, "at least one date"),
        ("union", {"parts": []}, "length >= 1 - at `parts`"),
        ("union", {"parts": [{"kind": "cron", "cron": "0 6 * * *", "jitter": 9}]}, "no jitter of its own"),
        ("except", {"base": {"kind": "event"}, "without": {}}, "Invalid value 'event' - at `base.kind`"),
        ("all", {"parts": [{"kind": "cron", "cron": "?"}]}, "'?' is not a cron expression"),
        ("any", {"parts": [{"kind": "asset", "op": "asset"}]}, "a condition `asset` has a key"),
        ("asset", {"op": "most", "parts": []}, "asset, all or any, not 'most'"),
    ],
)
def test_data_that_is_wrong_is_told_by_its_field(kind: str, spec: dict, told: str):
    with pytest.raises(DefinitionError) as caught:
        check(parse(kind, spec))
    assert told in str(caught.value)


def test_a_schedule_that_leaves_nothing_is_refused():
    minutely = Cron(cron="* * * * *")
    with pytest.raises(DefinitionError, match="never comes"):
        check(Without(base=minutely, without=minutely))


# --- it never walks over time ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "when",
    [
        Cron(cron="* * * * *", tz="Europe/Berlin"),
        Cron(cron="0 0 29 2 *"),
        Rule(rrule="FREQ=MINUTELY", since=datetime(1970, 1, 1)),  # noqa: DTZ001  a wall
        Rule(rrule="FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=29", since=datetime(1970, 1, 1)),  # noqa: DTZ001  likewise
        Interval(seconds=0.1, anchor=datetime(1970, 1, 1, tzinfo=UTC)),
        Without(base=Cron(cron="* * * * * *"), without=Cron(cron="* * * 1-11 *")),
        Union(parts=tuple(Cron(cron=f"{minute} * * * *") for minute in range(60))),
    ],
    ids=lambda when: describe(when)[:40],
)
def test_a_look_costs_the_same_wherever_it_is(when: TimedSchedule):
    """No bound on time is tested, but one on work: half a century of minutes would take a minute."""
    begin = time.process_time()
    for moment in (at("1971-01-01"), NOON, at("2039-12-31")):
        after = following(when, moment)
        assert after is not None
        assert latest(when, after) == after
        assert latest(when, after - 0.01) != after
    assert time.process_time() - begin < 10


def test_clocks_of_parts_are_their_own():
    """Twice a day at nine, on two continents."""
    when = Union(parts=(Cron(cron="0 9 * * *", tz="Asia/Tokyo"), Cron(cron="0 9 * * *", tz="America/New_York")))
    assert shown(upcoming(when, at("2026-11-26"), 3)) == ["11-26 14:00", "11-27 00:00", "11-27 14:00"]
    span = [after - before for before, after in zip(upcoming(when, NOON, 6), upcoming(when, NOON, 6)[1:], strict=False)]
    assert set(span) == {10 * HOUR, 14 * HOUR}
    assert timedelta(seconds=sum(span[:2])) == timedelta(days=1)
