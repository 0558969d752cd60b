"""Another process goes on with a run whose workers outlive its owner."""

from plait.model.policies import LimitUse
from plait.model.states import TaskState
from tests.unit.engine.world import World, dag

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
