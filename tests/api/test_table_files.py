"""Tables of pandas, Polars and PyArrow as Parquet files; places that are not to be had."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pandas
import polars
import pyarrow
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from plait import IOContext, ParquetFiles, UsageError, asset, materialize
from plait.runtime.session import Session

DATA: dict[str, list[Any]] = {"n": [1, 2], "s": ["a", None], "parts": [[1], [2, 3]]}
TABLES: dict[str, Callable[[], Any]] = {
    "pandas": lambda: pandas.DataFrame(DATA),
    "polars": lambda: polars.DataFrame(DATA),
    "lazy": lambda: polars.LazyFrame(DATA),
    "arrow": lambda: pyarrow.table(DATA),
    "batch": lambda: pyarrow.record_batch(DATA),
    "reader": lambda: pyarrow.table(DATA).to_reader(),
}
CONTEXT = IOContext("shop/orders", "a|b")


def rows(value: Any) -> list[tuple[Any, ...]]:
    """The rows of any table."""
    if isinstance(value, pandas.DataFrame):
        parts = [[int(each) for each in part] for part in value["parts"]]
        names = [None if pandas.isna(name) else name for name in value["s"]]
        return list(zip([int(no) for no in value["n"]], names, parts, strict=True))
    found: dict[str, list[Any]] = value.to_dict(as_series=False) if hasattr(value, "to_dict") else value.to_pydict()
    return list(zip(found["n"], found["s"], found["parts"], strict=True))


@pytest.mark.parametrize("url", ["folder", "memory://lake"])
@pytest.mark.parametrize(
    ("into", "kind"), [("pandas", pandas.DataFrame), ("polars", polars.DataFrame), ("arrow", pyarrow.Table)]
)
@pytest.mark.parametrize("table", TABLES)
def test_tables_come_back_as_what_is_wanted(table: str, into: str, kind: type, url: str, tmp_path: Path):
    files = ParquetFiles(tmp_path / url if url == "folder" else url, into=into)
    files.store(CONTEXT, TABLES[table]())
    found = files.load(CONTEXT)
    assert isinstance(found, kind)
    assert rows(found) == [(1, "a", [1]), (2, None, [2, 3])]


def test_an_asset_of_polars_is_taken_by_another_one(session: Session, tmp_path: Path):
    lake = ParquetFiles(tmp_path, into="polars")

    @asset(io=lake)
    def orders() -> polars.DataFrame:
        return polars.DataFrame({"price": [1, 2, 3]})

    @asset(io=lake)
    def dear(orders: polars.DataFrame) -> polars.LazyFrame:
        return orders.lazy().filter(polars.col("price") > 1)

    found = materialize(orders, dear)["dear"]
    assert found.to_dict(as_series=False) == {"price": [2, 3]}


def test_what_is_no_table_is_refused(tmp_path: Path):
    for value in (polars.Series([1]), pyarrow.array([1]), pandas.Series([1])):
        with pytest.raises(TypeError, match="is no table"):
            ParquetFiles(tmp_path).store(CONTEXT, value)


def test_a_place_that_needs_a_package_says_which():
    with pytest.raises(UsageError, match=r"gs://lake/shop/orders/.* cannot be reached") as told:
        ParquetFiles("gs://lake").load(CONTEXT)
    assert told.value.right == "pip install gcsfs"
    with pytest.raises(UsageError, match="Protocol not known: lake"):
        ParquetFiles("lake://shop").load(CONTEXT)


class Locked(MemoryFileSystem):
    """A place that lets nobody in."""

    protocol = "locked"

    def exists(self, path: str, **kwargs: Any) -> bool:
        raise PermissionError("Access Denied")

    def put_file(self, *args: Any, **kwargs: Any) -> None:
        raise PermissionError("Access Denied")


def test_a_place_that_lets_nobody_in_says_what_to_do():
    fsspec.register_implementation("locked", Locked, clobber=True)
    files = ParquetFiles("locked://lake")
    for act in (lambda: files.load(CONTEXT), lambda: files.store(CONTEXT, TABLES["arrow"]())):
        with pytest.raises(UsageError, match="with these credentials, or with none: Access Denied") as told:
            act()
        assert "environment of the processes that run tasks" in str(told.value)
