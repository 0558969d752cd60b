"""Who answers for the custom mappings of backfills that a service drives: for as long as each is open."""

from collections.abc import Sequence
from typing import Any

import msgspec

from plait.adapters.stores.memory import MemoryStore
from plait.engine.assets.index import Source
from plait.engine.backfill import begin, encode
from plait.engine.partitions.answers import Said
from plait.model.backfills import BackfillPlan, Group
from plait.model.graph import Graph, TaskSpec
from plait.model.partitions import Names
from plait.model.rows import BackfillRow
from plait.runtime.asking import MOST_SOURCES, Asking
from plait.runtime.backfills import Backfills
from plait.runtime.scheduler import Scheduler
from plait.testing import FakeClock
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds
from plait.worker.asking import Question
from tests.waiting import wait_until

REGIONS = Names(keys=("eu", "us"))
CUSTOM = {"kind": "custom", "ref": "shop:same"}
COUNT = MOST_SOURCES + 20


def graph(mapping: dict[str, Any]) -> Graph:
    regions = msgspec.to_builtins(REGIONS)
    upstream = {"up": {"partitions": regions, "mapping": mapping}}
    metadata = {"assets": {"down": {}}, "partitions": regions, "upstream": upstream}
    return Graph(name="assets", kind="assets", nodes=(TaskSpec(key="down", runner="asset", metadata=metadata),))


class House:
    """A service's backfills, on simulated time. `asked` are the versions that the code was asked in."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.sources: list[Source] = []
        self.store = MemoryStore()
        clock = FakeClock()
        asking = Asking(self.say, clock, lambda: None)

        def ask_for(target: str, version: str) -> Any:
            self.sources.append(Source("", target, version))
            return asking.of(self.sources[-1])

        scheduler = Scheduler(
            store=self.store, clock=clock, ids=CountedIds(), executors={"workers": ScriptedExecutor(clock=clock)},
            default_executor="workers", owner="me",
        )  # fmt: skip
        self.backfills = Backfills(scheduler, lambda run: None, lambda topic: None, ask_for=ask_for)

    def say(self, question: Question, target: str, files: Sequence[str] | None, /) -> Said:
        self.asked.append(target)
        return Said("shop.py:1", tuple((key,) for key in question.keys))

    def begin(self, count: int, mapping: dict[str, Any]) -> None:
        group = Group(name="down", graph=graph(mapping), targets=(0, 2), assets=("down",), slices=REGIONS)
        plan = BackfillPlan(groups=(group,), target="shop.py", now=1.0, most=1)
        with self.store.transaction() as tx:
            for number in range(count):
                row = BackfillRow(
                    id=f"b{number:03}", state="running", title="", created_at=1.0, updated_at=1.0,
                    plan=encode(plan), cursor=encode(begin(plan)),
                )  # fmt: skip
                tx.save_backfill(row)

    def runs(self) -> int:
        return len(self.store.list_runs(limit=1000))


def test_who_has_no_custom_mapping_asks_nobody():
    house = House()
    house.begin(3, {"kind": "same"})
    house.backfills.look()
    assert house.runs() == 3
    assert house.sources == []


def test_many_with_custom_mappings_do_not_make_each_other_ask_again():
    house = House()
    house.begin(COUNT, CUSTOM)
    house.backfills.look()
    wait_until(lambda: len(house.asked) == COUNT, "all are answered")
    for _ in range(3):
        house.backfills.look()
    wait_until(lambda: house.backfills.look() or house.runs() == COUNT, "a run of each")
    assert len(house.asked) == COUNT
