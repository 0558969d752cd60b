"""Retention, step by step: who does it, how much at a time, and what a failure leaves."""

from collections.abc import Iterable

import pytest

from plait.adapters.stores.memory import MemoryStore
from plait.model.assets import AssetGraph, AssetSpec, graph_bytes
from plait.model.ids import RunId, TaskNo
from plait.model.rows import AssetRow, AutomationRow, FileRow, OwnerRow, PublishedRow, RunRow
from plait.ports import RunBatch
from plait.runtime import retention
from plait.runtime.retention import DAY, RUNS_AT_ONCE, SEGMENTS_AT_ONCE, Retention
from plait.testing.clock import FakeClock

NOW = 100 * DAY


class World:
    """A store with runs that ended long ago, and what is deleted of their files."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = FakeClock(NOW)
        self.deleted: list[str] = []
        self.segments = 0
        self.unused_since: list[float] = []
        self.broken = False
        self.unlisted = False
        self.register("first", started=1.0)

    def register(self, owner: str, *, started: float, lease_until: float = NOW + 10, address: str = "here") -> None:
        row = OwnerRow(owner=owner, host="h", pid=1, started=started, lease_until=lease_until, address=address)
        assert self.store.renew(row)

    def retention(self, owner: str = "first", days: float = 30.0) -> Retention:
        return Retention(
            self.store, self.clock, owner, days, delete_results=self.delete_results, prune_logs=self.prune_logs,
            prune_cache=self.prune_cache,
        )  # fmt: skip

    def delete_results(self, names: Iterable[str]) -> None:
        if self.broken:
            raise OSError("the disk is away")
        self.deleted += names

    def prune_logs(self, older_than: float, limit: int) -> int:
        assert older_than == NOW - 30 * DAY
        pruned = min(limit, self.segments)
        self.segments -= pruned
        return pruned

    def prune_cache(self, unused_since: float, limit: int) -> int:
        self.unused_since.append(unused_since)
        if self.unlisted:
            raise TypeError("ls() got an unexpected keyword argument")
        return 0

    def runs(self, *ages: float) -> list[RunId]:
        made: list[RunId] = []
        for age in ages:
            ended = NOW - age * DAY
            made.append(RunId(f"run-{len(self.store.list_runs(limit=10_000)):05}"))
            with self.store.transaction() as tx:
                row = RunRow(
                    run_id=made[-1], workflow="w", kind="dag", graph_hash="h", state="success", created_at=ended,
                    finished_at=ended,
                )  # fmt: skip
                assert tx.create_run(row)
        return made

    def left(self) -> list[str]:
        return sorted(row.run_id for row in self.store.list_runs(limit=10_000))


@pytest.fixture
def world():
    return World()


def steps(retention: Retention) -> int:
    count = 1
    while retention.step():
        count += 1
        assert count < 100
    return count


def test_what_is_older_goes_with_its_files_and_what_is_younger_stays(world):
    old, older, maker, young = world.runs(31, 300, 40, 29)
    with world.store.transaction() as tx:
        made = AssetRow(key="a", partition="", run_id=maker, no=TaskNo(0), at=1.0)
        tx.write(RunBatch(run_id=maker, epoch=1, assets=[made]))
    steps(world.retention())
    assert world.left() == [maker, young], "what an asset is now can be read"
    assert sorted(world.deleted) == [old, older]


def test_with_0_days_everything_is_kept(world):
    world.runs(1000)
    world.segments = 5
    assert not world.retention(days=0.0).step()
    assert (len(world.left()), world.segments) == (1, 5)


def test_events_that_were_published_long_ago_go(world):
    with world.store.transaction() as tx:
        for name, age in (("old", 31), ("young", 29)):
            tx.publish(PublishedRow(id=name, name="e", at=NOW - age * DAY, data=b"null"))
    steps(world.retention())
    assert [row.id for row in world.store.signals.published()] == ["young"]


def test_automations_of_assets_that_are_gone_are_forgotten(world):
    """Once they are old; where those that are deployed stand is kept, however long nothing happens to them."""
    there = AssetGraph(assets=(AssetSpec(key="there"),))
    old, young = NOW - 40 * DAY, NOW - 3 * DAY
    with world.store.transaction() as tx:
        tx.save_files([FileRow(path="a", location="a", stamp="", loaded_at=1.0, assets=graph_bytes(there))])
        rows = [("", old), ("there", old), ("gone", old), ("gone lately", young)]
        tx.save_automations([AutomationRow(key=key, at=at, cursor=b"", decision=b"") for key, at in rows])
    steps(world.retention())
    assert [row.key for row in world.store.definitions.automations()] == ["", "gone lately", "there"]


def test_what_open_runs_took_from_the_cache_is_not_deleted(world):
    steps(world.retention())
    assert world.unused_since == [NOW - 30 * DAY]
    with world.store.transaction() as tx:
        about = {"workflow": "w", "kind": "dag", "graph_hash": "h", "created_at": NOW - 50 * DAY}
        tx.create_run(RunRow(run_id=RunId("open"), state="running", **about))
    retention = world.retention()
    steps(retention)
    steps(retention)
    assert world.unused_since[1:] == [NOW - 50 * DAY], "and it is not looked for it all the time"


def test_of_many_open_runs_the_oldest_counts(world, monkeypatch):
    monkeypatch.setattr(retention, "OPEN_AT_ONCE", 2)
    for no in range(5):
        with world.store.transaction() as tx:
            about = {"workflow": "w", "kind": "dag", "graph_hash": "h", "created_at": NOW - (50 - no) * DAY}
            tx.create_run(RunRow(run_id=RunId(f"open-{no}"), state="running", **about))
    steps(world.retention())
    assert world.unused_since == [NOW - 50 * DAY]


def test_a_cache_that_cannot_be_listed_holds_nothing_else_up(world, caplog):
    world.runs(*[40] * (2 * RUNS_AT_ONCE))
    with world.store.transaction() as tx:
        tx.publish(PublishedRow(id="e", name="e", at=NOW - 31 * DAY, data=b"null"))
    world.unlisted = True
    steps(world.retention())
    assert (world.left(), world.store.signals.published()) == ([], [])
    assert len(world.unused_since) == 1, "it is tried again in an hour"
    assert "could not be deleted, it is tried again in an hour" in caplog.text


def test_a_step_is_bounded(world):
    world.runs(*[40] * (2 * RUNS_AT_ONCE + 1))
    world.segments = 2 * SEGMENTS_AT_ONCE
    before = len(world.left())
    assert world.retention().step()
    assert (before - len(world.left()), world.segments) == (RUNS_AT_ONCE, SEGMENTS_AT_ONCE)
    steps(world.retention())
    assert (world.left(), world.segments) == ([], 0)


def test_the_scheduler_that_is_there_for_longest_does_it(world):
    world.runs(40)
    world.register("session", started=0.0, address="")
    world.register("gone", started=0.5, lease_until=NOW - 1)
    world.register("second", started=2.0)
    steps(world.retention("second"))
    assert len(world.left()) == 1
    steps(world.retention("first"))
    assert world.left() == []


def test_files_that_cannot_be_deleted_are_tried_again_and_nothing_piles_up(world):
    world.runs(40)
    retention = world.retention()
    assert retention.step()
    (young,) = world.runs(35)
    world.broken = True
    for _ in range(3):
        with pytest.raises(OSError, match="away"):
            retention.step()
    assert world.left() == [young], "it does not vanish as long as there is trash"
    world.broken = False
    steps(retention)
    assert len(world.deleted) == 2
