"""Assets that make themselves, in real schedulers and workers."""

from tests.service.house import House

SHOP = """
from plait import asset, eager, on_cron


@asset
def orders(context):
    return context.run_id


@asset(automation=eager())
def revenue(orders):
    return orders


@asset(automation=eager())
def report(revenue):
    return revenue


@asset(automation=on_cron("* * * * * *"))
def heartbeat():
    return 1
"""


def by_itself(house: House, key: str) -> list[str]:
    """The runs that have made an asset, by nobody's order; newest first."""
    rows = house.store.asset_history(key, kinds=["materialized"], limit=100)
    runs = [house.store.get_run(row.run_id) for row in rows]
    return [run.run_id for run in runs if run is not None and "automation" in run.extra]


def test_an_update_by_anybody_makes_what_is_below_and_a_killed_scheduler_loses_nothing(house):
    house.put("shop.py", SHOP)
    first = house.scheduler("shop.py")
    house.worker().ready()
    house.until(lambda: by_itself(house, "heartbeat"), "the clock makes assets")
    house("run", "shop.py", "--select", "+report")
    house.until(lambda: {"revenue", "report"} <= decided(house), "they were looked at")
    house.until(lambda: len(by_itself(house, "heartbeat")) > 2, "time passes")
    first.kill()
    house("run", "shop.py", "--select", "orders")
    assert by_itself(house, "report") == []
    house.scheduler("shop.py")
    house.until(lambda: by_itself(house, "report"), "the update that nobody saw is seen")
    assert by_itself(house, "report") == by_itself(house, "revenue"), "in one run"
    shown = house("assets", "why", "report", "--json").json
    assert shown["tree"]["label"] == "eager"
    assert "when it was looked at last" in house("assets", "why", "report").out
    assert "is not made by itself" in house("assets", "why", "orders", code=2).err
    known = len(by_itself(house, "heartbeat"))
    house.until(lambda: len(by_itself(house, "heartbeat")) > known + 1, "looks go on")
    assert len(by_itself(house, "report")) == 1, "and make nothing twice"


def decided(house: House) -> set[str]:
    """The assets of which something was decided."""
    return {row.key for row in house.store.definitions.automations()}
