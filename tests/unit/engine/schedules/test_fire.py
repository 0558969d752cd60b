"""What is due of a trigger, and where it stands then: over downtimes, restarts and redeploys nothing fires twice, and
nothing that the policy wants is lost."""

import time
from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.engine import schedules
from plait.engine.occurrences import following, latest
from plait.engine.schedule_specs import spec_of
from plait.engine.schedules import GRACE, MOST, begin, fire, name_of, redeploy
from plait.model.errors import DefinitionError
from plait.model.graph import TriggerSpec
from plait.model.rows import TriggerRow
from plait.model.schedules import AssetUpdates, Catchup, Cron, Edge, Interval, TimedSchedule, Union

HOUR, DAY = 3600.0, 86400.0
NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
HOURLY = Cron(cron="0 * * * *")
NIGHTLY = Cron(cron="0 2 * * *", tz="Europe/Berlin")


def deployed(when: TimedSchedule, catchup: Catchup = Catchup.LATEST, at: float = NOON) -> TriggerRow:
    return begin("w", 0, spec_of(when, catchup), at)


def since_noon(moments: list[float]) -> list[float]:
    """Hours since noon."""
    return [(each - NOON) / HOUR for each in moments]


def fired_until(row: TriggerRow, now: float) -> tuple[list[float], TriggerRow]:
    """All looks that it takes until nothing is due any more."""
    found: list[float] = []
    while row.next_at is not None and row.next_at <= now:
        due, row = fire(row, now)
        found += due
    return found, row


# --- on time ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("catchup", Catchup)
def test_on_time_every_policy_fires_each_occurrence_once(catchup: Catchup):
    row, found = deployed(HOURLY, catchup), list[float]()
    for minute in range(0, 6 * 60 + 1, 10):
        due, row = fire(row, NOON + minute * 60 + 3.7)
        found += due
    assert since_noon(found) == [1, 2, 3, 4, 5, 6]
    assert row.next_at == NOON + 7 * HOUR


@pytest.mark.parametrize("catchup", Catchup)
def test_what_was_before_the_deployment_is_not_its_business(catchup: Catchup):
    row = deployed(HOURLY, catchup)
    assert (row.cursor, row.next_at) == (NOON, NOON + HOUR)
    assert fire(row, NOON) == ([], row)


def test_a_look_too_early_changes_nothing():
    row = deployed(HOURLY, Catchup.ALL)
    assert fire(row, NOON + HOUR - 0.001) == ([], row)


# --- after a downtime ------------------------------------------------------------------------------------------------


def test_all_of_a_downtime_are_made_up_for_in_order_and_in_bounds():
    row = deployed(HOURLY, Catchup.ALL)
    due, row = fire(row, NOON + 250.5 * HOUR)
    assert since_noon(due) == list(range(1, MOST + 1))
    assert row.next_at == due[-1] + HOUR
    rest, row = fired_until(row, NOON + 250.5 * HOUR)
    assert since_noon(rest) == list(range(MOST + 1, 251))
    assert row.next_at == NOON + 251 * HOUR


def test_of_a_downtime_the_latest_is_made_up_for():
    due, row = fire(deployed(HOURLY), NOON + 250.5 * HOUR)
    assert since_noon(due) == [250]
    assert row.next_at == NOON + 251 * HOUR


def test_none_of_a_downtime_is_made_up_for():
    due, row = fire(deployed(HOURLY, Catchup.NONE), NOON + 250.5 * HOUR)
    assert due == []
    assert (row.cursor, row.next_at) == (NOON + 250 * HOUR, NOON + 251 * HOUR)


def test_what_is_a_little_late_is_not_missed():
    """A scheduler that was restarted in the minute in which a run was due."""
    on_time, _ = fire(deployed(HOURLY, Catchup.NONE), NOON + HOUR + GRACE)
    too_late, _ = fire(deployed(HOURLY, Catchup.NONE), NOON + HOUR + GRACE + 1)
    assert (since_noon(on_time), too_late) == ([1], [])


@pytest.mark.parametrize("catchup", Catchup)
def test_a_year_without_a_scheduler_is_looked_at_at_once(catchup: Catchup):
    """Half a million minutes: no look walks over them."""
    row = deployed(Cron(cron="* * * * *", tz="America/New_York"), catchup)
    begun = time.process_time()
    due, row = fire(row, NOON + 365 * DAY)
    assert len(due) == {Catchup.ALL: MOST, Catchup.LATEST: 1, Catchup.NONE: 1}[catchup]
    assert row.next_at is not None
    assert time.process_time() - begun < 1


@pytest.mark.parametrize("catchup", Catchup)
def test_a_schedule_that_is_over_fires_what_it_had_and_then_never(catchup: Catchup):
    row = deployed(Cron(cron="0 * * * *", end=datetime(2026, 11, 26, 15, tzinfo=UTC)), catchup)
    due, row = fire(row, NOON + 30 * DAY)
    assert since_noon(due) == {Catchup.ALL: [1, 2], Catchup.LATEST: [2], Catchup.NONE: []}[catchup]
    assert row.next_at is None
    assert fire(row, NOON + 60 * DAY)[0] == []


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([HOURLY, NIGHTLY, Interval(seconds=1700.3, anchor=datetime(2026, 1, 1, tzinfo=UTC), jitter=600.0)]),
    st.sampled_from(Catchup),
    st.lists(st.floats(0.5, 3 * DAY), min_size=1, max_size=15),
)
def test_whenever_schedulers_look_nothing_is_twice_and_with_all_nothing_is_lost(
    when: TimedSchedule, catchup: Catchup, pauses: list[float]
):
    row, now, found = deployed(when, catchup), NOON, list[float]()
    for pause in pauses:
        now += pause
        due, row = fired_until(row, now)
        assert catchup is Catchup.ALL or len(due) <= 1
        found += due
    assert found == sorted(set(found))
    assert all(NOON < each <= now for each in found)
    assert all(latest(when, each) == each for each in found)
    if catchup is Catchup.ALL:
        assert found == schedules.upcoming(when, NOON, len(found))
        assert row.next_at is not None
        assert row.next_at > now


# --- where catch-up begins -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("catchup", "days"),
    [(Catchup.ALL, [1, 2, 3, 4, 5]), (Catchup.LATEST, [5]), (Catchup.NONE, [])],
)
def test_what_has_passed_since_the_start_was_missed(catchup: Catchup, days: list[int]):
    when = Cron(cron="0 0 * * *", start=datetime(2026, 1, 1, tzinfo=UTC))
    row = deployed(when, catchup, datetime(2026, 1, 5, 7, tzinfo=UTC).timestamp())
    due, row = fired_until(row, datetime(2026, 1, 5, 8, tzinfo=UTC).timestamp())
    assert [datetime.fromtimestamp(each, UTC).day for each in due] == days
    assert row.next_at == datetime(2026, 1, 6, tzinfo=UTC).timestamp()


def test_a_start_that_is_to_come_is_waited_for():
    row = deployed(Cron(cron="0 * * * *", start=datetime(2026, 12, 1, tzinfo=UTC)), Catchup.ALL)
    assert row.next_at == datetime(2026, 12, 1, tzinfo=UTC).timestamp()


# --- redeploys -------------------------------------------------------------------------------------------------------


def again(row: TriggerRow, when: TimedSchedule, now: float, catchup: Catchup = Catchup.LATEST) -> TriggerRow:
    [made] = redeploy("w", [spec_of(when, catchup)], [row], now)
    return made


def test_a_schedule_that_is_as_it_was_stays_where_it_is():
    row = deployed(HOURLY)
    assert again(row, HOURLY, NOON + 9.5 * HOUR) == row


def test_another_policy_is_that_of_what_is_missed_already():
    row = again(deployed(HOURLY, Catchup.ALL), HOURLY, NOON + 9.5 * HOUR, Catchup.NONE)
    assert fire(row, NOON + 9.5 * HOUR)[0] == []


def test_a_changed_schedule_begins_now():
    """What was fired today at one is not fired today at two, because the time was changed at four."""
    row = deployed(Cron(cron="0 13 * * *"))
    due, row = fire(row, NOON + HOUR)
    assert since_noon(due) == [1]
    changed = again(row, Cron(cron="0 14 * * *"), NOON + 4 * HOUR)
    assert fire(changed, NOON + 5 * HOUR)[0] == []
    assert changed.next_at == NOON + 26 * HOUR


@pytest.mark.parametrize("hour", [12, 13, 14])
@pytest.mark.parametrize("catchup", [Catchup.ALL, Catchup.LATEST])
def test_a_changed_schedule_makes_up_for_what_the_old_one_had_missed(hour: int, catchup: Catchup):
    """Down from noon to four, over the time at which it was due; it comes back with a time before or after it."""
    row = deployed(Cron(cron="0 13 * * *"), catchup, NOON - 30 * HOUR)
    due, row = fire(row, NOON - 23 * HOUR)
    assert since_noon(due) == [-23]
    due, row = fire(again(row, Cron(cron=f"30 {hour} * * *"), NOON + 4 * HOUR, catchup), NOON + 4 * HOUR)
    assert since_noon(due) == [hour - 11.5]
    assert row.next_at == NOON + (hour + 12.5) * HOUR


def test_a_changed_schedule_does_not_go_back_to_its_start():
    """What was caught up is not caught up once more, because the time of day was changed."""
    old = Cron(cron="0 0 * * *", start=datetime(2026, 1, 1, tzinfo=UTC))
    _, row = fired_until(deployed(old, Catchup.ALL), NOON)
    new = Cron(cron="0 1 * * *", start=datetime(2026, 1, 1, tzinfo=UTC))
    assert fired_until(again(row, new, NOON, Catchup.ALL), NOON)[0] == []


def test_triggers_are_known_by_what_they_are():
    """One that was taken out does not move the others."""
    specs = [spec_of(HOURLY), spec_of(NIGHTLY)]
    rows = redeploy("w", specs, [], NOON)
    assert [row.no for row in rows] == [0, 1]
    [left] = redeploy("w", specs[1:], rows, NOON + 20 * HOUR)
    assert left == msgspec.structs.replace(rows[1], no=0)


def test_a_trigger_that_is_wrong_is_refused():
    with pytest.raises(DefinitionError, match="its minute is '61'"):
        begin("w", 0, TriggerSpec(kind="cron", spec={"cron": "61 * * * *"}), NOON)


# --- jitter ----------------------------------------------------------------------------------------------------------


def test_jitter_is_the_same_for_all_schedulers_and_other_for_all_workflows():
    when = Cron(cron="0 * * * *", jitter=600.0)
    rows = [begin(name, 0, spec_of(when), NOON) for name in ("a", "b", "c", "a")]
    late = [row.next_at - NOON - HOUR for row in rows if row.next_at is not None]
    assert late[0] == late[3]
    assert len(set(late)) == 3
    assert all(0 <= each < 600 for each in late)


def test_jitter_is_late_but_names_the_occurrence():
    row = deployed(Cron(cron="0 * * * *", jitter=600.0), Catchup.ALL)
    assert row.next_at is not None
    assert fire(row, row.next_at - 0.001)[0] == []
    due, after = fire(row, row.next_at)
    assert since_noon(due) == [1]
    assert after.next_at is not None
    assert NOON + 2 * HOUR <= after.next_at < NOON + 2 * HOUR + 600


@pytest.mark.parametrize("catchup", Catchup)
def test_jitter_that_is_longer_than_the_schedule_leaves_nothing_out(catchup: Catchup):
    row, found = deployed(Cron(cron="* * * * *", jitter=HOUR), catchup), list[float]()
    for second in range(0, 1201, 5):
        due, row = fire(row, NOON + second)
        found += due
    assert [(each - NOON) / 60 for each in found] in (list(range(1, 20)), list(range(1, 21)))


# --- names and what a run is about -----------------------------------------------------------------------------------


def test_an_occurrence_has_one_name():
    row = deployed(HOURLY)
    assert name_of(row, NOON) == "w#cron:2026-11-26T12:00:00+00:00"
    both = deployed(Union(parts=(HOURLY, Cron(cron="0 */2 * * *"))))
    due, _ = fire(both, NOON + 4 * HOUR)
    assert [name_of(both, at) for at in due] == ["w#union:2026-11-26T16:00:00+00:00"]


def test_what_a_run_is_about():
    about = schedules.about(NIGHTLY, datetime(2026, 10, 26, 1, tzinfo=UTC).timestamp())
    assert (about.start, about.end) == ("2026-10-25T00:00:00+00:00", "2026-10-26T01:00:00+00:00")  # 25 hours
    assert about.logical_date == about.end
    airflow = msgspec.structs.replace(NIGHTLY, logical=Edge.START)
    assert schedules.about(airflow, NOON).logical_date == schedules.about(airflow, NOON).start


def test_a_run_without_a_date_or_a_schedule_is_about_nothing():
    assert schedules.interval_for([spec_of(HOURLY)], None) is None
    assert schedules.interval_for([], "2026-11-26") is None
    assert schedules.interval_for([spec_of(AssetUpdates(op="asset", key="a"))], "2026-11-26") is None
    assert schedules.interval_for([spec_of(HOURLY)], "someday") is None
    assert schedules.interval_for([spec_of(HOURLY)], "2026-11-26") == (
        "2026-11-25T23:00:00+00:00",
        "2026-11-26T00:00:00+00:00",
    )


def test_upcoming_and_previous_are_bounded_by_the_schedule():
    eleven, two = (datetime(2026, 11, 26, hour, tzinfo=UTC) for hour in (11, 14))
    when = Cron(cron="0 * * * *", start=eleven, end=two)
    assert since_noon(schedules.upcoming(when, NOON, 5)) == [1]
    assert since_noon(schedules.previous(when, NOON, 5)) == [0, -1]
    assert following(when, NOON + HOUR) is None
