"""A world in which the real service runs on simulated time, and in which everything goes wrong, from one seed.

    result = simulate("dags", seed=17)
    assert result.breach is None, result.story

Real are the engine, the scheduler with all that it consists of, the service around it, its leases, the hub, the agents
and what these say to each other, and the store in memory. Simulated are time, processes and their deaths, threads,
sockets, the bus, user code, and people (C9). `loop` says how, `witness` says what must hold.
"""

from plait.testing.simulation.faults import NONE, Faults
from plait.testing.simulation.scenarios import SCENARIOS, Scenario
from plait.testing.simulation.world import Result, simulate

__all__ = ["NONE", "SCENARIOS", "Faults", "Result", "Scenario", "simulate"]
