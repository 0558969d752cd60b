"""Services count what has happened: each update and event once, as far as there is room, whatever fails."""

import contextlib
from typing import Any

import msgspec
import pytest

from plait.adapters.stores.memory import MemoryStore
from plait.engine import schedules
from plait.engine.schedule_specs import spec_of
from plait.model.errors import StoreError
from plait.model.graph import Graph, TaskSpec
from plait.model.ids import RunId, TaskNo
from plait.model.rows import AssetEventRow, DeploymentRow, PublishedRow, RunRow, WorkflowRow
from plait.model.schedules import AllOf, AnyOf, AssetUpdates, Cron, Event, When
from plait.model.states import RUN_TERMINAL
from plait.ports import RunBatch
from plait.runtime import firing
from plait.runtime.lease import Lease
from plait.runtime.scheduler import Scheduler
from plait.runtime.service import Service
from plait.testing.clock import FakeClock
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds

A, B = (AssetUpdates(op="asset", key=key) for key in "ab")
READY = Event(name="ready")
MOST = 5


class World:
    """Services on one store, which somebody else writes to as well."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.clock = FakeClock()
        self.ids = CountedIds()
        self.services: list[tuple[Service, ScriptedExecutor]] = []
        with self.store.transaction() as tx:
            row = RunRow(run_id=RunId("r"), workflow="makes", kind="dag", graph_hash="", state="success", created_at=0)
            tx.create_run(row)

    def deploy(self, when: When, name: str = "w") -> None:
        graph = Graph(name=name, nodes=(TaskSpec(key="work"),), triggers=(spec_of(when),))
        self.store.save_graph(graph.hash(), graph)
        with self.store.transaction() as tx:
            row = DeploymentRow(workflow=name, kind="dag", target="x.py", graph_hash=graph.hash())
            known, last = tx.triggers(name), tx.last_signal()
            tx.deploy(row, schedules.redeploy(name, graph.triggers, known, self.clock.now(), last))
        self.tell("definitions")

    def service(self) -> Service:
        no = len(self.services) + 1
        lease = Lease(self.store, self.clock, name=f"scheduler-{no}", host="h", pid=no, alive=lambda pid: True)
        executor = ScriptedExecutor(clock=self.clock)
        scheduler = Scheduler(
            store=self.store, clock=self.clock, ids=self.ids, executors={"work": executor}, default_executor="work",
            owner=lease.owner,
        )  # fmt: skip
        executor.start(scheduler)
        made = Service(scheduler, lease, publish=lambda topic: None)
        made.start()
        made.look()
        self.services.append((made, executor))
        return made

    def tell(self, topic: str = "freed") -> None:
        """All services hear it, and do what is due."""
        for service, _ in self.services:
            service.heard(topic)
            while (at := service.next_timer()) is not None and at <= self.clock.now():
                service.on_time()

    def end(self) -> None:
        for _, executor in self.services:
            executor.play(list(executor.live.values()))
        self.tell()

    def update(self, *keys: str, kind: str = "materialized", data: bytes = b"{}") -> None:
        """Somebody's run writes updates, and nobody says so."""
        events: list[AssetEventRow] = []
        for key in keys:
            self.clock.advance(0.001)
            about: dict[str, Any] = {"key": key, "at": self.clock.now(), "kind": kind, "data": data}
            events.append(AssetEventRow(**about, partition="", run_id=RunId("r"), no=TaskNo(0)))
        with self.store.transaction() as tx:
            tx.write(RunBatch(run_id=RunId("r"), epoch=1, asset_events=events))

    def publish(self, name: str, data: bytes = b"1") -> None:
        with self.store.transaction() as tx:
            tx.publish(PublishedRow(id=self.ids.run_id(), name=name, at=self.clock.now(), data=data))

    def undeploy(self, name: str = "w") -> None:
        with self.store.transaction() as tx:
            tx.undeploy([name])
        self.tell("definitions")

    def pause(self, *, paused: bool, name: str = "w") -> None:
        with self.store.transaction() as tx:
            tx.save_workflow(WorkflowRow(name=name, paused=paused))
        self.tell("definitions")

    def runs(self, name: str = "w") -> list[list[str]]:
        """What each run of a workflow was started by."""
        rows = self.store.list_runs(workflow=name, limit=1000)[::-1]
        found = [[*row.extra.get("asset_events", ()), *row.extra.get("events", ())] for row in rows]
        return [[each.get("key") or each["name"] for each in one] for one in found]


@pytest.fixture
def world() -> World:
    return World()


def test_whoever_counts_each_counts_once(world: World):
    world.deploy(AllOf(parts=(A, READY)))
    world.deploy(AnyOf(parts=(A, B)), "each")
    for _ in range(3):
        world.service()
    world.update("a", "b", "a")
    world.tell()
    world.publish("ready")
    world.tell()
    assert world.runs() == [["a", "a", "ready"]]
    assert world.runs("each") == [["a"], ["b"], ["a"]]
    assert not world.store.signals.waiting()


def test_a_run_has_the_date_of_what_it_was_started_by(world: World):
    world.deploy(A)
    world.service()
    world.update("a")
    world.tell()
    [row] = world.store.list_runs(workflow="w")
    assert row.logical_date == schedules.moment(world.clock.now())
    assert row.extra["triggered"]


def test_what_came_while_no_service_was_there_counts_with_the_next_one(world: World):
    world.deploy(A)
    world.update("a", "a")
    service = world.service()
    service.on_time()
    assert world.runs() == [["a"], ["a"]]


def test_too_many_open_runs_gather_what_comes(world: World, monkeypatch):
    monkeypatch.setattr(firing, "MOST_OPEN", MOST)
    world.deploy(A)
    service = world.service()
    world.update(*["a"] * (MOST + 3))
    world.tell()
    assert world.runs() == [["a"]] * MOST
    world.update("a")
    world.tell()
    assert len(world.runs()) == MOST
    at = service.next_timer()
    assert at is None or at > world.clock.now(), "it is not looked at again and again"
    world.end()
    assert world.runs() == [["a"]] * MOST + [["a"] * 4]
    world.end()
    assert {row.state for row in world.store.list_runs(workflow="w")} <= {state.value for state in RUN_TERMINAL}


def test_who_is_paused_counts_nothing_and_keeps_what_it_had(world: World):
    world.deploy(AllOf(parts=(A, B)))
    world.service()
    world.update("a")
    world.tell()
    world.pause(paused=True)
    world.update("b")
    world.tell()
    world.pause(paused=False)
    assert world.runs() == []
    world.update("b")
    world.tell()
    assert world.runs() == [["a", "b"]]


def test_an_observation_counts_if_it_found_another_version(world: World):
    world.deploy(A)
    world.service()
    for version in ("1", "1", "2", None):
        data = f'{{"data_version":"{version}"}}'.encode() if version else b"{}"
        world.update("a", kind="observed", data=data)
        world.tell()
    assert world.runs() == [["a"], ["a"]]


def test_a_store_that_fails_in_the_middle_loses_nothing(world: World, monkeypatch):
    world.deploy(A)
    service = world.service()
    world.update("a")
    real = MemoryStore.transaction

    @contextlib.contextmanager
    def failing(self):
        with real(self) as tx:
            yield tx
            raise StoreError("no disk is left")

    monkeypatch.setattr(MemoryStore, "transaction", failing)
    service.heard("freed")
    service.on_time()
    assert world.runs() == []
    monkeypatch.setattr(MemoryStore, "transaction", real)
    world.clock.advance(1.0)
    service.on_time()
    assert world.runs() == [["a"]]


def test_what_happens_while_the_graph_is_missing_is_gathered(world: World, monkeypatch, caplog):
    world.deploy(A)
    monkeypatch.setattr(MemoryStore, "load_graph", lambda self, hash: None)
    world.service()
    world.update("a", "a")
    world.tell()
    assert world.runs() == []
    assert "its graph is not there; deploy it again" in caplog.text
    monkeypatch.undo()
    world.tell("definitions")
    assert world.runs() == [["a", "a"]]


def test_what_another_version_has_counted_does_not_stop_it(world: World, caplog):
    world.deploy(AllOf(parts=(A, B)))
    world.service()
    with world.store.transaction() as tx:
        [row] = tx.awaiting(["asset:a"])
        tx.advance_trigger(msgspec.structs.replace(row, state=b"\xc1"))
    world.update("a", "b")
    world.tell()
    assert world.runs() == [["a", "b"]]
    assert "what w has counted cannot be read" in caplog.text


def test_what_cannot_be_read_counts_for_nobody_and_holds_nothing_up(world: World, caplog):
    world.deploy(AllOf(parts=(A, READY)))
    world.service()
    world.publish("ready")
    world.tell()
    world.publish("ready", b"{")
    world.update("a", data=b"[]")
    world.update("a")
    world.tell()
    assert world.runs() == [["a", "ready"]]
    assert "what happened to event:ready (" in caplog.text
    assert "cannot be read, it counts for nobody" in caplog.text
    assert not world.store.signals.waiting()


def test_what_came_before_a_workflow_was_there_does_not_start_it(world: World):
    world.deploy(READY, "early")
    world.publish("ready")
    world.deploy(READY, "late")
    world.publish("ready")
    world.service().on_time()
    assert (len(world.runs("early")), len(world.runs("late"))) == (2, 1)


def test_who_was_taken_away_and_comes_back_begins_anew(world: World):
    world.deploy(READY)
    world.publish("ready")
    world.undeploy()
    assert not world.store.signals.waiting(), "nobody would ever count it"
    world.deploy(READY)
    world.service().on_time()
    assert world.runs() == []
    world.publish("ready")
    world.tell()
    assert world.runs() == [["ready"]]


def test_a_pause_counts_when_a_service_counts(world: World):
    """Nobody counts while no service is there: what came during a pause counts, when it is over before one comes."""
    world.deploy(READY)
    world.pause(paused=True)
    world.publish("ready")
    world.pause(paused=False)
    world.service().on_time()
    assert world.runs() == [["ready"]]


def test_a_time_in_an_expression_wakes_it(world: World):
    world.deploy(AllOf(parts=(Cron(cron="0 6 * * *"), A)))
    service = world.service()
    world.update("a")
    world.tell()
    assert world.runs() == []
    at = service.next_timer()
    assert at is not None
    world.clock.jump(at)
    service.on_time()
    assert world.runs() == [["a"]]


def test_who_waits_for_nothing_is_not_woken(world: World, monkeypatch):
    world.deploy(Cron(cron="0 6 * * *"))
    service = world.service()
    monkeypatch.setattr(world.store.signals, "waiting", None)  # it would raise
    world.update("a")
    service.heard("freed")
    service.on_time()
    assert world.runs() == []
