"""Schedules that a service fires, as its user sees them."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from plait.model.rows import RunRow
from plait.model.states import RUN_TERMINAL
from tests.service.house import House

FILE = """
from datetime import date
import os
from plait import context, cron, every, flow, logical_date


def note(text):
    with open(os.environ["NOTES"], "a") as file:
        file.write(text + "\\n")


@flow(schedule=every(0.5))
def ticking():
    here = context()
    note(f"tick {here.data_interval_start.timestamp()} {here.data_interval_end.timestamp()}")


@flow(schedule="{minute} {hour} * * *", start="{start}", catchup="all")
def days(day: date = logical_date()):
    note(f"day {day}")
"""


def said(house: House, word: str) -> list[list[str]]:
    return [line.split()[1:] for line in house.noted() if line.startswith(f"{word} ")]


def runs_of(house: House, workflow: str) -> list[RunRow]:
    return house.store.list_runs(workflow=workflow)


def written(start: datetime, hour: int, minute: int = 0) -> str:
    values = {"start": start.date().isoformat(), "hour": str(hour), "minute": str(minute)}
    text = FILE
    for name, value in values.items():
        text = text.replace("{" + name + "}", value)
    return text


def test_each_occurrence_has_one_run_over_kills_and_redeploys(house):
    """The past is caught up once, what ticks goes on; a changed schedule goes on from there."""
    today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    start = today - timedelta(days=4)
    wanted = [(start + timedelta(days=n)).date().isoformat() for n in range(5)]
    house.put("clock.py", written(start, 0))
    first = house.dev("clock.py")
    house.until(lambda: len(said(house, "day")) >= 5 and len(said(house, "tick")) >= 3, "it catches up and ticks")
    first.kill()
    house.put("clock.py", written(start, 0, 1))
    seen = len(said(house, "tick"))
    house.dev("clock.py")
    house.until(lambda: len(said(house, "tick")) >= seen + 3, "it ticks again")
    house.until(lambda: all(row.state in RUN_TERMINAL for row in runs_of(house, "days")), "no day is left")
    caught = sorted(day for [day] in said(house, "day"))
    assert sorted(set(caught)) == wanted
    assert len(runs_of(house, "days")) <= 6  # at one minute past midnight, today may have come anew

    ticks = sorted(tuple(map(float, pair)) for pair in said(house, "tick"))
    assert len({end for _, end in ticks}) == len(ticks)
    assert all(end - begin == 0.5 for begin, end in ticks)
    assert any(before[1] == after[0] for before, after in pairwise(ticks))

    listed = {each["workflow"]: each for each in house("schedules", "list", "--json").json["schedules"]}
    assert listed["days"]["next_at"] == (today + timedelta(days=1, minutes=1)).isoformat()
    assert (listed["days"]["catchup"], listed["ticking"]["catchup"]) == ("all", "latest")
    assert listed["ticking"]["schedule"] == "every 0.5 s"
    assert "0:01:00" in house("schedules", "list", "--workflow", "days").out
