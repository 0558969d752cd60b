"""Starting runs: a run and what it hands out first are one transaction, which takes along what else there is."""

import contextlib
import threading

import pytest

from plait.model.errors import RunExists, StoreError
from plait.model.graph import Graph, TaskSpec
from plait.model.ids import RunId
from plait.model.policies import RunPolicy
from plait.runtime.run_request import RunRequest
from plait.testing import HOLD
from plait.testing.world import World
from tests.waiting import wait_until

ONE = Graph(name="one", nodes=(TaskSpec(key="a"),))
IN_LINE = Graph(name="in line", nodes=(TaskSpec(key="a"),), policy=RunPolicy(max_active_runs=2))


class Commits:
    """What a store's transactions do: how many there were, and what stops them."""

    def __init__(self, world: World, monkeypatch):
        self.count = 0
        self.broken = False
        self.breaks = False
        """Whether they fail at their end."""
        self.may_end = threading.Event()
        self.may_end.set()
        self.begun = threading.Event()
        real = world.store.transaction

        @contextlib.contextmanager
        def transaction():
            if self.broken:
                raise StoreError("the disk is full")
            with real() as tx:
                yield tx
                if self.breaks:
                    raise StoreError("the disk is full")
            self.count += 1
            self.begun.set()
            assert self.may_end.wait(10)

        monkeypatch.setattr(world.store, "transaction", transaction)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def commits(world, monkeypatch) -> Commits:
    return Commits(world, monkeypatch)


def begin(world: World, graph: Graph = ONE, **more) -> RunId:
    return world.scheduler.create(RunRequest(graph=graph, **more))


@pytest.mark.parametrize("graph", [ONE, IN_LINE])
def test_a_run_and_its_first_tasks_are_one_transaction(world, commits, graph):
    run_id = begin(world, graph)
    assert commits.count == 1
    assert world.store.get_run(run_id).state == "running"
    assert [task.state for task in world.store.tasks(run_id)] == ["dispatched"]
    assert [key[0] for key in world.executor.live] == [run_id]


def test_a_run_that_waits_in_line_is_there_when_its_start_returns(world, commits):
    runs = [begin(world, IN_LINE) for _ in range(4)]
    assert commits.count == 4
    assert [world.store.get_run(run_id).state for run_id in runs] == ["running", "running", "queued", "queued"]
    assert len(world.store.slots()) == 2


def test_who_starts_runs_at_the_same_time_shares_transactions(world, commits):
    commits.may_end.clear()
    made: list[RunId] = []
    threads = [threading.Thread(target=lambda: made.append(begin(world))) for _ in range(6)]
    threads[0].start()
    assert commits.begun.wait(10)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: len(world.scheduler._born) == 5, "all others wait for the first one's commit")
    assert made == []
    commits.may_end.set()
    for thread in threads:
        thread.join(10)
    assert commits.count == 2
    assert sorted(made) == sorted(row.run_id for row in world.store.list_runs())
    assert {key[0] for key in world.executor.live} == set(made)


def test_nobody_has_heard_of_a_run_that_could_not_be_made(world, commits):
    commits.broken = True
    with pytest.raises(StoreError, match="the disk is full"):
        begin(world)
    assert world.scheduler.runs == {}
    assert world.executor.taken == []
    commits.broken = False
    world.settle()
    assert world.store.list_runs() == []
    begin(world)
    assert len(world.executor.taken) == 1


def test_a_run_that_is_there_already_is_not_made_again(world, commits):
    first = begin(world, IN_LINE, occurrence="today")
    with pytest.raises(RunExists, match="today has its run already"):
        begin(world, IN_LINE, occurrence="today")
    with pytest.raises(RunExists, match=f"there is a run {first} already"):
        begin(world, IN_LINE, run_id=first)
    assert list(world.scheduler.runs) == [first]
    world.scheduler.release(first)
    with pytest.raises(RunExists, match=f"there is a run {first} already"):
        begin(world, IN_LINE, run_id=first)
    assert world.scheduler.runs == {}
    assert [(slot.run_id, slot.key) for slot in world.store.slots()] == [(first, "runs:in line")]
    assert world.store.get_run(first).state == "running"


def test_ends_wait_for_the_next_start_of_many(world, commits):
    begin(world)
    second = begin(world)
    (first_execution, second_execution) = world.executor.live.values()
    before = commits.count
    world.executor.answer(first_execution)
    world.executor.answer(second_execution)
    assert commits.count == before
    begin(world)
    assert commits.count == before + 1
    assert world.store.get_run(second).state == "success"


def test_ends_wait_for_a_moment_only(world, commits):
    runs = [begin(world), begin(world)]
    for execution in list(world.executor.live.values()):
        world.executor.answer(execution)
    due = world.scheduler.next_timer()
    assert due is not None
    world.clock.jump(due)
    world.scheduler.on_time()
    assert [world.store.get_run(run_id).state for run_id in runs] == ["success", "success"]


def test_the_end_of_a_run_that_was_started_alone_does_not_wait(world, commits):
    run = world.start(ONE, {"a": HOLD})
    (execution,) = world.executor.live.values()
    world.executor.answer(execution)
    assert run.state == "success"


@pytest.mark.parametrize("graph", [ONE, IN_LINE])
def test_who_starts_a_run_that_is_there_already_is_told_also_if_nothing_can_be_written(world, commits, graph):
    first = begin(world, graph)
    world.scheduler.release(first)
    commits.breaks = True
    with pytest.raises(StoreError, match="the disk is full"):
        begin(world, graph, run_id=first)
    assert world.scheduler.runs == {}
    commits.breaks = False
    with pytest.raises(RunExists):
        begin(world, graph, run_id=first)
    assert [slot.run_id for slot in world.store.slots()] == [first] * (graph is IN_LINE)
