"""Assets as a user sees them: materializing, partitions, checks, dependencies, selections."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from plait import (
    Asset,
    Cache,
    DefinitionError,
    ParameterError,
    TaskFailed,
    UsageError,
    asset,
    check,
    daily,
    hourly,
    materialize,
    monthly,
    static,
    task,
    weekly,
)
from plait.authoring.definitions import Definitions
from plait.bootstrap import Settings
from plait.model.events import CheckRecorded
from plait.runtime.rows import decode_event
from plait.runtime.session import Session
from tests.api.helpers import Tally, states


@asset
def raw() -> list[int]:
    """Numbers."""
    return [1, 2, 3]


@asset(group="clean", kinds=["list"], owners=["team"], tags=["daily"])
def doubled(raw: list[int]) -> list[int]:
    return [2 * each for each in raw]


@asset
def total(doubled: list[int]) -> int:
    return sum(doubled)


def test_an_asset_is_a_function_too():
    assert doubled([5]) == [10]
    assert (doubled.key, doubled.inputs, raw.__doc__) == ("doubled", ("raw",), "Numbers.")


def test_materializing_makes_everything_in_order(session: Session):
    assert materialize(total, raw, doubled) == {"raw": [1, 2, 3], "doubled": [2, 4, 6], "total": 12}
    assert states(session) == {"raw": "success", "doubled": "success", "total": "success"}
    rows = {row.key: row for row in session.store.assets()}
    assert set(rows) == {"raw", "doubled", "total"}
    assert all(row.partition == "" and row.run_id == session.store.list_runs()[0].run_id for row in rows.values())


def test_a_failure_is_raised_and_stops_what_is_below(session: Session):
    @asset
    def broken(raw: Any) -> None:
        raise OSError("broken")

    @asset
    def below(broken: Any) -> None: ...

    with pytest.raises(OSError, match="broken"):
        materialize(raw, broken, below)
    assert states(session) == {"raw": "success", "broken": "failed", "below": "upstream_failed"}
    assert {row.key for row in session.store.assets()} == {"raw"}


def test_assets_call_tasks_and_take_the_options_of_tasks(session: Session):
    tally = Tally()

    @task
    def read() -> int:
        return 5

    @asset(retries=2, cache=Cache())
    def flaky() -> int:
        if tally.add("tries") < 3:
            raise OSError
        return read()

    assert materialize(flaky) == {"flaky": 5}
    assert materialize(flaky) == {"flaky": 5}
    assert tally["tries"] == 3
    assert session.store.assets(["flaky"])[0].run_id == session.store.list_runs()[0].run_id


def test_deps_order_without_values(session: Session):
    order: list[str] = []

    @asset
    def table() -> None:
        order.append("table")

    @asset(deps=[table])
    def view() -> None:
        order.append("view")

    @asset(deps=["view"])
    def export() -> None:
        order.append("export")

    materialize(export, view, table)
    assert order == ["table", "view", "export"]


def test_keys_metadata_and_context(session: Session):
    @asset(key="named", code_version="3")
    def function(context: Any) -> int:
        context.add_metadata(rows=7)
        context.log.info("made")
        return 1

    assert materialize(function) == {"named": 1}
    row = session.store.assets(["named"])[0]
    assert row.code_version == "3"
    materialize(function)
    again = session.store.assets(["named"])[0]
    assert (again.data_version, again.run_id == row.run_id) == (row.data_version, False), "the same code, from the same"
    assert b"7" in (row.metadata or b"")


def test_async_assets_and_lists_of_assets(session: Session):
    @asset
    async def slow() -> int:
        return 1

    def make(name: str) -> Asset[[], str]:
        @asset(key=name)
        def made() -> str:
            return name

        return made

    family = [make("a"), make("b")]
    assert materialize(slow, *family) == {"slow": 1, "a": "a", "b": "b"}
    found = Definitions()
    found.add(family, "file.py")
    assert set(found.assets) == {"a", "b"}


# --- partitions -------------------------------------------------------------------------------------------------------


def test_partitions_are_made_one_by_one(session: Session):
    @asset(partitions=daily("2013-01-01", end="2013-02-01"))
    def day(context: Any) -> str:
        return context.partition_key

    @asset(partitions=daily("2013-01-01"))
    def report(day: str) -> str:
        return f"report of {day}"

    for key in ("2013-01-01", "2013-01-02"):
        assert materialize(day, report, partition=key) == {"day": key, "report": f"report of {key}"}
    assert {(row.key, row.partition) for row in session.store.assets()} == {
        ("day", "2013-01-01"), ("day", "2013-01-02"), ("report", "2013-01-01"), ("report", "2013-01-02"),
    }  # fmt: skip
    with pytest.raises(ParameterError, match="asset 'day' has partitions, and none is given"):
        materialize(day)
    with pytest.raises(ParameterError, match="partition '2013-02-01' is not before the end"):
        materialize(day, partition="2013-02-01")
    with pytest.raises(ParameterError, match="'January' is not a key of daily partitions"):
        materialize(day, partition="January")


def test_an_asset_without_partitions_is_one_whatever_the_run_is_about(session: Session):
    @asset(partitions=static(["eu", "us"]))
    def region(raw: list[int], context: Any) -> Any:
        return context.partition_key, raw

    assert materialize(raw, region, partition="eu") == {"raw": [1, 2, 3], "region": ("eu", [1, 2, 3])}
    assert {(row.key, row.partition) for row in session.store.assets()} == {("raw", ""), ("region", "eu")}
    assert materialize(raw, region, partition="us", select="region") == {"region": ("us", [1, 2, 3])}


@pytest.mark.parametrize(
    ("made", "until", "keys"),
    [
        (daily("2013-01-30"), "2013-02-02", ["2013-01-30", "2013-01-31", "2013-02-01"]),
        (hourly("2013-01-01-22:00"), "2013-01-02T01:30", ["2013-01-01-22:00", "2013-01-01-23:00", "2013-01-02-00:00"]),
        (weekly("2013-01-01"), "2013-01-21", ["2013-01-06", "2013-01-13"]),
        (monthly("2013-11-15"), "2014-02-01", ["2013-12-01", "2014-01-01"]),
        (static(["b", "a"]), "2014-02-01", ["b", "a"]),
        (daily("2013-01-01", end="2013-01-02"), "2014-01-01", ["2013-01-01"]),
    ],
)
def test_keys_of_partitions(made: Any, until: str, keys: list[str]):
    assert list(made.keys(datetime.fromisoformat(until).replace(tzinfo=UTC))) == keys
    for key in keys:
        made.check(key)


# --- checks -----------------------------------------------------------------------------------------------------------


def checked(session: Session) -> dict[str, tuple[bool, str]]:
    run_id = session.store.list_runs()[0].run_id
    events = [decode_event(row) for row in session.store.events(run_id)]
    return {each.name: (each.passed, each.severity) for each in events if isinstance(each, CheckRecorded)}


def test_checks_are_recorded(session: Session):
    @check(asset=raw)
    def has_rows(raw: list[int]) -> bool:
        return len(raw) > 0

    @check(asset="raw", name="is_long", severity="warn")
    def long_enough(raw: list[int], context: Any) -> bool:
        return len(raw) > 100

    assert materialize(raw, doubled, has_rows, long_enough)["doubled"] == [2, 4, 6]
    assert checked(session) == {"has_rows": (True, "error"), "is_long": (False, "warn")}


@pytest.mark.parametrize(("severity", "state"), [("error", "upstream_failed"), ("warn", "success")])
def test_a_blocking_check_stops_what_is_below(session: Session, severity: str, state: str):
    @check(asset=raw, blocking=True, severity=severity)
    def is_good(raw: list[int]) -> bool:
        return False

    if state == "success":
        materialize(raw, doubled, total, is_good)
    else:
        with pytest.raises(TaskFailed, match="CheckFailed: blocking check failed: is_good"):
            materialize(raw, doubled, total, is_good)
    assert states(session)["doubled"] == states(session)["total"] == state
    assert checked(session) == {"is_good": (False, severity)}
    assert "raw" in {row.key for row in session.store.assets()}


def test_a_check_may_look_at_other_assets_and_may_raise(session: Session):
    @check(asset=doubled)
    def same_length(doubled: list[int], raw: list[int]) -> bool:
        return len(doubled) == len(raw)

    @check(asset=doubled)
    def broken(doubled: list[int]) -> bool:
        raise ValueError("the check is broken")

    materialize(raw, doubled, same_length)
    assert checked(session) == {"same_length": (True, "error")}
    with pytest.raises(ValueError, match="the check is broken"):
        materialize(raw, doubled, broken)


# --- selections -------------------------------------------------------------------------------------------------------


def test_what_is_not_selected_is_read_as_it_was_last_made(session: Session):
    with pytest.raises(LookupError, match="asset 'doubled' is not selected and was never materialized"):
        materialize(raw, doubled, total, select="total")
    materialize(raw, doubled, select="+doubled")
    assert materialize(raw, doubled, total, select="total") == {"total": 12}
    assert states(session) == {"total": "success"}


def test_it_is_read_for_the_partition_of_the_run(session: Session):
    @asset(partitions=static(["eu", "us"]))
    def region(context: Any) -> str:
        return context.partition_key

    @asset(partitions=static(["eu", "us"]))
    def report(region: str) -> str:
        return f"report of {region}"

    materialize(region, partition="eu")
    assert materialize(region, report, partition="eu", select="report") == {"report": "report of eu"}
    with pytest.raises(LookupError, match="was never materialized for partition 'us'"):
        materialize(region, report, partition="us", select="report")


def test_it_is_read_in_worker_processes(settings: Settings, tmp_path: Path):
    (tmp_path / "some_assets.py").write_text("""
from plait import asset, flow

@asset
def first(): return list(range(5000))

@asset
def second(first): return len(first)
""")
    from plait.bootstrap import open_session
    from plait.worker.loading import load_target

    for select in ("first", "second"):
        with open_session(settings, target=str(tmp_path / "some_assets.py"), echo=False, workers=1) as session:
            run_id = session.start_assets(load_target(str(tmp_path / "some_assets.py")), select=select)
            session.wait(run_id)
            result = session._ends.result_of(session.scheduler.runs[run_id])
    assert result == 5000


KEYS = ("raw", "clean_flights", "clean_weather", "report", "export")


def family() -> Definitions:
    found = Definitions()

    @asset(group="sources")
    def raw() -> None: ...

    @asset(group="clean")
    def clean_flights(raw: Any) -> None: ...

    @asset(group="clean")
    def clean_weather(raw: Any) -> None: ...

    @asset
    def report(clean_flights: Any, clean_weather: Any) -> None: ...

    @asset(deps=[report])
    def export() -> None: ...

    for made in (raw, clean_flights, clean_weather, report, export):
        found.add(made, "file.py")
    return found


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        ("*", KEYS),
        ("raw", ("raw",)),
        ("clean_*", ("clean_flights", "clean_weather")),
        ("key:report", ("report",)),
        ("group:clean", ("clean_flights", "clean_weather")),
        ("+report", ("raw", "clean_flights", "clean_weather", "report")),
        ("1+report", ("clean_flights", "clean_weather", "report")),
        ("clean_flights+", ("clean_flights", "report", "export")),
        ("clean_flights+1", ("clean_flights", "report")),
        ("+clean_flights+1", ("raw", "clean_flights", "report")),
        ("raw or export", ("raw", "export")),
        ("raw, export", ("raw", "export")),
        ("* and not group:clean", ("raw", "report", "export")),
        ("not (raw or clean_*)", ("report", "export")),
        ("clean_* and +report", ("clean_flights", "clean_weather")),
    ],
)
def test_selections(text: str, keys: tuple[str, ...]):
    assert {node.key for node in family().asset_job(text, "assets").graph.nodes} == set(keys)


@pytest.mark.parametrize(
    ("text", "message", "at"),
    [
        ("raw and", "a name is missing here", 7),
        ("and raw", "a name is missing here", 0),
        ("(raw or export", "`)` is missing here", 14),
        ("raw export", "`and`, `or` or the end is missing here", 4),
        ("raw or nobody", "no asset is selected by 'nobody'", 7),
        ("raw or colour:x", "there is no 'colour:'; there are `key:`, `group:`, `kind:`, `owner:`, `tag:`", 7),
        ("raw, ++x", "a name is missing here", 6),
        ("not", "a name is missing here", 3),
    ],
)
def test_a_mistake_in_a_selection_is_pointed_at(text: str, message: str, at: int):
    with pytest.raises(UsageError) as caught:
        family().asset_job(text, "assets")
    assert message in str(caught.value)
    lines = str(caught.value).splitlines()
    pointer = next(number for number, line in enumerate(lines) if line.strip() == "^")
    assert lines[pointer - 1].strip() == text
    assert lines[pointer].index("^") - lines[pointer - 1].index(text) == at


# --- definitions ------------------------------------------------------------------------------------------------------


def test_an_unknown_upstream_is_told(session: Session):
    @asset
    def lonely(rwa: Any) -> None: ...

    @asset(deps=["nobody"])
    def dependent() -> None: ...

    for made, name in ((lonely, "rwa"), (dependent, "nobody")):
        with pytest.raises(DefinitionError, match=f"is made from '{name}', which is not an asset here"):
            materialize(raw, made)


def test_two_assets_with_one_key_are_told(session: Session):
    @asset(key="raw")
    def other() -> None: ...

    with pytest.raises(DefinitionError, match="two assets have the key 'raw'"):
        materialize(raw, other)


def test_a_circle_of_assets_is_told(session: Session):
    @asset
    def egg(hen: Any) -> None: ...

    @asset
    def hen(egg: Any) -> None: ...

    with pytest.raises(DefinitionError, match="wait for each other in a circle: egg -> hen -> egg"):
        materialize(egg, hen)
