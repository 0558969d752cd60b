"""Schedules: what is due starts on time, and once, however many schedulers there are and whichever of them die."""

import re
from datetime import datetime

from tests.service.house import House

TICKING = """
from datetime import datetime

from plait import cron, dag, every, logical_date, task


@task
def tick(at):
    return at.isoformat()


@dag(schedule=cron("* * * * * *"), catchup=True)
def by_the_second(at: datetime = logical_date()):
    tick(at)


@dag(schedule=every(0.5))
def twice_a_second(at: datetime = logical_date()):
    tick(at)
"""


def ticks(house: House, workflow: str, *states: str) -> list[float]:
    """The times for which there is a run that has succeeded (or is in one of these states), in order."""
    rows = house.store.list_runs(workflow=workflow, states=states or ["success"], limit=1000)
    return sorted(datetime.fromisoformat(row.logical_date).timestamp() for row in rows)


def test_every_time_fires_once_also_when_a_scheduler_is_killed(house):
    house.put("ticking.py", TICKING)
    schedulers = [house.scheduler("ticking.py"), house.scheduler("ticking.py")]
    house.worker().ready()
    house.until(lambda: len(ticks(house, "by_the_second")) >= 2, "it has fired")
    schedulers[0].kill()
    known = len(ticks(house, "by_the_second"))
    house.until(lambda: len(ticks(house, "by_the_second")) >= known + 2, "the other one goes on")
    schedulers[1].kill()
    alone = ticks(house, "by_the_second")[-1]
    house.until(lambda: house.now() > alone + 3, "times pass while nobody is there")
    house.scheduler("ticking.py")
    house.until(lambda: ticks(house, "by_the_second")[-1] > alone + 4, "what was missed is caught up with")
    times = ticks(house, "by_the_second")
    assert times == [times[0] + n for n in range(len(times))], "each second once, none left out"
    occurrences = [row.occurrence for row in house.store.list_runs(limit=1000)]
    assert len(set(occurrences)) == len(occurrences)
    rows = house.store.list_runs(workflow="twice_a_second", limit=1000)
    assert all(row.created_at >= datetime.fromisoformat(row.logical_date).timestamp() for row in rows), "never before"
    assert len(rows) < 2 * len(times), "without catch-up, what was missed is left out"


def test_a_paused_workflow_starts_nothing_until_it_is_resumed(house):
    house.put("ticking.py", TICKING)
    house.dev("ticking.py")
    house.until(lambda: len(ticks(house, "by_the_second")) >= 1, "it has fired")
    assert "paused" in house("deployments", "pause", "by_the_second").err
    shown = {row["workflow"]: row for row in house("deployments", "list", "--json").json["deployments"]}
    assert (shown["by_the_second"]["paused"], shown["by_the_second"]["next_at"]) == (True, None)
    assert shown["twice_a_second"]["paused"] is False
    assert shown["twice_a_second"]["next_at"] is not None
    listed = house("deployments", "list").out
    assert re.search(r"by_the_second +dag +\* \* \* \* \* \* +- +paused", listed)
    before, other = ticks(house, "by_the_second"), len(ticks(house, "twice_a_second"))
    house.until(lambda: len(ticks(house, "twice_a_second")) > other + 4, "the other workflow goes on")
    house.until(lambda: not ticks(house, "by_the_second", "running", "queued"), "all is over")
    assert len(ticks(house, "by_the_second")) <= len(before) + 1, "but for what was starting"
    by_hand = house.ask("ticking.py", "by_the_second")
    house.ended(by_hand)
    house("deployments", "resume", "by_the_second")
    house.until(lambda: len(ticks(house, "by_the_second")) >= len(before) + 4, "it goes on, and catches up")


def test_what_is_not_deployed_cannot_be_paused(house):
    house.put("ticking.py", TICKING)
    told = house("deployments", "pause", "by_the_secnd", code=2).err
    assert "by_the_secnd" in told
    assert house("deployments", "list").err
    house.scheduler("ticking.py").ready()
    assert "by_the_second" in house("deployments", "pause", "by_the_secnd", code=2).err
