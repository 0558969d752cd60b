"""Workflows that updates of assets and events start, in real schedulers and workers."""

import json

from plait.bootstrap.service import publish_event
from plait.model.rows import RunRow
from plait.model.states import RUN_TERMINAL
from plait.runtime.lease import is_alive
from plait.services.schedules import WaitView, deployed
from tests.service.house import House

SHOP = """
import os
from plait import asset, context, cron, event, every, flow, publish, task, dag, updated


def note(text):
    with open(os.environ["NOTES"], "a") as file:
        file.write(text + "\\n")


@asset
def orders(context):
    context.add_metadata(rows=3)
    return 1


@asset
def customers():
    return 2


@flow(schedule=updated(orders))
def each():
    [update] = context().updates
    note(f"each {update.asset} {update.run_id} {update.metadata['rows']} {update.task}")


@flow(schedule=updated(orders, "customers"))
def both():
    note("both " + " ".join(sorted(update.asset for update in context().updates)))


@flow(schedule=event("ready", {"region": "eu"}) | every(86400 * 3650))
def ready():
    [told] = context().events
    note(f"ready {told.data['n']}")


@task
def tell():
    publish("told", {"from": "a task"})


@dag
def teller():
    tell()


@flow(schedule=event("told") & updated("orders"))
def told():
    note(f"told {context().events[0].data['from']} {len(context().updates)}")
"""


def said(house: House, word: str) -> list[list[str]]:
    return [line.split()[1:] for line in house.noted() if line.startswith(f"{word} ")]


def runs_of(house: House, workflow: str) -> list[RunRow]:
    return house.store.list_runs(workflow=workflow)


def waiting(house: House) -> dict[str, WaitView]:
    return {each.workflow: each.waits_for for each in deployed(house.store) if each.waits_for is not None}


def test_updates_and_events_start_workflows_once_over_kills_and_with_two_schedulers(house):
    house.put("shop.py", SHOP)
    first = house.scheduler("shop.py")
    second = house.scheduler("shop.py")
    house.worker().ready()
    first.ready()
    second.ready()
    house.until(lambda: len(house.store.definitions.deployments()) == 5, "it is deployed")

    house("run", "shop.py", "--select", "orders")
    house.until(lambda: said(house, "each"), "a session's update starts a run")
    [made] = house.store.asset_history("orders", kinds=["materialized"])
    assert said(house, "each") == [["orders", made.run_id, "3", "orders"]]
    assert waiting(house)["both"].happened == ["asset orders"]
    assert waiting(house)["both"].missing == ["asset customers"]
    assert "1 of 2 since then; not yet: asset customers" in house("schedules", "list").out
    shown = house("runs", "show", runs_of(house, "each")[0].run_id, "--json").json
    assert [(each["asset"], each["run_id"]) for each in shown["started_by"]] == [("orders", made.run_id)]
    house("run", "shop.py", "--select", "customers")
    house.until(lambda: said(house, "both") == [["customers", "orders"]], "both were updated")

    publish_event(house.settings, house.store, "ready", {"region": "us", "n": 1})
    house("events", "publish", "ready", "--data", json.dumps({"region": "eu", "n": 2}))
    house.until(lambda: said(house, "ready") == [["2"]], "the event that it waits for was published")
    house.ask("shop.py", "teller")
    house.until(lambda: said(house, "told") == [["a", "task", "1"]], "a task published what it waited for")

    first.kill()
    second.kill()
    house("run", "shop.py", "--select", "orders")
    publish_event(house.settings, house.store, "ready", {"region": "eu", "n": 3})
    assert len(said(house, "each")) == 1
    house("deployments", "pause", "both")
    house.scheduler("shop.py").ready()
    house.until(lambda: len(said(house, "each")) == 2 and len(said(house, "ready")) == 2, "nothing is lost")
    assert waiting(house)["both"].happened == [], "who is paused counts nothing"
    house.until(lambda: all(row.state in RUN_TERMINAL for row in runs_of(house, "each")), "all is done")
    counts = {name: len(runs_of(house, name)) for name in ("each", "both", "ready", "told")}
    assert counts == {"each": 2, "both": 1, "ready": 2, "told": 1}
    assert not house.store.signals.waiting()
    assert [each["data"].get("n") for each in house("events", "list", "ready", "--json").json["events"]] == [3, 2, 1]


def test_a_scheduler_that_dies_at_any_commit_counts_each_event_once(house, nursery):
    """It kills itself at one of its commits, before it or after it; so does the next; one that lives goes on."""
    path = house.put("told.py", "from plait import event, flow\n\n\n@flow(schedule=event('e'))\ndef told(): ...\n")
    published: list[str] = []

    def dies_at(no: int, kill_at: str) -> None:
        marker = house.folder / f"killed-{no}"
        env = {**house.env, "KILL_AT": kill_at, "KILL_MARKER": str(marker)}
        log = house.folder / f"dying-{no}.log"
        pid = nursery.start(["scheduler", str(path)], env=env, cwd=house.folder, log=log)

        def died() -> bool:
            if house.store.signals.any_awaited() and not house.store.signals.waiting():
                published.append(publish_event(house.settings, house.store, "e", len(published)).id)
            return marker.exists() and not is_alive(pid)

        house.until(died, f"the scheduler kills itself: {kill_at}")

    for no, number in enumerate((4, 5, 9)):
        dies_at(no, f"{('before_commit', 'after_commit')[no % 2]}:{number}")
    house.scheduler(path)
    house.until(lambda: not house.store.signals.waiting(), "all is counted")
    told = [each["id"] for row in runs_of(house, "told") for each in row.extra["events"]]
    assert sorted(told) == sorted(published)
    assert len(told) == len(runs_of(house, "told")), "one run each"
