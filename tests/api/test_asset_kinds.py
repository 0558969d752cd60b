"""Several assets from one function, assets of others, checks, versions and history, as a user sees them."""

from typing import Any

import msgspec
import pytest

from plait import (
    CheckResult,
    DefinitionError,
    Out,
    TaskFailed,
    UsageError,
    asset,
    check,
    daily,
    external,
    fresh,
    materialize,
    multi_asset,
    observe,
)
from plait.authoring.definitions import Definitions
from plait.engine.assets.staleness import Known, Status, assess
from plait.model.assets import AssetKind, HistoryEvent
from plait.runtime.session import Session
from tests.api.helpers import Tally, states


def defined(*made: Any) -> Definitions:
    found = Definitions()
    for each in made:
        found.add(each, "here.py")
    return found


# --- several ----------------------------------------------------------------------------------------------------------


@asset
def source() -> int:
    return 10


@multi_asset(outs={"users": Out(group="raw", code_version="1"), "orders": Out(required=False)}, subset=True, retries=1)
def load(context: Any, source: int) -> dict[str, int]:
    found = {"users": source + 1, "orders": source + 2}
    context.add_asset_metadata("users", rows=len(context.selected))
    return {key: found[key] for key in context.selected}


@asset
def report(orders: int) -> int:
    return orders * 2


def test_several_assets_are_made_by_one_task(session: Session):
    assert materialize(source, load, report) == {"source": 10, "users": 11, "orders": 12, "report": 24}
    assert states(session) == {"source": "success", "load": "success", "report": "success"}
    rows = {row.key: row for row in session.store.assets()}
    assert rows["users"].no == rows["orders"].no
    assert (rows["users"].metadata, rows["orders"].metadata) == (b'{"rows":2}', None)
    assert rows["users"].code_version == "1"
    assert load.keys == ("users", "orders")


def test_some_of_them_are_made_where_the_function_can(session: Session):
    materialize(source, load, report)
    assert materialize(source, load, report, select="users") == {"users": 11}
    assert [row.key for row in session.store.assets() if b'"rows":1' in (row.metadata or b"")] == ["users"]


def test_all_of_them_are_made_where_it_cannot(session: Session):
    @multi_asset(outs=["a", "b"])
    def both() -> dict[str, int]:
        return {"a": 1, "b": 2}

    assert materialize(both, select="a") == {"a": 1, "b": 2}


def test_one_that_may_be_left_out_skips_what_is_made_from_it(session: Session):
    @multi_asset(outs={"good": Out(), "bad": Out(required=False)})
    def split() -> dict[str, int]:
        return {"good": 1}

    @asset
    def from_good(good: int) -> int:
        return good

    @asset
    def from_bad(bad: int) -> int:
        return bad

    assert materialize(split, from_good, from_bad) == {"good": 1, "from_good": 1}
    assert states(session)["from_bad"] == "skipped"
    assert {row.key for row in session.store.assets()} == {"good", "from_good"}


def test_one_that_must_not_be_left_out_fails(session: Session):
    @multi_asset(outs=["good", "bad"])
    def split() -> dict[str, int]:
        return {"good": 1}

    with pytest.raises(TaskFailed, match="required output 'bad' was not emitted"):
        materialize(split)


def test_each_has_its_own_upstream():
    @multi_asset(outs={"a": Out(deps=["source"]), "b": Out(deps=[external("x")])})
    def both() -> dict[str, int]:
        return {}

    index = defined(both, source, external("x")).asset_index()
    assert (index.upstream["a"], index.upstream["b"]) == (("source",), ("x",))
    assert both["a"] == "a"
    with pytest.raises(KeyError, match="makes a, b, not 'c'"):
        both["c"]


# --- assets of others -------------------------------------------------------------------------------------------------


def test_external_assets_are_known_and_not_made(session: Session):
    clicks = external("clicks", kinds=["s3"], owners=["web"], metadata={"url": "s3://lake"})

    @asset(deps=[clicks])
    def visits() -> int:
        return 3

    assert materialize(clicks, visits) == {"visits": 3}
    spec = defined(clicks, visits).asset_index().specs["clicks"]
    assert (spec.kind, spec.kinds, spec.metadata) == (AssetKind.EXTERNAL, ("s3",), {"url": "s3://lake"})
    with pytest.raises(UsageError, match="nothing is to be made"):
        materialize(clicks)
    with pytest.raises(DefinitionError, match="external has no option 'code_version'"):
        external("x", code_version="1")


def test_what_is_observed_makes_stale_what_is_made_from_it(session: Session):
    revision = ["7"]

    @observe(key="prices", group="outside")
    def look() -> str:
        return revision[0]

    @asset(deps=[look])
    def offer() -> int:
        return 1

    found = defined(look, offer)

    def status() -> tuple[Status, list[str]]:
        index = found.asset_index()
        each = assess(index, Known(index, session.store, None, session.scheduler.clock.now()))["offer"]
        return each.status, [cause.text for cause in each.causes]

    assert materialize(look, offer) == {"offer": 1}
    assert status() == (Status.FRESH, [])
    assert materialize(look, offer, select="prices") == {}
    assert status() == (Status.FRESH, [])
    revision[0] = "8"
    materialize(look, offer, select="prices")
    assert status() == (Status.STALE, ["upstream prices has newer data version"])
    assert [row.kind for row in session.store.asset_history("prices")] == ["observed"] * 3
    assert materialize(look, offer, select="stale") == {"offer": 1}
    assert status() == (Status.FRESH, [])


# --- checks -----------------------------------------------------------------------------------------------------------


def history(session: Session, key: str, kind: str) -> list[tuple[str, HistoryEvent]]:
    rows = session.store.asset_history(key, kinds=[kind])
    return [(row.name, msgspec.json.decode(row.data, type=HistoryEvent)) for row in rows]


def test_results_of_checks_are_kept_with_what_they_say(session: Session):
    @asset(partitions=daily("2026-01-01"))
    def sales(context: Any) -> int:
        context.add_check("positive", True)
        return 5

    @check(asset=sales)
    def many(sales: int) -> CheckResult:
        return CheckResult(sales > 9, description="fewer than ten", metadata={"sales": sales}, severity="warn")

    @check(asset=sales)
    def whole(sales: int, context: Any) -> bool:
        context.add_metadata(remainder=sales % 1)
        return sales == int(sales)

    materialize(sales, many, whole, partition="2026-01-02")
    found = dict(history(session, "sales", "check"))
    assert set(found) == {"positive", "many", "whole"}
    assert (found["many"].passed, found["many"].severity, found["many"].description) == (
        False,
        "warn",
        "fewer than ten",
    )
    assert found["many"].metadata == {"sales": 5}
    assert (found["whole"].passed, found["whole"].metadata) == (True, {"remainder": 0})
    assert {row.partition for row in session.store.asset_history("sales")} == {"2026-01-02"}


def test_a_blocking_check_inside_stops_what_is_below_and_the_asset_is_there(session: Session):
    @asset
    def rows(context: Any) -> list[int]:
        context.add_check("any", False, blocking=True)
        return []

    @asset
    def below(rows: list[int]) -> int:
        return 1

    with pytest.raises(TaskFailed, match="blocking check failed: any"):
        materialize(rows, below)
    assert states(session) == {"rows": "failed", "below": "upstream_failed"}
    assert [row.key for row in session.store.assets()] == ["rows"]


def test_a_check_of_another_asset_is_told(session: Session):
    @asset
    def rows(context: Any) -> int:
        context.add_check("any", True, asset="other")
        return 1

    with pytest.raises(LookupError, match="check 'any' is of 'other', which is not made here"):
        materialize(rows)


# --- versions and history ---------------------------------------------------------------------------------------------


def test_versions_are_recorded_with_what_was_used(session: Session):
    tally = Tally()

    @asset
    def raw(context: Any) -> int:
        context.data_version = f"checksum {tally.add('raw')}"
        return 1

    @asset(code_version="2")
    def clean(raw: int) -> int:
        return raw

    @asset(deps=[clean])
    def export() -> None: ...

    materialize(raw, clean, export)
    first = session.store.asset("clean", "")
    assert first is not None
    assert (first.inputs, first.code_version) == (b'{"raw":"checksum 1"}', "2")
    materialize(raw, clean, export, select="clean")
    again = session.store.asset("clean", "")
    assert again is not None
    assert again.data_version == first.data_version
    materialize(raw, clean, export, select="raw")
    materialize(raw, clean, export, select="clean")
    now = session.store.asset("clean", "")
    assert now is not None
    assert (now.inputs, now.data_version == first.data_version) == (b'{"raw":"checksum 2"}', False)
    raws = session.store.asset("raw", "")
    assert raws is not None
    assert now.data_time == raws.at, "it is as new as what it is made from"
    versions = [each.data_version for _, each in history(session, "clean", "materialized")]
    assert versions == [now.data_version, again.data_version, first.data_version]


def test_a_run_that_is_resumed_makes_what_was_selected_then(session: Session):
    tally = Tally()

    @asset
    def one() -> int:
        return 1

    @asset
    def two(one: int) -> int:
        if tally.add("two") == 1:
            raise OSError("once")
        return one + 1

    with pytest.raises(OSError, match="once"):
        materialize(one, two, select="missing")
    row = session.store.list_runs()[0]
    assert row.extra["assets"] == ["one", "two"]
    session.resume(row.run_id, defined(one, two))
    session.wait(row.run_id)
    assert states(session) == {"one": "success", "two": "success"}


# --- mistakes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"io": "s3://lake"}, "the io of 'wrong' is 's3://lake'"),
        ({"freshness": "daily"}, "the freshness of 'wrong' is 'daily'"),
        ({"automation": True}, "the automation of 'wrong' is True"),
        ({"owners": "ann"}, "the owners of 'wrong' are a list"),
        ({"deps": "raw"}, "the deps of 'wrong' are a list"),
        ({"key": "a, b"}, "the key 'a, b' has ',' in it, which is a sign of selections"),
    ],
)
def test_wrong_options_are_told_with_the_place(options: dict[str, Any], message: str):
    with pytest.raises(DefinitionError) as caught:

        @asset(**options)
        def wrong() -> int:
            return 1

    assert message in str(caught.value)
    assert "test_asset_kinds.py:" in str(caught.value)


def test_wrong_freshness_is_told():
    with pytest.raises(DefinitionError, match="fresh needs a deadline or a lag"):
        fresh()
    with pytest.raises(DefinitionError, match="its minute is '61'"):
        fresh(deadline="61 * * * *")
