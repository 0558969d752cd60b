"""What a service keeps in memory of runs that are over: nothing, whatever went wrong on the way (F19)."""

from random import Random

import pytest

from plait.testing.simulation import SCENARIOS, Faults
from plait.testing.simulation.faults import draw
from plait.testing.simulation.schedulers import SchedulerParty
from plait.testing.simulation.world import World
from tests.kept import places

FOR_A_WHILE = ("service.recovery._setbacks", "hub._orphans", "service._crashes", "service._deaths")
"""Setbacks are forgiven after a minute, reports that nobody fetched are dropped after some, with the next one; of the
deaths of bodies the last thousand are kept."""


@pytest.mark.parametrize("faults", [True, False], ids=["faults", "no faults"])
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_a_scheduler_keeps_nothing_of_runs_that_are_over(scenario, faults):
    looked = 0
    for seed in range(6):
        world = World(SCENARIOS[scenario], seed, draw(Random(seed)) if faults else Faults())
        world.run()
        for party in world.loop.alive.values():
            if isinstance(party, SchedulerParty) and party.service is not None:
                found = places({"service": party.service, "hub": party.hub}, world.place.store.run_rows)
                assert [place for place in found if not (faults and place.startswith(FOR_A_WHILE))] == []
                looked += 1
    assert looked


def test_what_is_kept_would_be_found():
    world = World(SCENARIOS["dags"], 1, Faults())
    world.run()
    party = next(each for each in world.loop.alive.values() if isinstance(each, SchedulerParty))
    run_id = next(iter(world.place.store.run_rows))
    party.scheduler.suspects.add(run_id)
    assert any("suspects" in place for place in places({"service": party.service}, [run_id]))
