"""Runs seeds of the simulation: `python -m plait.testing.simulate --seeds 0:1000`.

A seed in which an invariant breaks is told with its last steps, and with the command that plays it again."""

import argparse
import sys
import time
from collections.abc import Sequence

from plait.testing.simulation import SCENARIOS, Result, simulate

MOST_TOLD = 3
"""Broken seeds whose steps are shown."""


def replay(result: Result) -> str:
    """The command that plays a seed again."""
    return f"python -m plait.testing.simulate --scenario {result.scenario} --seeds {result.seed}"


def told(result: Result) -> str:
    """What broke, in which seed, under which faults, after which steps."""
    return f"{result.story}\n\n{result.breach}\nfaults: {result.faults}\nagain:  {replay(result)}"


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns how many seeds broke, at most 1."""
    parser = argparse.ArgumentParser(prog="python -m plait.testing.simulate", description=__doc__)
    names = ", ".join(f"{name} ({each.about})" for name, each in SCENARIOS.items())
    parser.add_argument("--scenario", action="append", choices=list(SCENARIOS), help=f"which; all by default: {names}")
    parser.add_argument("--seeds", default="0:200", help="one seed, or FROM:TO (without TO); 0:200 by default")
    given = parser.parse_args(arguments)
    first, _, behind = given.seeds.partition(":")
    seeds = range(int(first), int(behind) if behind else int(first) + 1)
    broken: list[Result] = []
    for name in given.scenario or SCENARIOS:
        began = time.monotonic()
        results = [simulate(name, seed) for seed in seeds]
        bad = [result for result in results if result.breach is not None]
        took = (time.monotonic() - began) * 1000 / max(1, len(seeds))
        runs = sum(result.runs for result in results)
        steps = sum(result.steps for result in results)
        print(f"{name}: {len(seeds)} seeds, {runs} runs, {steps} steps, {took:.0f} ms a seed, {len(bad)} broken")
        broken += bad
    for result in broken[:MOST_TOLD]:
        print(f"\n{told(result)}")
    for result in broken[MOST_TOLD:]:
        print(f"{replay(result)}   # {result.breach}")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
