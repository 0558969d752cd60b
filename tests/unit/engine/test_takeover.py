"""Another process goes on with a run: with its workers, where these outlive its owner, and without."""

import msgspec
import pytest

from plait.model import stimuli as s
from plait.model.commands import AddWatch, RequestSlots
from plait.model.events import TaskWaits
from plait.model.graph import MapSpec, OverParam, WatchSpec
from plait.model.policies import LimitUse, RunPolicy, TriggerRule
from plait.model.states import TaskState
from tests.unit.engine.world import World, dag, ok, skip


def over_param(name: str) -> dict[str, MapSpec]:
    return {"mapping": MapSpec(sources=(OverParam(name=name),))}


LIMITED = {"limits": (LimitUse(key="pool:p"),)}


def test_what_workers_are_at_goes_on_and_the_rest_is_offered_again():
    world = World(dag("a, b > c"))
    kept, lost = world.start("a"), world.start("b")
    token, lost_token = kept.token, lost.token
    world.take_over(kept=[kept])
    world.dispatch_all()
    assert (world.task("a").token, world.task("a").attempt, world.task("a").executions) == (token, 1, 1)
    assert world.task("b").token > lost_token
    assert (world.task("b").attempt, world.task("b").executions) == (1, 2)
    world.finish(world.task("a"))
    assert world.task("a").state is TaskState.SUCCESS
    assert world.play().row.state == "success"


def test_what_goes_on_keeps_its_slots():
    world = World(dag("a, b", {"a": LIMITED, "b": LIMITED}), sizes={"pool:p": 1})
    world.dispatch_all()
    [kept] = world.live()
    world.take_over(kept=[kept])
    world.dispatch_all()
    assert [task.key for task in world.live()] == [kept.key], "there is no second slot"
    world.finish(world.task(kept.key))
    world.dispatch_all()
    [other] = world.live()
    assert other.key != kept.key
    assert world.play().row.state == "success"


def test_a_worker_that_reported_before_is_not_waited_for():
    world = World(dag("a > b"))
    ended = world.do("a")
    world.take_over(kept=[ended])
    assert world.play().states == {"a": "success", "b": "success"}


# --- without workers that go on ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("most", [None, 1])
def test_a_run_whose_owner_died_before_it_was_admitted_runs_all_the_same(most: int | None):
    world = World(dag("m", {"m": over_param("list")}, policy=RunPolicy(max_active_runs=most)), admit=False)
    world.row = msgspec.structs.replace(world.row, extra={"lengths": {"list": 2}})
    world.take_over(died=True)
    if most is not None:
        assert (world.row.state, world.commands_of(RequestSlots)[-1].no) == ("queued", -1)
        world.say(s.RunAdmitted(lengths={"list": 2}))
    world.play()
    assert (world.row.state, world.states) == ("success", {"m[0]": "success", "m[1]": "success"})


def test_a_crashed_run_that_goes_on_takes_its_place_among_the_active_runs_again():
    world = World(dag("a", policy=RunPolicy(max_active_runs=1)))
    world.take_over(died=True)
    assert (world.row.state, world.commands_of(RequestSlots)[-1].no) == ("running", -1)


def test_what_was_live_goes_on_whatever_became_of_what_is_above_it():
    world = World(dag("a > b"))
    world.do("a")
    world.start("b")
    world.say(s.ClearRequested(tasks=("a",), downstream=False))
    world.take_over()
    assert world.play({"a": skip()}).states == {"a": "skipped", "b": "success"}


def test_what_was_live_does_not_wait_again_for_what_came_true():
    world = World(dag("a", {"a": {"watches": (WatchSpec(subject="asset", key="table"),)}}))
    world.say(s.WatchFired(no=world.task("a").no, index=0))
    world.start("a")
    world.take_over()
    assert len(world.commands_of(AddWatch)) == 1
    assert world.play().row.state == "success"


def test_what_is_ready_because_of_what_it_watched_does_not_watch_again():
    world = World(dag("a", {"a": {"watches": (WatchSpec(subject="asset", key="table"),)}}))
    world.say(s.WatchFired(no=world.task("a").no, index=0))
    world.take_over()
    assert len(world.commands_of(AddWatch)) == 1
    assert world.play().row.state == "success"


def test_what_is_ready_before_all_above_it_is_over_stays_so():
    graph = dag("a, choose > b; choose > c", {"b": {"trigger_rule": TriggerRule.ONE_SUCCESS}})
    world = World(graph)
    choose = world.start("choose")
    world.finish(world.task("a"))
    world.finish(choose, ok(branch=("c",)))
    assert world.states["b"] == "ready"
    world.take_over()
    assert world.states["b"] == "ready"


def test_that_a_live_task_is_offered_again_is_told():
    world = World(dag("a, b"))
    world.say(s.ExecutionReturned(no=world.start("a").no, token=world.task("a").token))
    world.start("b")
    world.take_over()
    told = [(event.no, event.state, event.attempt) for event in world.events_of(TaskWaits)]
    assert told == [(0, "ready", 0), (0, "ready", 0), (1, "ready", 0)]


def test_a_child_of_a_body_that_is_over_ends_with_its_owner():
    world = World(dag("flow", {"flow": {"runner": "flow"}}))
    body = world.start("flow")
    child = world.call(body, "extract")
    world.dispatch()
    world.finish(body)
    assert child.state is TaskState.DISPATCHED, "its worker was told to end it"
    world.take_over()
    assert (world.task("extract").state, world.row.state) == (TaskState.CANCELLED, "success")
