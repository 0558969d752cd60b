"""Assets made from other partitions than their own are stale when one of these was made anew, and only then."""

from typing import Any

import pytest

from plait import PartitionMapping, asset, daily, hourly, materialize, monthly, static
from plait.authoring.definitions import Definitions
from plait.engine.assets.index import Deployed, Source
from plait.engine.partitions.answers import MappingUnknown
from plait.runtime.session import Session
from plait.services.assets import Assets

days = daily("2026-01-01", end="2026-02-01")
hours = hourly("2026-01-01", end="2026-01-03")


def defined(*assets: Any) -> Definitions:
    """Assets by themselves."""
    found = Definitions()
    for each in assets:
        found.add(each, "")
    return found


def causes(session: Session, *assets: Any, partition: str | None = None) -> dict[str, list[str]]:
    """What is stale, and why."""
    graph = defined(*assets).asset_index().graph
    found = Assets(session.store, session.scheduler.clock, Deployed(graph, {}))
    return {view.key: view.causes for view in found.stale(None, partition)}


def test_days_from_hours_months_from_days_and_the_whole(session: Session):
    @asset(partitions=hours)
    def clicks(context: Any) -> str:
        return context.partition_key

    @asset(partitions=days, deps=[clicks])
    def day() -> int:
        return 1

    @asset(partitions=monthly("2026-01-01", end="2026-02-01"), deps=[day])
    def month() -> int:
        return 1

    @asset(deps=[month])
    def total() -> int:
        return 1

    every = (clicks, day, month, total)
    materialize(*every, partition="2026-01-01-00:00", select="clicks")
    for key in ("2026-01-01", "2026-01-02"):
        materialize(*every, partition=key, select="day")
    materialize(*every, partition="2026-01-01", select="month")
    materialize(*every, select="total")
    assert causes(session, *every) == {}
    materialize(*every, partition="2026-01-01-05:00", select="clicks")
    assert causes(session, *every) == {"day": ["upstream clicks has newer data for 2026-01-01-05:00"]}, (
        "it is not the day that was made last"
    )
    assert causes(session, *every, partition="2026-01-02")["clicks"] == ["never materialized"]
    assert "day" not in causes(session, *every, partition="2026-01-02")
    materialize(*every, partition="2026-01-01", select="day")
    assert causes(session, *every) == {"month": ["upstream day has newer data for 2026-01-01"]}
    materialize(*every, partition="2026-01-01", select="month")
    assert causes(session, *every) == {"total": ["upstream month has newer data for 2026-01-01"]}
    assert materialize(*every, select="stale") == {"total": 1}, "a selection agrees"
    assert causes(session, *every) == {}


def test_offsets_and_what_is_made_from_its_own_past(session: Session):
    @asset(partitions=days)
    def sales() -> int:
        return 1

    @asset(partitions=days, deps=[PartitionMapping.windows(-2, -1).of(sales)])
    def trend() -> int:
        return 1

    @asset(partitions=days, deps=[PartitionMapping.windows(-1).of("balance")])
    def balance(balance: int | None) -> int:
        return (balance or 0) + 1

    every = (sales, trend, balance)
    for day in ("2026-01-01", "2026-01-02", "2026-01-03"):
        materialize(sales, trend, balance, partition=day, select="sales")
        materialize(sales, trend, balance, partition=day, select="trend or balance")
    assert causes(session, *every) == {}
    materialize(*every, partition="2026-01-01", select="sales")
    assert causes(session, *every) == {"trend": ["upstream sales has newer data for 2026-01-01"]}
    assert causes(session, *every, partition="2026-01-03") == causes(session, *every)
    assert causes(session, *every, partition="2026-01-01") == {}
    materialize(*every, partition="2026-01-01", select="balance")
    assert causes(session, *every)["balance"] == ["upstream balance has newer data for 2026-01-01"]


def test_the_same_data_made_again_makes_nothing_stale(session: Session):
    @asset(partitions=days)
    def sales(context: Any) -> int:
        context.data_version = "as ever"
        return 1

    @asset(code_version="1", deps=[sales])
    def total() -> int:
        return 1

    @asset(code_version="1", deps=[total])
    def report() -> int:
        return 1

    every = (sales, total, report)
    materialize(*every, partition="2026-01-01", select="sales")
    materialize(*every, select="total or report")
    materialize(*every, partition="2026-01-01", select="sales")
    assert causes(session, *every) == {}
    materialize(*every, select="total")
    assert causes(session, *every) == {}, "the total has come out as before"
    materialize(*every, partition="2026-01-02", select="sales")
    assert causes(session, *every)["total"] == ["upstream sales has newer data for 2026-01-02"]
    materialize(*every, select="total")
    assert causes(session, *every) == {"report": ["upstream total has newer data version"]}


def test_a_range_is_told_as_one(session: Session):
    @asset(partitions=days)
    def sales(context: Any) -> int:
        return len(context.partition_keys)

    @asset(deps=[sales])
    def total() -> int:
        return 1

    materialize(sales, total, select="total")
    materialize(sales, total, partition="2026-01-04...2026-01-09", select="sales")
    assert causes(session, sales, total) == {"total": ["upstream sales has newer data for 2026-01-04...2026-01-09"]}


def swap(keys: list[str]) -> list[str]:
    """A custom mapping."""
    return [{"a": "x", "b": "y"}[key] for key in keys]


def breaks(keys: list[str]) -> list[str]:
    """One that does not work."""
    raise ValueError(keys)


letters, others = static(["x", "y"]), static(["a", "b"])


@asset(partitions=letters)
def letter() -> int:
    """The upstream one."""
    return 1


@asset(partitions=others, deps=[PartitionMapping.custom(swap).of(letter)])
def other() -> int:
    """Made from another letter."""
    return 1


@asset(partitions=others, deps=[PartitionMapping.custom(breaks).of(letter)])
def broken() -> int:
    """Nobody knows from which letter."""
    return 1


def test_custom_mappings_are_asked_in_another_process(session: Session):
    """One that fails is told, with its place; the assets above are not stale for that."""
    for each in (letter, other):
        materialize(letter, other, partition="x" if each is letter else "a", select=each.key)
    graph = defined(letter, other).asset_index().graph
    sources = {"other": Source(__file__, __file__)}

    def stale() -> dict[str, list[str]]:
        found = Assets(session.store, session.scheduler.clock, Deployed(graph, sources))
        return {view.key: view.causes for view in found.stale()}

    assert stale() == {}
    materialize(letter, other, partition="y", select="letter")
    assert stale() == {}
    materialize(letter, other, partition="x", select="letter")
    assert stale() == {"other": ["upstream letter has newer data for x"]}
    with pytest.raises(MappingUnknown, match="raised for 'a': ValueError"):
        materialize(letter, broken, partition="a", select="broken")
