"""IO managers as a user sees them: where values are kept, in which form, and who opens and closes what for that."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas
import pytest

from plait import (
    DuckDBTables,
    IOContext,
    IOManager,
    JsonFiles,
    Out,
    ParquetFiles,
    PickleFiles,
    UsageError,
    asset,
    daily,
    external,
    materialize,
    multi_asset,
)
from plait.runtime.session import Session
from plait.worker import io as at_work
from tests.api.helpers import Script

TABLE = pandas.DataFrame({"day": pandas.to_datetime(["2026-01-01", "2026-01-02"]), "rows": [3, 4], "name": ["a", None]})


def same(one: pandas.DataFrame, other: pandas.DataFrame) -> bool:
    return one.astype(str).equals(other.astype(str))


@pytest.mark.parametrize(
    ("manager", "value"),
    [
        (PickleFiles, {"any": {1, 2}}),
        (lambda folder: PickleFiles("memory://pickles"), lambda x: x),
        (lambda folder: JsonFiles(f"file://{folder}"), {"täglich": [1, None]}),
        (ParquetFiles, TABLE),
        (lambda folder: ParquetFiles("memory://tables"), TABLE),
        (lambda folder: DuckDBTables(folder / "w.duckdb"), TABLE),
    ],
    ids=["pickle", "pickle in memory", "json", "parquet", "parquet in memory", "duckdb"],
)
def test_a_value_comes_back(manager: Callable[[Path], IOManager], value: Any, session: Session, tmp_path: Path):
    kept = manager(tmp_path / "data")
    one, other = IOContext("shop/orders", "a/b|c"), IOContext("shop/orders", "2026-01-01")
    with pytest.raises(FileNotFoundError, match="shop/orders"):
        kept.load(one)
    for context in (one, other, one):
        kept.store(context, value)
    for context in (one, other):
        found = kept.load(context)
        if isinstance(value, pandas.DataFrame):
            assert same(found, value)
        elif callable(value):
            assert found(3) == 3
        else:
            assert found == value


def test_files_lie_where_their_asset_says(session: Session, tmp_path: Path):
    lake = JsonFiles(tmp_path / "lake")

    @asset(io=lake, partitions=daily("2026-01-01"))
    def orders(context: Any) -> list[str]:
        return [context.partition_key]

    @asset(partitions=daily("2026-01-01"))
    def count(orders: list[str]) -> int:
        return len(orders)

    assert materialize(orders, count, partition="2026-01-05") == {"orders": ["2026-01-05"], "count": 1}
    file = tmp_path / "lake" / "orders" / "2026-01-05.json"
    assert file.exists()
    assert [each.name for each in file.parent.iterdir()] == [file.name], "nothing is left beside it"
    file.write_text('["a", "b", "c"]')
    assert materialize(orders, count, select="count", partition="2026-01-05") == {"count": 3}
    row = session.store.asset("orders", "2026-01-05")
    assert row is not None
    assert str(file).encode() in (row.metadata or b"")


def test_partitions_of_a_table_lie_side_by_side(session: Session, tmp_path: Path):
    tables = DuckDBTables(tmp_path / "warehouse.duckdb")

    @asset(io=tables, partitions=daily("2026-01-01"))
    def sales(context: Any) -> pandas.DataFrame:
        return pandas.DataFrame({"day": [context.partition_key] * 2, "sold": [1, 2]})

    for day in ("2026-01-01", "2026-01-02", "2026-01-01"):
        found = materialize(sales, partition=day)["sales"]
        assert list(found["day"]) == [day, day]
    import duckdb

    with duckdb.connect(tables.path) as connection:
        assert connection.execute("SELECT _partition, count(*) FROM sales GROUP BY 1 ORDER BY 1").fetchall() == [
            ("2026-01-01", 2),
            ("2026-01-02", 2),
        ]


def test_several_writers_of_one_database_wait_for_each_other(tmp_path: Path):
    tables = DuckDBTables(tmp_path / "w.duckdb")
    threads = [
        threading.Thread(target=tables.store, args=(IOContext(f"t{no}"), pandas.DataFrame({"x": [no]})))
        for no in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [int(tables.load(IOContext(f"t{no}"))["x"][0]) for no in range(4)] == [0, 1, 2, 3]


def test_the_value_of_an_external_asset_is_loaded(session: Session, tmp_path: Path):
    (tmp_path / "prices.json").write_text('{"tea": 3}')
    prices = external("prices", io=JsonFiles(tmp_path))

    @asset
    def cheapest(prices: dict[str, int]) -> str:
        return min(prices, key=lambda name: prices[name])

    assert materialize(prices, cheapest) == {"cheapest": "tea"}


def test_each_of_several_has_its_own(session: Session, tmp_path: Path):
    @multi_asset(outs={"a": Out(io=JsonFiles(tmp_path)), "b": Out()}, io=PickleFiles(tmp_path))
    def both() -> dict[str, Any]:
        return {"a": 1, "b": {2}}

    assert materialize(both) == {"a": 1, "b": {2}}
    assert sorted(each.name for each in tmp_path.iterdir() if each.is_file()) == ["a.json", "b.pickle"]


class Noted(IOManager):
    """Writes down what happens to it."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.shelf: dict[str, Any] = {}

    def setup(self) -> None:
        self.notes.append("setup")

    def store(self, context: IOContext, value: Any) -> None:
        self.notes.append(f"store {context.key}")
        self.shelf[context.key] = value

    def load(self, context: IOContext) -> Any:
        self.notes.append(f"load {context.key}")
        return self.shelf[context.key]

    def teardown(self) -> None:
        self.notes.append("teardown")


def test_one_of_your_own_is_set_up_once(session: Session):
    noted = Noted()

    @asset(io=noted)
    def first() -> int:
        return 1

    @asset(io=noted)
    def second(first: int) -> int:
        return first + 1

    assert materialize(first, second) == {"first": 1, "second": 2}
    assert noted.notes == ["setup", "store first", "load first", "store second", "load first", "load second"]
    materialize(first, second, select="first")
    assert noted.notes.count("setup") == 1
    at_work.tear_down()
    assert noted.notes[-1] == "teardown"
    materialize(first, second, select="second")
    assert noted.notes.count("setup") == 2


def test_a_value_that_cannot_be_kept_fails_its_task(session: Session, tmp_path: Path):
    @asset(io=ParquetFiles(tmp_path))
    def number() -> int:
        return 1

    with pytest.raises(TypeError, match="a value of type int is no table"):
        materialize(number)
    assert session.store.assets() == []
    with pytest.raises(UsageError, match="cannot be loaded into 'numpy'"):
        ParquetFiles(tmp_path, into="numpy")


SHOP = """
import os
from pathlib import Path

from plait import IOManager, asset

LOG = Path("log.txt").absolute()


def note(what):
    with LOG.open("a") as log:
        log.write(f"{what} {os.getpid()}\\n")


class Noted(IOManager):
    def setup(self):
        note("setup")

    def store(self, context, value):
        note("store")
        (LOG.parent / f"{context.key}.txt").write_text(str(value))

    def load(self, context):
        return int((LOG.parent / f"{context.key}.txt").read_text())

    def teardown(self):
        note("teardown")


noted = Noted()


@asset(io=noted, executor="processes")
def first():
    return 1


@asset(io=noted, executor="processes")
def second(first):
    return first + 1

"""


def test_each_worker_process_sets_up_and_tears_down(run_script: Callable[..., Script], tmp_path: Path):
    (tmp_path / "shop.py").write_text(SHOP)
    run_script("from plait.cli.main import main\n\nmain(['run', 'shop.py', '--executor', 'processes'])").ok()
    assert (tmp_path / "second.txt").read_text() == "2"
    lines = [line.split() for line in (tmp_path / "log.txt").read_text().splitlines()]
    for pid in {pid for _, pid in lines}:
        notes = [what for what, who in lines if who == pid]
        assert (notes[0], notes[-1], notes.count("setup"), notes.count("teardown")) == ("setup", "teardown", 1, 1)
    assert [what for what, _ in lines].count("store") == 2


# --- a run over several partitions -----------------------------------------------------------------------------------

JANUARY = "2026-01-01...2026-01-03"


def sales_by_day(**options: Any) -> Any:
    @asset(key="sales", partitions=daily("2026-01-01", end="2026-02-01"), **options)
    def sales(context) -> dict[str, int]:
        return {key: int(key[-2:]) for key in context.partition_keys}

    return sales


def report_of() -> Any:
    @asset(key="report", partitions=daily("2026-01-01", end="2026-02-01"))
    def report(sales: Any) -> Any:
        return sales

    return report


@pytest.mark.parametrize("kept", [False, True], ids=["as a result", "by an IO manager"])
def test_each_partition_of_a_run_over_several_has_its_own_value(kept: bool, session: Session, tmp_path: Path):
    sales, report = sales_by_day(**({"io": JsonFiles(tmp_path)} if kept else {})), report_of()
    whole = {"2026-01-01": 1, "2026-01-02": 2, "2026-01-03": 3}
    assert materialize(sales, report, partition=JANUARY) == {"sales": whole, "report": whole}
    assert materialize(sales, report, select="report", partition="2026-01-02") == {"report": 2}
    assert materialize(sales, report, select="report", partition="2026-01-02...2026-01-03")["report"] == {
        "2026-01-02": 2,
        "2026-01-03": 3,
    }
    if kept:
        assert sorted(path.stem for path in (tmp_path / "sales").iterdir()) == list(whole)


def test_the_last_run_counts_whether_it_was_for_one_partition_or_for_several(session: Session):
    @asset(key="sales", partitions=daily("2026-01-01", end="2026-02-01"))
    def sales(context) -> Any:
        keys = context.partition_keys
        return "alone" if len(keys) == 1 else dict.fromkeys(keys, "together")

    report = report_of()
    for partition, value in (("2026-01-02", "alone"), (JANUARY, "together"), ("2026-01-02", "alone")):
        materialize(sales, partition=partition)
        assert materialize(sales, report, select="report", partition="2026-01-02") == {"report": value}


def test_what_is_kept_by_partition_has_to_be_returned_by_partition(session: Session, tmp_path: Path):
    @asset(key="sales", partitions=daily("2026-01-01", end="2026-02-01"), io=JsonFiles(tmp_path))
    def sales(context) -> dict[str, int]:
        return {"2026-01-01": 1}

    with pytest.raises(TypeError, match=r"a dict by their keys, not one with the keys '2026-01-01'.*partition_keys"):
        materialize(sales, partition=JANUARY)


def test_one_value_for_several_partitions_is_no_value_of_one_of_them(session: Session):
    @asset(key="sales", partitions=daily("2026-01-01", end="2026-02-01"))
    def sales(context) -> int:
        return 6

    report = report_of()
    assert materialize(sales, report, partition=JANUARY) == {"sales": 6, "report": 6}
    with pytest.raises(LookupError, match="sales"):
        materialize(sales, report, select="report", partition="2026-01-02")
