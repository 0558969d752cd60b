"""The IO managers that come with plait: files of several formats on any file system, and tables of DuckDB."""

import fcntl
import importlib
import json
import os
import pickle
import tempfile
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any

from plait.authoring.io import IOContext, IOManager
from plait.model.errors import UsageError


def _module(name: str, why: str) -> Any:
    """A package that only some need, loaded when it is needed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        package = name.partition(".")[0]
        raise UsageError(f"{package} is needed {why}", right=f"pip install {package}") from None


# --- files ------------------------------------------------------------------------------------------------------------


class Files(IOManager):
    """Base of managers that keep each value in a file `<url>/<key>[/<partition>]<suffix>` on any file system of fsspec
    (a folder, `s3://...`, `gs://...`, `memory://...`). Subclasses have `suffix`, `write(value, path)` and `read(path)`,
    which are given a local path."""

    suffix = ""

    def __init__(self, url: str | os.PathLike[str], **storage_options: Any):
        self.url: str = str(url).rstrip("/")
        self.storage_options = storage_options

    def path_of(self, context: IOContext) -> str:
        """The URL of a value's file."""
        return f"{self.url}/{context.path}{self.suffix}"

    def store(self, context: IOContext, value: Any) -> Mapping[str, Any]:
        """Write the file beside its place, then put it there."""
        url = self.path_of(context)
        with _reaching(url):
            return {"url": url, "bytes": self._store(url, value)}

    def _store(self, url: str, value: Any) -> int:
        fs, path = self._at(url)
        if _is_local(fs):
            os.makedirs(os.path.dirname(path), exist_ok=True)
            temporary = f"{path}.{os.getpid()}-{threading.get_ident()}.tmp"
            try:
                self.write(value, temporary)
                size = os.path.getsize(temporary)
                os.replace(temporary, path)
            except BaseException:
                if os.path.exists(temporary):
                    os.remove(temporary)
                raise
        else:
            with _scratch(self.suffix) as local:
                self.write(value, local)
                size = os.path.getsize(local)
                if not has_buckets(url):
                    fs.makedirs(path.rpartition("/")[0], exist_ok=True)
                fs.put_file(local, path)
        return size

    def load(self, context: IOContext) -> Any:
        """Read the file."""
        url = self.path_of(context)
        with _reaching(url):
            fs, path = self._at(url)
            if not fs.exists(path):
                raise FileNotFoundError(f"there is no value of asset {context.key!r} at {url}")
            if _is_local(fs):
                return self.read(path)
            with _scratch(self.suffix) as local:
                fs.get_file(path, local)
                return self.read(local)

    def write(self, value: Any, path: str) -> None:
        """Write a value to a new local file."""
        raise NotImplementedError(f"{self.name} has no write(value, path)")

    def read(self, path: str) -> Any:
        """The value of a local file."""
        raise NotImplementedError(f"{self.name} has no read(path)")

    def _at(self, url: str) -> tuple[Any, str]:
        try:
            found: tuple[Any, str] = _module("fsspec.core", "for files").url_to_fs(url, **self.storage_options)
        except ImportError as error:
            raise UsageError(f"{url} cannot be reached: {error}", right=f"pip install {_package_of(url)}") from None
        except ValueError as error:  # of a scheme that nobody knows
            raise UsageError(
                f"{url} cannot be reached: {error}", right='a folder, or a URL like "s3://bucket/folder"'
            ) from None
        return found


_BUCKETS = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "oci"})
"""Object stores, which have no folders. To make one would be to make the bucket, of whatever name somebody typed."""


def _scheme_of(url: str) -> str:
    return url.rpartition("::")[2].partition("://")[0]


def has_buckets(url: str) -> bool:
    """Whether a URL is of an object store."""
    return _scheme_of(url) in _BUCKETS


def _package_of(url: str) -> str:
    """What to install for a URL."""
    known: dict[str, dict[str, str]] = _module("fsspec.registry", "for files").known_implementations
    schemes = (part.partition("://")[0] for part in url.split("::"))
    modules = (known[scheme]["class"].partition(".")[0] for scheme in schemes if scheme in known)
    return " ".join(dict.fromkeys(module for module in modules if module != "fsspec")) or "fsspec"


@contextmanager
def _reaching(url: str) -> Generator[None]:
    """What a remote place raises for who may not enter is told as that; it has as many words for it as there are
    packages."""
    try:
        yield
    except Exception as error:
        names = [kind.__name__ for kind in type(error).__mro__]
        refused = isinstance(error, PermissionError) or any("Credential" in name for name in names)
        if not refused or "://" not in url or _scheme_of(url) in ("file", "local"):
            raise
        options = "key=..., secret=..." if _scheme_of(url) in ("s3", "s3a") else "token=..."
        raise UsageError(
            f"{url} lets nobody in with these credentials, or with none: {error}",
            right=f"give them to the manager ({options}), or to the environment of the processes that run tasks",
        ) from error


def _is_local(fs: Any) -> bool:
    protocol: Any = fs.protocol
    return "file" in protocol if isinstance(protocol, tuple) else bool(protocol == "file")


@contextmanager
def _scratch(suffix: str) -> Generator[str]:
    with tempfile.TemporaryDirectory(prefix="plait-io-") as folder:
        yield os.path.join(folder, f"value{suffix}")


class PickleFiles(Files):
    """Keeps values of any kind as pickles below a URL."""

    suffix = ".pickle"

    def write(self, value: Any, path: str) -> None:
        """Pickle it; functions and classes that no other process could import go along."""
        with open(path, "wb") as file:
            _module("cloudpickle", "to pickle").dump(value, file)

    def read(self, path: str) -> Any:
        """Unpickle it."""
        with open(path, "rb") as file:
            return pickle.load(file)  # noqa: S301  the asset's own value, which the user's code has stored


class JsonFiles(Files):
    """Keeps plain data as JSON below a URL."""

    suffix = ".json"

    def write(self, value: Any, path: str) -> None:
        """Encode it; what JSON does not have raises TypeError."""
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)

    def read(self, path: str) -> Any:
        """Decode it."""
        with open(path, encoding="utf-8") as file:
            return json.load(file)


class ParquetFiles(Files):
    """Keeps tables (pandas, Polars, PyArrow, DuckDB relations) as Parquet below a URL. `into`: what they are loaded as:
    "pandas", "polars" or "arrow". Needs one of pyarrow, polars and duckdb. A LazyFrame of Polars and a
    RecordBatchReader of PyArrow are written piece by piece, so that a table need not fit into memory."""

    suffix = ".parquet"

    def __init__(self, url: str | os.PathLike[str], *, into: str = "pandas", **storage_options: Any):
        super().__init__(url, **storage_options)
        if into not in ("pandas", "polars", "arrow"):
            raise UsageError(f"tables cannot be loaded into {into!r}", right='into="pandas", "polars" or "arrow"')
        self.into = into

    def write(self, value: Any, path: str) -> None:
        """Write a table."""
        kind = type(value).__module__.partition(".")[0]
        if hasattr(value, "write_parquet"):  # Polars, DuckDB
            value.write_parquet(path)
        elif kind == "polars" and hasattr(value, "sink_parquet"):  # a LazyFrame
            value.sink_parquet(path)
        elif kind == "pyarrow" and hasattr(value, "schema"):
            _write_arrow(value, path)
        elif kind == "pandas" and hasattr(value, "columns"):
            _module("duckdb", "to write pandas tables").from_df(value).write_parquet(path)
        else:
            raise TypeError(
                f"a value of type {type(value).__name__} is no table; return one of pandas, Polars or PyArrow, or keep "
                "it with PickleFiles or JsonFiles"
            )

    def read(self, path: str) -> Any:
        """Read a table."""
        if self.into == "polars":
            return _module("polars", "to load tables into it").read_parquet(path)
        if self.into == "arrow":
            return _module("pyarrow.parquet", "to load tables into it").read_table(path)
        _module("pandas", "to load tables into it")
        with _module("duckdb", "to read pandas tables").connect() as connection:
            return connection.read_parquet(path).df()


def _write_arrow(value: Any, path: str) -> None:
    """A table, a record batch, or what gives record batches one after the other."""
    parquet = _module("pyarrow.parquet", "to write its tables")
    if hasattr(value, "group_by"):  # a table
        parquet.write_table(value, path)
        return
    with parquet.ParquetWriter(path, value.schema) as writer:
        for batch in [value] if hasattr(value, "num_rows") else value:
            writer.write_batch(batch)


# --- DuckDB -----------------------------------------------------------------------------------------------------------


class DuckDBTables(IOManager):
    """Keeps tables in a DuckDB file: a table for each asset, its partitions side by side in it, told apart by a column
    `_partition`. Loaded as pandas tables.

    The file is opened for each value, one process after the other, because DuckDB lets one process have it.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path: str = os.path.abspath(str(path))

    def store(self, context: IOContext, value: Any) -> Mapping[str, Any]:
        """Replace the table, or the partition's rows in it."""
        table = _quoted(context.key)
        with self._open() as connection:
            connection.register("_given", value)
            connection.execute("BEGIN")
            if context.partition is None:
                connection.execute(f"CREATE OR REPLACE TABLE {table} AS SELECT * FROM _given")
            else:
                rows = "SELECT *, ?::VARCHAR AS _partition FROM _given"
                connection.execute(f"CREATE TABLE IF NOT EXISTS {table} AS {rows} LIMIT 0", [context.partition])
                connection.execute(f"DELETE FROM {table} WHERE _partition = ?", [context.partition])
                connection.execute(f"INSERT INTO {table} BY NAME {rows}", [context.partition])
            connection.execute("COMMIT")
            rows_now = connection.execute("SELECT count(*) FROM _given").fetchone()
        return {"table": context.key, "database": self.path, "rows": rows_now[0]}

    def load(self, context: IOContext) -> Any:
        """The table, or the partition's rows of it."""
        table = _quoted(context.key)
        with self._open() as connection:
            known = connection.execute("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [context.key]).fetchone()
            if known is None:
                raise FileNotFoundError(f"there is no table of asset {context.key!r} in {self.path}")
            if context.partition is None:
                return connection.execute(f"SELECT * FROM {table}").df()
            found = connection.execute(
                f"SELECT * EXCLUDE (_partition) FROM {table} WHERE _partition = ?", [context.partition]
            )
            return found.df()

    @contextmanager
    def _open(self) -> Generator[Any]:
        os.makedirs(os.path.dirname(self.path), exist_ok=True)
        with open(f"{self.path}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with _module("duckdb", "for DuckDBTables").connect(self.path) as connection:
                yield connection


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
