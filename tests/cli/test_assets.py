"""`plait assets`: what should exist, whether it does, why not; by files and by what is deployed."""

from pathlib import Path

import pytest

from plait.adapters.clock import SystemClock
from plait.adapters.stores.open import open_store
from plait.services.deployments import Deployments
from tests.cli.conftest import Command

FILE = '''
from plait import CheckResult, asset, check, daily, external, fresh

clicks = external("clicks", kinds=["s3"], owners=["team:web"])


@asset(group="raw", deps=[clicks], code_version="1", metadata={"table": "orders"})
def orders(context):
    """The shop's orders.

    All of them.
    """
    context.add_metadata(rows=2)
    return [5, 7]


@asset(freshness=fresh(lag=3600), tags=["daily"])
def revenue(orders):
    return sum(orders)


@asset(partitions=daily("2026-01-01", end="2026-02-01"))
def report(context, revenue):
    return f"{context.partition_key}: {revenue}"


@check(asset=revenue)
def is_high(revenue):
    return CheckResult(revenue > 20, description="a slow day", severity="warn")
'''


@pytest.fixture(scope="module")
def shop(shared: Command) -> Command:
    (shared.folder / "shop.py").write_text(FILE)
    shared("assets", "materialize", "shop.py", "orders, revenue", "--executor", "inline")
    return shared


def test_how_assets_stand(shop: Command):
    shown = shop("assets", "list", "shop.py").out
    head, *rows = (line.split() for line in shown.splitlines())
    assert head == ["ASSET", "GROUP", "STATE", "FRESH", "CHECKS", "MATERIALIZED", "PARTITION"]
    assert [row[:4] for row in rows] == [
        ["clicks", "default", "external", "-"],
        ["orders", "raw", "fresh", "-"],
        ["revenue", "default", "fresh", "fresh"],
        ["report", "default", "missing", "-"],
    ]
    assert "1 of 1 failed" in shown


def test_the_object(shop: Command):
    found = shop("assets", "list", "shop.py", "--select", "revenue", "--json").json
    (revenue,) = found["assets"]
    assert {name: revenue[name] for name in ("key", "kind", "status", "causes", "upstream", "tags", "freshness")} == {
        "key": "revenue", "kind": "made", "status": "fresh", "causes": [], "upstream": ["orders"], "tags": ["daily"],
        "freshness": "fresh",
    }  # fmt: skip
    (result,) = revenue["checks"]
    assert (result["name"], result["passed"], result["severity"]) == ("is_high", False, "warn")
    assert result["description"] == "a slow day"


def test_one_asset_and_what_happened_to_it(shop: Command):
    shown = shop("assets", "show", "orders", "shop.py")
    assert "what:         The shop's orders.\n" in shown.err
    assert "made from:    clicks\n" in shown.err
    assert "goes into:    revenue\n" in shown.err
    assert '{"rows": 2}' in shown.out
    found = shop("assets", "show", "orders", "shop.py", "--json").json
    assert found["metadata"] == {"table": "orders"}
    assert [event["kind"] for event in found["history"]] == ["materialized"]
    assert found["history"][0]["data_version"] == found["asset"]["data_version"]
    assert "there is no asset 'order'" in shop("assets", "show", "order", "shop.py", code=2).err


def test_what_is_stale_and_why(shop: Command):
    (shop.folder / "later.py").write_text(FILE.replace('code_version="1"', 'code_version="2"'))
    shown = shop("assets", "stale", "later.py").out
    assert [line.split(maxsplit=2) for line in shown.splitlines()[1:]] == [
        ["orders", "stale", "code version changed 1 -> 2"],
        ["revenue", "stale", "upstream orders is stale"],
        ["report", "missing", "never materialized"],
    ]
    found = shop("assets", "stale", "later.py", "--select", "changed+", "--json").json
    assert [asset["key"] for asset in found["assets"]] == ["orders", "revenue", "report"]
    assert "nothing is stale" in shop("assets", "stale", "shop.py", "--select", "+revenue").err


def test_partitions(shop: Command):
    options = ("shop.py", "report", "--partition", "2026-01-05")
    shop("assets", "materialize", *options, "--executor", "inline")
    for partition, status in (("2026-01-05", "fresh"), ("2026-01-06", "missing")):
        found = shop("assets", "list", "shop.py", "--select", "report", "--partition", partition, "--json").json
        assert found["assets"][0]["status"] == status
    (latest,) = shop("assets", "list", "shop.py", "--select", "report", "--json").json["assets"]
    assert (latest["partition"], latest["partitions"]) == ("2026-01-05", "daily")


def test_a_mistake_is_pointed_at(shop: Command):
    told = shop("assets", "list", "shop.py", "--select", "orders and colour:red", code=2).err
    assert "there is no 'colour:'" in told
    assert "\n    orders and colour:red\n               ^" in told
    (shop.folder / "bad.py").write_text("from plait import asset\n\n\n@asset\ndef a(b): ...\n")
    assert "'a' is made from 'b', which is not an asset here" in shop("assets", "list", "bad.py", code=2).err
    assert "there are no assets here" in shop("assets", "materialize", "none.py", code=2).err if none(shop) else True


def none(shop: Command) -> Path:
    file = shop.folder / "none.py"
    file.write_text("")
    return file


def test_what_is_deployed(plait: Command):
    assert "no asset is defined here" in plait("assets", "list").err
    url = f"sqlite:///{plait.folder / 'home' / 'plait.db'}"
    flows = plait.folder / "flows"
    flows.mkdir()
    (flows / "raw.py").write_text(FILE.partition("@asset(freshness")[0])
    (flows / "made.py").write_text("from plait import asset\n\n\n@asset\ndef revenue(orders): ...\n")
    store = open_store(url)
    deployments = Deployments(store, SystemClock())
    synced = deployments.sync(str(flows))
    assert (synced.assets, synced.changed, synced.errors) == (["clicks", "orders", "revenue"], True, [])
    found = plait("assets", "list", "--json").json
    assert [(asset["key"], asset["upstream"]) for asset in found["assets"]] == [
        ("clicks", []), ("orders", ["clicks"]), ("revenue", ["orders"]),
    ]  # fmt: skip
    (flows / "new.py").write_text("from plait import asset\n\n\n@asset\ndef revenue(clicks, users): ...\n")
    (flows / "new.py").replace(flows / "made.py")
    synced = deployments.sync(str(flows))
    (broken,) = synced.errors
    assert "'revenue' is made from 'users', which is not an asset here" in broken.error
    (flows / "made.py").unlink()
    synced = deployments.sync(str(flows))
    assert synced.changed
    assert [asset["key"] for asset in plait("assets", "list", "--json").json["assets"]] == ["clicks", "orders"]
    store.close()
