"""Custom mappings in services: user code answers in a process of its own, and holds back what waits for it."""

import pytest

from plait.services.backfills import BackfillView
from tests.service.house import House
from tests.service.test_backfills import over, view

SHOPS = """
import os
from pathlib import Path

from plait import PartitionMapping, asset, eager, static

NOTES = Path(os.environ["NOTES"])
CITIES = {"north": ["berlin", "paris"], "south": ["rome", "oslo"]}


def cities(keys):
    with NOTES.open("a") as file:
        file.write(f"asked {os.getpid()}\\n")
    if NOTES.with_suffix(".bad").exists() and "PLANNING" not in os.environ:
        return [city for key in keys for city in CITIES[key.upper()]]
    return [city for key in keys for city in CITIES[key]]


@asset(partitions=static(["berlin", "paris", "rome", "oslo"]))
def stock(context) -> int:
    return len(context.partition_key)


@asset(partitions=static(["berlin", "paris", "rome", "oslo"]), automation=eager())
def label(context, stock: int) -> str:
    return context.partition_key


@asset(partitions=static(["north", "south"]), deps=[PartitionMapping.custom(cities).of("stock")], automation=eager())
def region(stock: dict[str, int]) -> int:
    return sum(stock.values())
"""
ONE = pytest.mark.parametrize("house", ["sqlite"], indirect=True)
"""Stores are all alike here."""


def asked(house: House) -> list[int]:
    """The processes in which the mapping ran."""
    return [int(line.split()[1]) for line in house.noted() if line.startswith("asked")]


def held(found: BackfillView) -> str:
    """Why the last group waits."""
    return found.groups[-1].held


def values(house: House) -> dict[str, int]:
    """What the regions came to, by partition; the newest ones."""
    rows = house.store.asset_history("region", kinds=["materialized"], limit=100)[::-1]
    return {row.partition: house.value(row.run_id, "region") for row in rows}


def begin(house: House, *args: str) -> str:
    """Leave a backfill to the services; its id."""
    return str(house("backfill", "shops.py", *args, "--detach", PLANNING="1").out.strip())


@ONE
def test_a_service_backfills_by_a_mapping_of_user_code(house: House):
    house.put("shops.py", SHOPS)
    id = begin(house, "--select", "stock or region")
    planned = set(asked(house))
    scheduler = house.scheduler()
    house.worker().ready()
    found = over(house, id)
    assert {each.name: each.done for each in found.groups} == {"stock": 4, "region": 2}
    assert values(house) == {"north": 11, "south": 8}
    answered = set(asked(house)) - planned
    assert len(answered) == 1, "all was asked at once"
    assert scheduler.pid not in answered


@ONE
def test_a_mapping_that_raises_holds_back_what_needs_it(house: House):
    """It says where; what else there is to do is done; once the mapping is mended it goes on."""
    house.put("shops.py", SHOPS)
    house.folder.joinpath("notes.bad").touch()
    house.dev("shops.py")
    house.until(lambda: len(house.store.definitions.automations()) == 3, "it was looked at")
    id = begin(house, "--select", "stock or region")
    house.until(lambda: view(house, id).groups[0].done == 4 and "raised" in held(view(house, id)), "it is told")
    line = 1 + SHOPS.splitlines().index("        return [city for key in keys for city in CITIES[key.upper()]]")
    assert "the mapping shops:cities raised for 'north': KeyError: 'NORTH'" in held(view(house, id))
    assert f"shops.py:{line}" in held(view(house, id))
    assert view(house, id).groups[1].left == 2
    house.until(lambda: len(house.store.asset_history("label")) == 4, "other assets are made by themselves")
    house.until(lambda: "raised" in house("assets", "why", "region").out, "it is told")
    assert f"shops.py:{line}" in house("assets", "why", "region", "--json").json["held"]
    assert house.store.asset_history("region") == []
    house("backfills", "cancel", id)
    over(house, id)
    house.folder.joinpath("notes.bad").unlink()
    house.put("shops.py", SHOPS + "\n# mended\n")
    house.until(lambda: len(values(house)) == 2, "what was held back is made")
    assert values(house) == {"north": 11, "south": 8}
