"""A service takes what is asked for: the first at once, what is asked for right after it together."""

import pytest

from plait.adapters.stores.memory import MemoryStore
from plait.model.errors import StoreError
from plait.model.graph import Graph, TaskSpec
from plait.model.ids import RunId
from plait.runtime.lease import Lease
from plait.runtime.run_request import RunRequest, first_row
from plait.runtime.scheduler import Scheduler
from plait.runtime.service import Service
from plait.testing import FakeClock
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds

ONE = Graph(name="one", nodes=(TaskSpec(key="a"),))


class House:
    """A service on a store, and people who ask for runs."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.store = MemoryStore()
        self.ids = CountedIds()
        executor = ScriptedExecutor(clock=self.clock)
        lease = Lease(self.store, self.clock, name="scheduler", host="h", pid=1, alive=lambda pid: True)
        self.scheduler = Scheduler(
            store=self.store, clock=self.clock, ids=self.ids, executors={"work": executor}, default_executor="work",
            owner=lease.owner,
        )  # fmt: skip
        executor.start(self.scheduler)
        self.service = Service(self.scheduler, lease, publish=lambda topic: None)
        self.service.start()
        self.service.look()

    def ask(self) -> RunId:
        request = RunRequest(graph=ONE, session=False)
        self.store.save_graph(ONE.hash(), ONE)
        row = first_row(request, self.ids.run_id(), ONE.hash(), None, self.clock.now())
        with self.store.transaction() as tx:
            tx.create_run(row)
        self.service.heard("runs")
        return row.run_id

    def wait(self) -> None:
        due = self.service.next_timer()
        assert due is not None
        self.clock.jump(max(due, self.clock.now()))
        self.service.on_time()

    def state(self, run_id: RunId) -> str:
        row = self.store.get_run(run_id)
        assert row is not None
        return row.state


@pytest.fixture
def house() -> House:
    return House()


def test_a_run_is_taken_at_once(house):
    assert house.state(house.ask()) == "running"


def test_runs_that_are_asked_for_right_after_it_are_taken_together(house):
    first = house.ask()
    others = [house.ask() for _ in range(20)]
    assert [house.state(run_id) for run_id in others] == ["queued"] * 20
    asked = house.clock.now()
    house.wait()
    assert [house.state(run_id) for run_id in (first, *others)] == ["running"] * 21
    assert house.clock.now() - asked < 0.02


def test_a_store_that_fails_meanwhile_is_asked_again(house, monkeypatch):
    house.ask()
    late = house.ask()
    claim = house.store.claim
    failing = iter([StoreError("it is away")])

    def fails_once(owner, limit):
        for error in failing:
            raise error
        return claim(owner, limit)

    monkeypatch.setattr(house.store, "claim", fails_once)
    house.wait()
    assert house.state(late) == "queued"
    house.wait()
    assert house.state(late) == "running"
