"""Kills by the hundred: `python -m tests.service.kills.soak` (`make soak`).

Its rounds are storms (`storm:SEED@DATABASE`) and sweeps, which kill a process at each commit of a workflow, one after
the other (`sweep:VICTIM:POINT:WORKFLOW@DATABASE`), on SQLite and on a PostgreSQL server of its own, which storms
restart. A round that fails is told with the command that repeats it.
"""

import argparse
import itertools
import random
import sys
import tempfile
import time
import traceback
import uuid
from collections.abc import Sequence
from pathlib import Path

from tests import pg
from tests.service.house import House
from tests.service.kills.driver import POINTS, Driver, Story, at_every_commit
from tests.service.kills.nursery import Nursery
from tests.service.kills.storm import Storm, restarts

COMMAND = "python -m tests.service.kills.soak"
DATABASES = ("sqlite", "postgres")
SWEEPS = [
    f"sweep:{victim}:{point}:{workflow}"
    for victim, workflows in {
        "scheduler": ("chain", "fan", "narrow", "walk"),
        "everything": ("chain", "fan", "narrow", "walk"),
        "flow": ("walk",),  # of a worker, only the processes of bodies commit
    }.items()
    for workflow in workflows
    for point in POINTS
]


def plan(seed: int, storms: int) -> list[str]:
    """The rounds, in an order that the seed draws; an even mix, so that a part of them shows something of all."""
    draw = random.Random(seed)
    stormy = [f"storm:{seed + number}@{database}" for number in range(storms) for database in DATABASES]
    sweeps = [f"{sweep}@{database}" for sweep in SWEEPS for database in DATABASES]
    draw.shuffle(sweeps)
    return [each for pair in itertools.zip_longest(stormy, sweeps) for each in pair if each is not None]


class Soak:
    """Plays rounds. `kills`: of each storm. Close it when done."""

    def __init__(self, kills: int):
        self._kills = kills
        self._nursery = Nursery()
        self._server: pg.Server | None = None

    def close(self) -> None:
        """End what it started."""
        self._nursery.close()
        if self._server is not None:
            self._server.close()

    def play(self, name: str) -> Story:
        """Play one round. Raises AssertionError when a promise is broken."""
        what, _, database = name.partition("@")
        with tempfile.TemporaryDirectory(prefix="plait-soak-") as folder:
            house = House(Path(folder), self._url() if database == "postgres" else None)
            driver = Driver(house, self._nursery)
            try:
                return self._sweep(driver, what) if what.startswith("sweep") else self._storm(driver, what, database)
            finally:
                driver.rest()
                house.close()

    def _url(self) -> str:
        """A schema of this round's own."""
        if self._server is None:
            self._server = pg.Server(**pg.SETTINGS)
        return f"{self._server.url}&schema=t_{uuid.uuid4().hex}"

    def _storm(self, driver: Driver, what: str, database: str) -> Story:
        seed = int(what.partition(":")[2])
        restart = restarts(self._server, seed) if database == "postgres" and self._server is not None else None
        return Storm(driver, seed, restart_database=restart).blow(self._kills)

    def _sweep(self, driver: Driver, what: str) -> Story:
        _, victim, point, workflow = what.split(":")
        at_every_commit(driver, victim, point, lambda: driver.ask(workflow))
        return driver.check()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; returns how many rounds failed, at most 1."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="of the first storm; random")
    parser.add_argument("--storms", type=int, default=10, help="on each database; 10 by default")
    parser.add_argument("--kills", type=int, default=25, help="of each storm; 25 by default")
    parser.add_argument("--minutes", type=float, default=None, help="begin no round after that")
    parser.add_argument("--round", action="append", dest="rounds", help="only this one, by its name")
    given = parser.parse_args(arguments)
    rounds = given.rounds or plan(given.seed, given.storms)
    print(f"seed {given.seed}: {len(rounds)} rounds", flush=True)
    total, failed, until = Story(), [], time.monotonic() + 60 * (given.minutes or 1e9)
    soak = Soak(given.kills)
    try:
        for name in rounds:
            if time.monotonic() > until:
                break
            began = time.monotonic()
            try:
                story = soak.play(name)
            except Exception:  # noqa: BLE001  whatever it is, the round failed, and the others tell more
                traceback.print_exc(file=sys.stdout)
                failed.append(f"{COMMAND} --kills {given.kills} --round {name}")
                print(f"{name}: FAILED; again: {failed[-1]}", flush=True)
            else:
                total.add(story)
                print(f"{name} ({time.monotonic() - began:.0f} s): {story}", flush=True)
    finally:
        soak.close()
    print(f"in all: {total}")
    for command in failed:
        print(f"failed, again: {command}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
