"""What holds for every store: which partitions are materialized or failed, dynamic keys, and backfills."""

import contextlib
import threading

from plait.adapters.stores import partition_rows
from plait.engine.partitions.keysets import CHUNK, EMPTY, KeySet, joined
from plait.model.ids import RunId, TaskNo
from plait.model.rows import AssetRow, BackfillRow, PartitionMark
from plait.ports import RunBatch
from tests.conformance.stores.kinds import run_row


def mark(start: int, stop: int, *, failed: bool = False, asset: str = "a", space: str = "s") -> PartitionMark:
    return PartitionMark(asset=asset, space=space, failed=failed, start=start, stop=stop)


def write(store, *marks: PartitionMark, run_id: str = "r1", assets: tuple[AssetRow, ...] = ()) -> None:
    """As a run writes it."""
    row = run_row(run_id)
    with store.transaction() as tx:
        if store.get_run(row.run_id) is None:
            tx.create_run(row)
        tx.write(RunBatch(run_id=row.run_id, epoch=row.epoch, partitions=marks, assets=assets))


def sets(store, asset: str = "a", space: str = "s") -> tuple[KeySet, KeySet]:
    """What is materialized, and what failed."""
    while store.partitions.compact():
        pass
    chunks = store.partitions.chunks(asset, space)
    ok, failed = (joined([(c.chunk, c.data) for c in chunks if c.failed is want]) for want in (False, True))
    return ok, failed


def asset_row(partition: str) -> AssetRow:
    return AssetRow(key="a", partition=partition, run_id=RunId("r1"), no=TaskNo(0), at=1.0)


# --- status ----------------------------------------------------------------------------------------------------------


def test_marks_become_chunks(store):
    write(store, mark(0, 10), mark(20, 30))
    write(store, mark(10, 12), mark(CHUNK - 1, 2 * CHUNK + 1))
    ok, failed = sets(store)
    assert ok.ranges == [(0, 12), (20, 30), (CHUNK - 1, 2 * CHUNK + 1)]
    assert failed == EMPTY
    assert store.partitions.sizes(["a", "b"]) == {("a", "s", False): 22 + CHUNK + 2}
    assert [chunk.chunk for chunk in store.partitions.chunks("a", "s")] == [0, 1, 2]


def test_the_later_mark_counts(store):
    write(store, mark(0, 10), mark(3, 5, failed=True))
    assert sets(store) == (KeySet((0, 3, 5, 10)), KeySet((3, 5)))
    write(store, mark(4, 5), mark(8, 20, failed=True), mark(9, 10))
    assert sets(store) == (KeySet((0, 3, 4, 8, 9, 10)), KeySet((3, 4, 8, 9, 10, 20)))
    write(store, mark(0, 100, failed=True))
    assert sets(store) == (EMPTY, KeySet((0, 100)))
    assert store.partitions.sizes(["a"]) == {("a", "s", True): 100}


def test_assets_and_spaces_are_apart(store):
    write(store, mark(0, 5), mark(0, 6, asset="b"), mark(0, 7, space="t"))
    assert [len(sets(store, *place)[0]) for place in (("a", "s"), ("b", "s"), ("a", "t"))] == [5, 6, 7]
    assert store.partitions.sizes(["b"]) == {("b", "s", False): 6}


def test_numbers_may_be_large_and_negative(store):
    far = (1 << 62) - 8
    write(store, mark(-CHUNK - 3, -CHUNK + 2), mark(far, far + 5))
    assert sets(store)[0].ranges == [(-CHUNK - 3, -CHUNK + 2), (far, far + 5)]


def test_compacting_goes_on_where_it_was(store):
    write(store, *(mark(2 * no, 2 * no + 1) for no in range(50)))
    assert [store.partitions.compact(20) for _ in range(4)] == [20, 20, 10, 0]
    assert len(sets(store)[0]) == 50


def test_a_write_that_fails_leaves_no_mark(store):
    write(store, mark(0, 1))
    with contextlib.suppress(RuntimeError), store.transaction() as tx:
        tx.write(RunBatch(run_id=RunId("r1"), epoch=1, partitions=[mark(5, 6)]))
        raise RuntimeError
    assert sets(store)[0] == KeySet((0, 1))


def test_the_first_space_of_an_asset_has_all_of_it(store):
    write(store, mark(0, 1), assets=(asset_row("one"),))
    assert store.partitions.spaces(["a", "b"]) == {"a": "s"}
    write(store, mark(0, 1, space="t"), assets=(asset_row("two"),))
    assert store.partitions.spaces(["a"]) == {"a": "s"}, "what was materialized before is not in t"
    store.partitions.settle("a", [mark(7, 9, space="t")], "t")
    assert store.partitions.spaces(["a"]) == {"a": "t"}
    assert sets(store, space="t")[0].ranges == [(0, 1), (7, 9)]


def test_what_was_materialized_without_a_mark_is_not_known(store):
    write(store, assets=(asset_row("one"),))
    write(store, mark(0, 1), assets=(asset_row("two"),))
    assert store.partitions.spaces(["a"]) == {}


def test_two_that_compact_at_once_lose_nothing(place):
    one, two = place.open(), place.open()
    write(one, *(mark(3 * no, 3 * no + 1) for no in range(300)))
    threads = [
        threading.Thread(target=lambda store=store: [store.partitions.compact(7) for _ in range(30)])
        for store in (one, two)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(sets(one)[0]) == 300


def test_one_mark_over_many_chunks():
    changed = list(partition_rows.folded([mark(0, 3 * CHUNK)], lambda _: ()))
    assert [(place[2], [row.size for row in rows]) for place, rows in changed] == [(no, [CHUNK, 0]) for no in range(3)]


# --- dynamic keys ----------------------------------------------------------------------------------------------------


def test_dynamic_keys_keep_their_numbers(store):
    partitions = store.partitions
    assert partitions.keys("shops") == {}
    assert partitions.add("shops", ["berlin", "paris", "rome"]) == 3
    assert partitions.add("shops", ["paris", "oslo"]) == 1
    assert partitions.keys("shops") == {"berlin": 0, "paris": 1, "rome": 2, "oslo": 3}
    assert partitions.remove("shops", ["paris", "nowhere"]) == 1
    assert partitions.add("shops", ["wien"]) == 1
    assert partitions.keys("shops") == {"berlin": 0, "rome": 2, "oslo": 3, "wien": 4}
    assert partitions.add("shops", ["paris"]) == 1
    assert list(partitions.keys("shops").items())[1] == ("paris", 1)
    assert partitions.keys("other") == {}
    assert partitions.names() == {"shops": 5}


# --- backfills -------------------------------------------------------------------------------------------------------


def backfill(id: str, state: str = "running", cursor: bytes = b"0") -> BackfillRow:
    return BackfillRow(
        id=id, state=state, title=f"t {id}", created_at=1.0, updated_at=2.0, plan=b"\x00p", cursor=cursor
    )


def save(store, *rows: BackfillRow) -> None:
    with store.transaction() as tx:
        for row in rows:
            tx.save_backfill(row)


def test_backfills_come_back(store):
    save(store, backfill("b1"), backfill("b2", "success"), backfill("b3", "paused"))
    assert store.partitions.backfill("b1") == backfill("b1")
    assert store.partitions.backfill("b9") is None
    assert [row.id for row in store.partitions.backfills()] == ["b3", "b2", "b1"]
    assert [row.id for row in store.partitions.backfills(limit=1)] == ["b3"]
    assert [row.id for row in store.partitions.backfills(open_only=True)] == ["b1", "b3"]


def test_what_was_over_long_ago_is_deleted(store):
    """`updated_at` is 2."""
    save(store, backfill("b1"), backfill("b2", "success"), backfill("b3", "paused"), backfill("b4", "failed"))
    assert store.partitions.delete_backfills(2.0) == 0
    assert store.partitions.delete_backfills(2.5, limit=1) == 1
    assert store.partitions.delete_backfills(2.5) == 1
    assert [row.id for row in store.partitions.backfills()] == ["b3", "b1"]


def test_a_backfill_is_moved_on_in_a_transaction(place):
    """With the run that it makes: both are there, or neither."""
    store, other = place.open(), place.open()
    save(store, backfill("b1"))
    with store.transaction() as tx:
        row = tx.backfill("b1")
        row.cursor, row.state = b"1", "success"
        tx.create_run(run_row("r1"))
        tx.save_backfill(row)
        assert other.partitions.backfill("b1").cursor == b"0"
    assert (other.partitions.backfill("b1").cursor, other.partitions.backfill("b1").state) == (b"1", "success")
    with contextlib.suppress(RuntimeError), store.transaction() as tx:
        row = tx.backfill("b1")
        row.cursor = b"2"
        tx.create_run(run_row("r2"))
        tx.save_backfill(row)
        raise RuntimeError
    assert store.partitions.backfill("b1").cursor == b"1"
    assert store.get_run(RunId("r2")) is None
    with store.transaction() as tx:
        assert tx.backfill("b9") is None


def test_two_that_move_a_backfill_on_take_turns(place):
    one, two = place.open(), place.open()
    save(one, backfill("b1"))

    def count(store) -> None:
        for _ in range(10):
            with store.transaction() as tx:
                row = tx.backfill("b1")
                row.cursor = str(int(row.cursor) + 1).encode()
                tx.save_backfill(row)

    threads = [threading.Thread(target=count, args=(store,)) for store in (one, two)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert one.partitions.backfill("b1").cursor == b"20"
