"""`plait backfill` in its own process: planned, carried out, killed and resumed; and what is told of wrong use."""

import contextlib
import json
import signal
import sqlite3
from collections import Counter
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.waiting import wait_until

CODE = """
import os
import time
from datetime import date, datetime

from plait import PartitionMapping, asset, cron, daily, dag, dynamic, flow, logical_date, multi, static, task, weekly

days = daily("2026-01-01", end="2026-02-01")


def note(text):
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (text + "\\n").encode())
    os.close(file)


@asset(partitions=days)
def orders(context) -> int:
    time.sleep(float(os.environ.get("SLOW", "0")))
    note(f"orders {context.partition}")
    if os.environ.get("BAD") == context.partition_keys[0]:
        raise ValueError("no data")
    return len(context.partition_keys)


@asset(partitions=days)
def revenue(orders) -> int:
    return orders


@asset(partitions=weekly("2026-01-01", end="2026-02-01", day="monday"))
def week(revenue: dict) -> int:
    return sum(revenue.values())


@asset(partitions=days, deps=[PartitionMapping.windows(-1).of("balance")])
def balance(balance, revenue) -> int:
    note(f"balance {balance}")
    return (balance or 0) + revenue


@asset(partitions=multi(day=days, region=static(["eu", "us"])))
def split(context) -> str:
    note(f"split {context.partition_key}")
    return context.partition_key


@asset(partitions=dynamic("shops"))
def shop(context) -> str:
    note("shop " + " ".join(context.partition_keys))
    return "done"


@task
def look(day):
    note(f"looked {day:%Y-%m-%d %H}")


@dag(schedule=cron("0 6 * * MON-FRI", tz="Europe/Berlin"))
def nightly(day: datetime = logical_date()):
    look(day)


@flow
def by_hand(times: int, day: date = logical_date()):
    for _ in range(times):
        look(day)
"""


@pytest.fixture
def shop(tmp_path: Path, plait: Command) -> Command:
    """A project with these assets."""
    plait.folder.joinpath("shop.py").write_text(CODE)
    return plait


def notes(plait: Command) -> list[str]:
    return plait.notes.read_text().splitlines() if plait.notes.exists() else []


def test_a_plan_is_shown_and_nothing_done(shop: Command) -> None:
    """How many runs of what, in which order, what is left out and why."""
    shop("backfill", "shop.py", "orders", "--partitions", "2026-01-01...2026-01-04")
    dry = ["backfill", "shop.py", "--select", "orders+", "--partitions", "2026-01-01...2026-01-31", "--dry-run"]
    shown = shop(*dry, "--only", "missing")
    lines = [" ".join(line.split()) for line in shown.out.splitlines()]
    assert lines[1:] == [
        "orders and 1 more 31 31 2026-01-01 2026-01-31 -",
        "week 4 4 2026-01-05 2026-01-26 orders and 1 more",
        "balance 31 31 2026-01-01 2026-01-31 orders and 1 more",
    ]
    assert "66 runs, 4 at a time" in shown.err
    some = shop("backfill", "shop.py", "--select", "orders+", "--to", "2026-01-20", "--dry-run")
    assert "week: 1 left out, made from partitions of revenue that are missing" in some.err
    only = shop("backfill", "shop.py", "orders", "--only", "missing", "--dry-run", "--json").json
    assert only["groups"][0]["skipped"] == [
        {"count": 4, "reason": "materialized", "ranges": ["2026-01-01...2026-01-04"]}
    ]
    assert len(notes(shop)) == 4
    assert shop("backfills", "list", "--json").json["backfills"][0]["done"] == 4


def test_killed_twice_it_is_resumed_and_makes_every_partition_once(shop: Command) -> None:
    """What was recorded is not made again; what died half-way is."""
    process = shop.start("backfill", "shop.py", "--select", "orders+", "--to", "2026-01-20", SLOW="0.05")
    for count in (4, 12):
        wait_until(lambda count=count: len(notes(shop)) >= count, "some are made", 60)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        (found,) = shop("backfills", "list", "--open", "--json").json["backfills"]
        assert found["state"] == "running"
        process = shop.start("backfill", "shop.py", "--resume", found["id"][-8:], "--json", SLOW="0.05")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    view = json.loads(out)
    assert view["state"] == "success"
    assert [(each["name"], each["done"]) for each in view["groups"]] == [
        ("orders and 1 more", 20), ("week", 2), ("balance", 20)
    ]  # fmt: skip
    with contextlib.closing(sqlite3.connect(shop.folder / "home" / "plait.db")) as database:
        rows = database.execute("SELECT occurrence, state, partition FROM runs").fetchall()
    assert len(rows) == len({occurrence for occurrence, _, _ in rows}) == 42
    assert {state for _, state, _ in rows} == {"success"}
    counts = {
        each["asset"]: each["materialized"] for each in shop("partitions", "list", "shop.py", "--json").json["assets"]
    }
    assert (counts["orders"], counts["week"], counts["balance"]) == (20, 2, 20)
    repeated = Counter(line for line in notes(shop) if line.startswith("orders"))
    assert len(repeated) == 20
    assert max(repeated.values()) <= 3  # a body that had died before its end was recorded begins anew


def test_batches_dimensions_and_dynamic_keys(shop: Command) -> None:
    shop("backfill", "shop.py", "orders", "--to", "2026-01-10", "--batch", "4", "--backward", "--concurrency", "1")
    assert notes(shop) == [
        "orders 2026-01-09...2026-01-10", "orders 2026-01-05...2026-01-08", "orders 2026-01-01...2026-01-04"
    ]  # fmt: skip
    shop("backfill", "shop.py", "split", "--partitions", "2026-01-01...2026-01-02|us", "--concurrency", "1")
    assert notes(shop)[3:] == ["split 2026-01-01|us", "split 2026-01-02|us"]
    shop("partitions", "add", "shops", "berlin", "paris", "rome")
    shop("partitions", "remove", "shops", "paris")
    shop("backfill", "shop.py", "shop", "--single-run")
    assert sorted(notes(shop)[5:]) == ["shop berlin", "shop rome"]
    assert shop("partitions", "keys", "shops").out.split() == ["berlin", "rome"]
    page = shop("partitions", "list", "shop.py", "shop", "--json").json
    assert page["partitions"] == [
        {"key": "berlin", "status": "materialized"},
        {"key": "rome", "status": "materialized"},
    ]


def test_dates_of_workflows(shop: Command) -> None:
    """Those of a schedule, on its clock; each day for one without."""
    shop("backfill", "shop.py", "nightly", "--from", "2026-03-27", "--to", "2026-03-31", "--concurrency", "1")
    assert notes(shop) == ["looked 2026-03-27 05", "looked 2026-03-30 04", "looked 2026-03-31 04"]
    again = ["backfill", "shop.py", "nightly", "--from", "2026-03-27", "--to", "2026-04-01", "--only", "missing"]
    assert shop(*again, "--dry-run", "--json").json["runs"] == 1
    shop("backfill", "shop.py", "by_hand", "-p", "times=2", "--from", "2026-01-01", "--to", "2026-01-02",
         "--concurrency", "2")  # fmt: skip
    assert sorted(notes(shop)[3:]) == ["looked 2026-01-01 00"] * 2 + ["looked 2026-01-02 00"] * 2


def test_a_failure_is_an_exit_code_and_ctrl_c_pauses(shop: Command) -> None:
    done = shop("backfill", "shop.py", "--select", "orders, revenue, balance", "--to", "2026-01-04", code=1,
                BAD="2026-01-03")  # fmt: skip
    assert "failed for 2026-01-03" in done.err
    assert shop("partitions", "list", "shop.py", "orders", "--status", "failed").out.split()[-2:] == [
        "2026-01-03",
        "failed",
    ]
    process = shop.start("backfill", "shop.py", "orders", SLOW="0.2")
    before = len(notes(shop))
    wait_until(lambda: len(notes(shop)) > before, "it has begun", 60)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "--resume" in err
    assert shop("backfills", "list", "--open", "--json").json["backfills"][0]["state"] == "paused"


def test_two_that_drive_it_and_one_that_cancels_it(shop: Command) -> None:
    """The second helps, and neither is left waiting."""
    first = shop.start("backfill", "shop.py", "orders", "--json", SLOW="0.6")
    wait_until(lambda: len(notes(shop)) > 0, "it has begun", 60)
    (found,) = shop("backfills", "list", "--open", "--json").json["backfills"]
    second = shop.start("backfill", "shop.py", "--resume", found["id"], "--json", SLOW="0.6")
    wait_until(lambda: len(notes(shop)) > 6, "it goes on", 60)
    shop("backfills", "cancel", found["id"][:20])
    for process in (first, second):
        out, err = process.communicate(timeout=60)
        assert process.returncode == 1, err
        assert json.loads(out)["state"] == "cancelled"
    assert len(notes(shop)) == len(set(notes(shop))) < 31


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["orders", "--partitions", "2026-13-01"], "'2026-13-01' is not a key of daily partitions"),
        (["orders", "--partitions", "2027-01-01"], "not before the end"),
        (["orders", "--from", "soon"], "is not a date"),
        (["orders", "--batch", "2", "--single-run"], "exclude each other"),
        (["nightly", "--partitions", "2026-01-01"], "--partitions is for assets"),
        (["nightly"], "from a date to a date"),
        (["nightly", "--select", "orders", "--from", "2026-01-01"], "--select chooses assets"),
        (["orders", "-p", "x=1"], "assets have no parameters"),
        (["shop", "--from", "2026-01-01"], "are not in time"),
        (["shop"], "there is nothing to do"),
        (["--resume", "nope"], "no backfill has an id"),
    ],
)
def test_wrong_use_is_told(shop: Command, args: list[str], told: str) -> None:
    assert told in shop("backfill", "shop.py", *args, code=2).err
