"""Random histories: every store does and shows what the store in memory, as the model, does and shows."""

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from plait.model.errors import StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.outcome import Stored
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AttemptRow,
    AutomationRow,
    LimitRow,
    RunRow,
    ScopeRow,
    TriggerRow,
    WorkflowRow,
)
from plait.model.schedules import Catchup
from plait.model.states import RunState, TaskState
from plait.ports import RunBatch, RunStore, Transaction
from tests.conformance.stores.kinds import (
    KINDS,
    create,
    deployment_row,
    event_rows,
    file_row,
    owner_row,
    place_of,
    run_row,
    slot_row,
    task_row,
    trigger_row,
)

RUNS = st.sampled_from(["r1", "r2", "r3"])
OWNERS = st.sampled_from(["a", "b"])
NUMBERS = st.integers(0, 5)
TIMES = st.integers(0, 20).map(float)
MAYBE_BYTES = st.none() | st.sampled_from([b"", b"x", b"\x00\xff"])
LIMITS = st.sampled_from(["l", "k"])
WORKFLOW_NAMES = st.sampled_from(["w", "v"])
PATHS = st.sampled_from(["/p/1.py", "/p/2.py"])
LOCATIONS = st.sampled_from(["/p", "/q"])


def _named(no: int) -> dict[str, Any]:
    """What names a task run never changes under its number."""
    return {"key": f"k{no % 2}", "path": (no % 3, "é") if no % 3 else (), "generation": no // 2, "parent": None}


TASKS = st.builds(
    lambda no, **values: task_row(no, **_named(no), **values),
    NUMBERS,
    state=st.sampled_from([state.value for state in TaskState]),
    attempt=st.integers(0, 3),
    started_at=st.none() | TIMES,
    name=st.none() | st.sampled_from(["", "n"]),
    upstream=st.lists(NUMBERS, max_size=2).map(tuple),
    control=MAYBE_BYTES,
    error=MAYBE_BYTES,
    log=MAYBE_BYTES,
    spec=MAYBE_BYTES,
    outputs=st.none() | st.just({}) | st.just({"result": Stored(format="json", data=b"1")}),
    flags=st.integers(0, 3),
    current=st.booleans(),
)
ROWS = st.builds(
    run_row,
    RUNS,
    workflow=st.sampled_from(["w", "v"]),
    state=st.sampled_from([state.value for state in RunState]),
    finished_at=st.none() | TIMES,
    logical_date=st.none() | st.sampled_from(["2024-01-01", "2024-01-02T00:00:00+05:00", "2024-01-01T21:00:00Z"]),
    parent=st.none() | st.just("r1/0"),
    owner=st.none() | OWNERS,
    session=st.booleans(),
    occurrence=st.none() | st.sampled_from(["o1", "o2", "o3"]),
    graph_hash=st.sampled_from(["g1", "g2"]),
    tags=st.sampled_from([(), ("t",)]),
    extra=st.sampled_from([{}, {"k": [1, None]}]),
)
SLOTS = st.builds(slot_row, LIMITS, RUNS, st.integers(-1, 2), st.integers(0, 3))
SCOPES = st.builds(
    ScopeRow,
    scope=st.sampled_from(["s", "t"]),
    path=st.sampled_from([(), (1, "a")]),
    generation=st.integers(0, 2),
    length=st.integers(0, 2),
    keys=st.sampled_from([None, ("a", "b")]),
)
ATTEMPTS = st.builds(AttemptRow, no=NUMBERS, attempt=st.integers(1, 2), state=st.just("failed"), error=MAYBE_BYTES)
ASSETS = st.builds(
    AssetRow,
    key=LIMITS,
    partition=st.sampled_from(["", "p"]),
    run_id=RUNS,
    no=NUMBERS,
    at=TIMES,
    metadata=MAYBE_BYTES,
    code_version=st.none() | st.just("1"),
    inputs=MAYBE_BYTES,
    data_time=st.none() | TIMES,
    observed=st.booleans(),
)
ASSET_EVENTS = st.builds(
    AssetEventRow,
    key=LIMITS,
    partition=st.sampled_from(["", "p"]),
    kind=st.sampled_from(["materialized", "check"]),
    at=TIMES,
    run_id=RUNS,
    no=NUMBERS,
    name=st.sampled_from(["", "c"]),
    data=st.sampled_from([b"{}", b"[1]"]),
)
AUTOMATIONS = st.tuples(
    st.just("automations"),
    st.lists(
        st.builds(AutomationRow, key=LIMITS, at=TIMES, cursor=st.sampled_from([b"", b"x"]), decision=st.just(b"d")),
        max_size=2,
    ),
)
PICKS = st.lists(st.integers(0, 3), max_size=2)
"""Places in the list of what lies in the inbox for owners."""
DEPLOYS = st.tuples(
    st.just("deploy"),
    st.builds(
        deployment_row,
        WORKFLOW_NAMES,
        graph_hash=st.sampled_from(["g1", "g2"]),
        lengths=st.sampled_from([{}, {"xs": 3, "ys": ["a"]}]),
        tags=st.sampled_from([(), ("t",)]),
    ),
    st.lists(
        st.fixed_dictionaries(
            {
                "kind": st.sampled_from(["cron", "interval"]),
                "spec": st.sampled_from([{"every": 5, "at": (1, 2)}, {"at": [1, 2], "every": 5}, {"every": 6}]),
                "catchup": st.sampled_from(Catchup),
                "cursor": st.none() | TIMES,
                "next_at": st.none() | TIMES,
            }
        ),
        max_size=3,
    ),
)
UNDEPLOYS = st.tuples(st.just("undeploy"), st.lists(WORKFLOW_NAMES, max_size=2))
FILES = st.tuples(
    st.just("files"),
    st.lists(st.builds(file_row, PATHS, location=LOCATIONS, error=st.sampled_from(["", "no"])), max_size=2),
    st.lists(PATHS, max_size=1),
)
FIRES = st.tuples(st.just("fire"), TIMES, st.integers(1, 3), st.none() | st.integers(1, 5))
CREATES = st.tuples(st.just("create"), ROWS)
WRITES = st.tuples(
    st.just("write"),
    RUNS,
    st.sampled_from([0, 0, 0, -1]),
    st.none() | ROWS,
    st.fixed_dictionaries(
        {
            "tasks": st.lists(TASKS, max_size=3),
            "attempts": st.lists(ATTEMPTS, max_size=2),
            "scopes": st.lists(SCOPES, max_size=2),
            "assets": st.lists(ASSETS, max_size=2),
            "asset_events": st.lists(ASSET_EVENTS, max_size=3),
            "release": st.lists(st.integers(-1, 2), max_size=2),
            "inbox": PICKS,
        }
    ),
    st.integers(0, 3),
)
ACQUIRES = st.tuples(st.just("acquire"), st.lists(SLOTS, min_size=1, max_size=3))
WORKFLOWS = st.tuples(st.just("workflow"), st.booleans())
DEFINES = DEPLOYS | UNDEPLOYS | FILES | FIRES | AUTOMATIONS
STEPS = st.lists(CREATES | WRITES | WRITES | ACQUIRES | WORKFLOWS | DEFINES, min_size=1, max_size=4)


class _StopError(Exception):
    """Thrown to roll a transaction back."""


def perform(store: RunStore, steps: list[Any], stop: bool) -> list[Any]:
    """One transaction; what each of its steps said."""
    said: list[Any] = []
    with store.transaction() as tx:
        for step in steps:
            match step:
                case ("create", row):
                    said.append(str(tx.create_run(row)))
                case ("write", *what):
                    last = max([seq for seq in said if isinstance(seq, int)], default=0)
                    batch = batch_of(store, last, *what)
                    tx.write(batch)
                    said.append(max([last, *[row.seq for row in batch.events]]))
                case ("acquire", requests):
                    said.append(str(tx.acquire(requests)))
                case ("workflow", paused):
                    tx.save_workflow(WorkflowRow(name="w", paused=paused))
                case _:
                    said.append(define(tx, step))
        if stop:
            raise _StopError
    return said


def batch_of(
    store: RunStore, last: int, run_id: RunId, back: int, row: RunRow | None, rows: dict[str, Any], count: int
) -> RunBatch:
    """A batch as the owner of a run writes it, or (`back`) one that was; its events go on after number `last`."""
    known = store.load_run(run_id)
    epoch = known.run.epoch + back if known is not None else 1
    if row is not None:  # what it is a run for never changes
        row = run_row(run_id, **{**_fields(row), "epoch": epoch, "occurrence": known.run.occurrence if known else None})
    first = max(known.last_seq if known is not None else 0, last) + 1
    rows = {**rows, "inbox": picked(store, rows.get("inbox", ()))}
    return RunBatch(run_id=run_id, epoch=epoch, run=row, events=event_rows(first, first + count - 1), **rows)


def picked(store: RunStore, picks: Sequence[int]) -> list[int]:
    """The numbers of rows of the inbox, by their place."""
    lying = [row.id for owner in ("a", "b") for row in store.read_inbox(owner)]
    return [lying[pick] for pick in picks if pick < len(lying)]


def define(tx: Transaction, step: Any) -> list[TriggerRow]:
    """A step that changes definitions; the triggers that were due."""
    due: list[TriggerRow] = []
    match step:
        case ("deploy", row, triggers):
            tx.deploy(row, [trigger_row(no, row.workflow, **values) for no, values in enumerate(triggers)])
        case ("undeploy", names):
            tx.undeploy(names)
        case ("files", rows, gone):
            tx.save_files(rows, gone=gone)
        case ("automations", rows):
            tx.save_automations(rows)
        case ("fire", now, limit, later):
            due = tx.due_triggers(now, limit)
            for trigger in due:
                next_at = now + later if later is not None else None
                tx.advance_trigger(msgspec.structs.replace(trigger, cursor=trigger.next_at, next_at=next_at))
    return due


def _fields(row: Any) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__ if name != "run_id"}


def shown(store: RunStore) -> Iterator[Any]:
    """Everything that a store shows."""
    yield store.list_runs()
    yield store.list_runs(workflow="w", states=["running", "queued"])
    yield store.list_runs(parent="r1/0", before="r3", limit=1)
    yield store.find_runs("r", limit=5)
    yield store.find_runs("2", limit=5)
    yield [store.previous_run("w", date) for date in ("2024-01-01T20:00:00Z", "2024-01-03")]
    for run_id in ("r1", "r2", "r3"):
        snapshot = store.load_run(run_id)
        if snapshot is not None:
            snapshot.tasks.sort(key=lambda row: row.no)
            snapshot.scopes.sort(key=repr)
        yield snapshot
        yield store.get_run(run_id)
        yield store.tasks(run_id)
        yield store.tasks(run_id, current=False, after=1, limit=2)
        yield [store.task(run_id, no) for no in range(6)]
        yield store.outputs(run_id, range(6))
        yield store.attempts(run_id)
        yield store.events(run_id)
        yield store.events(run_id, after=2, limit=3)
        yield [store.task_state(run_id, key, path) for key in ("k0", "k1") for path in ((), (1, "é"), (2, "é"))]
    yield store.slots()
    yield store.slots("l")
    yield store.limits()
    yield store.assets()
    yield store.assets(["l"])
    yield store.asset("l", "p")
    yield store.asset_history("l")
    yield store.asset_updates(3.0, limit=3)
    yield store.asset_history("l", kinds=["check"], limit=2)
    yield store.asset_history("l", partition="p", before=4.0)
    yield store.workflow("w")
    yield store.owners()
    yield [[(row.run_id, row.data) for row in store.read_inbox(owner, limit=4)] for owner in ("a", "b")]
    definitions = store.definitions
    yield [definitions.files(location) for location in ("/p", "/q")]
    yield definitions.deployments()
    yield [definitions.deployment(name) for name in ("w", "v", "nobody")]
    yield definitions.triggers()
    yield definitions.triggers("w")
    yield definitions.next_trigger()
    yield definitions.automations()
    yield definitions.automations(["l"])
    yield [store.load_graph(name) for name in ("g1", "g2")]


class Histories(RuleBasedStateMachine):
    """Does the same with both stores, and compares."""

    kind = "sqlite"

    def __init__(self) -> None:
        super().__init__()
        self._exit = contextlib.ExitStack()
        folder = Path(self._exit.enter_context(tempfile.TemporaryDirectory()))
        self.stores = [self._exit.enter_context(place_of(kind, folder)).open() for kind in ("memory", self.kind)]
        for store in self.stores:
            store.save_limits([LimitRow(key="l", slots=3)])
            store.save_graph("g1", Graph(name="one"))
            create(
                store,
                run_row("r1", owner="a", graph_hash="g1", logical_date="2024-01-01"),
                run_row("r2", owner="b", session=False, logical_date="2024-01-01T00:00:00Z"),
            )

    def teardown(self) -> None:
        self._exit.close()

    def both(self, act: Callable[[RunStore], Any]) -> None:
        """Do something with each; they have to say the same, or fail in the same way."""
        said = []
        for store in self.stores:
            try:
                said.append(act(store))
            except (StoreError, _StopError) as error:
                said.append(type(error))
        assert said[0] == said[1]

    @invariant()
    def show_the_same(self) -> None:
        for model, store in zip(*map(shown, self.stores), strict=True):
            assert model == store

    @rule(steps=STEPS, stop=st.sampled_from([False, False, False, True]))
    def transact(self, steps: list[Any], stop: bool) -> None:
        self.both(lambda store: perform(store, steps, stop))

    @rule(step=WRITES)
    def write(self, step: Any) -> None:
        self.both(lambda store: perform(store, [step], stop=False))

    @rule(tasks=st.lists(TASKS, min_size=1, max_size=4), run_id=RUNS)
    def write_tasks(self, tasks: list[Any], run_id) -> None:
        rows = {"tasks": tasks}
        self.both(lambda store: perform(store, [("write", run_id, 0, None, rows, 1)], stop=False))

    @rule(row=ROWS)
    def create(self, row: Any) -> None:
        self.both(lambda store: perform(store, [("create", row)], stop=False))

    @rule(row=ROWS)
    def change_run(self, row: Any) -> None:
        self.both(lambda store: perform(store, [("write", row.run_id, 0, row, {}, 0)], stop=False))

    @rule(requests=st.lists(SLOTS, min_size=1, max_size=3))
    def acquire(self, requests: list[Any]) -> None:
        self.both(lambda store: perform(store, [("acquire", requests)], stop=False))

    @rule(run_id=RUNS, owner=OWNERS, now=TIMES)
    def take_over(self, run_id, owner: str, now: float) -> None:
        self.both(lambda store: store.take_over(run_id, owner, now))

    @rule(run_id=RUNS, owner=OWNERS, back=st.sampled_from([0, 0, -1]))
    def hand_over(self, run_id, owner: str, back: int) -> None:
        row = self.stores[0].get_run(run_id)
        epoch = row.epoch + back if row is not None else 1
        self.both(lambda store: store.take_over(run_id, owner, 0.0, epoch=epoch))

    @rule(owner=OWNERS, limit=st.integers(1, 3))
    def claim(self, owner: str, limit: int) -> None:
        self.both(lambda store: store.claim(owner, limit))

    @rule(run_ids=st.lists(RUNS, max_size=3), owner=OWNERS, now=TIMES, crashed=st.sampled_from(["", "told so"]))
    def let_go(self, run_ids, owner: str, now: float, crashed: str) -> None:
        self.both(lambda store: store.let_go(run_ids, owner, now, crashed=crashed))

    @rule(run_id=RUNS, keep=st.lists(st.integers(-1, 2), max_size=2))
    def free_slots(self, run_id, keep: list[int]) -> None:
        self.both(lambda store: store.free_slots(run_id, keep))

    @rule(owner=OWNERS, until=TIMES, address=st.sampled_from(["", "h:1"]))
    def renew(self, owner: str, until: float, address: str) -> None:
        self.both(lambda store: store.renew(owner_row(owner, lease_until=until, address=address)))

    @rule(owner=OWNERS)
    def release_owner(self, owner: str) -> None:
        self.both(lambda store: store.release_owner(owner))

    @rule(dead=st.lists(OWNERS, max_size=2, unique=True), now=TIMES)
    def sweep(self, dead: list[str], now: float) -> None:
        self.both(lambda store: store.sweep(dead, "died", now))

    @rule(run_id=RUNS, data=st.binary(max_size=3))
    def put_inbox(self, run_id, data: bytes) -> None:
        self.both(lambda store: store.put_inbox(run_id, data))

    @rule(picks=PICKS)
    def forget_inbox(self, picks: list[int]) -> None:
        self.both(lambda store: store.forget_inbox(picked(store, picks)))

    @rule(step=DEFINES)
    def change_definitions(self, step: Any) -> None:
        self.both(lambda store: perform(store, [step], stop=False))

    @rule(size=st.integers(0, 4), key=LIMITS)
    def save_limits(self, size: int, key: str) -> None:
        self.both(lambda store: store.save_limits([LimitRow(key=key, slots=size)]))

    @rule(name=st.sampled_from(["g1", "g2"]))
    def save_graph(self, name: str) -> None:
        self.both(lambda store: store.save_graph(name, Graph(name=name)))

    @precondition(lambda self: self.stores[0].list_runs())
    @rule(before=TIMES, limit=st.integers(1, 2))
    def delete_runs(self, before: float, limit: int) -> None:
        self.both(lambda store: store.delete_runs(before, limit))

    @rule(most=st.integers(1, 20))
    def empty_trash(self, most: int) -> None:
        for store in self.stores:  # how much goes at once is theirs
            store.forget_trash(store.empty_trash(most)[0])


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "memory"])
def test_random_histories(kind):
    machine = type("HistoriesOfThisKind", (Histories,), {"kind": kind})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=15 if kind == "postgres" else 60,  # each look at everything is 80 queries
            stateful_step_count=30,
            deadline=None,
            derandomize=True,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
