"""What simulations are about: how many of what there are, which workflows, and what people do."""

from collections.abc import Callable
from random import Random

import msgspec

from plait.model.graph import Graph
from plait.testing.simulation import shapes
from plait.testing.simulation.processes import Habits


class Scenario(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of simulation. `deploys` makes the workflows that are there from the beginning; people start `starts`
    runs of those without a trigger, publish `publishes` events, and ask `asks` things of runs, over `seconds`."""

    about: str
    deploys: Callable[[Random], list[Graph]]
    schedulers: tuple[int, int] = (1, 3)
    workers: tuple[int, int] = (1, 2)
    processes: int = 2
    starts: tuple[int, int] = (1, 4)
    asks: tuple[int, int] = (0, 3)
    publishes: tuple[int, int] | None = None
    redeploys: int = 0
    seconds: float = 60.0
    habits: Habits = Habits()


def _dags(rng: Random) -> list[Graph]:
    return [shapes.dag(rng, f"dag{number}") for number in range(rng.randint(1, 2))]


def _flows(rng: Random) -> list[Graph]:
    found = [shapes.flow(rng, f"flow{number}") for number in range(rng.randint(1, 2))]
    return [*found, shapes.dag(rng, "dag", most=3)] if rng.random() < 0.3 else found


def _schedules(rng: Random) -> list[Graph]:
    anchor = "2026-01-01T00:00:03+00:00"
    return [shapes.scheduled(rng, f"cron{number}", anchor) for number in range(rng.randint(1, 2))]


def _crowd(rng: Random) -> list[Graph]:
    return [shapes.dag(rng, f"tiny{number}", most=2) for number in range(3)]


def _updates(rng: Random) -> list[Graph]:
    found = [shapes.makes(rng, f"makes{number}") for number in range(rng.randint(1, 2))]
    return [*found, *(shapes.waits(rng, f"waits{number}") for number in range(rng.randint(1, 3)))]


def _nested(rng: Random) -> list[Graph]:
    inner = shapes.dag(rng, "inner", most=2)
    return [inner, shapes.calls("outer", "inner", rng.randint(0, 2))]


SCENARIOS: dict[str, Scenario] = {
    "dags": Scenario(about="DAGs with some of everything", deploys=_dags, habits=Habits(pauses=0.02)),
    "flows": Scenario(about="flows, whose runs workers take over", deploys=_flows, starts=(1, 3), asks=(0, 2)),
    "schedules": Scenario(
        about="workflows that time starts, and that are deployed again",
        deploys=_schedules,
        starts=(0, 0),
        asks=(0, 1),
        redeploys=2,
        habits=Habits(seconds=4.0),
    ),
    "crowd": Scenario(
        about="many schedulers and workers, small runs, few slots",
        deploys=_crowd,
        schedulers=(3, 5),
        workers=(2, 3),
        processes=1,
        starts=(4, 8),
        asks=(0, 1),
        habits=Habits(seconds=1.0),
    ),
    "updates": Scenario(
        about="workflows that updates of assets and events start, and that are deployed again",
        deploys=_updates,
        starts=(3, 8),
        asks=(0, 2),
        publishes=(0, 4),
        redeploys=2,
        habits=Habits(seconds=1.0),
    ),
    "nested": Scenario(about="runs that tasks start", deploys=_nested, starts=(1, 2), asks=(0, 2)),
}
