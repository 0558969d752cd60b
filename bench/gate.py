"""`python -m bench gate`: fail when a case costs more than 1.5 times what is recorded, as a ratio to the floor.

No absolute time counts. Floor and case are taken in turn in one process, five times after a warm-up, and the best of
each is compared: what goes on beside them on a busy machine meets both, and the best meets the least of it. What is
past the limit is measured twice more before it fails. The recorded ratios are in `bench/gate.json`, with what each was
measured on; `--record` writes them anew.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench.cases import chain, fan
from bench.cases.flow import async_work, submits
from bench.cases.scene import Scene, once
from bench.measure import seconds
from bench.report import Table, surroundings
from plait import flow

RECORDED = Path(__file__).with_suffix(".json")
PAST = 1.5
"""How many times the recorded ratio is too much."""
REPEATS = 5
RETRIES = 2
"""How often what is past the limit is measured again."""


@flow
async def gathers(n: int) -> int:
    """At once, on one loop."""
    return len(await asyncio.gather(*[async_work(10) for _ in range(n)]))


@dataclass(frozen=True)
class Check:
    """A case and its floor, in seconds."""

    name: str
    case: Callable[[], float]
    floor: Callable[[], float]

    def ratio(self) -> float:
        """The best of the case to the best of the floor."""
        self.floor()
        self.case()
        turns = [(self.floor(), self.case()) for _ in range(REPEATS)]
        return min(case for _, case in turns) / min(floor for floor, _ in turns)


def checks(scene: Scene) -> list[Check]:
    """What is guarded: a chain, a fan, a flow's calls in threads and on a loop."""
    steps, file = scene.file("steps", chain.FILE.format(n=10, steps=100)), scene.file("fan", fan.FILE)
    first, second, third = scene.session(target=steps), scene.session(target=file), scene.session()
    sequence, mapped = scene.workflow(steps, "chain"), scene.workflow(file, "fan")
    return [
        Check("chain of 100", lambda: once(first, sequence), lambda: scene.floor(100, 1)),
        Check("fan of 3,000", lambda: once(second, mapped, {"n": 3_000}), lambda: scene.floor(3_000)),
        Check("1,000 .submit", lambda: once(third, submits, {"n": 1_000}), lambda: scene.floor(1_000)),
        Check(
            "1,000 gathered",
            lambda: seconds(lambda: asyncio.run(third.run(gathers, (1_000,), {}))),
            lambda: scene.floor(1_000),
        ),
    ]


def main() -> int:
    """Measure and compare; 1 when something became slower."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--record", action="store_true", help="write what is measured as what is to be kept")
    record = parser.parse_args().record
    recorded: dict[str, float] = json.loads(RECORDED.read_text())["ratios"] if RECORDED.exists() else {}
    table = Table("gate", ("case", "times the floor", "recorded", "limit", ""))
    found: dict[str, float] = {}
    slower = 0
    with Scene() as scene:
        for check in checks(scene):
            before = recorded.get(check.name)
            ratio = check.ratio()
            for _ in range(RETRIES if before is not None and not record else 0):
                if ratio > PAST * before:
                    ratio = min(ratio, check.ratio())
            found[check.name] = round(ratio, 2)
            bad = before is not None and ratio > PAST * before
            slower += bad
            limit = before * PAST if before is not None else ""
            table.add(check.name, ratio, before or "", limit, "slower" if bad else "")
    print(table.text())
    if record:
        RECORDED.write_text(json.dumps({"surroundings": surroundings(), "ratios": found}, indent=1) + "\n")
        return 0
    if recorded.keys() != found.keys():
        print(f"{RECORDED.name} does not have these cases; record them: python -m bench gate --record")
        return 1
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
