"""Tools for tests: a clock that jumps, an executor that answers by script, and a world in which real runs move by hand.

    world = World()
    run = world.start(graph, {"extract": [failure(), Outcome()]})
    world.run_out()
    assert run.states == {"extract": "success", "load": "success"}

Nothing here decides anything: the scheduler and its engine are the real ones (C9).
"""

from plait.testing.bodies import Body
from plait.testing.clock import FakeClock
from plait.testing.executors import HOLD, ScriptedExecutor
from plait.testing.ids import CountedIds
from plait.testing.outcomes import failure
from plait.testing.runs import WorldRun
from plait.testing.world import World

__all__ = ["HOLD", "Body", "CountedIds", "FakeClock", "ScriptedExecutor", "World", "WorldRun", "failure"]
