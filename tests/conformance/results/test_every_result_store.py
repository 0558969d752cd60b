"""What holds for a result store at any URL."""

import dataclasses
import math
import threading
import time

import fsspec
import msgspec
import numpy as np
import pandas as pd
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.spec import AbstractFileSystem
from hypothesis import given
from hypothesis import strategies as st

from plait import Cache, task
from plait.adapters.results.fsspec_store import FsspecResultStore
from plait.adapters.results.serializers import from_json, to_json
from plait.model.outcome import AssetEvent, Outcome, Stored
from plait.ports import ResultStore
from plait.worker.caching import DAY, look_up, prune, remember

BIG = "x" * 10_000


@task(cache=Cache())
def cached() -> str:
    return BIG


@pytest.fixture(params=["path", "file", "memory"])
def store(request, tmp_path) -> ResultStore:
    urls = {"path": str(tmp_path / "a b"), "file": (tmp_path / "a ü").as_uri(), "memory": f"memory:/{tmp_path}"}
    return FsspecResultStore(urls[request.param])


@dataclasses.dataclass
class Point:
    x: int
    y: list[int]


class Count(int):
    """A subclass of what JSON knows."""


SMALL = [
    None, True, 0, -1, 2**63 - 1, 2**70, 1.5, -0.0, "", "text \u00fc \U0001f642", "\ud800", b"bytes",
    [], [1, [2, {"a": None}]], {"a": {"b": [1.0]}}, {1: "a"}, (1, 2), {1, 2}, Count(3), float("inf"), Point(1, [2]),
]  # fmt: skip


@pytest.mark.parametrize("value", SMALL, ids=ascii)
def test_a_small_value_travels_inline_and_comes_back_the_same(store, value):
    stored = store.put(value, "r/1/2/result")
    assert stored.data is not None
    assert stored.url is None
    assert stored.size == len(stored.data)
    back = store.get(stored)
    assert back == value
    assert type(back) is type(value)
    assert repr(back) == repr(value)


def test_not_a_number_comes_back(store):
    assert math.isnan(store.get(store.put(math.nan, "a")))


@pytest.mark.parametrize(
    "value",
    [
        "x" * 100_000,
        b"y" * 100_000,
        bytearray(b"z" * 300_000),
        list(range(50_000)),
        {"k" * 10_000: 1},
        [Point(no, []) for no in range(2000)],
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_large_value_lies_under_its_name(store, value):
    stored = store.put(value, "r/1/2/out ü%")
    assert stored.data is None
    assert stored.url is not None
    assert stored.url.startswith(store.url)
    assert stored.size > 8192
    back = store.get(stored)
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("size", [10, 300])
def test_arrays_come_back_writable_and_equal(store, order, size):
    array = np.asarray(np.random.default_rng(0).normal(size=(size, size)), order=order)
    back = store.get(store.put({"a": array, "same": array, "turned": array[::2, ::2]}, "r/a"))
    np.testing.assert_array_equal(back["a"], array)
    np.testing.assert_array_equal(back["turned"], array[::2, ::2])
    back["a"][0, 0] = 7.0
    assert back["same"][0, 0] == 7.0


def test_an_array_that_was_read_only_still_is(store):
    array = np.arange(100_000)
    array.flags.writeable = False
    assert not store.get(store.put(array, "r/a")).flags.writeable


def test_frames_come_back(store):
    frame = pd.DataFrame({"n": np.arange(20_000), "f": np.linspace(0, 1, 20_000), "s": ["a", "b"] * 10_000})
    pd.testing.assert_frame_equal(store.get(store.put(frame, "r/frame")), frame)


def test_functions_and_local_classes_go_by_value(store):
    factor = 3

    class Local:
        def times(self, x):
            return factor * x

    assert store.get(store.put(lambda x: x + factor, "f"))(1) == 4
    assert store.get(store.put([Local()], "l"))[0].times(2) == 6


def test_a_large_value_that_goes_by_value(store):
    value = {"f": lambda: 1, "a": np.arange(100_000)}
    back = store.get(store.put(value, "r/both"))
    assert back["f"]() == 1
    np.testing.assert_array_equal(back["a"], value["a"])


def test_what_cannot_be_pickled_is_refused_with_advice_and_leaves_nothing(store):
    with pytest.raises(TypeError, match=r"type dict cannot be stored as a result: .*lock.* Return data") as caught:
        store.put({"a": np.arange(100_000), "lock": threading.Lock()}, "r/lock")
    assert caught.value.__cause__ is not None
    assert store.read_record("r/lock") is None


def test_what_raises_while_it_is_pickled_is_refused(store):
    class Sour:
        def __reduce__(self):
            raise ValueError("I do not want to")

    with pytest.raises(TypeError, match="I do not want to"):
        store.put(Sour(), "r/sour")


def test_what_contains_itself(store):
    value: list = [1]
    value.append(value)
    back = store.get(store.put(value, "r"))
    assert back[1] is back


def test_a_missing_file_is_named(store):
    stored = store.put("x" * 10_000, "r/1/2/result")
    store.delete(["r/1"])
    with pytest.raises(FileNotFoundError, match="r/1/2/result"):
        store.get(stored)


def test_a_file_that_was_cut_off_is_told(tmp_path):
    store = FsspecResultStore(str(tmp_path))
    stored = store.put(np.arange(100_000), "r")
    (tmp_path / "r").write_bytes((tmp_path / "r").read_bytes()[:-100])
    with pytest.raises(ValueError, match="cut off"):
        store.get(stored)


def test_a_result_that_was_not_stored(store):
    with pytest.raises(ValueError, match="was not stored"):
        store.get(Stored(format="pickle"))


def test_delete_takes_folders_files_and_nothing_else(store):
    kept = store.put("x" * 10_000, "run10/result")
    for name in ("run1/1/1/a", "run1/1/1/b", "run1/2/1/a", "single"):
        store.put("x" * 10_000, name)
    store.delete(["run1", "single", "not there"])
    assert store.get(kept) == "x" * 10_000
    for name in ("run1/1/1/a", "run1/2/1/a", "single"):
        assert store.read_record(name) is None


def test_records(store):
    assert store.read_record("cache/key") is None
    store.write_record("cache/key", b"one")
    store.write_record("cache/key", b"two")
    assert store.read_record("cache/key") == b"two"


def test_records_that_are_old(store):
    """Those of one folder, as old as they were written last."""
    assert store.old_records("cache", time.time() + 60, 10) == []
    for name in ("cache/a", "cache/b", "other/c"):
        store.write_record(name, b"1")
    assert store.old_records("cache", time.time() - 60, 10) == []
    assert sorted(store.old_records("cache", time.time() + 60, 10)) == ["cache/a", "cache/b"]
    assert len(store.old_records("cache", time.time() + 60, 1)) == 1


class Plain(MemoryFileSystem):
    """Lists as fsspec's SFTP does: `ls` takes nothing but what it must."""

    protocol = "plain"

    def ls(self, path, detail=False):  # pyright: ignore[reportIncompatibleMethodOverride]  as that one does
        return super().ls(path, detail=detail)


class Timeless(Plain):
    """Does not say when a file was written, as fsspec's FTP."""

    protocol = "timeless"
    modified = AbstractFileSystem.modified


@pytest.fixture
def elsewhere(tmp_path) -> str:
    """A folder on these file systems, behind their scheme."""
    for each in (Plain, Timeless):
        fsspec.register_implementation(each.protocol, each, clobber=True)
    return f"{tmp_path}/results"


def test_records_are_listed_where_a_listing_has_no_options(elsewhere):
    store = FsspecResultStore(f"plain:/{elsewhere}")
    store.write_record("cache/a", b"1")
    assert store.old_records("cache", time.time() + 60, 10) == ["cache/a"]


def test_where_no_file_has_a_time_this_is_told(elsewhere):
    store = FsspecResultStore(f"timeless:/{elsewhere}")
    store.write_record("cache/a", b"1")
    with pytest.raises(NotImplementedError, match="Timeless does not say when a file was written, so old files at "):
        store.old_records("cache", time.time() + 60, 10)


def test_what_is_cached_and_not_used_goes(store):
    """With its values; but for what an asset may be made of."""
    now = time.time()
    old = now - 40 * DAY
    for key, assets in (("old", ()), ("used", ()), ("asset", (AssetEvent(key="a"),))):
        stored = store.put(BIG, f"cached/{key}/run-0-1/result")
        remember(store, key, cached, Outcome(outputs={"result": stored}, assets=assets), lambda: old)
    for_all = now + DAY + 60  # all of them were written before that
    assert look_up(store, "used", lambda: now) is not None
    assert prune(store, now - 30 * DAY, 100) == 0, "it goes by when it was written, which is now"
    found = look_up(store, "old")
    assert found is not None
    assert prune(store, for_all, 100) == 3
    assert [look_up(store, key) is None for key in ("old", "used", "asset")] == [True, True, False]
    with pytest.raises(FileNotFoundError):
        store.get(found.outputs["result"])
    kept = look_up(store, "asset")
    assert kept is not None
    assert store.get(kept.outputs["result"]) == BIG


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", ""])
def test_names_stay_below_the_store(store, name):
    with pytest.raises(ValueError, match="not a relative path"):
        store.write_record(name, b"")
    with pytest.raises(ValueError, match="not a relative path"):
        store.put("x" * 10_000, name)


def test_the_inline_limit_is_what_was_asked_for(tmp_path):
    store = FsspecResultStore(str(tmp_path), inline_limit=200_000)
    assert store.put("x" * 150_000, "a").data is not None
    assert store.put(np.zeros(15_000), "b").data is not None
    assert store.put(np.zeros(150_000), "c").data is None
    assert FsspecResultStore(str(tmp_path), inline_limit=0).put(1, "d").data is None


def test_another_store_s_result_can_be_read(tmp_path, store):
    other = FsspecResultStore(str(tmp_path / "other ü"))
    assert store.get(other.put("x" * 10_000, "r/1/a b")) == "x" * 10_000


def test_a_file_is_never_seen_half_written(tmp_path, monkeypatch):
    store = FsspecResultStore(str(tmp_path))
    store.write_record("k", b"old")

    def fail(_fd):
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        store.write_record("k", b"new")
    monkeypatch.undo()
    assert store.read_record("k") == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["k"]


def test_a_full_disk_is_not_taken_for_a_value_that_cannot_be_pickled(tmp_path):
    (tmp_path / "r").write_bytes(b"")  # a file where a folder should be
    with pytest.raises(OSError, match="r"):
        FsspecResultStore(str(tmp_path)).put(np.arange(100_000), "r/x")


plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner),
)


@given(plain)
def test_json_is_used_only_where_it_gives_back_the_same(value):
    data = to_json(value)
    if data is not None:
        back = from_json(data)
        assert back == value
        assert repr(back) == repr(value)
        assert msgspec.json.decode(data) == value
