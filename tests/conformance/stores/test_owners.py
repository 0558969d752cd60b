"""What holds for every store: owners, leases, sweeps, retention."""

import threading

import pytest

from plait.model.errors import StaleToken, StoreError
from plait.model.graph import Graph
from plait.model.rows import AssetEventRow, AssetRow, AttemptRow, LimitRow, ScopeRow
from tests.conformance.stores.kinds import (
    acquire,
    create,
    deploy,
    deployment_row,
    event_rows,
    owner_row,
    run_row,
    slot_row,
    task_row,
    write,
)

# --- owners ----------------------------------------------------------------------------------------------------------


def test_an_owner_registers_and_prolongs(store):
    assert store.renew(owner_row())
    assert store.renew(owner_row(lease_until=200.0))
    assert store.renew(owner_row("you", pid=2))
    assert store.owners() == [owner_row(lease_until=200.0), owner_row("you", pid=2)]


def test_an_owner_tells_where_workers_find_it(store):
    store.renew(owner_row(address="h:7000"))
    store.renew(owner_row("you"))
    assert [row.address for row in store.owners()] == ["h:7000", ""]
    store.renew(owner_row(address="h:7001"))
    assert store.owners()[0] == owner_row(address="h:7001")


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


def test_a_hand_over_keeps_the_slots_and_needs_no_dead_owner(store):
    store.renew(owner_row("live"))
    create(store, run_row(owner="live", epoch=3))
    acquire(store, slot_row(), slot_row(no=-1))
    assert store.take_over("r1", "me", 5.0, epoch=3) == 4
    assert store.get_run("r1") == run_row(owner="me", epoch=4)
    assert store.slots() == [slot_row(no=-1), slot_row()]
    write(store, epoch=4, tasks=[task_row(0)])


def test_a_hand_over_under_another_epoch_is_refused(store):
    create(store, run_row(owner="live", epoch=3))
    for epoch in (2, 4):
        with pytest.raises(StaleToken, match="epoch 3"):
            store.take_over("r1", "me", 5.0, epoch=epoch)
    assert store.get_run("r1") == run_row(owner="live", epoch=3)
    with pytest.raises(StoreError, match="no run nobody"):
        store.take_over("nobody", "me", 5.0, epoch=1)


def test_who_took_a_run_over_gives_the_slots_back_that_nobody_needs(store):
    create(store, run_row(), run_row("r2"))
    acquire(store, slot_row(no=-1), slot_row(), slot_row("k"), slot_row(no=1), slot_row(no=2), slot_row(run_id="r2"))
    store.free_slots("r1", keep=[-1, 1, 7])
    assert store.slots() == [slot_row(no=-1), slot_row(no=1), slot_row(run_id="r2")]
    store.free_slots("r1")
    store.free_slots("nobody")
    assert store.slots() == [slot_row(run_id="r2")]


def test_a_snapshot_has_the_slots_of_its_run(store):
    create(store, run_row(), run_row("r2"))
    acquire(store, slot_row(no=1), slot_row("k", no=1, slots=2), slot_row(no=-1), slot_row(run_id="r2"))
    assert store.load_run("r1").slots == [slot_row("k", no=1, slots=2), slot_row(no=-1), slot_row(no=1)]
    assert store.load_run("r2").slots == [slot_row(run_id="r2")]


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


def test_a_services_run_keeps_its_slots_and_no_other_slot_leaks(swept):
    assert [row.run_id for row in swept.slots()] == ["r2", "r2", "r4", "r4"]
    assert swept.claim("another", 5) == ["r2"]
    assert swept.load_run("r2").slots == [slot_row(run_id="r2", no=-1), slot_row(run_id="r2")]


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


# --- retention -------------------------------------------------------------------------------------------------------


def test_old_final_runs_are_deleted_with_all_that_belongs_to_them(store):
    graph = Graph(name="w")
    store.save_graph("h", graph)
    store.save_graph("other", graph)
    create(
        store,
        run_row("old", owner="me", state="success", finished_at=5.0),
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
            assets=[AssetRow(key=run_id, partition="", run_id=run_id, no=0, at=1.0, observed=True)],
            asset_events=[AssetEventRow(key="a", partition="", kind="materialized", run_id=run_id, no=0, at=1.0)],
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
    assert store.read_inbox("me") == []
    assert [row.run_id for row in store.slots()] == ["new"]
    assert [row.key for row in store.assets()] == ["new", "old"], "what was observed is not forgotten"
    assert [row.run_id for row in store.asset_history("a")] == ["new"]
    assert store.load_graph("h") is not None, "the open run has it"
    assert store.load_graph("other") is not None

    assert len(store.load_run("new").tasks) == 2
    assert len(store.events("new")) == 3
    store.take_over("new", "me", 60.0)
    assert [(row.run_id, row.data) for row in store.read_inbox("me")] == [("new", b"x")]
    assert store.delete_runs(10.0) == 0


def test_a_deployed_graph_stays(store):
    graphs = {name: Graph(name=name) for name in ("now", "before")}
    for name, graph in graphs.items():
        store.save_graph(name, graph)
    create(
        store,
        run_row("1", state="failed", finished_at=1.0, graph_hash="now"),
        run_row("2", state="failed", finished_at=1.0, graph_hash="before"),
    )
    deploy(store, deployment_row(graph_hash="before"))
    deploy(store, deployment_row(graph_hash="now"))
    assert store.delete_runs(5.0) == 2
    assert store.load_graph("now") == graphs["now"]
    assert store.load_graph("before") is None
    with store.transaction() as tx:
        tx.undeploy(["w"])
    create(store, run_row("3", state="failed", finished_at=1.0, graph_hash="now"))
    store.delete_runs(5.0)
    assert store.load_graph("now") is None


def test_a_graph_that_retention_takes_just_before_its_deployment_comes_back_with_it(store):
    graph = Graph(name="w")
    store.save_graph("h", graph)
    create(store, run_row(state="failed", finished_at=1.0))
    store.save_graph("h", graph)
    store.delete_runs(5.0)
    assert store.load_graph("h") is None
    deploy(store, deployment_row(graph_hash="h"))
    assert store.load_graph("h") == graph


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
    create(store, run_row("nobody", owner="me"))
    assert store.read_inbox("me") == []


def test_an_occurrence_may_come_again_when_its_run_is_deleted(store):
    create(store, run_row(occurrence="w 1", state="success", finished_at=1.0))
    store.delete_runs(5.0)
    with store.transaction() as tx:
        assert tx.create_run(run_row("r2", occurrence="w 1"))


def test_what_has_vanished_lies_in_the_trash_until_its_files_are_gone(store, place):
    create(store, run_row("a", state="success", finished_at=1.0), run_row("b", state="failed", finished_at=2.0))
    for run_id in ("a", "b"):
        write(store, run_id, tasks=[task_row(no) for no in range(30)], events=event_rows(1, 5))
    assert store.empty_trash() == ([], False)
    assert store.delete_runs(5.0) == 2
    for _ in range(20):
        run_ids, more = store.empty_trash(10)
        if not more:
            break
    assert (sorted(run_ids), more) == (["a", "b"], False)
    store.forget_trash(["a"])
    assert place.open().empty_trash() == (["b"], False), "whoever comes next is told of it"
    store.forget_trash(["b"])
    assert store.empty_trash() == ([], False)


def test_a_run_stays_as_long_as_the_one_that_it_is_a_part_of(store):
    create(
        store,
        run_row("whole"),
        run_row("part", parent="whole/3", state="success", finished_at=1.0),
        run_row("part-of-part", parent="part/0", state="success", finished_at=0.5),
        run_row("alone", parent="gone/1", state="success", finished_at=2.0),
    )
    assert store.delete_runs(5.0) == 1
    assert sorted(row.run_id for row in store.list_runs()) == ["part", "part-of-part", "whole"]
    write(store, "whole", run=run_row("whole", state="success", finished_at=3.0))
    assert store.delete_runs(2.0) == 0
    assert store.delete_runs(5.0, limit=2) == 2
    assert [row.run_id for row in store.list_runs()] == ["part-of-part"]
    assert store.delete_runs(5.0) == 1


def test_a_run_stays_as_long_as_an_asset_is_what_it_made(store):
    made = [AssetRow(key="a", partition=day, run_id="old", no=0, at=1.0) for day in ("1", "2")]
    create(
        store,
        run_row("old", state="success", finished_at=1.0),
        run_row("other", state="success", finished_at=2.0),
        run_row("new", state="success", finished_at=9.0),
    )
    write(store, "old", tasks=[task_row(0)], assets=made)
    assert store.delete_runs(5.0) == 1
    assert sorted(row.run_id for row in store.list_runs()) == ["new", "old"]
    for day, left in (("1", 0), ("2", 1)):
        write(store, "new", assets=[AssetRow(key="a", partition=day, run_id="new", no=0, at=9.0)])
        assert store.delete_runs(5.0) == left, "it was made anew"
    assert [row.run_id for row in store.assets()] == ["new", "new"]


def test_a_run_that_is_asked_to_go_on_is_not_deleted(store):
    create(store, run_row(session=False, state="failed", finished_at=1.0))
    store.put_inbox("r1", b"again")
    assert store.delete_runs(5.0) == 0
    assert store.claim("me", 1) == ["r1"]
    store.forget_inbox([row.id for row in store.read_inbox("me")])
    assert store.delete_runs(5.0) == 1


def test_two_that_delete_at_once_are_in_nobodys_way(store, place):
    create(store, *[run_row(f"{index:03}", state="success", finished_at=1.0) for index in range(60)])
    for index in range(60):
        write(store, f"{index:03}", tasks=[task_row(no) for no in range(3)], events=event_rows(1, 3))
    others = [place.open() for _ in range(3)]
    counts: list[int] = []

    def delete(other) -> None:
        while count := other.delete_runs(5.0, 7):
            counts.append(count)
            run_ids, _ = other.empty_trash(20)
            other.forget_trash(run_ids)

    threads = [threading.Thread(target=delete, args=(other,)) for other in others]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    while (found := store.empty_trash())[0] or found[1]:
        store.forget_trash(found[0])
    assert sum(counts) == 60
    assert store.list_runs() == []
