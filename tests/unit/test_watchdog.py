"""The watchdog: a run in which nothing happens is helped on, whatever was lost (F1, F25)."""

import pytest

from plait.model.graph import Graph, TaskSpec
from plait.model.outcome import Outcome, Verdict
from plait.model.policies import RetryPolicy
from plait.runtime.watchdog import QUIET, Watchdog
from plait.testing.executors import HOLD
from plait.testing.world import World

ONE = Graph(name="one", nodes=(TaskSpec(key="a", retry=RetryPolicy(limit=1, delays=(60.0,))),))


@pytest.fixture
def world() -> World:
    return World()


def look(world: World, watchdog: Watchdog, times: int = 2) -> None:
    for _ in range(times):
        watchdog.look()
        world.settle()


def test_an_execution_that_no_executor_has_is_offered_again(world):
    watchdog = Watchdog(world.scheduler)
    run = world.start(ONE, {"a": lambda execution: HOLD})
    watchdog.look()
    world.executor.live.clear()  # the hand-off was lost on the way
    world.clock.jump(world.clock.now() + QUIET)
    look(world, watchdog)
    (again,) = world.executor.live.values()
    assert again.attempt == 1, "that costs no attempt"
    assert len(world.executor.taken) == 2
    world.executor.answer(again)
    world.settle()
    assert run.state == "success"


def test_what_an_executor_has_is_left_alone(world):
    watchdog = Watchdog(world.scheduler)
    world.start(ONE, {"a": lambda execution: HOLD})
    watchdog.look()
    world.clock.jump(world.clock.now() + 10 * QUIET)
    look(world, watchdog, times=4)
    assert len(world.executor.taken) == 1


def test_a_timer_that_was_lost_fires_all_the_same(world):
    watchdog = Watchdog(world.scheduler)
    answers = iter([Outcome(verdict=Verdict.FAILED), Outcome()])
    run = world.start(ONE, {"a": lambda execution: next(answers)})
    world.scheduler.timers.forget_run(run.run_id)
    watchdog.look()
    world.clock.jump(world.clock.now() + 120.0)
    look(world, watchdog)
    assert run.state == "success"


def test_a_run_that_has_just_done_something_is_not_looked_at(world):
    watchdog = Watchdog(world.scheduler)
    world.start(ONE, {"a": lambda execution: HOLD})
    world.executor.live.clear()
    look(world, watchdog, times=4)
    assert len(world.executor.taken) == 1
