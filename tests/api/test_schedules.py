"""Schedules of updates, events and times, as they are written."""

from typing import Any, cast

import pytest

import plait
from plait import DefinitionError, ParameterError, asset, context, cron, event, external, flow, multi_asset, updated
from plait.engine.schedule_specs import describe
from plait.model.schedules import AllOf, AnyOf, AssetCondition, AssetUpdates, Cron, Event
from plait.services.views import started_by


@asset
def orders(): ...


def test_expressions_are_flat_where_they_can_be():
    a, b, c = (AssetCondition(op="asset", key=key) for key in "abc")
    assert updated("a").when == AssetUpdates(op="asset", key="a")
    assert updated("a", "b", "a").when == (updated("a") & updated("b")).when == AssetUpdates(op="all", parts=(a, b))
    assert (updated("a") | updated("b") | updated("c")).when == AssetUpdates(op="any", parts=(a, b, c))
    both = AssetCondition(op="all", parts=(b, c))
    assert (updated("a") | updated("b", "c")).when == AssetUpdates(op="any", parts=(a, both))
    assert (event("e") & updated("a") & cron("0 6 * * *")).when == AllOf(
        parts=(Event(name="e"), AssetUpdates(op="asset", key="a"), Cron(cron="0 6 * * *"))
    )
    assert (cron("0 6 * * *") | event("e", {"n": 1})).when == AnyOf(
        parts=(Cron(cron="0 6 * * *"), Event(name="e", match={"n": 1}))
    )
    assert "event e and (0 6 * * * or asset a)" in repr(event("e") & (cron("0 6 * * *") | updated("a")))


def test_assets_are_named_by_what_they_are():
    @multi_asset(outs={"x": plait.Out(), "y": plait.Out()})
    def several(): ...

    found = updated(orders, external("outside"), several).when
    assert describe(found) == "asset orders and asset outside and asset x and asset y"


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (updated, "at least one asset"),
        (lambda: updated(3), "3 is not an asset"),
        (lambda: event(""), "is not an event to wait for"),
        (lambda: event("e", {"x": object()}), "is not an event to wait for"),
        (lambda: updated("a") - cron("@daily"), "'asset a' is no schedule of times"),
        (lambda: cron("@daily") - updated("a"), "'asset a' is no schedule of times"),
        (lambda: (updated("a") | cron("@daily")).jitter(5), "is no schedule of times, which 'jitter' is for"),
        (lambda: updated("a").between("2026-01-01"), "is no schedule of times, which 'between' is for"),
        (lambda: updated("a") & cron("@daily").jitter(5), "has no jitter of its own"),
        (lambda: updated("a") & cast(Any, "b"), "'b' is not a schedule, so there is no & with one"),
    ],
)
def test_what_is_no_schedule_is_told_with_its_line(made, told: str):
    with pytest.raises(DefinitionError) as caught:
        made()
    assert told in str(caught.value)
    assert "test_schedules.py" in str(caught.value)


def test_a_run_that_is_started_by_hand_is_told_of_nothing(session):
    @flow(schedule=updated(orders))
    def f():
        return [context().updates, context().events]

    assert f() == [[], []]


def test_events_are_published_from_python(session):
    id = plait.publish("ready", {"n": [1]})
    found = session.store.signals.published(name="ready")
    assert [(row.id, row.data) for row in found] == [(id, b'{"n":[1]}')]
    with pytest.raises(ParameterError, match="are not plain data"):
        plait.publish("ready", object())


def test_what_has_started_a_run_is_told():
    at = 1_767_225_600.0
    extra = {
        "asset_events": [{"key": "a", "partition": "", "run_id": "r1", "at": at}],
        "events": [{"name": "e", "data": {"n": 1}, "at": at, "id": "x"}],
    }
    update, told = started_by(extra)
    assert (update.asset, update.partition, update.run_id, update.at) == ("a", None, "r1", "2026-01-01T00:00:00.000Z")
    assert (told.event, told.data) == ("e", {"n": 1})
    assert started_by({}) == []
