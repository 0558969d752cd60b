"""What a scheduler commits on each store when others take its runs over meanwhile: theirs are left out, the rest is
written, and goes on undisturbed."""

import pytest

from plait.model.errors import RunExists, StaleToken
from plait.model.graph import Graph, TaskSpec
from plait.model.ids import RunId
from plait.model.outcome import Outcome
from plait.model.policies import LimitUse
from plait.model.rows import LimitRow, OwnerRow
from plait.model.stimuli import ExecutionFinished
from plait.model.wire import Execution, Finished
from plait.runtime.run_request import RunRequest
from plait.runtime.scheduler import Scheduler
from plait.testing import HOLD
from plait.testing.clock import FakeClock
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds

PLAIN = Graph(name="plain", nodes=(TaskSpec(key="a"),))
LIMITED = Graph(name="limited", nodes=(TaskSpec(key="a", limits=(LimitUse(key="l"),)),))


class Here:
    """A scheduler on a store, whose executions end when a test says so."""

    def __init__(self, store):
        self.clock = clock = FakeClock()
        self.store = store
        self.executor = ScriptedExecutor(lambda execution: HOLD, clock=clock)
        self.scheduler = Scheduler(
            store=store, clock=clock, ids=CountedIds(), executors={"work": self.executor}, default_executor="work",
            owner="me",
        )  # fmt: skip
        self.executor.start(self.scheduler)
        self.failed: list[RunId] = []
        self.scheduler.recover = lambda hosted, error: self.failed.append(hosted.run.run_id)

    def start(self, graph: Graph) -> RunId:
        self.clock.jump(self.clock.now() + 1.0)  # not one of many that are started: ends do not wait for the next one
        return self.scheduler.create(RunRequest(graph=graph, session=False))

    def at_work(self, run_id: RunId) -> Execution:
        [found] = [each for each in self.executor.live.values() if each.run.run_id == run_id]
        return found

    def end(self, *run_ids: RunId) -> None:
        """Their tasks end, and it is told in one go."""
        at_work = [self.at_work(run_id) for run_id in run_ids]
        self.scheduler.report([Finished(each.run.run_id, each.no, each.token, Outcome()) for each in at_work])

    def state(self, run_id: RunId) -> str:
        row = self.store.get_run(run_id)
        assert row is not None
        return row.state


@pytest.fixture
def here(store):
    return Here(store)


def test_runs_of_others_are_left_out_and_the_rest_is_written(here, place):
    runs = [here.start(PLAIN) for _ in range(3)]
    place.open().take_over(runs[1], "you", 1.0)
    here.end(*runs)
    assert [here.state(run_id) for run_id in runs] == ["success", "running", "success"]
    assert here.failed == [runs[1]], "nobody else's run has to be loaded again"
    assert here.store.tasks(runs[1])[0].state != "success"


def test_slots_that_were_granted_in_that_transaction_are_taken_all_the_same(here, place):
    here.scheduler.set_limits([LimitRow(key="l", slots=1)])
    holds, theirs, waits, theirs_waits = (here.start(graph) for graph in (LIMITED, PLAIN, LIMITED, LIMITED))
    other = place.open()
    other.take_over(theirs, "you", 1.0)
    other.take_over(theirs_waits, "you", 1.0)
    other.save_limits([LimitRow(key="l", slots=3)])
    here.scheduler.set_limits([])
    here.end(theirs)
    assert sorted(here.failed) == sorted([theirs, theirs_waits])
    assert sorted(slot.run_id for slot in here.store.slots("l")) == sorted([holds, waits])
    here.end(holds, waits)
    assert [here.state(run_id) for run_id in (holds, waits)] == ["success", "success"]
    assert here.store.slots("l") == []


@pytest.mark.parametrize("graph", [PLAIN, LIMITED], ids=["plain", "limited"])
def test_a_run_that_cannot_be_made_is_left_out_and_the_rest_is_written(here, graph):
    here.scheduler.set_limits([LimitRow(key="l", slots=9)])
    going_on, known = here.start(graph), here.start(graph)
    here.scheduler.release(known)
    end = here.at_work(going_on)
    here.scheduler.gathering.soon()
    with pytest.raises(RunExists, match=f"there is a run {known} already"):
        here.scheduler.create(RunRequest(graph=graph, session=False, run_id=known))
    assert here.state(known) == "running"
    here.scheduler.post(going_on, ExecutionFinished(no=end.no, token=end.token, outcome=Outcome()))
    with pytest.raises(RunExists):
        here.scheduler.create(RunRequest(graph=graph, session=False, run_id=known))
    assert here.state(going_on) == "success"
    assert here.failed == []


def test_who_was_declared_dead_makes_no_runs(here):
    here.store.renew(OwnerRow(owner="me", host="h", pid=1, started=0.0, lease_until=1.0))
    here.store.sweep(["me"], "it was silent", 2.0)
    with pytest.raises(StaleToken, match="me was declared dead"):
        here.start(PLAIN)
    assert here.store.list_runs() == []
    assert here.scheduler.runs == {}
