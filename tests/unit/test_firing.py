"""A trigger that catches up on a long past: as many runs at once as there is room for, the rest as these end, each once
(C8, F9)."""

from collections import Counter
from datetime import UTC, datetime

import pytest

from plait.adapters.stores.memory import MemoryStore
from plait.adapters.stores.open import open_store
from plait.engine import schedules
from plait.engine.schedule_specs import spec_of
from plait.model.graph import Graph, TaskSpec
from plait.model.policies import RunPolicy
from plait.model.rows import DeploymentRow
from plait.model.schedules import Catchup, Cron
from plait.model.states import RUN_TERMINAL
from plait.ports import RunStore
from plait.runtime import firing
from plait.runtime.lease import Lease
from plait.runtime.scheduler import Scheduler
from plait.runtime.service import Service
from plait.testing.clock import FakeClock
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds

NOW = datetime(2026, 1, 1, 12, 30, tzinfo=UTC).timestamp()
DAYS = 400
DAILY = Cron(cron="0 0 * * *", start=datetime.fromtimestamp(NOW - DAYS * 86400, UTC))
MOST = 10


class World:
    """Services on a store that never end a task by themselves."""

    def __init__(self, store: RunStore):
        self.store = store
        self.clock = FakeClock(NOW)
        self.ids = CountedIds()
        self._pids = 0

    def deploy(self, name: str, when: Cron, catchup: Catchup = Catchup.ALL, policy: RunPolicy | None = None) -> None:
        graph = Graph(
            name=name, nodes=(TaskSpec(key="work"),), triggers=(spec_of(when, catchup),), policy=policy or RunPolicy()
        )
        self.store.save_graph(graph.hash(), graph)
        with self.store.transaction() as tx:
            row = DeploymentRow(workflow=name, kind="dag", target="x.py", graph_hash=graph.hash())
            tx.deploy(row, schedules.redeploy(name, graph.triggers, (), self.clock.now()))

    def service(self, **options: int) -> tuple[Service, ScriptedExecutor]:
        self._pids += 1
        pid = self._pids
        lease = Lease(
            self.store, self.clock, name=f"scheduler-{pid}", host="h", pid=pid, alive=lambda pid: pid == self._pids
        )
        executor = ScriptedExecutor(clock=self.clock)
        scheduler = Scheduler(
            store=self.store, clock=self.clock, ids=self.ids, executors={"work": executor}, default_executor="work",
            owner=lease.owner,
        )  # fmt: skip
        executor.start(scheduler)
        service = Service(scheduler, lease, publish=lambda topic: None, **options)
        service.start()
        service.look()
        return service, executor

    def open_runs(self, workflow: str) -> int:
        rows = self.store.list_runs(workflow=workflow, limit=10_000)
        return sum(row.state not in RUN_TERMINAL for row in rows)

    def days(self, workflow: str) -> Counter[str | None]:
        return Counter(row.logical_date for row in self.store.list_runs(workflow=workflow, limit=10_000))


@pytest.fixture
def world(monkeypatch):
    monkeypatch.setattr(firing, "MOST_OPEN", MOST)
    return World(MemoryStore())


def end_some(service: Service, executor: ScriptedExecutor, count: int) -> None:
    executor.play(list(executor.live.values())[:count])
    while (at := service.next_timer()) is not None and at <= service.scheduler.clock.now():
        service.on_time()


def test_the_past_is_made_up_for_as_its_runs_end(world):
    world.deploy("daily", DAILY)
    service, executor = world.service()
    service.on_time()
    assert world.open_runs("daily") == MOST
    service.on_time()
    assert world.open_runs("daily") == MOST, "it is not tried again at once"
    assert service.next_timer() is None or service.next_timer() > NOW
    seen = 0
    while executor.live:
        end_some(service, executor, 3)
        assert world.open_runs("daily") <= MOST
        seen += 1
    days = world.days("daily")
    assert (len(days), max(days.values())) == (DAYS, 1)
    assert seen > DAYS / MOST


def test_others_fire_while_one_catches_up(world):
    world.deploy("daily", DAILY)
    for number in range(3):
        world.deploy(f"hourly-{number}", Cron(cron="0 * * * *"), Catchup.LATEST)
    service, _ = world.service()
    service.on_time()
    at = service.next_timer()
    assert at == NOW + 1800
    world.clock.jump(at)
    service.on_time()
    assert [world.open_runs(f"hourly-{number}") for number in range(3)] == [1, 1, 1]
    assert world.open_runs("daily") == MOST


def test_a_workflow_that_may_have_more_active_runs_gets_them(world):
    world.deploy("daily", DAILY, policy=RunPolicy(max_active_runs=25))
    service, _ = world.service()
    service.on_time()
    assert world.open_runs("daily") == 25


@pytest.mark.parametrize("kind", ["sqlite", "memory"])
def test_nothing_is_lost_or_doubled_when_schedulers_die_on_the_way(kind, tmp_path, monkeypatch):
    monkeypatch.setattr(firing, "MOST_OPEN", MOST)
    url = f"sqlite:///{tmp_path / 'x.db'}?synchronous=NORMAL"
    store = MemoryStore() if kind == "memory" else open_store(url)
    world = World(store)
    world.deploy("daily", DAILY)
    while True:
        service, executor = world.service()  # in place of one that was killed
        service.on_time()
        for _ in range(5):
            end_some(service, executor, 7)
            assert world.open_runs("daily") <= 2 * MOST
        if not executor.live:
            break
    days = world.days("daily")
    assert (len(days), max(days.values())) == (DAYS, 1)
    store.close()


def test_what_has_no_room_in_a_scheduler_waits_for_one_that_has(world):
    for number in range(5):
        world.deploy(f"hourly-{number}", Cron(cron="0 * * * *"))
    service, executor = world.service(most_runs=2)
    world.clock.jump(NOW + 1800)
    service.on_time()
    assert len(service.scheduler.runs) == 2
    assert [row.owner for row in world.store.list_runs()].count(None) == 3
    for _ in range(3):
        end_some(service, executor, 2)
        service.look()
        service.scheduler.pump()
    assert all(row.state == "success" for row in world.store.list_runs())
