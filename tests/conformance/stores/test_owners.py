"""What holds for every store: owners, leases, the inbox, retention."""

import threading

import pytest

from plait.model.errors import StaleToken, StoreError
from plait.model.graph import Graph
from plait.model.rows import AssetRow, AttemptRow, LimitRow, ScopeRow
from tests.conformance.stores.kinds import acquire, create, event_rows, owner_row, run_row, slot_row, task_row, write

# --- owners ----------------------------------------------------------------------------------------------------------


def test_an_owner_registers_and_prolongs(store):
    assert store.renew(owner_row())
    assert store.renew(owner_row(lease_until=200.0))
    assert store.renew(owner_row("you", pid=2))
    assert store.owners() == [owner_row(lease_until=200.0), owner_row("you", pid=2)]


def test_an_owner_that_ends_in_order_may_come_again(store):
    store.renew(owner_row())
    store.release_owner("me")
    store.release_owner("nobody")
    assert store.owners() == []
    assert store.renew(owner_row())


def test_a_swept_owner_learns_of_it(place):
    one, two = place.open(), place.open()
    assert one.renew(owner_row())
    assert two.sweep(["me"], "died", 5.0) == []
    assert not one.renew(owner_row())
    assert not two.renew(owner_row())
    assert one.owners() == []
    one.release_owner("me")
    assert one.renew(owner_row())


# --- take over -------------------------------------------------------------------------------------------------------


def test_a_run_is_taken_over_when_nobody_live_has_it(store):
    store.renew(owner_row("live", lease_until=10.0))
    create(
        store,
        run_row("free"),
        run_row("of the unknown", owner="unknown"),
        run_row("of the live", owner="live"),
        run_row("over", owner="live", state="failed"),
    )
    assert store.take_over("free", "me", 5.0) == 2
    assert store.take_over("of the unknown", "me", 5.0) == 2
    assert store.take_over("over", "me", 5.0) == 2, "a run that is over is held by nobody"
    with pytest.raises(StoreError, match="live"):
        store.take_over("of the live", "me", 5.0)
    assert store.get_run("of the live") == run_row("of the live", owner="live")
    assert store.take_over("of the live", "me", 10.5) == 2, "its lease is over"
    assert store.get_run("of the live") == run_row("of the live", owner="me", epoch=2)


def test_an_owner_takes_its_own_run_again(store):
    store.renew(owner_row())
    create(store, run_row(owner="me"))
    assert store.take_over("r1", "me", 5.0) == 2


def test_a_run_that_is_not_there_cannot_be_taken_over(store):
    with pytest.raises(StoreError, match="no run nobody"):
        store.take_over("nobody", "me", 5.0)


def test_a_take_over_frees_the_slots_that_nobody_holds_any_more(store):
    create(store, run_row(), run_row("r2"))
    acquire(store, slot_row(), slot_row(no=-1), slot_row(run_id="r2"))
    store.take_over("r1", "me", 1.0)
    assert store.slots() == [slot_row(run_id="r2")]


def test_of_many_that_take_a_run_over_one_gets_it(place):
    stores = [place.open() for _ in range(4)]
    create(stores[0], run_row(owner="dead"))
    got, refused = [], []

    def take(index: int) -> None:
        stores[index].renew(owner_row(f"owner {index}"))
        try:
            got.append(stores[index].take_over("r1", f"owner {index}", 5.0))
        except StoreError:
            refused.append(index)

    threads = [threading.Thread(target=take, args=(index,)) for index in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (got, len(refused)) == ([2], 3)


# --- sweep -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def swept(store):
    """A store whose owner `dead` was swept: with a session's run, a service's, one that is over, and one of another."""
    for owner in ("dead", "live"):
        store.renew(owner_row(owner))
    create(
        store,
        run_row("r1", owner="dead", session=True),
        run_row("r2", owner="dead", session=False),
        run_row("r3", owner="dead", state="success", finished_at=3.0),
        run_row("r4", owner="live"),
        run_row("r5", owner="dead", state="queued"),
    )
    for run_id in ("r1", "r2", "r4"):
        write(
            store,
            run_id,
            tasks=[
                task_row(0, state="running", upstream=(7,), log=b"l"),
                task_row(1, state="dispatched"),
                task_row(2, state="success", finished_at=2.0),
                task_row(3, state="retry_wait"),
            ],
        )
        acquire(store, slot_row(run_id=run_id), slot_row(run_id=run_id, no=-1))
    acquire(store, slot_row(run_id="r3"))
    assert store.sweep(["dead"], "its process died", 50.0) == ["r1", "r2", "r5"]
    return store


def test_a_sessions_run_is_crashed(swept):
    expected = run_row("r1", state="crashed", reason="its process died", finished_at=50.0, epoch=2)
    assert swept.get_run("r1") == expected
    assert swept.tasks("r1") == [
        task_row(0, state="crashed", reason="its process died", finished_at=50.0, upstream=(7,), log=b"l"),
        task_row(1, state="crashed", reason="its process died", finished_at=50.0),
        task_row(2, state="success", finished_at=2.0),
        task_row(3, state="retry_wait"),
    ]
    assert swept.get_run("r5").state == "crashed"


def test_a_services_run_waits_for_an_owner(swept):
    assert swept.get_run("r2") == run_row("r2", session=False, epoch=2)
    assert swept.tasks("r2")[0].state == "running"
    assert swept.take_over("r2", "another", 51.0) == 3


def test_what_is_over_or_of_others_is_left_alone(swept):
    assert swept.get_run("r3") == run_row("r3", owner="dead", state="success", finished_at=3.0)
    assert swept.get_run("r4") == run_row("r4", owner="live")
    assert swept.tasks("r4")[0].state == "running"


def test_no_slot_leaks(swept):
    assert [row.run_id for row in swept.slots()] == ["r4", "r4"]


def test_a_sweep_can_be_repeated(swept):
    before = [swept.load_run(run_id) for run_id in ("r1", "r2", "r3", "r4", "r5")]
    assert swept.sweep(["dead"], "again", 60.0) == []
    assert swept.sweep([], "nobody", 60.0) == []
    assert [swept.load_run(run_id) for run_id in ("r1", "r2", "r3", "r4", "r5")] == before
    assert [row.owner for row in swept.owners()] == ["live"]


def test_a_late_write_of_the_swept_owner_is_refused(swept):
    for run_id in ("r1", "r2"):
        with pytest.raises(StaleToken):
            write(swept, run_id, epoch=1, run=run_row(run_id, state="success"))


def test_several_owners_in_one_sweep(store):
    create(store, run_row("r1", owner="a"), run_row("r2", owner="b"), run_row("r3", owner="c"))
    store.save_limits([LimitRow(key="l", slots=2)])
    acquire(store, slot_row(run_id="r1"), slot_row(run_id="r2"))
    assert store.sweep(["a", "b", "never seen"], "died", 1.0) == ["r1", "r2"]
    assert acquire(store, slot_row(run_id="r3", slots=2))


# --- inbox -----------------------------------------------------------------------------------------------------------


def test_the_inbox_is_drained_oldest_first_for_who_asks(store):
    create(store, run_row("r1"), run_row("r2"), run_row("r3"))
    for run_id, data in (("r1", b"1"), ("r2", b"2"), ("r1", b"3\x00\xff"), ("r3", b"4")):
        store.put_inbox(run_id, data)
    assert store.drain_inbox([]) == []
    assert store.drain_inbox(["nobody"]) == []
    assert store.drain_inbox(["r1", "r3", "r9"]) == [("r1", b"1"), ("r1", b"3\x00\xff"), ("r3", b"4")]
    assert store.drain_inbox(["r1", "r3"]) == []
    assert store.drain_inbox(["r2"]) == [("r2", b"2")]


def test_the_inbox_is_drained_in_portions(store):
    create(store, run_row())
    for number in range(5):
        store.put_inbox("r1", b"%d" % number)
    assert [data for _, data in store.drain_inbox(["r1"], limit=2)] == [b"0", b"1"]
    store.put_inbox("r1", b"5")
    assert [data for _, data in store.drain_inbox(["r1"])] == [b"2", b"3", b"4", b"5"]


def test_nothing_is_drained_twice_or_lost(place):
    stores = [place.open() for _ in range(3)]
    create(stores[0], run_row())
    taken: list[list[bytes]] = [[], [], []]
    finished = threading.Event()

    def drain(index: int) -> None:
        while not finished.is_set():
            taken[index] += [data for _, data in stores[index].drain_inbox(["r1"], limit=3)]

    threads = [threading.Thread(target=drain, args=(index,)) for index in (1, 2)]
    for thread in threads:
        thread.start()
    for number in range(60):
        stores[0].put_inbox("r1", b"%d" % number)
    finished.set()
    for thread in threads:
        thread.join()
    taken[0] += [data for _, data in stores[0].drain_inbox(["r1"])]
    assert sorted(taken[0] + taken[1] + taken[2], key=int) == [b"%d" % number for number in range(60)]


# --- retention -------------------------------------------------------------------------------------------------------


def test_old_final_runs_are_deleted_with_all_that_belongs_to_them(store):
    graph = Graph(name="w")
    store.save_graph("h", graph)
    store.save_graph("other", graph)
    create(
        store,
        run_row("old", state="success", finished_at=5.0),
        run_row("new", state="success", finished_at=50.0, graph_hash="other"),
        run_row("open", state="running"),
        run_row("crashed", state="crashed", finished_at=6.0, graph_hash="other"),
    )
    for run_id in ("old", "new"):
        write(
            store,
            run_id,
            tasks=[task_row(0), task_row(1)],
            events=event_rows(1, 3),
            attempts=[AttemptRow(no=0, attempt=1, state="failed"), AttemptRow(no=0, attempt=2, state="failed")],
            scopes=[ScopeRow(scope="s", path=(), generation=0, length=1)],
            assets=[AssetRow(key=run_id, partition="", run_id=run_id, no=0, at=1.0)],
        )
        store.put_inbox(run_id, b"x")
        acquire(store, slot_row(run_id=run_id))

    assert store.delete_runs(10.0) == 2
    assert sorted(row.run_id for row in store.list_runs()) == ["new", "open"]
    for gone in ("old", "crashed"):
        assert store.load_run(gone) is None
    assert store.events("old") == []
    assert store.attempts("old") == []
    assert store.tasks("old", current=False) == []
    assert store.drain_inbox(["old"]) == []
    assert [row.run_id for row in store.slots()] == ["new"]
    assert [row.key for row in store.assets()] == ["new", "old"], "that an asset exists is not forgotten"
    assert store.load_graph("h") is not None, "the open run has it"
    assert store.load_graph("other") is not None

    assert len(store.load_run("new").tasks) == 2
    assert len(store.events("new")) == 3
    assert store.drain_inbox(["new"]) == [("new", b"x")]
    assert store.delete_runs(10.0) == 0


def test_a_graph_goes_with_its_last_run_and_comes_back_with_the_next(store):
    graph = Graph(name="w")
    store.save_graph("h", graph)
    create(store, run_row("1", state="failed", finished_at=1.0), run_row("2", state="failed", finished_at=2.0))
    store.delete_runs(1.5)
    assert store.load_graph("h") == graph
    store.save_graph("h", graph)
    store.delete_runs(9.0)
    assert store.load_graph("h") is None
    create(store, run_row("3"))
    assert store.load_graph("h") == graph, "it was saved for this run, just before retention took it"


def test_a_deletion_is_bounded_and_begins_with_the_oldest(store):
    create(store, *[run_row(f"{index:03}", state="success", finished_at=float(index)) for index in range(30)])
    assert store.delete_runs(100.0, limit=10) == 10
    assert min(row.run_id for row in store.list_runs(limit=100)) == "010"
    assert store.delete_runs(25.0, limit=1000) == 15
    assert [row.run_id for row in store.list_runs()] == ["029", "028", "027", "026", "025"]


def test_a_deleted_run_takes_no_writes_and_its_id_may_come_again(store):
    create(store, run_row(state="success", finished_at=1.0))
    write(store, tasks=[task_row(0)], events=event_rows(1, 5))
    store.delete_runs(2.0)
    with pytest.raises(StaleToken):
        write(store, tasks=[task_row(1)])
    create(store, run_row())
    assert store.load_run("r1").tasks == []
    assert store.load_run("r1").last_seq == 0


def test_a_resumed_run_is_not_deleted(store):
    create(store, run_row(state="crashed", finished_at=1.0))
    store.take_over("r1", "me", 1.0)
    write(store, epoch=2, run=run_row(epoch=2, owner="me"))
    assert store.delete_runs(100.0) == 0


def test_stimuli_for_runs_that_are_not_there_do_not_stay_for_ever(store):
    store.put_inbox("nobody", b"x")
    store.delete_runs(1.0)
    assert store.drain_inbox(["nobody"]) == []
