"""The service on simulated time, with everything that can go wrong: every invariant holds, and all comes to rest."""

import os
import subprocess
import sys

import pytest

from plait.testing.simulate import main, told
from plait.testing.simulation import SCENARIOS, Faults, simulate
from tests.simulation.regressions import REGRESSIONS

SEEDS = 400
AT_ONCE = 50


@pytest.mark.parametrize("first", range(1000, 1000 + SEEDS, AT_ONCE))
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_all_invariants_hold_whatever_goes_wrong(scenario, first):
    for seed in range(first, first + AT_ONCE):
        result = simulate(scenario, seed)
        assert result.breach is None, told(result)


@pytest.mark.parametrize(("scenario", "seed", "what"), REGRESSIONS)
def test_seeds_that_broke_hold(scenario, seed, what):
    result = simulate(scenario, seed)
    assert result.breach is None, f"{told(result)}\n(it broke before: {what})"


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_nothing_is_wrong_where_nothing_goes_wrong(scenario):
    for seed in range(10):
        result = simulate(scenario, seed, Faults())
        assert result.breach is None, told(result)
        assert result.runs


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_after_a_long_outage_of_the_store_nobody_who_lives_is_taken_for_dead(scenario):
    for seed in range(10):
        result = simulate(scenario, seed, Faults(blackout=15.0, kill=60.0))
        assert result.breach is None, told(result)


def test_a_seed_is_the_same_in_every_process():
    code = (
        "from plait.testing.simulation import SCENARIOS, simulate\n"
        "print([simulate(name, seed).digest for name in SCENARIOS for seed in range(4)])"
    )
    said = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONHASHSEED": str(number)},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for number in (1, 2)
    }
    assert len(said) == 1


def test_the_command_tells_what_it_has_run(capsys):
    assert main(["--scenario", "nested", "--seeds", "0:3"]) == 0
    assert capsys.readouterr().out.startswith("nested: 3 seeds, ")
