"""What holds for every store: what is left in the inbox is there until its run's owner has decided it."""

import pytest

from plait.model.errors import StaleToken
from plait.model.ids import RunId
from plait.ports import RunBatch
from tests.conformance.stores.kinds import create, event_rows, run_row, task_row, write


def said(store, owner: str = "me", **more) -> list[tuple[str, bytes]]:
    return [(row.run_id, row.data) for row in store.read_inbox(owner, **more)]


@pytest.fixture
def mine(store):
    """A store with runs r1 and r2 of `me`, r3 of another, and r4 of nobody; something is said to each."""
    create(store, *[run_row(f"r{no}", owner=owner) for no, owner in enumerate(("me", "me", "you", None), 1)])
    for run_id, data in (("r2", b"1"), ("r1", b"2\x00\xff"), ("r3", b"3"), ("r4", b"4"), ("r2", b""), ("nobody", b"5")):
        store.put_inbox(run_id, data)
    return store


def test_an_owner_reads_what_is_for_its_runs_oldest_first(mine):
    assert said(mine) == [("r2", b"1"), ("r1", b"2\x00\xff"), ("r2", b"")]
    assert said(mine, "you") == [("r3", b"3")]
    assert said(mine, "nobody") == []
    numbers = [row.id for row in mine.read_inbox("me")]
    assert numbers == sorted(set(numbers))


def test_it_is_read_in_portions_and_again(mine):
    assert said(mine, limit=2) == [("r2", b"1"), ("r1", b"2\x00\xff")]
    assert mine.read_inbox("me") == mine.read_inbox("me")


def test_who_takes_a_run_over_reads_what_was_said_to_it(mine):
    mine.take_over("r4", "me", 1.0)
    mine.take_over("r2", "you", 1.0, epoch=1)
    assert said(mine) == [("r1", b"2\x00\xff"), ("r4", b"4")]
    assert said(mine, "you") == [("r2", b"1"), ("r3", b"3"), ("r2", b"")]


def test_it_goes_with_the_batch_that_names_it(mine):
    first, second, third = (row.id for row in mine.read_inbox("me"))
    write(mine, "r2", inbox=[first, third], events=event_rows(1, 1))
    assert said(mine) == [("r1", b"2\x00\xff")]
    write(mine, "r1", inbox=[second, first, 10_000])
    assert said(mine) == []
    assert said(mine, "you") == [("r3", b"3")]


def test_it_stays_when_the_transaction_is_rolled_back(mine):
    before = mine.read_inbox("me")

    def decide_and_stop() -> None:
        with mine.transaction() as tx:
            tx.write(RunBatch(run_id=RunId("r1"), epoch=1, tasks=[task_row(0)], inbox=[row.id for row in before]))
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        decide_and_stop()
    assert mine.read_inbox("me") == before


def test_it_stays_when_the_batch_is_refused(mine):
    before = mine.read_inbox("me")
    mine.take_over("r1", "you", 1.0, epoch=1)
    with pytest.raises(StaleToken):
        write(mine, "r1", epoch=1, inbox=[row.id for row in before])
    with mine.transaction() as tx:
        with pytest.raises(StaleToken):
            tx.write(RunBatch(run_id=RunId("r1"), epoch=1, inbox=[row.id for row in before]))
        tx.write(RunBatch(run_id=RunId("r2"), epoch=1))
    mine.take_over("r1", "me", 1.0, epoch=2)
    assert mine.read_inbox("me") == before


def test_what_nobody_can_decide_is_forgotten(mine):
    first, second, third = (row.id for row in mine.read_inbox("me"))
    mine.forget_inbox([])
    mine.forget_inbox([second, 10_000])
    assert [row.id for row in mine.read_inbox("me")] == [first, third]


def test_a_number_is_not_used_twice(place):
    one, two = place.open(), place.open()
    create(one, run_row(owner="me"))
    seen: list[int] = []
    for store in (one, two, one, two):
        store.put_inbox("r1", b"x")
        [row] = store.read_inbox("me")
        seen.append(row.id)
        store.forget_inbox([row.id])
    assert len(set(seen)) == 4
