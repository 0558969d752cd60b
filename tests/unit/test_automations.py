"""Automations in a service: deployed assets that make themselves, on simulated time, over restarts and with several
schedulers."""

from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import pytest

from plait.adapters.stores.memory import MemoryStore
from plait.engine.assets.index import Source
from plait.engine.partitions.answers import Answers, Pairs, Said, Unanswered
from plait.engine.partitions.edges import slices_of
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import AskCode
from plait.engine.partitions.spaces import Space, space_of
from plait.model.assets import AssetDep, AssetGraph, AssetKind, AssetSpec, HistoryEvent, graph_bytes
from plait.model.automation import CODE_CHANGED, FAILED, IN_PROGRESS, Decision, eager, on_cron, on_missing
from plait.model.graph import OutputSpec, TaskSpec
from plait.model.ids import RunId, TaskNo
from plait.model.rows import AssetEventRow, AssetRow, FileRow, PartitionMark, RunRow
from plait.ports import RunBatch
from plait.runtime.asking import MOST_SOURCES, Asking
from plait.runtime.automations import Automations
from plait.runtime.scheduler import Scheduler
from plait.testing import FakeClock
from plait.testing.clock import START
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds
from tests.waiting import wait_until

DAYS = {"kind": "windows", "cron": "0 0 * * *", "start": "2025-12-30T00:00:00", "name": "daily"}


def asset(key: str, *deps: str, **more: Any) -> AssetSpec:
    return AssetSpec(**{"key": key, "step": key, "deps": tuple(AssetDep(key=dep) for dep in deps), **more})


class House:
    """A store with deployed assets, and schedulers that look at them. Runs are not carried out: `make` writes what they
    would."""

    def __init__(self, *specs: AssetSpec):
        self.store = MemoryStore()
        self.answers = False
        self.ask_for: Callable[[Source], AskCode] = lambda source: Answers(self.say)
        self.clock = FakeClock()
        self.ids = CountedIds()
        self.deploy(*specs)
        self.schedulers = [self.scheduler()]
        self.epoch = 0

    def deploy(self, *specs: AssetSpec, path: str = "/f.py") -> None:
        made_by: dict[str, list[OutputSpec]] = {}
        for spec in specs:
            made_by.setdefault(spec.step, []).append(OutputSpec(name=spec.output, asset=spec.key))
        steps = tuple(TaskSpec(key=step, runner="asset", outputs=tuple(made)) for step, made in made_by.items())
        together = tuple({spec.step for spec in specs if spec.step != spec.key})
        data = graph_bytes(AssetGraph(assets=specs, steps=steps, together=together))
        row = FileRow(path=path, location=path, stamp=str(len(data)), loaded_at=1.0, assets=data)
        with self.store.transaction() as tx:
            tx.save_files([row])

    def scheduler(self) -> Automations:
        made = Automations(
            Scheduler(
                store=self.store,
                clock=self.clock,
                ids=self.ids,
                executors={"workers": ScriptedExecutor(clock=self.clock)},
                default_executor="workers",
                owner="me",
            ),
            lambda: None,
            self.ask_for,
        )
        made.load()
        return made

    def say(self, ref: str, keys: Sequence[str]) -> Said:
        """What the function of a custom mapping says: the same keys, once `answers` is true."""
        if not self.answers:
            raise Unanswered(f"{ref} is being asked")
        return Said("shop.py:1", tuple((key,) for key in keys))

    def restart(self) -> None:
        """All schedulers die, and one comes up."""
        self.schedulers = [self.scheduler()]

    def look(self) -> list[tuple[list[str], str | None]]:
        """All schedulers look, as after a wake-up; what the new runs make."""
        known = {row.run_id for row in self.runs()}
        for each in self.schedulers:
            each.wake()
            each.run(self.clock.now())
        return [(row.extra["assets"], row.partition) for row in self.runs() if row.run_id not in known]

    def runs(self) -> list[RunRow]:
        return self.store.list_runs(limit=1000)[::-1]

    def make(self, key: str, partition: str = "", *, run: RunRow | None = None, version: str | None = None) -> None:
        """An asset is materialized, by a run or by hand."""
        self.clock.advance(1.0)
        row = run or self.by_hand([key])
        about = {"key": key, "partition": partition, "run_id": row.run_id, "no": TaskNo(0), "at": self.clock.now()}
        marks: list[PartitionMark] = []
        if partition:
            space = space_of(slices_of(DAYS))
            no = space.ordinal(partition)
            marks = [PartitionMark(asset=key, space=space.name, failed=False, start=no, stop=no + 1)]
        batch = RunBatch(
            run_id=row.run_id,
            epoch=row.epoch,
            assets=[AssetRow(**about, code_version=version)],
            asset_events=[AssetEventRow(**about, kind="materialized")],
            partitions=marks,
        )
        with self.store.transaction() as tx:
            tx.write(batch)

    def by_hand(self, keys: list[str]) -> RunRow:
        self.epoch += 1
        row = RunRow(
            run_id=RunId(f"hand{self.epoch}"), workflow="assets", kind="assets", graph_hash="", state="success",
            created_at=self.clock.now(), finished_at=self.clock.now(),
        )  # fmt: skip
        with self.store.transaction() as tx:
            tx.create_run(row)
        return row

    def end(self, state: str = "success") -> None:
        """The oldest open run ends; it has made all of its assets, if it succeeds."""
        row = next(each for each in self.runs() if each.state == "queued")
        if state == "success":
            for key in row.extra["assets"]:
                self.make(key, row.partition or "", run=row)
        ended = msgspec.structs.replace(row, state=state, finished_at=self.clock.now())
        with self.store.transaction() as tx:
            tx.write(RunBatch(run_id=row.run_id, epoch=row.epoch, run=ended))


def chain(condition: Any) -> House:
    house = House(asset("a"), asset("b", "a", automation=condition), asset("c", "b", automation=condition))
    assert house.look() == []
    return house


def test_an_update_starts_one_run_for_all_below():
    house = chain(eager())
    house.make("a")
    assert house.look() == [(["b", "c"], None)]
    (run,) = [row for row in house.runs() if row.occurrence is not None]
    assert (run.session, run.target, run.kind, run.owner) == (False, "/f.py", "assets", None)
    assert house.look() == []
    house.end()
    assert house.look() == []
    assert house.look() == []
    house.make("a")
    assert house.look() == [(["b", "c"], None)]


def test_nothing_is_lost_or_doubled_over_restarts():
    house = chain(eager())
    for _ in range(3):
        house.restart()
        house.make("a")
        house.restart()
        assert house.look() == [(["b", "c"], None)]
        house.restart()
        assert house.look() == []
        house.end()
        house.restart()
        assert house.look() == []


def test_several_schedulers_begin_each_run_once():
    house = chain(eager())
    house.schedulers += [house.scheduler(), house.scheduler()]
    for _ in range(3):
        house.make("a")
        assert house.look() == [(["b", "c"], None)]
        house.end()
        assert house.look() == []


def test_a_look_that_is_not_committed_is_taken_again(monkeypatch: pytest.MonkeyPatch):
    house = chain(eager())
    house.make("a")
    automations = house.schedulers[0]
    with monkeypatch.context() as broken:
        broken.setattr(MemoryStore, "transaction", _raising)
        with pytest.raises(ZeroDivisionError):
            house.look()
    assert automations is house.schedulers[0]
    assert house.look() == [(["b", "c"], None)]


def _raising(_store: MemoryStore) -> Any:
    raise ZeroDivisionError


def test_an_update_that_is_committed_late_counts():
    house = chain(eager())
    before = house.clock.now()
    house.clock.advance(60)
    house.make("other")
    house.look()
    row = house.by_hand(["a"])
    late = AssetEventRow(key="a", partition="", kind="materialized", at=before + 1, run_id=row.run_id, no=TaskNo(0))
    made = AssetRow(key="a", partition="", run_id=row.run_id, no=TaskNo(0), at=before + 1)
    with house.store.transaction() as tx:
        tx.write(RunBatch(run_id=row.run_id, epoch=1, assets=[made], asset_events=[late]))
    assert house.look() == [(["b", "c"], None)]


def test_times_wake_it_and_count_once_also_those_that_passed_while_nobody_looked():
    house = House(asset("a"), asset("b", "a", automation=on_cron("0 6 * * *")))
    house.make("a")
    assert house.look() == []
    assert house.schedulers[0].next_at == START + 6 * 3600
    house.clock.advance(30 * 3600)
    house.restart()
    assert house.look() == [], "nothing was updated since"
    house.make("a")
    assert house.look() == [(["b"], None)]
    house.make("a")
    assert house.look() == []


def test_a_window_that_ends_is_made():
    house = House(asset("a", partitions=DAYS), asset("b", "a", partitions=DAYS, automation=eager()))
    assert house.look() == []
    assert house.schedulers[0].next_at == START + 86400, "when the day ends"
    house.clock.advance(86400)
    assert house.look() == [], "a is missing"
    house.make("a", "2026-01-01")
    assert house.look() == [(["b"], "2026-01-01")]
    house.make("a", "2025-12-30")
    assert house.look() == [], "not the latest one"


def test_keys_that_are_added_are_looked_at():
    named = {"kind": "dynamic", "name": "customers"}
    house = House(asset("bill", partitions=named, automation=on_missing()))
    house.store.partitions.add("customers", ["acme"])
    assert house.look() == [], "it was there before the first look"
    house.store.partitions.add("customers", ["bolt", "cobalt"])
    assert house.look() == [(["bill"], "bolt"), (["bill"], "cobalt")]
    assert house.look() == []


def test_an_observation_counts_where_it_finds_another_version():
    house = House(asset("seen", kind=AssetKind.OBSERVED), asset("b", "seen", automation=eager()))
    house.make("b")
    house.look()
    for version, runs in (("1", [(["b"], None)]), ("1", []), ("2", [(["b"], None)]), (None, [])):
        house.clock.advance(1.0)
        row = house.by_hand(["seen"])
        about = {"key": "seen", "partition": "", "run_id": row.run_id, "no": TaskNo(0), "at": house.clock.now()}
        data = msgspec.json.encode(HistoryEvent(data_version=version))
        event = AssetEventRow(**about, kind="observed", data=data)
        with house.store.transaction() as tx:
            tx.write(RunBatch(run_id=row.run_id, epoch=1, asset_events=[event]))
        assert house.look() == runs
        if runs:
            house.end()
            house.look()


def test_facts_about_runs_and_code():
    condition = (FAILED | CODE_CHANGED) & ~IN_PROGRESS
    house = House(asset("a", code_version="1", automation=condition))
    house.make("a", version="1")
    assert house.look() == []
    house.deploy(asset("a", code_version="2", automation=condition))
    house.restart()
    assert house.look() == [(["a"], None)]
    assert house.look() == [], "it is being made"
    house.end("failed")
    assert house.look() == [(["a"], None)]
    house.end()
    house.make("a", version="2")
    assert house.look() == []


def test_why_is_kept():
    house = chain(eager())
    house.make("a")
    house.look()
    rows = {row.key: row for row in house.store.definitions.automations()}
    assert set(rows) == {"", "b", "c"}
    decision = msgspec.msgpack.decode(rows["b"].decision, type=Decision)
    assert decision.results["0"] == ()


def test_nothing_is_read_where_nothing_is_automated(monkeypatch: pytest.MonkeyPatch):
    house = House(asset("a"))
    monkeypatch.setattr(MemoryStore, "asset_updates", _raising)
    assert house.look() == []
    assert house.schedulers[0].next_at is None


# --- custom mappings --------------------------------------------------------------------------------------------------


LAST = "2025-12-31"
"""The latest window."""


def custom(condition: Any) -> House:
    """`mapped` is made from `up` as only user code knows, `plain` by the same key."""
    dep = AssetDep(key="up", mapping={"kind": "custom", "ref": "shop:same"})
    house = House(
        asset("up", partitions=DAYS),
        AssetSpec(key="mapped", step="mapped", deps=(dep,), partitions=DAYS, automation=condition),
        asset("plain", "up", partitions=DAYS, automation=condition),
    )
    house.look()
    return house


def decision(house: House, key: str) -> Decision:
    (row,) = house.store.definitions.automations([key])
    return msgspec.msgpack.decode(row.decision, type=Decision)


@pytest.mark.parametrize("restarts", [False, True])
def test_what_happens_before_a_mapping_has_answered_is_not_lost(restarts: bool):
    """Others do not wait; also who comes after a restart knows."""
    house = custom(eager())
    assert decision(house, "mapped").held == "shop:same is being asked"
    house.make("up", LAST)
    assert house.look() == [(["plain"], LAST)]
    if restarts:
        house.restart()
    assert house.look() == []
    house.answers = True
    assert house.look() == [(["mapped"], LAST)]
    assert decision(house, "mapped").held == ""
    for _ in range(2):
        house.end()
    assert house.look() == []
    house.make("up", LAST)
    assert house.look() == [(["mapped", "plain"], LAST)]


@pytest.mark.parametrize("late", [False, True])
def test_a_time_that_comes_before_a_mapping_has_answered_is_not_lost(late: bool):
    """Nor what came after it; what came before it does not count as after it."""
    house = custom(on_cron("0 12 * * *"))
    if late:
        house.make("up", LAST)
        house.look()
    house.clock.advance(13 * 3600)
    assert house.look() == []
    if not late:
        house.make("up", LAST)
        assert house.look() == [(["plain"], LAST)]
    house.answers = True
    assert house.look() == ([] if late else [(["mapped"], LAST)])


def test_a_mapping_that_does_not_answer_costs_nothing():
    """An asset that is held back is written once, and does not cause looks."""
    house = custom(eager())
    rows = house.store.definitions.automations()
    for _ in range(3):
        assert house.look() == []
    assert house.store.definitions.automations() == rows


def test_answers_are_kept_whatever_else_is_asked_for():
    """By more than is kept for who comes back; also when another file is deployed."""
    house = custom(eager())
    house.answers = True
    asking = Asking(lambda question, target, files: house.say(question.ref, question.keys), house.clock, lambda: None)
    house.ask_for = asking.of
    house.restart()
    house.look()
    wait_until(lambda: house.look() == [] and decision(house, "mapped").held == "", "the mapping has answered")
    house.answers = False
    for number in range(MOST_SOURCES + 1):
        asking.of(Source("", "/f.py", f"backfill:{number}"))
    house.make("up", LAST)
    assert house.look() == [(["mapped", "plain"], LAST)]
    house.deploy(asset("new"), path="/g.py")
    house.schedulers[0].load()
    house.make("up", "2025-12-30")
    assert house.look() == []
    assert decision(house, "mapped").held == ""


def test_an_answer_that_is_lost_holds_back_who_needs_it_only():
    house = custom(eager())
    house.answers = True
    answers = Answers(house.say)

    def ask(ref: str, down: Space, up: Space, keys: KeySet) -> Pairs:
        if not house.answers:
            raise Unanswered(f"{ref} is being asked again")
        return answers(ref, down, up, keys)

    house.ask_for = lambda source: ask
    house.restart()
    house.look()
    assert decision(house, "mapped").held == ""
    house.answers = False
    house.make("up", LAST)
    assert house.look() == [(["plain"], LAST)]
    assert decision(house, "mapped").held == "shop:same is being asked again"
    house.answers = True
    assert house.look() == [(["mapped"], LAST)]


def test_what_is_made_together_waits_for_all_of_its_mappings():
    dep = AssetDep(key="up", mapping={"kind": "custom", "ref": "shop:same"})
    house = House(
        asset("up", partitions=DAYS),
        asset("one", "up", step="both", output="one", partitions=DAYS, automation=eager()),
        AssetSpec(key="two", step="both", output="two", deps=(dep,), partitions=DAYS),
    )
    house.look()
    house.make("up", LAST)
    assert house.look() == []
    assert decision(house, "one").held == "shop:same is being asked"
    house.answers = True
    assert house.look() == [(["one"], LAST)]
