"""Ends of calls that nobody waits for are gathered for a moment; what somebody waits for is committed at once."""

import pytest

from plait.model.graph import Graph, TaskSpec
from plait.runtime.gathering import GATHER
from plait.testing.world import World


@pytest.fixture
def world() -> World:
    return World()


def begun(world: World, tasks: int = 3):
    """A run whose tasks have all begun and wait for the test to end them."""
    graph = Graph(name="many", nodes=tuple(TaskSpec(key=f"t{number}") for number in range(tasks)))
    run = world.start(graph, {f"t{number}": None for number in range(tasks)})
    return run, list(world.executor.live.values())


def ended(world: World, run) -> int:
    return sum(row.state == "success" for row in world.store.tasks(run.run_id))


def test_ends_that_can_wait_are_committed_together_a_moment_later(world):
    run, live = begun(world)
    world.scheduler.gathering.can_wait = lambda report: True
    for execution in live[:2]:
        world.executor.answer(execution)
    assert ended(world, run) == 0
    due = world.scheduler.next_timer()
    assert due == pytest.approx(world.clock.now() + GATHER)
    world.clock.jump(due)
    world.scheduler.on_time()
    assert ended(world, run) == 2


def test_an_end_that_cannot_wait_takes_the_others_along(world):
    run, live = begun(world)
    world.scheduler.gathering.can_wait = lambda report: report.no != live[1].no
    world.executor.answer(live[0])
    assert ended(world, run) == 0
    world.executor.answer(live[1])
    assert ended(world, run) == 2


def test_who_begins_to_wait_has_it_committed(world):
    run, live = begun(world)
    world.scheduler.gathering.can_wait = lambda report: True
    world.executor.answer(live[0])
    world.scheduler.flush()
    assert ended(world, run) == 1


def test_what_comes_one_after_the_other_is_left_to_one_look(world):
    looks = []
    world.scheduler.nudge = lambda: looks.append(world.scheduler.next_timer())
    world.scheduler.wake_soon()
    for _ in range(100):
        world.scheduler.wake_soon()
    assert len(looks) == 2  # the first at once; all others when the moment is over
    assert looks[1] == pytest.approx(world.clock.now() + GATHER)
