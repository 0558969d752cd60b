"""`plait schedules`: when workflows run, by their files and in the database."""

from datetime import datetime

import pytest

from plait.adapters.clock import SystemClock
from plait.adapters.stores.open import open_store
from plait.model.rows import WorkflowRow
from plait.services.deployments import Deployments
from tests.cli.conftest import Command

FILE = """
from plait import cron, dag, every, flow, task


@task
def step(): ...


@dag(schedule=cron("30 2 * * *", tz="Europe/Berlin"))
def nightly():
    step()


@flow(schedule=cron("0 * * * *").jitter(600), catchup="none")
def spread(): ...


@flow(schedule=every(3600), end="2020-01-01")
def once(): ...


@flow
def by_hand(): ...
"""


@pytest.fixture(scope="module")
def project(shared: Command) -> Command:
    (shared.folder / "jobs.py").write_text(FILE)
    return shared


def test_next_times_are_on_the_clock_of_the_schedule(project: Command):
    shown = project("schedules", "next", "jobs.py", "nightly", "--count", 2, "--from", "2026-10-24T12:00+02:00").out
    head, *rows = shown.splitlines()
    assert head.split() == ["WORKFLOW", "SCHEDULE", "TIME", "DATA", "FROM"]
    assert "2026-10-25 02:30:00 +0200  2026-10-24 02:30:00 +0200" in rows[0]
    assert "2026-10-26 02:30:00 +0100  2026-10-25 02:30:00 +0200" in rows[1]


def test_the_object(project: Command):
    found = project("schedules", "next", "jobs.py", "--count", 3, "--from", "2026-03-28", "--json").json
    assert [each["workflow"] for each in found["schedules"]] == ["nightly", "once", "spread"]
    nightly, once, spread = found["schedules"]
    assert {**nightly, "times": []} == {
        "workflow": "nightly", "schedule": "30 2 * * * Europe/Berlin", "kind": "cron", "tz": "Europe/Berlin",
        "catchup": "latest", "times": [], "waits_for": [],
    }  # fmt: skip
    assert nightly["times"][1] == {
        "at": "2026-03-29T01:00:00+00:00",
        "starts_at": "2026-03-29T01:00:00+00:00",
        "logical_date": "2026-03-29T01:00:00+00:00",
        "data_interval_start": "2026-03-28T01:30:00+00:00",
        "data_interval_end": "2026-03-29T01:00:00+00:00",
    }
    assert once["times"] == []
    late = [
        (datetime.fromisoformat(each["starts_at"]) - datetime.fromisoformat(each["at"])).total_seconds()
        for each in spread["times"]
    ]
    assert all(0 <= each < 600 for each in late)
    assert len(set(late)) == 3


def test_previous_times_come_newest_first(project: Command):
    found = project(
        "schedules", "next", "jobs.py", "once", "--previous", "--count", 2, "--from", "2026-01-01", "--json"
    ).json
    assert [each["at"] for each in found["schedules"][0]["times"]] == [
        "2019-12-31T23:00:00+00:00",
        "2019-12-31T22:00:00+00:00",
    ]


def test_what_has_no_times_is_told(project: Command):
    assert "never" in project("schedules", "next", "jobs.py", "once", "--from", "2026-01-01").out
    assert "'by_hand' has no schedule" in project("schedules", "next", "jobs.py", "by_hand", code=2).err
    assert "one of: by_hand, nightly" in project("schedules", "next", "jobs.py", "nihgtly", code=2).err
    assert "is not a date" in project("schedules", "next", "jobs.py", "--from", "soon", code=2).err
    assert "1901" in project("schedules", "next", "jobs.py", "--from", "0001-01-01", code=2).err
    (project.folder / "none.py").write_text("from plait import flow\n\n\n@flow\ndef f(): ...\n")
    assert "no workflow here has a schedule" in project("schedules", "next", "none.py").err


WAITS = """
from plait import cron, event, flow, updated


@flow(schedule=cron("0 6 * * *") | (updated("orders") & event("ready", {"n": 1})))
def report(): ...
"""


def test_what_waits_for_more_than_times_says_for_what(project: Command):
    (project.folder / "waits.py").write_text(WAITS)
    found = project("schedules", "next", "waits.py", "--count", 1, "--json").json["schedules"]
    assert [(each["kind"], len(each["times"]), each["waits_for"]) for each in found] == [
        ("cron", 1, []),
        ("all", 0, ["asset orders", 'event ready with {"n":1}']),
    ]
    assert "after asset orders" in project("schedules", "next", "waits.py").out


def test_events_are_published_and_listed(project: Command):
    assert "no event was published" in project("events", "list").err
    project("events", "publish", "ready", "--data", '{"n": [1, null]}')
    project("events", "publish", "done")
    found = project("events", "list", "--json").json["events"]
    assert [(each["name"], each["data"]) for each in found] == [("done", None), ("ready", {"n": [1, None]})]
    assert "ready  " in project("events", "list", "ready").out
    assert "is no JSON" in project("events", "publish", "ready", "--data", "{n: 1}", code=2).err
    assert "32,768 are the most" in project("events", "publish", "ready", "--data", f'"{"x" * 40_000}"', code=2).err
    assert "more than 64 bits" in project("events", "publish", "ready", "--data", str(10**30), code=2).err
    assert "is not the name of an event" in project("events", "publish", "", code=2).err


def test_a_schedule_that_is_wrong_is_told_with_its_place(project: Command):
    (project.folder / "bad.py").write_text('from plait import flow\n\n\n@flow(schedule="61 * * * *")\ndef f(): ...\n')
    told = project("schedules", "next", "bad.py", code=1).err
    assert "its minute is '61', not 0 to 59" in told
    assert f"{project.folder / 'bad.py'}:4" in project("check", "bad.py", code=1).err


def test_deployed_schedules_are_listed_soonest_first(project: Command):
    assert "no schedule is deployed" in project("schedules", "list").err
    url = f"sqlite:///{project.folder / 'home' / 'plait.db'}"
    store = open_store(url)
    Deployments(store, SystemClock()).sync(str(project.folder / "jobs.py"))
    with store.transaction() as tx:
        tx.save_workflow(WorkflowRow(name="spread", paused=True))
    store.close()
    found = project("schedules", "list", "--json").json["schedules"]
    assert [(each["workflow"], each["paused"]) for each in found] == [
        ("nightly", False), ("once", False), ("spread", True),
    ]  # fmt: skip
    assert found[0]["next_at"] > found[0]["cursor"]
    assert found[1]["next_at"] is None
    assert found[2]["catchup"] == "none"
    shown = project("schedules", "list").out.splitlines()
    assert shown[0].split() == ["WORKFLOW", "SCHEDULE", "MISSED", "RUNS", "LAST", "NEXT"]
    assert shown[2].split()[-1] == "never"
    assert shown[3].split()[-1] == "paused"
    only = project("schedules", "list", "--workflow", "nightly", "--json").json["schedules"]
    assert [each["workflow"] for each in only] == ["nightly"]
    assert "no schedule of 'nobody'" in project("schedules", "list", "--workflow", "nobody").err
