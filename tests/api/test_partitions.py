"""Assets with partitions: what runs say of them is counted and paged; ranges, dynamic keys and dimensions."""

from typing import Any

import pytest

from plait import DefinitionError, ParameterError, UsageError, asset, daily, materialize, static
from plait.authoring.partitions import PartitionMapping, Partitions, dynamic, monthly, multi, weekly, windows
from plait.runtime.session import Session
from plait.services.partitions import PartitionCounts, PartitionStatus, Status

days = daily("2026-01-01", end="2026-01-11")


def status(session: Session) -> PartitionStatus:
    return PartitionStatus(session.store, session.scheduler.clock)


def counts(session: Session, **partitions: Partitions) -> list[PartitionCounts]:
    found = status(session)
    return found.counts(found.spaces({key: each.slices for key, each in partitions.items()}))


def keys(session: Session, key: str, partitions: Partitions, *wanted: Status, **more: Any) -> list[str]:
    found = status(session)
    (space,) = found.spaces({key: partitions.slices}).values()
    return [each.key for each in found.page(key, space, status=wanted, **more).partitions]


def test_what_runs_say_of_partitions_is_counted(session: Session):
    @asset(partitions=days)
    def sales(context: Any) -> int:
        if context.partition_key == "2026-01-03":
            raise ValueError("no data")
        return 1

    @asset(partitions=days)
    def report(sales: int) -> int:
        return sales

    for key in ("2026-01-01", "2026-01-02"):
        materialize(sales, report, partition=key)
    with pytest.raises(ValueError, match="no data"):
        materialize(sales, report, partition="2026-01-03")
    whole = {"total": 10, "materialized": 2, "failed": 1, "in_progress": 0, "missing": 7}
    assert counts(session, sales=days, report=days) == [
        PartitionCounts(asset="sales", **whole), PartitionCounts(asset="report", **whole)
    ]  # fmt: skip
    assert keys(session, "sales", days, Status.FAILED) == ["2026-01-03"]
    assert keys(session, "sales", days, Status.MISSING, limit=2, offset=1) == ["2026-01-05", "2026-01-06"]
    assert keys(session, "sales", days, limit=2, newest=True) == ["2026-01-10", "2026-01-09"]
    assert keys(session, "sales", days, Status.MATERIALIZED, text="2026-01-02...2026-01-09") == ["2026-01-02"]


def test_a_definition_that_grows_keeps_what_is_known(session: Session):
    """Also where names are listed in another order, which are numbered otherwise."""

    @asset(partitions=static(["eu", "us"]))
    def sales() -> int:
        return 1

    materialize(sales, partition="us")
    more = static(["asia", "us", "eu"])
    assert keys(session, "sales", more, Status.MATERIALIZED) == ["us"]
    earlier = daily("2025-01-01")
    assert counts(session, sales=earlier)[0].materialized == 0


def test_dynamic_partitions_come_and_go(session: Session):
    shops = dynamic("shops")
    assert list(shops.keys()) == []
    shops.add("berlin", "paris")
    shops.add("paris", "rome")

    @asset(partitions=shops)
    def sales(context: Any) -> str:
        return context.partition_key

    assert materialize(sales, partition="paris") == {"sales": "paris"}
    with pytest.raises(ParameterError, match="no partition 'oslo'; there are: berlin, paris, rome"):
        materialize(sales, partition="oslo")
    shops.add("oslo")
    materialize(sales, partition="oslo")
    shops.remove("rome")
    assert list(shops.keys()) == ["berlin", "paris", "oslo"]
    assert keys(session, "sales", shops, Status.MATERIALIZED) == ["paris", "oslo"]
    assert counts(session, sales=shops)[0].missing == 1


def test_dimensions(session: Session):
    by_day = multi(region=static(["eu", "us"]), day=days, product=static(["tea", "mate", "coffee"]))

    @asset(partitions=by_day)
    def sales(context: Any) -> str:
        return context.partition_key

    assert materialize(sales, partition="2026-01-02|tea|us") == {"sales": "2026-01-02|tea|us"}
    assert counts(session, sales=by_day)[0].missing == 10 * 2 * 3 - 1
    assert keys(session, "sales", by_day, text="2026-01-01...2026-01-02|tea|*") == [
        "2026-01-01|tea|eu", "2026-01-01|tea|us", "2026-01-02|tea|eu", "2026-01-02|tea|us",
    ]  # fmt: skip
    begin, end = by_day.window("2026-01-02|tea|us")
    assert (begin.day, end.day) == (2, 3)


def test_a_run_over_a_range_counts_all_of_it(session: Session):
    @asset(partitions=days)
    def sales(context: Any) -> int:
        with pytest.raises(UsageError, match=r"a range of 4 partitions"):
            _ = context.partition_key
        begin, end = context.partition_window
        assert (begin.day, end.day) == (2, 6)
        return len(context.partition_keys)

    assert materialize(sales, partition="2026-01-02...2026-01-05") == {"sales": 4}
    assert counts(session, sales=days)[0].materialized == 4


# --- mappings ---------------------------------------------------------------------------------------------------------


def test_a_week_is_made_from_its_days(session: Session):
    @asset(partitions=days)
    def sales(context: Any) -> int:
        return int(context.partition_key[-2:])

    @asset(partitions=weekly("2026-01-01", end="2026-01-11", day="monday"))
    def week(sales: dict[str, int]) -> int:
        assert next(iter(sales)) == "2026-01-05"
        return sum(sales.values())

    for day in range(5, 8):
        materialize(sales, partition=f"2026-01-{day:02}")
    with pytest.raises(LookupError, match=r"3 of the 6 partitions of 'sales' .* 2026-01-08, 2026-01-09, 2026-01-10"):
        materialize(sales, week, partition="2026-01-05", select="week")
    for day in range(8, 11):
        materialize(sales, partition=f"2026-01-{day:02}")
    assert materialize(sales, week, partition="2026-01-05", select="week") == {"week": 45}


def test_what_is_made_from_its_own_past(session: Session):
    """The first partition has nothing before it."""

    @asset(partitions=days)
    def sales(context: Any) -> int:
        return int(context.partition_key[-2:])

    @asset(partitions=days, deps=[PartitionMapping.windows(-1).of("balance")])
    def balance(balance: int | None, sales: int) -> int:
        return (balance or 0) + sales

    assert materialize(sales, balance, partition="2026-01-01")["balance"] == 1
    assert materialize(sales, balance, partition="2026-01-02")["balance"] == 3
    assert materialize(sales, balance, partition="2026-01-03")["balance"] == 6
    with pytest.raises(LookupError, match="'balance' is not selected and was never materialized"):
        materialize(sales, balance, partition="2026-01-05")


def test_the_last_days_all_of_them_and_one_dimension(session: Session):
    @asset(partitions=days)
    def sales(context: Any) -> int:
        return int(context.partition_key[-2:])

    @asset(partitions=days, deps=[PartitionMapping.windows(-2, 0).of(sales)])
    def trend(sales: dict[str, int]) -> int:
        return sum(sales.values())

    @asset
    def total(sales: dict[str, int]) -> int:
        return len(sales)

    @asset(deps=[PartitionMapping.last().of(sales)])
    def latest(sales: int) -> int:
        return sales

    @asset(partitions=multi(day=days, region=static(["eu", "us"])))
    def split(context: Any, sales: int) -> tuple[str, int]:
        return context.partition_dimensions["region"], sales

    for day in range(1, 10):
        materialize(sales, trend, partition=f"2026-01-{day:02}")
    assert materialize(sales, trend, partition="2026-01-10") == {
        "sales": 10,
        "trend": 27,
    }  # also of the partition that the same run has just made
    assert materialize(sales, total, select="total") == {"total": 10}
    assert materialize(sales, latest, select="latest") == {"latest": 10}
    assert materialize(sales, split, select="split", partition="2026-01-03|us") == {"split": ("us", 3)}


def test_partitions_that_do_not_fit_together_are_told(session: Session):
    @asset(partitions=static(["a", "b"]))
    def letters() -> int:
        return 1

    @asset(partitions=static(["1", "2"]))
    def numbers(letters: int) -> int:
        return 1

    with pytest.raises(DefinitionError, match=r"'numbers' is made from 'letters': nothing says which partitions"):
        materialize(letters, numbers, partition="1", select="numbers")

    @asset(partitions=static(["1", "2"]), deps=[PartitionMapping.table({"1": "a", "2": ["a", "b"]}).of(letters)])
    def mapped(letters: Any) -> Any:
        return letters

    for key in ("a", "b"):
        materialize(letters, partition=key)
    assert materialize(letters, mapped, partition="1", select="mapped") == {"mapped": 1}
    assert materialize(letters, mapped, partition="2", select="mapped") == {"mapped": {"a": 1, "b": 1}}


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: daily("January"), "is not a date for daily partitions"),
        (lambda: daily("2026-01-01", tz="Mars/Base"), "is not a time zone"),
        (lambda: daily("2026-01-01", format="%Y-%m"), "several windows the same key"),
        (lambda: daily("2026-01-01", format="%Y...%m-%d"), "in it"),
        (lambda: weekly("2026-01-01", day="someday"), "there is no weekday 'someday'"),
        (lambda: monthly("2026-01-01", day=31), "not every month has a day 31"),
        (lambda: windows("61 * * * *", start="2026-01-01"), "its minute is '61'"),
        (lambda: static([]), "need names"),
        (lambda: static(["a...b"]), "is not a partition's name"),
        (lambda: dynamic(""), "no name for dynamic"),
        (lambda: multi(a=static(["x"])), "are two at least"),
        (lambda: multi(a=static(["x|y"]), b=days), r"no '|'"),
        (lambda: multi(a=multi(b=days, c=days), d=days), "the dimension 'a' is"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_where_it_is_written(make: Any, message: str):
    with pytest.raises(DefinitionError, match=message) as caught:
        make()
    assert "test_partitions.py" in str(caught.value)


def test_keys_and_windows_are_as_users_expect():
    assert next(daily("2026-03-28", end="2026-03-31", tz="Europe/Berlin", hour=6).keys()) == "2026-03-28"
    week = weekly("2026-01-01", end="2026-02-01", day="monday", tz="Europe/Berlin")
    assert list(week.keys()) == ["2026-01-05", "2026-01-12", "2026-01-19", "2026-01-26"]
    month = monthly("2026-01-01", end="2026-04-01", format="%Y-%m")
    assert list(month.keys()) == ["2026-01", "2026-02", "2026-03"]
    assert month.count() == 3
    shifts = windows("0 9,17 * * MON-FRI", start="2026-01-02", end="2026-01-06")
    assert list(shifts.keys()) == ["2026-01-02-09:00", "2026-01-02-17:00", "2026-01-05-09:00", "2026-01-05-17:00"]
    begin, end = shifts.window("2026-01-02-17:00")
    assert (begin.isoformat(), end.isoformat()) == ("2026-01-02T17:00:00+00:00", "2026-01-05T09:00:00+00:00")
