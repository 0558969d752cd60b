"""What holds for every store: what triggers wait for becomes a signal with what it is of, and is counted once."""

import contextlib
import threading

import msgspec
import pytest

from plait.model.ids import RunId, TaskNo
from plait.model.rows import AssetEventRow, PublishedRow, SignalRow, WorkflowRow
from tests.conformance.stores.kinds import create, deploy, deployment_row, run_row, task_row, trigger_row, write


def happened(key: str, at: float = 5.0, kind: str = "materialized", **values) -> AssetEventRow:
    row = AssetEventRow(key=key, partition="p", kind=kind, at=at, run_id=RunId("r1"), no=TaskNo(0), data=b'{"x":1}')
    return msgspec.structs.replace(row, **values)


def published(id: str, name: str = "ready", at: float = 5.0) -> PublishedRow:
    return PublishedRow(id=id, name=name, at=at, data=b'{"n":"\\u0000"}')


def waits_for(store, *awaits: str, workflow: str = "w") -> None:
    deploy(store, deployment_row(workflow), trigger_row(0, workflow, kind="asset", spec={"of": awaits}, awaits=awaits))


def publish(store, *rows: PublishedRow) -> None:
    with store.transaction() as tx:
        for row in rows:
            tx.publish(row)


def take(store, limit: int = 200) -> list[SignalRow]:
    with store.transaction() as tx:
        return tx.take_signals(limit)


def subjects(rows: list[SignalRow]) -> list[str]:
    return [row.subject for row in rows]


@pytest.fixture
def made(store):
    """A store with a run of workflow `w`."""
    create(store, run_row())
    write(store, tasks=[task_row(0)])
    return store


def test_an_update_is_a_signal_if_somebody_waits_for_its_asset(made):
    assert not made.signals.any_awaited()
    write(made, asset_events=[happened("a")])
    waits_for(made, "asset:a", "event:e")
    assert made.signals.any_awaited()
    assert not made.signals.waiting(), "what came before does not count"
    write(made, asset_events=[happened("a", 6.0), happened("b", 6.0), happened("a", 7.0, "check", name="rows")])
    write(made, tasks=[task_row(1, key="look")], asset_events=[happened("a", 8.0, "observed", no=TaskNo(1))])
    assert made.signals.waiting()
    first, second = take(made)
    assert first == SignalRow(
        id=first.id, subject="asset:a", kind="materialized", at=6.0, partition="p", source="r1", no=0, workflow="w",
        task="t0", data=b'{"x":1}',
    )  # fmt: skip
    assert (second.kind, second.no, second.task) == ("observed", 1, "look")
    assert second.id > first.id
    assert not made.signals.waiting()
    write(made, asset_events=[happened("a", 9.0)])
    [third] = take(made)
    assert third.id > second.id, "a number is never used twice"


def test_what_is_written_again_is_no_other_signal(made):
    waits_for(made, "asset:a")
    write(made, asset_events=[happened("a")])
    write(made, asset_events=[happened("a"), happened("a", 6.0)])
    assert [row.at for row in take(made)] == [5.0, 6.0]


def test_what_cannot_be_printed_is_one_signal(made):
    if made.url == "memory://":
        pytest.skip("nothing is printed in memory")
    deploy(made, deployment_row(), trigger_row(kind="asset", awaits=("asset:a", "asset:\udcff")))
    write(made, asset_events=[happened("a"), happened("\udcff")])
    found = take(made)
    assert subjects(found) == ["asset:a", "asset:\\udcff"]
    with made.transaction() as tx:
        assert [row.workflow for row in tx.awaiting(["asset:\udcff"])] == ["w"]


def test_signals_come_with_what_they_are_of_or_not_at_all(made):
    waits_for(made, "asset:a", "event:ready")
    with contextlib.suppress(ZeroDivisionError), made.transaction() as tx:
        tx.publish(published("e1"))
        raise ZeroDivisionError
    assert not made.signals.waiting()
    publish(made, published("e1"))
    with contextlib.suppress(ZeroDivisionError), made.transaction() as tx:
        assert len(tx.take_signals()) == 1
        raise ZeroDivisionError
    assert subjects(take(made)) == ["event:ready"], "who takes them and fails has taken nothing"


def test_they_are_taken_oldest_first_and_once_in_a_transaction(made):
    waits_for(made, "event:ready")
    publish(made, *(published(f"e{no}") for no in range(5)))
    with made.transaction() as tx:
        assert [row.source for row in tx.take_signals(2)] == ["e0", "e1"]
        assert [row.source for row in tx.take_signals(2)] == ["e2", "e3"]
    assert [row.source for row in take(made)] == ["e4"]


def test_what_a_workflow_waits_for_is_as_it_was_deployed_last(made):
    waits_for(made, "asset:a", "asset:b")
    waits_for(made, "asset:a", workflow="v")
    waits_for(made, "asset:c")
    write(made, asset_events=[happened(key) for key in "abc"])
    assert subjects(take(made)) == ["asset:a", "asset:c"]
    with made.transaction() as tx:
        tx.undeploy(["v"])
    write(made, asset_events=[happened(key, 6.0) for key in "abc"])
    assert subjects(take(made)) == ["asset:c"]
    with made.transaction() as tx:
        tx.undeploy(["w"])
    assert not made.signals.any_awaited()


def test_the_last_signal_that_is_not_counted_is_known_and_where_nobody_waits_all_go(made):
    def last() -> int:
        with made.transaction() as tx:
            return tx.last_signal()

    assert last() == 0
    waits_for(made, "event:ready")
    waits_for(made, "event:ready", workflow="v")
    publish(made, published("e1"), published("e2"))
    with made.transaction() as tx:
        tx.undeploy(["v"])
    before = last()
    [first] = take(made, 1)
    assert before == last() == first.id + 1
    with made.transaction() as tx:
        tx.undeploy(["w"])
    assert (last(), made.signals.waiting()) == (0, False)
    waits_for(made, "event:ready")
    publish(made, published("e3"))
    assert last() > before
    deploy(made, deployment_row(), trigger_row(kind="cron"))
    assert (last(), made.signals.waiting()) == (0, False), "its triggers wait for time only"


def test_who_waits_is_asked_for_by_what_has_come(made):
    deploy(
        made,
        deployment_row("w"),
        trigger_row(0, kind="cron"),
        trigger_row(1, kind="asset", awaits=("asset:a",)),
        trigger_row(2, kind="any", awaits=("asset:a", "event:e")),
    )
    deploy(made, deployment_row("v"), trigger_row(0, "v", kind="all", awaits=("asset:b", "event:e")))
    with made.transaction() as tx:
        assert [(row.workflow, row.no) for row in tx.awaiting(["asset:a", "asset:z"])] == [("w", 1), ("w", 2)]
        assert [(row.workflow, row.no) for row in tx.awaiting(["event:e", "asset:b"])] == [("v", 0), ("w", 2)]
        tx.save_workflow(WorkflowRow(name="w", paused=True))
        assert [(row.workflow, row.no) for row in tx.awaiting(["event:e"])] == [("v", 0)]


def test_what_was_counted_is_kept_and_a_redeploy_keeps_it(made):
    waits_for(made, "asset:a")
    with made.transaction() as tx:
        [row] = tx.awaiting(["asset:a"])
        assert row.state == b""
        tx.advance_trigger(msgspec.structs.replace(row, state=b"\x00counted", cursor=3.0, next_at=4.0))
        [seen] = tx.awaiting(["asset:a"])
        assert seen.state == b"\x00counted"
    waits_for(made, "asset:a")
    [kept] = made.definitions.triggers("w")
    assert (kept.state, kept.cursor, kept.next_at, kept.awaits) == (b"\x00counted", 3.0, 4.0, ("asset:a",))
    deploy(made, deployment_row(), trigger_row(kind="asset", spec={"key": "b"}, awaits=("asset:b",), state=b"new"))
    [other] = made.definitions.triggers("w")
    assert (other.state, other.awaits) == (b"new", ("asset:b",))


def test_published_events_are_kept_by_name(made):
    publish(made, published("e1"), published("e3", "other", 7.0), published("e2", at=6.0))
    assert [row.id for row in made.signals.published()] == ["e3", "e2", "e1"]
    assert made.signals.published(name="ready") == [published("e2", at=6.0), published("e1")]
    assert [row.id for row in made.signals.published(before="e3", limit=1)] == ["e2"]
    assert made.signals.delete_published(7.0, limit=1) == 1
    assert made.signals.delete_published(7.0) == 1
    assert [row.id for row in made.signals.published()] == ["e3"]


def test_several_that_count_at_once_count_each_signal_once(place):
    """Each counts what it takes in the trigger's row: none is lost, none is in there twice."""
    stores = [place.open() for _ in range(3)]
    waits_for(stores[0], "event:ready")
    publish(stores[0], *(published(f"e{no:03}") for no in range(60)))
    ready = threading.Barrier(3)

    def work(index: int) -> None:
        ready.wait()
        while stores[index].signals.waiting():
            with stores[index].transaction() as tx:
                found = tx.take_signals(4)
                for row in tx.awaiting(["event:ready"]) if found else ():
                    counted = b"".join(signal.source.encode() for signal in found)
                    tx.advance_trigger(msgspec.structs.replace(row, state=row.state + counted))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [row] = stores[0].definitions.triggers()
    counted = row.state.decode()
    assert sorted(counted[at : at + 4] for at in range(0, len(counted), 4)) == [f"e{no:03}" for no in range(60)]
