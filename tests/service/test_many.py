"""Several schedulers and workers on one database: they share what there is to do, and stand in for each other."""

import json
import signal

from plait.model.ids import RunId
from tests.service.house import House


def two_of_each(house: House) -> None:
    """Two schedulers and two workers, all ready, all connected."""
    house.put("steps.py")
    started = [house.scheduler("steps.py"), house.scheduler("steps.py"), house.worker(), house.worker()]
    for process in started:
        process.ready()


def owners_of(house: House, run_ids) -> set[str]:
    """Who leases these runs."""
    return {row.owner for row in map(house.row, run_ids) if row.owner}


def until_both_have_some(house: House) -> list[RunId]:
    """Ask for runs that hold, until each of two schedulers has got some; whoever is first takes what there is."""
    runs: list[RunId] = []

    def shared() -> bool:
        runs.extend(house.many("steps.py", "holding", 2, {"name": "a"}))
        house.until(lambda: all(house.row(run_id).owner for run_id in runs), "all are taken")
        return len(owners_of(house, runs)) == 2

    house.until(shared, "both have some")
    return runs


def test_schedulers_share_runs_and_one_takes_over_when_another_is_killed(house):
    two_of_each(house)
    runs = until_both_have_some(house)
    victim = house.schedulers()[0]
    dead = next(process for process in house.processes if process.pid == victim.pid)
    dead.kill()
    house.until(lambda: victim.owner not in owners_of(house, runs), "the other one has all")
    house.let_go("a")
    for run_id in runs:
        house.ended(run_id)
    began = [line for line in house.noted() if line.startswith("holds a ")]
    assert len(began) == len(runs), "what was at work when its scheduler died went on"


def test_a_scheduler_that_stops_leaves_its_runs_to_the_other(house):
    two_of_each(house)
    runs = until_both_have_some(house)
    house.processes[0].stop(signal.SIGTERM)
    house.until(lambda: len(owners_of(house, runs)) == 1, "the other one has all")
    house.let_go("a")
    for run_id in runs:
        house.ended(run_id)
    assert len([line for line in house.noted() if line.startswith("holds a ")]) == len(runs)


def test_limits_hold_across_schedulers(house):
    two_of_each(house)
    pooled = [house.many("steps.py", "through_the_door", 1)[0] for _ in range(6)]
    alone = [house.many("steps.py", "one_at_a_time", 1)[0] for _ in range(6)]
    for run_id in (*pooled, *alone):
        house.ended(run_id)
    inside = [json.loads(line) for line in house.noted()]
    assert most_at_once(inside, "door") <= 2
    assert most_at_once(inside, "alone") == 1
    assert not house.store.slots()


def most_at_once(spans, name: str) -> int:
    """How many of these were inside at the same time."""
    changes = [
        (at, change) for span in spans if span["name"] == name for at, change in zip(span["at"], (1, -1), strict=True)
    ]
    inside = most = 0
    for _, change in sorted(changes):
        inside += change
        most = max(most, inside)
    return most
