"""The store is away for a while: what executions came to meanwhile counts, and none of them runs again."""

from plait.model.errors import StoreError
from plait.model.graph import Graph, TaskSpec
from plait.model.policies import LimitUse
from plait.runtime.recovery import Recovery
from plait.testing.executors import HOLD
from plait.testing.world import World

IN_THE_POOL = (LimitUse(key="pool:p"),)
THREE = Graph(name="three", nodes=tuple(TaskSpec(key=key, limits=IN_THE_POOL) for key in "abc"))


def is_away(point: str) -> None:
    raise StoreError("the store is away")


def test_what_ended_while_the_store_was_away_counts():
    world = World()
    recovery = Recovery(world.scheduler)
    world.limit(pool__p=3)
    run = world.start(THREE, dict.fromkeys("abc", HOLD), session=False)
    first, second, third = world.executor.live.values()
    world.store._on_commit = is_away
    world.executor.answer(first)  # the commit of this fails
    world.executor.answer(second)  # and now the run is on its way back to its rows
    assert run.run_id not in world.scheduler.runs
    world.store._on_commit = None
    world.clock.jump(world.clock.now() + 1.0)
    recovery.go_on(world.clock.now())
    world.settle()
    assert [run.task(key).state for key in "abc"] == ["success", "success", "dispatched"]
    world.executor.answer(third)
    world.settle()
    assert run.state == "success"
    assert len(world.executor.taken) == 3
    assert world.store.slots() == []
