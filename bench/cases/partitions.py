"""Partitions as curves from 1,000 to 1,000,000: planning a backfill, counting and paging status, keys and numbers; and
1,000 assets of 100,000 partitions each, which have to be planned and counted within a second (F24)."""

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import datetime

from bench.cases.scene import Scene
from bench.measure import Measure
from plait.adapters.stores.open import open_store
from plait.engine.partitions import mappings
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.spaces import Space, parse, pieces, space_of, text_of
from plait.model.partitions import InTime, Windows
from plait.model.rows import PartitionMark
from plait.ports import RunStore
from plait.services.partitions import PartitionStatus, Status
from plait.testing.clock import FakeClock

SIZES = (1_000, 10_000, 100_000, 1_000_000)
MOST = 1.0
START = datetime(1970, 1, 1)  # noqa: DTZ001  a wall
EACH = 7
"""Every so many-th partition failed, so that there are many ranges."""


def space(size: int) -> tuple[Space, float]:
    """So many hours, and the moment at which they have just ended."""
    return space_of(Windows(cron="0 * * * *", start=START, format="%Y-%m-%d-%H:%M")), size * 3600.0


def measures(scene: Scene) -> Iterator[Measure]:
    """Each size; then many assets."""
    for size in [each for each in SIZES if each <= scene.size(1_000_000, 10_000)]:
        yield from of_size(scene, size)
    yield from of_many(scene, scene.size(1_000, 20), scene.size(100_000, 1_000))


def of_size(scene: Scene, size: int) -> Iterator[Measure]:
    """One asset of so many partitions, each seventh of which failed."""
    hours, now = space(size)
    store = open_store(f"sqlite:///{scene.folder / f'partitions-{size}.db'}", migrate=False)
    failed = [
        PartitionMark(asset="a", space=hours.name, failed=True, start=no, stop=no + 1) for no in range(0, size, EACH)
    ]
    whole = PartitionMark(asset="a", space=hours.name, failed=False, start=0, stop=size)
    store.partitions.settle("a", [whole, *failed], hours.name)
    began = time.perf_counter()
    while store.partitions.compact():
        pass
    took = time.perf_counter() - began
    status = PartitionStatus(store, FakeClock(now))
    yield measure(f"partitions: count, {size:,}", lambda: status.counts({"a": hours}), note=f"written in {took:.2f} s")
    middle = size // EACH // 2
    yield measure(
        f"partitions: page of failed, {size:,}",
        lambda: status.page("a", hours, status=[Status.FAILED], offset=middle, limit=100),
    )
    yield measure(f"partitions: plan all to their days, {size:,}", lambda: planned(hours, now, hours.all(now)))
    scattered = status.sets({"a": hours})["a"].failed
    aim = MOST if size <= 100_000 else None  # it has 142,857 ranges, and must not break
    yield measure(f"partitions: plan what failed, {size:,}", lambda: planned(hours, now, scattered), aim=aim)
    store.close()


def planned(hours: Space, now: float, keys: KeySet) -> None:
    """What a day is made from and what is made from these hours; the first 100 runs of a backfill, and how many."""
    days = space_of(Windows(cron="0 0 * * *", start=START))
    sides = mappings.Sides(days, hours, now)
    below = mappings.downstream(InTime(), keys, sides)
    mappings.upstream(InTime(), below, sides)
    first = [text_of(hours, piece) for piece in pieces(hours, keys.page(0, 100), 1)]
    assert len(first) == min(100, len(keys))
    assert all(parse(hours, text) for text in first)


def of_many(scene: Scene, assets: int, size: int) -> Iterator[Measure]:
    """Many assets, which share their definition, as assets of one warehouse do."""
    hours, now = space(size)
    store = open_store(f"sqlite:///{scene.folder / 'partitions-many.db'}", migrate=False)
    keys = [f"asset_{no}" for no in range(assets)]
    for key in keys:
        fill(store, key, hours.name, size)
    while store.partitions.compact():
        pass
    status = PartitionStatus(store, FakeClock(now))
    spaces = dict.fromkeys(keys, hours)
    yield measure(f"partitions: count {assets:,} assets x {size:,}", lambda: status.counts(spaces))
    yield measure(f"partitions: plan {assets:,} assets x {size:,}", lambda: plan_many(status, spaces, now))
    with contextlib.closing(store):
        yield measure(
            f"partitions: page of one of {assets:,} x {size:,}",
            lambda: status.page(keys[-1], hours, status=[Status.MISSING], limit=100),
        )


def plan_many(status: PartitionStatus, spaces: dict[str, Space], now: float) -> None:
    """What of each asset is missing, and what of it is made from what is missing of the one before it."""
    above = KeySet()
    for asset, sets in status.sets(spaces).items():
        sides = mappings.Sides(spaces[asset], spaces[asset], now)
        above = sets.missing | mappings.downstream(InTime(first=-1, last=0), above, sides)


def fill(store: RunStore, asset: str, name: str, size: int) -> None:
    """Three quarters of an asset's partitions, in ten ranges."""
    step = size // 10
    marks = [
        PartitionMark(asset=asset, space=name, failed=False, start=start, stop=start + step * 3 // 4)
        for start in range(0, size, step)
    ]
    store.partitions.settle(asset, marks, name)


def measure(name: str, act: Callable[[], object], note: str = "", aim: float | None = MOST) -> Measure:
    """How long it takes, in seconds."""

    def case() -> float:
        began = time.perf_counter()
        act()
        return time.perf_counter() - began

    return Measure(name=name, case=case, unit="s", aim=aim, repeats=3, note=note)
