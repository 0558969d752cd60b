"""Automation conditions: 10,000 assets of 1,000 partitions each settle within a second of an update."""

import time
from collections.abc import Iterator

from bench.cases.scene import Scene
from bench.measure import Measure
from plait.engine.assets.index import AssetIndex
from plait.engine.automation.look import Automated, Look, States
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.model.assets import AssetDep, AssetGraph, AssetSpec
from plait.model.automation import eager

WIDTH = 10
"""Assets that are made from one asset."""
MOST = 1.0
NO = EMPTY


class Partitioned:
    """Assets with the same partitions, all of them materialized."""

    def __init__(self, size: int):
        self.everything = KeySet.span(0, size)
        self.last = KeySet.span(size - 1, size)
        self.updated: dict[str, KeySet] = {}

    def all(self, key: str) -> KeySet:
        """All partitions."""
        return self.everything

    def latest(self, key: str, lookback: float | None) -> KeySet:
        """The last one."""
        return self.last

    def fact(self, name: str, key: str) -> KeySet:
        """Nothing is missing, made or broken."""
        return self.updated.get(key, NO) if name == "updated" else NO

    def updated_apart(self, key: str, by: str) -> KeySet:
        """Updates are made by hand."""
        return self.updated.get(key, NO)

    def ready(self, key: str) -> None:
        """No mapping is to be asked."""

    def shares(self, key: str, other: str) -> bool:
        """One run can make all."""
        return True

    def down(self, upstream: str, key: str, keys: KeySet) -> KeySet:
        """The same partitions."""
        return keys

    def ticked(self, cron: str, tz: str) -> bool:
        """No time passes."""
        return False


class Settling:
    """A tree of assets: each is made from one, and ten are made from it."""

    def __init__(self, assets: int, partitions: int):
        specs = [
            AssetSpec(
                key=f"asset_{no}",
                step=f"asset_{no}",
                deps=(AssetDep(key=f"asset_{(no - 1) // WIDTH}"),) if no else (),
                automation=eager() if no else None,
            )
            for no in range(assets)
        ]
        self.index = AssetIndex(AssetGraph(assets=tuple(specs)))
        self.facts = Partitioned(partitions)
        self.automated = Automated(self.index)
        self.states = States(self.automated, {})
        self.settle(set(self.index.specs))

    def settle(self, changed: set[str]) -> int:
        """Looks until nothing is to be looked at; how many assets were requested."""
        count = 0
        while True:
            look = Look(self.automated, self.facts, self.states, 0.0)
            look.run(changed)
            self.states.take(look.after)
            self.facts.updated, changed = {}, set()
            count += len(look.requested)
            if not look.after:
                return count

    def update(self, key: str) -> float:
        """An asset is updated: seconds until everything below it is requested, and all is quiet again."""
        began = time.perf_counter()
        self.facts.updated = {key: self.facts.last}
        self.settle({key})
        return time.perf_counter() - began


def measures(scene: Scene) -> Iterator[Measure]:
    """An update of a leaf's upstream, and of the root, which leads to requests of all assets."""
    assets, partitions = scene.size(10_000, 200), scene.size(1_000, 20)
    began = time.perf_counter()
    tree = Settling(assets, partitions)
    first = time.perf_counter() - began
    what = f"automation: {assets:,} assets of {partitions:,} partitions"
    leaf = f"asset_{(assets - 2) // WIDTH}"
    yield Measure(f"{what}, an update that concerns ten", lambda: tree.update(leaf), note=f"first look {first:.2f} s")
    yield Measure(f"{what}, an update that requests all", lambda: tree.update("asset_0"), aim=MOST)
