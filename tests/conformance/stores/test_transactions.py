"""What holds for every store: transactions are whole, fenced, one after the other; limits hold."""

import threading

import pytest

from plait.model.errors import StaleToken, StoreError
from plait.model.ids import RunId
from plait.model.rows import AssetRow, AttemptRow, LimitRow, ScopeRow, WorkflowRow
from plait.ports import RunBatch
from tests.conformance.stores.kinds import acquire, create, event_rows, run_row, slot_row, task_row, write


def batch(run_id: str = "r1", epoch: int = 1, **values) -> RunBatch:
    return RunBatch(run_id=RunId(run_id), epoch=epoch, **values)


def everything(store):
    """All that can be seen of runs r1 and r2."""
    return (
        store.load_run("r1"),
        store.load_run("r2"),
        store.events("r1"),
        store.attempts("r1"),
        store.slots(),
        store.workflow("w"),
        store.assets(),
        store.limits(),
    )


def write_everything_and_stop(store) -> None:
    with store.transaction() as tx:
        tx.create_run(run_row("r2"))
        tx.save_workflow(WorkflowRow(name="w", paused=True))
        assert tx.acquire([slot_row(no=3)])
        tx.write(
            batch(
                run=run_row(state="success"),
                tasks=[task_row(0, state="success"), task_row(1)],
                attempts=[AttemptRow(no=0, attempt=1, state="failed")],
                scopes=[ScopeRow(scope="s", path=(), generation=0, length=1)],
                events=event_rows(2, 3),
                assets=[AssetRow(key="a", partition="", run_id="r1", no=0, at=1.0)],
                release=[0, 1],
            )
        )
        tx.write(batch("r2", tasks=[task_row(0)]))
        raise RuntimeError("stop")


def test_a_failed_transaction_leaves_nothing(store):
    create(store, run_row())
    write(store, tasks=[task_row(0)], events=event_rows(1, 1))
    acquire(store, slot_row(no=0), slot_row("k", no=1))
    before = everything(store)

    with pytest.raises(RuntimeError, match="stop"):
        write_everything_and_stop(store)

    assert everything(store) == before
    create(store, run_row("r2"))
    write(store, events=event_rows(2, 2))
    assert store.tasks("r2") == []


def test_an_open_transaction_is_not_seen(store):
    create(store, run_row())
    with store.transaction() as tx:
        tx.create_run(run_row("r2"))
        tx.write(batch(tasks=[task_row(0)], run=run_row(state="success")))
        assert tx.acquire([slot_row()])
        assert store.get_run("r2") is None
        assert store.get_run("r1").state == "running"
        assert store.tasks("r1") == []
        assert store.slots() == []
    assert store.get_run("r2") == run_row("r2")
    assert store.tasks("r1") == [task_row(0)]
    assert store.slots() == [slot_row()]


def test_a_transaction_sees_what_it_wrote_itself(store):
    with store.transaction() as tx:
        tx.create_run(run_row())
        tx.write(batch(tasks=[task_row(0)], events=event_rows(1, 1)))
        tx.write(batch(tasks=[task_row(0, state="success")], events=event_rows(2, 2)))
    assert store.tasks("r1") == [task_row(0, state="success")]
    assert store.events("r1") == event_rows(1, 2)


def test_one_thread_has_one_transaction(store):
    create(store, run_row())
    with store.transaction() as tx:
        with pytest.raises(StoreError, match="open already"), store.transaction():
            pass
        with pytest.raises(StoreError, match="open already"):
            store.put_inbox("r1", b"x")
        tx.write(batch(tasks=[task_row(0)]))
    assert store.tasks("r1") == [task_row(0)]


def test_transactions_of_one_store_run_one_after_the_other(store):
    create(store, run_row())
    inside = threading.Semaphore(1)
    together = []

    def work(worker: int) -> None:
        for turn in range(20):
            with store.transaction() as tx:
                together.append(not inside.acquire(blocking=False))
                tx.write(batch(tasks=[task_row(worker * 100 + turn)]))
                inside.release()

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [False] * 100
    assert len(store.tasks("r1")) == 100


def test_many_threads_read_while_others_write(store):
    create(store, run_row())
    torn = []
    stop = threading.Event()

    def read() -> None:
        while not stop.is_set():
            snapshot = store.load_run("r1")
            if snapshot.last_seq != len(snapshot.tasks):
                torn.append(snapshot)

    threads = [threading.Thread(target=read) for _ in range(12)]
    for thread in threads:
        thread.start()
    for no in range(60):
        write(store, tasks=[task_row(no)], events=event_rows(no + 1, no + 1))
    stop.set()
    for thread in threads:
        thread.join()
    assert torn == []


# --- the fence -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("epoch", [0, 2])
def test_a_batch_of_another_epoch_is_refused_whole(store, epoch):
    create(store, run_row())
    acquire(store, slot_row())
    before = everything(store)
    with pytest.raises(StaleToken):
        write(
            store, epoch=epoch, run=run_row(state="success"), tasks=[task_row(0)], events=event_rows(1, 1), release=[0]
        )
    assert everything(store) == before


def test_a_batch_of_a_run_that_is_not_there_is_refused(store):
    with pytest.raises(StaleToken):
        write(store, "nobody", tasks=[task_row(0)])


def test_who_catches_the_refusal_may_go_on(store):
    create(store, run_row(), run_row("r2"))
    with store.transaction() as tx:
        tx.write(batch(tasks=[task_row(0)]))
        with pytest.raises(StaleToken):
            tx.write(batch("r2", epoch=5, tasks=[task_row(0)], release=[-1]))
        tx.write(batch(tasks=[task_row(1)]))
    assert len(store.tasks("r1")) == 2
    assert store.tasks("r2") == []


def test_whether_a_run_is_still_leased_is_known_before_anything_of_it_is_written(store):
    create(store, run_row(epoch=3))
    store.take_over("r1", "you", 1.0)
    with store.transaction() as tx:
        tx.create_run(run_row("r2"))
        assert [tx.is_leased("r1", epoch) for epoch in (3, 4, 5)] == [False, True, False]
        assert tx.is_leased("r2", 1)
        assert not tx.is_leased("nobody", 1)
        tx.write(batch(epoch=4, tasks=[task_row(0)]))
    assert store.tasks("r1") == [task_row(0)]


def test_after_a_take_over_only_the_new_epoch_writes(store):
    create(store, run_row())
    epoch = store.take_over("r1", "you", 1.0)
    with pytest.raises(StaleToken):
        write(store, epoch=1, tasks=[task_row(0)])
    write(store, epoch=epoch, tasks=[task_row(0)])
    assert store.tasks("r1") == [task_row(0)]


# --- hooks -----------------------------------------------------------------------------------------------------------


def test_commit_points_are_told(place):
    points = []
    store = place.open(on_commit=points.append)
    create(store, run_row())
    assert points == ["before_commit", "after_commit"]


def test_a_fault_before_the_commit_undoes_and_one_after_it_does_not(place):
    faults = []

    def fault(point: str) -> None:
        if point in faults:
            raise OSError(point)

    store = place.open(on_commit=fault)
    faults.append("before_commit")
    with pytest.raises(OSError, match="before_commit"):
        create(store, run_row("r1"))
    faults[:] = ["after_commit"]
    with pytest.raises(OSError, match="after_commit"):
        create(store, run_row("r2"))
    faults.clear()
    assert store.get_run("r1") is None
    assert store.get_run("r2") == run_row("r2")
    create(store, run_row("r3"))


def test_a_closed_store_says_so(store):
    store.close()
    store.close()
    with pytest.raises(StoreError, match="closed"):
        store.get_run("r1")
    with pytest.raises(StoreError, match="closed"), store.transaction():
        pass


# --- limits ----------------------------------------------------------------------------------------------------------


def test_slots_are_granted_as_far_as_they_go(store):
    store.save_limits([LimitRow(key="l", slots=3)])
    assert acquire(store, slot_row(no=0, slots=2))
    assert not acquire(store, slot_row(no=1, slots=2))
    assert acquire(store, slot_row(no=1, slots=1))
    assert not acquire(store, slot_row(no=2))
    assert store.slots("l") == [slot_row(no=0, slots=2), slot_row(no=1)]


def test_all_or_none(store):
    store.save_limits([LimitRow(key="a", slots=5), LimitRow(key="b", slots=1)])
    assert acquire(store, slot_row("b", no=9))
    assert not acquire(store, slot_row("a"), slot_row("b"))
    assert not acquire(store, slot_row("b"), slot_row("a"))
    assert store.slots() == [slot_row("b", no=9)]


def test_requests_of_one_call_count_together(store):
    store.save_limits([LimitRow(key="l", slots=2)])
    assert not acquire(store, slot_row(no=0), slot_row(no=1), slot_row(no=2))
    assert not acquire(store, slot_row(no=0, slots=2), slot_row(no=0))
    assert acquire(store, slot_row(no=0), slot_row(no=0))
    assert store.slots() == [slot_row(no=0, slots=2)]


def test_what_is_held_already_is_not_counted_twice(store):
    store.save_limits([LimitRow(key="l", slots=2)])
    assert acquire(store, slot_row(slots=2))
    assert acquire(store, slot_row(slots=2))
    assert store.slots() == [slot_row(slots=2)]
    assert acquire(store, slot_row(slots=1))
    assert acquire(store, slot_row(no=1))


def test_requests_within_one_transaction_see_each_other(store):
    store.save_limits([LimitRow(key="l", slots=2)])
    create(store, run_row())
    acquire(store, slot_row(no=9))
    with store.transaction() as tx:
        assert tx.acquire([slot_row(no=0)])
        assert not tx.acquire([slot_row(no=1)])
        tx.write(batch(release=[9]))
        assert tx.acquire([slot_row(no=1)])
        assert not tx.acquire([slot_row(no=2)])
    assert store.slots() == [slot_row(no=0), slot_row(no=1)]


def test_a_limit_without_a_row_has_no_bound_and_one_of_0_grants_nothing(store):
    store.save_limits([LimitRow(key="zero", slots=0)])
    assert acquire(store, slot_row("free", slots=10**6))
    assert not acquire(store, slot_row("zero"))
    store.save_limits([LimitRow(key="free", slots=1)])
    assert not acquire(store, slot_row("free", no=1))
    assert acquire(store, slot_row("free", slots=10**6)), "what it holds it keeps"


def test_what_is_expected_changes_no_answer(store):
    store.save_limits([LimitRow(key="a", slots=1), LimitRow(key="b", slots=2)])
    assert acquire(store, slot_row("b", no=9))
    with store.transaction() as tx:
        tx.expect({"b", "a", "free"})
        tx.expect([])
        assert tx.acquire([slot_row("b", no=1), slot_row("free", no=1)])
        assert not tx.acquire([slot_row("a"), slot_row("b")])
        assert tx.acquire([slot_row("a")])
        assert tx.acquire([slot_row("c")]), "others may be asked for as well"
    with store.transaction() as tx:
        tx.expect(["a"])
    assert len(store.slots()) == 5


def test_limits_are_resized(store):
    store.save_limits([LimitRow(key="b", slots=1), LimitRow(key="a", slots=2)])
    store.save_limits([LimitRow(key="a", slots=3)])
    store.save_limits([])
    assert store.limits() == [LimitRow(key="a", slots=3), LimitRow(key="b", slots=1)]


def test_slots_are_given_back_with_a_batch(store):
    create(store, run_row(), run_row("r2"))
    store.save_limits([LimitRow(key="l", slots=4)])
    assert acquire(store, slot_row(no=0), slot_row("k", no=0), slot_row(no=1), slot_row(no=-1), slot_row(run_id="r2"))
    write(store, release=[0, -1, 77])
    assert store.slots() == [slot_row(no=1), slot_row(run_id="r2", no=0)]
    assert store.slots("k") == []


def test_two_stores_never_grant_more_than_there_is(place):
    one, two = place.open(), place.open()
    one.save_limits([LimitRow(key="l", slots=5)])
    granted = []

    def take(store, worker: int) -> None:
        granted.extend(no for no in range(worker, 40, 2) if acquire(store, slot_row(no=no)))

    threads = [threading.Thread(target=take, args=(store, index)) for index, store in enumerate((one, two))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(granted) == 5
    assert sorted(granted) == [row.no for row in one.slots("l")]


def test_a_workflow_is_remembered(store):
    assert store.workflow("w") is None
    with store.transaction() as tx:
        tx.save_workflow(WorkflowRow(name="w", kind="flow", paused=True, failures_in_a_row=2))
    assert store.workflow("w") == WorkflowRow(name="w", kind="flow", paused=True, failures_in_a_row=2)
    with store.transaction() as tx:
        tx.save_workflow(WorkflowRow(name="w"))
    assert store.workflow("w") == WorkflowRow(name="w")
