"""Triggers that wait for updates, events, and expressions of these and of times."""

from datetime import UTC, datetime

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from plait.engine import conditions, schedules
from plait.engine.conditions import MOST_BYTES, MOST_EVENTS, Fired, advance
from plait.engine.schedule_specs import spec_of
from plait.model.assets import HistoryEvent
from plait.model.errors import DefinitionError
from plait.model.graph import TriggerSpec
from plait.model.rows import SignalRow, TriggerRow
from plait.model.schedules import AllOf, AnyOf, AssetCondition, AssetUpdates, Catchup, Cron, Event, Interval, When

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC).timestamp()
HOUR = 3600.0
DAILY = Cron(cron="0 6 * * *")
A, B, C = (AssetUpdates(op="asset", key=key) for key in "abc")
READY = Event(name="ready")
SPEC = "77e8ab0335b8c9b7"
"""Of a time and an asset."""


def both(*keys: str) -> AssetUpdates:
    return AssetUpdates(op="all", parts=tuple(AssetCondition(op="asset", key=key) for key in keys))


def update(key: str, no: int = 1, at: float = NOON, **about) -> SignalRow:
    data = msgspec.json.encode(HistoryEvent(**about))
    return SignalRow(id=no, subject=f"asset:{key}", kind="materialized", at=at, source=f"run-{no}", data=data)


def event(data: object, no: int = 1, name: str = "ready") -> SignalRow:
    return SignalRow(
        id=no, subject=f"event:{name}", kind="event", at=NOON, source=f"e{no}", data=msgspec.json.encode(data)
    )


def trigger(when: When, now: float = NOON) -> TriggerRow:
    [row] = schedules.redeploy("w", [spec_of(when)], [], now)
    return row


def keys(fired: list[Fired]) -> list[list[str]]:
    return [[each["key"] for each in one.extra["asset_events"]] for one in fired]


def play(row: TriggerRow, updates: str, room: int = 100) -> tuple[list[list[str]], TriggerRow]:
    """Updates of these assets, one after the other."""
    fired, row = advance(row, [update(key, no) for no, key in enumerate(updates, 1)], NOON, room)
    return keys(fired), row


@pytest.mark.parametrize(
    ("when", "updates", "runs"),
    [
        (A, "aa", [["a"], ["a"]]),
        (both("a", "b"), "aabba", [["a", "a", "b"], ["b", "a"]]),
        (AnyOf(parts=(A, B)), "ab", [["a"], ["b"]]),
        (AnyOf(parts=(A, AllOf(parts=(B, C)))), "bacb", [["b", "a"], ["c", "b"]]),
        (AllOf(parts=(A, AnyOf(parts=(B, C)))), "bca", [["b", "c", "a"]]),
    ],
)
def test_it_fires_each_time_it_comes_to_hold_and_then_counts_from_nothing(when: When, updates: str, runs):
    found, row = play(trigger(when), updates)
    assert found == runs
    assert row.next_at is None
    one_by_one: list[list[str]] = []
    row = trigger(when)
    for no, key in enumerate(updates, 1):
        fired, row = advance(row, [update(key, no)], NOON, 100)
        one_by_one += keys(fired)
    assert one_by_one == runs


def test_what_nobody_waits_for_changes_nothing():
    row = trigger(both("a", "b"))
    fired, after = advance(row, [update("c"), event({})], NOON, 100)
    assert (fired, after) == ([], row)
    assert row.awaits == ("asset:a", "asset:b")


def test_a_run_is_told_what_it_was_started_by():
    fired, _ = advance(trigger(both("a", "b")), [update("a", 7, NOON + 1), update("b", 8, NOON + 2, metadata={"rows": 3})], NOON + 3, 1)  # fmt: skip  # noqa: E501
    [one] = fired
    assert one.occurrence == "w#asset.cf0dd658994bddb3:8"
    assert one.at == NOON + 2
    first, second = one.extra["asset_events"]
    assert first == {
        "key": "a", "partition": "", "at": NOON + 1, "run_id": "run-7", "no": 0, "workflow": "", "task": ""
    }  # fmt: skip
    assert second["metadata"] == {"rows": 3}


def test_metadata_that_are_too_large_are_left_out():
    fired, _ = advance(trigger(A), [update("a", metadata={"text": "x" * 5000}), update("a", metadata={"n": 10**30})], NOON, 9)  # fmt: skip  # noqa: E501
    assert ["metadata" in one.extra["asset_events"][0] for one in fired] == [False, False]


# --- events ----------------------------------------------------------------------------------------------------------


def test_an_event_counts_if_its_data_have_the_values_that_are_named():
    row = trigger(Event(name="ready", match={"region": "eu", "n": 1}))
    told = [{"region": "us", "n": 1}, {"region": "eu", "n": 1, "more": [1]}, {"region": "eu"}, [1], None]
    fired, _ = advance(row, [event(data, no) for no, data in enumerate(told, 1)], NOON, 100)
    assert [one.extra["events"] for one in fired] == [
        [{"name": "ready", "id": "e2", "at": NOON, "data": {"region": "eu", "n": 1, "more": [1]}}]
    ]


@pytest.mark.parametrize(
    ("wanted", "data", "counts"),
    [(1, True, False), (True, 1, False), (True, True, True), (1, 1.0, True), ([0], [False], False),
     ({"a": 1}, {"a": 1}, True), ({"a": 1}, {"a": True}, False), ((1, 2), [1, 2], True), ([1], [1, 2], False),
     (None, None, True)],
)  # fmt: skip
def test_true_is_no_number(wanted: object, data: object, counts: bool):
    fired, _ = advance(trigger(Event(name="ready", match={"n": wanted})), [event({"n": data})], NOON, 100)
    assert bool(fired) == counts


def test_events_of_one_name_with_other_values_are_two_things():
    row = trigger(
        AllOf(parts=(Event(name="ready", match={"region": "eu"}), Event(name="ready", match={"region": "us"})))
    )
    fired, row = advance(row, [event({"region": "eu"}, 1), event({"region": "eu"}, 2)], NOON, 100)
    assert fired == []
    fired, _ = advance(row, [event({"region": "us"}, 3)], NOON, 100)
    assert [each["id"] for each in fired[0].extra["events"]] == ["e1", "e2", "e3"]


# --- with times ------------------------------------------------------------------------------------------------------


def test_alternatives_with_a_time_are_triggers_of_their_own():
    """The time takes away nothing of what the others have counted (Airflow's AssetOrTimeSchedule)."""
    either = spec_of(AnyOf(parts=(both("a", "b"), AnyOf(parts=(DAILY, READY)))), Catchup.ALL)
    rows = schedules.redeploy("w", [either], [], NOON)
    assert [(row.no, row.kind, row.catchup) for row in rows] == [(0, "cron", Catchup.ALL), (1, "any", Catchup.ALL)]
    assert rows[0].next_at == NOON + 18 * HOUR
    assert rows[1].next_at is None
    assert rows[1].awaits == ("asset:a", "asset:b", "event:ready")


def test_a_time_in_an_expression_has_happened_when_it_has_come_since_the_last_run():
    row = trigger(AllOf(parts=(DAILY, A)))
    assert row.next_at == NOON + 18 * HOUR
    fired, row = advance(row, [update("a")], NOON + HOUR, 100)
    assert fired == []
    fired, row = advance(row, [], NOON + 18 * HOUR, 100)
    assert [one.occurrence for one in fired] == [f"w#all.{SPEC}:2026-11-27T06:00:00+00:00"]
    assert row.next_at == NOON + 42 * HOUR
    fired, row = advance(row, [], NOON + 90 * HOUR, 100)
    assert (fired, row.next_at) == ([], None), "the time has come; it is not waited for once more"
    fired, row = advance(row, [update("a", 2), update("a", 3)], NOON + 91 * HOUR, 100)
    assert len(fired) == 1, "the times of three days are one"
    assert row.next_at == NOON + 114 * HOUR


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["a", "b", "tick", "tock"]), max_size=25),
    st.sampled_from(
        [both("a", "b"), AllOf(parts=(A, Interval(seconds=HOUR, anchor=datetime(2026, 1, 1, tzinfo=UTC))))]
    ),
)
def test_whenever_it_is_looked_at_each_update_is_in_one_run_or_waits(steps: list[str], when: When):
    row, now, told, seen = trigger(when), NOON, [], []
    for no, step in enumerate(steps, 1):
        now += HOUR * 0.7
        signals = [update(step, no, now)] if len(step) == 1 else []
        if step == "tick":
            signals = [update("a", no, now)]
        seen += [signal.source for signal in signals if signal.subject.removeprefix("asset:") in str(row.awaits)]
        fired, row = advance(row, signals, now, 100)
        told += [each["run_id"] for one in fired for each in one.extra["asset_events"]]
    waits = [each["run_id"] for _, each in conditions.standing_of(row).events]
    assert told + waits == seen
    assert row.next_at is None or row.next_at > now


# --- bounds ----------------------------------------------------------------------------------------------------------


def test_what_comes_while_there_is_no_room_is_gathered_into_one_run():
    row = trigger(A)
    found, row = play(row, "aaaa", room=1)
    assert found == [["a"]]
    assert row.next_at == NOON
    fired, row = advance(row, [], NOON + 1, 1)
    assert [[each["run_id"] for each in one.extra["asset_events"]] for one in fired] == [["run-2", "run-3", "run-4"]]
    assert row.next_at is None


def test_a_run_is_told_of_the_last_updates_and_how_many_are_left_out():
    _, row = play(trigger(both("a", "b")), "c" + "a" * 500)
    assert len(row.state) < 20_000
    fired, _ = advance(row, [update("b", 999)], NOON, 1)
    [one] = fired
    assert len(one.extra["asset_events"]) == MOST_EVENTS
    assert one.extra["events_left_out"] == 501 - MOST_EVENTS
    assert one.extra["asset_events"][-2]["run_id"] == "run-501"


def test_of_everything_that_it_waits_for_the_last_is_told():
    names = [f"k{no}" for no in range(MOST_EVENTS + 20)]
    signals = [update(name, no) for no, name in enumerate([*names[:-1], *names[:-1], names[-1]], 1)]
    [one], _ = advance(trigger(both(*names)), signals, NOON, 1)
    assert sorted(each["key"] for each in one.extra["asset_events"]) == sorted(names)


def test_large_events_are_left_out_when_later_ones_came():
    row = trigger(AllOf(parts=(READY, A)))
    signals = [event("x" * 30_000, no) for no in range(1, 30)]
    fired, row = advance(row, signals, NOON, 1)
    assert fired == []
    assert len(row.state) < MOST_BYTES * 1.1
    [one], _ = advance(row, [update("a", 99)], NOON, 1)
    assert one.extra["events"][-1]["id"] == "e29"


# --- deployments -----------------------------------------------------------------------------------------------------


def test_a_redeploy_keeps_what_was_counted():
    _, row = play(trigger(both("a", "b")), "a")
    [same] = schedules.redeploy("w", [spec_of(both("a", "b"))], [row], NOON + HOUR)
    assert same == row
    [other] = schedules.redeploy("w", [spec_of(both("a", "c"))], [row], NOON + HOUR)
    assert play(other, "c")[0] == [["a", "c"]]
    [less] = schedules.redeploy("w", [spec_of(both("b", "c"))], [row], NOON + HOUR)
    assert less.state == b""
    [now] = schedules.redeploy("w", [spec_of(AnyOf(parts=(A, C)))], [row], NOON + HOUR)
    assert now.next_at == NOON + HOUR, "it holds of what was counted"
    times, counts = schedules.redeploy("w", [spec_of(AnyOf(parts=(DAILY, both("a", "b"))))], [row], NOON + HOUR)
    assert times.kind == "cron"
    assert play(counts, "b")[0] == [["a", "b"]]


def test_what_was_there_when_it_was_deployed_does_not_count():
    [row] = schedules.redeploy("w", [spec_of(both("a", "b"))], [], NOON, 3)
    assert play(row, "ababa")[0] == [["b", "a"]]
    _, row = play(row, "aaaa")
    [other] = schedules.redeploy("w", [spec_of(both("a", "c"))], [row], NOON, 6)
    assert play(other, "cccccccc")[0] == [["a", "c"]], "of what is new in it, what comes from now on"
    assert play(other, "aaaacc")[0] == []
    [same] = schedules.redeploy("w", [spec_of(both("a", "b"))], [row], NOON, 9)
    assert same == row


def test_two_triggers_that_change_places_have_other_occurrences():
    first, second = Event(name="ready", match={"k": 1}), Event(name="ready", match={"j": 1})
    rows = schedules.redeploy("w", [spec_of(first), spec_of(second)], [], NOON)
    signal = event({"k": 1, "j": 1})
    names = [advance(row, [signal], NOON, 1)[0][0].occurrence for row in rows]
    swapped = schedules.redeploy("w", [spec_of(second), spec_of(first)], rows, NOON)
    assert len(set(names)) == 2
    assert [advance(row, [signal], NOON, 1)[0][0].occurrence for row in swapped] == names[::-1]


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        (TriggerSpec(kind="asset", spec={"op": "both", "parts": []}), "asset, all or any, not 'both'"),
        (TriggerSpec(kind="asset", spec={"op": "all"}), "`all` and `any` have parts"),
        (TriggerSpec(kind="any", spec={"parts": []}), "length >= 1"),
        (TriggerSpec(kind="event", spec={"name": ""}), "length >= 1 - at `name`"),
        (spec_of(AllOf(parts=(A, msgspec.structs.replace(DAILY, jitter=5.0)))), "has no jitter of its own"),
        (spec_of(AllOf(parts=(A, Cron(cron="0 0 30 2 *")))), "no such day ever comes"),
    ],
)
def test_a_wrong_expression_is_refused_with_what_is_wrong(spec: TriggerSpec, told: str):
    with pytest.raises(DefinitionError) as caught:
        schedules.redeploy("w", [spec], [], NOON)
    assert told in str(caught.value)


def test_an_alternative_has_a_jitter_of_its_own():
    [row, _] = schedules.redeploy(
        "w", [spec_of(AnyOf(parts=(msgspec.structs.replace(DAILY, jitter=5.0), A)))], [], NOON
    )
    assert row.next_at is not None
    assert NOON + 18 * HOUR <= row.next_at < NOON + 18 * HOUR + 5
