"""What holds for every store: runs of services go from one scheduler to the next."""

import itertools
import threading

import pytest

from plait.model.errors import StaleToken, StoreError
from tests.conformance.stores.kinds import acquire, create, owner_row, run_row, slot_row, task_row, write


def served(run_id: str, **values):
    """The row of a service-owned run."""
    return run_row(run_id, session=False, **values)


# --- claim -----------------------------------------------------------------------------------------------------------


def test_runs_that_nobody_owns_are_claimed_oldest_first(store):
    create(store, *[served(run_id) for run_id in ("3", "1", "5", "2", "4")])
    assert store.claim("me", 2) == ["1", "2"]
    assert store.claim("you", 2) == ["3", "4"]
    assert store.claim("me", 2) == ["5"]
    assert store.claim("you", 2) == []
    assert [store.get_run(run_id).owner for run_id in "12345"] == ["me", "me", "you", "you", "me"]


def test_a_claimed_run_has_a_new_epoch_and_its_slots(store):
    create(store, served("r1", epoch=3))
    acquire(store, slot_row(), slot_row(no=-1))
    assert store.claim("me", 1) == ["r1"]
    assert store.get_run("r1") == served("r1", owner="me", epoch=4)
    assert store.load_run("r1").slots == [slot_row(no=-1), slot_row()]
    with pytest.raises(StaleToken):
        write(store, "r1", epoch=3, tasks=[task_row(0)])
    write(store, "r1", epoch=4, tasks=[task_row(0)])


def test_every_state_of_a_run_that_goes_on_is_claimed(store):
    create(store, *[served(state, state=state) for state in ("queued", "running", "paused", "cancelling")])
    assert store.claim("me", 9) == ["cancelling", "paused", "queued", "running"]


def test_runs_of_sessions_and_of_others_are_not_claimed(store):
    create(store, run_row("session's"), served("other's", owner="you"), run_row("over", state="failed"))
    for run_id in ("session's", "other's", "over"):
        store.put_inbox(run_id, b"x")
    assert store.claim("me", 9) == []
    assert store.get_run("session's") == run_row("session's")
    assert store.get_run("other's") == served("other's", owner="you")


def test_a_run_that_is_over_is_claimed_only_when_something_is_said_to_it(store):
    for owner in ("live", "me"):
        store.renew(owner_row(owner))
    create(
        store,
        served("1", state="success"),
        served("2", state="failed"),
        served("3", state="failed", owner="gone"),
        served("4", state="failed", owner="live"),
        served("5"),
    )
    for run_id in ("2", "3", "3", "4"):
        store.put_inbox(run_id, b"x")
    assert store.claim("me", 2) == ["2", "3"]
    assert store.claim("me", 2) == ["5"]
    assert [row.run_id for row in store.read_inbox("me")] == ["2", "3", "3"]
    assert [row.run_id for row in store.read_inbox("live")] == ["4"], "its owner is there to decide it"
    store.sweep(["live"], "died", 1.0)
    assert store.claim("me", 2) == ["4"]


def test_a_run_whose_owner_died_is_claimed_by_the_next(store):
    for owner in ("dead", "next"):
        store.renew(owner_row(owner))
    create(store, served("r1", owner="dead"), run_row("r2", owner="dead"))
    assert store.claim("next", 9) == []
    store.sweep(["dead"], "died", 5.0)
    assert store.claim("next", 9) == ["r1"]
    assert store.get_run("r1") == served("r1", owner="next", epoch=3)


def test_two_that_claim_at_once_get_different_runs(place):
    stores = [place.open() for _ in range(3)]
    create(stores[0], *[served(f"{number:03}") for number in range(60)])
    claimed: list[list[str]] = [[], [], []]
    ready = threading.Barrier(3)

    def work(index: int) -> None:
        ready.wait()
        while found := stores[index].claim(f"owner {index}", 4):
            claimed[index] += found

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(itertools.chain(*claimed)) == [f"{number:03}" for number in range(60)]
    for index, found in enumerate(claimed):
        assert all(stores[0].get_run(run_id).owner == f"owner {index}" for run_id in found)


# --- let go ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(store):
    """A store whose owner `me` has a run that goes on, with slots, and one that is over; `you` has another."""
    create(
        store,
        served("r1", owner="me"),
        served("r2", owner="me", state="success", finished_at=2.0),
        served("r3", owner="you"),
    )
    for run_id in ("r1", "r3"):
        tasks = [task_row(0), task_row(1, state="success"), task_row(2, state="dispatched", error=b"e")]
        write(store, run_id, tasks=tasks)
        acquire(store, slot_row(run_id=run_id), slot_row(run_id=run_id, no=-1))
    return store


def test_what_is_let_go_waits_for_the_next_owner_with_all_it_has(held):
    held.let_go(["r1", "r2"], "me", 9.0)
    assert held.get_run("r1") == served("r1", epoch=2)
    assert held.get_run("r2") == served("r2", epoch=2, state="success", finished_at=2.0)
    assert [row.state for row in held.tasks("r1")] == ["running", "success", "dispatched"]
    assert len(held.load_run("r1").slots) == 2
    with pytest.raises(StaleToken):
        write(held, "r1", epoch=1)
    assert held.claim("next", 9) == ["r1"]


def test_what_crashed_is_marked_so_and_holds_nothing(held):
    held.let_go(["r1", "r2"], "me", 9.0, crashed="caf\udce9 broke")
    row = held.get_run("r1")
    assert (row.state, row.owner, row.epoch, row.finished_at) == ("crashed", None, 2, 9.0)
    assert row.reason.endswith("broke")
    assert [(task.state, task.finished_at) for task in held.tasks("r1")] == [
        ("crashed", 9.0),
        ("success", None),
        ("crashed", 9.0),
    ]
    assert [task.reason for task in held.tasks("r1")] == [row.reason, "", row.reason]
    assert held.get_run("r2") == served("r2", epoch=2, state="success", finished_at=2.0)
    assert {slot.run_id for slot in held.slots()} == {"r3"}
    assert held.claim("next", 9) == []
    assert held.take_over("r1", "next", 10.0) == 3


@pytest.mark.parametrize("crashed", ["", "broke"])
def test_nobody_lets_go_what_others_have(held, crashed):
    before = [held.load_run(run_id) for run_id in ("r1", "r3")]
    held.let_go(["r3", "nobody"], "me", 9.0, crashed=crashed)
    held.let_go(["r1"], "you", 9.0, crashed=crashed)
    held.let_go([], "me", 9.0, crashed=crashed)
    assert [held.load_run(run_id) for run_id in ("r1", "r3")] == before


# --- what an owner has ------------------------------------------------------------------------------------------------


def test_an_owner_finds_its_open_service_owned_runs(store):
    store.renew(owner_row())
    create(
        store,
        served("r2", owner="me"),
        served("r1", owner="me", state="cancelling"),
        served("over", owner="me", state="failed"),
        run_row("session's", owner="me"),
        served("another's", owner="you"),
        served("free"),
    )
    assert store.owned("me") == ["r1", "r2"]
    assert store.owned("nobody") == []


def test_an_owner_that_was_swept_leases_nothing_any_more(store):
    store.renew(owner_row())
    create(store, served("r1"), run_row("r2", state="failed"))
    store.sweep(["me"], "died", 5.0)
    assert store.claim("me", 10) == []
    with pytest.raises(StoreError, match="declared dead"):
        store.take_over("r2", "me", 6.0)
    with pytest.raises(StaleToken, match="declared dead"), store.transaction() as tx:
        tx.create_run(run_row("r3", owner="me"))
    assert store.get_run("r3") is None
    assert store.claim("you", 10) == ["r1"]
