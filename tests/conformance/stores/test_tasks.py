"""What holds for every store: task runs, their results, attempts, scopes and events."""

import pytest

from plait.model.ids import TaskNo, token
from plait.model.outcome import Stored
from plait.model.rows import AssetEventRow, AssetRow, AttemptRow, ScopeRow, TaskRow
from tests.conformance.stores.kinds import create, event_rows, run_row, task_row, write

FULL_ROW = TaskRow(
    no=TaskNo(5),
    key="group.täsk",
    path=(2, "eü"),
    generation=3,
    state="failed",
    attempt=4,
    token=token(9, 77),
    executions=6,
    parent=TaskNo(1),
    child="add:abc:0",
    spec=b'{"key":"x"}',
    upstream=(TaskNo(0), TaskNo(4)),
    name="a name",
    wait_until=10.5,
    first_started_at=1.5,
    started_at=2.5,
    finished_at=3.5,
    control=b"control",
    outputs={
        "result": Stored(format="json", data=b"1", size=1),
        "big": Stored(format="pickle", url="file:///x", size=9),
    },
    error=b"error",
    log=b"log",
    reason="because",
    flags=300,
    current=False,
)


@pytest.fixture
def store(store):
    create(store, run_row())
    return store


def test_a_task_run_comes_back_as_it_was_written(store):
    write(store, tasks=[FULL_ROW, task_row(0)])
    assert store.task("r1", 5) == FULL_ROW
    assert store.task("r1", 0) == task_row(0)
    assert store.task("r1", 1) is None


def test_lists_leave_outputs_out(store):
    write(store, tasks=[FULL_ROW])
    bare = store.task("r1", 5)
    bare.outputs = None
    assert store.tasks("r1", current=False) == [bare]
    assert store.load_run("r1").tasks == [bare]


def test_a_second_write_replaces_the_row(store):
    write(store, tasks=[task_row(0, reason="x", wait_until=3.0, name="n", flags=1)])
    write(store, tasks=[task_row(0, state="success", started_at=1.0, finished_at=2.0, token=9)])
    assert store.task("r1", 0) == task_row(0, state="success", started_at=1.0, finished_at=2.0, token=9)


@pytest.mark.parametrize("name", ["control", "error", "log", "spec"])
def test_bytes_that_are_none_keep_what_is_there(store, name):
    write(store, tasks=[task_row(0, **{name: b"first"})])
    write(store, tasks=[task_row(0, state="success")])
    assert getattr(store.task("r1", 0), name) == b"first"
    write(store, tasks=[task_row(0, **{name: b"second"})])
    assert store.task("r1", 0) == task_row(0, **{name: b"second"})


def test_outputs_that_are_none_keep_what_is_there_but_an_empty_dict_does_not(store):
    outputs = {"result": Stored(format="json", data=b"1")}
    write(store, tasks=[task_row(0, outputs=outputs)])
    write(store, tasks=[task_row(0, state="success")])
    assert store.task("r1", 0).outputs == outputs
    write(store, tasks=[task_row(0, outputs={})])
    assert store.task("r1", 0).outputs == {}


def test_one_task_run_twice_in_a_batch_is_written_in_order(store):
    write(store, tasks=[task_row(0, log=b"x"), task_row(1), task_row(0, state="success")])
    assert store.task("r1", 0) == task_row(0, state="success", log=b"x")
    write(store, tasks=[task_row(2), task_row(2, state="failed", error=b"e")])
    assert store.task("r1", 2) == task_row(2, state="failed", error=b"e")


def test_task_runs_are_paged_by_number(store):
    write(store, tasks=[task_row(no, current=no % 3 > 0) for no in (4, 2, 0, 1, 3, 5)])
    assert [row.no for row in store.tasks("r1")] == [1, 2, 4, 5]
    assert [row.no for row in store.tasks("r1", current=False)] == [0, 1, 2, 3, 4, 5]
    assert [row.no for row in store.tasks("r1", after=1, limit=2)] == [2, 4]
    assert [row.no for row in store.tasks("r1", after=5)] == []
    assert [row.no for row in store.tasks("r1", current=False, after=2, limit=1)] == [3]
    assert [row.no for row in store.tasks("r1", limit=0)] == []


def test_outputs_of_some(store):
    outputs = {"result": Stored(format="json", data=b"1")}
    write(store, tasks=[task_row(0, outputs=outputs), task_row(1), task_row(2, outputs=outputs)])
    assert store.outputs("r1", [0, 1, 2, 3]) == {0: outputs, 2: outputs}
    assert store.outputs("r1", []) == {}
    assert store.outputs("r1", [0, 0]) == {0: outputs}


def test_outputs_of_many(store):
    stored = {"result": Stored(format="json", data=b"x" * 8000)}
    write(store, tasks=[task_row(no, outputs=stored) for no in range(1500)])
    assert store.outputs("r1", list(range(1500))) == dict.fromkeys(range(1500), stored)


def test_the_state_is_that_of_the_current_generation(store):
    first = task_row(0, key="k", path=(1, "a"), state="failed")
    write(store, tasks=[first, task_row(1, key="k", path=(1, "b"), state="skipped")])
    assert store.task_state("r1", "k", (1, "a")) == "failed"
    old = task_row(0, key="k", path=(1, "a"), state="failed", current=False)
    write(store, tasks=[old, task_row(2, key="k", path=(1, "a"), generation=1, state="running")])
    assert store.task_state("r1", "k", (1, "a")) == "running"
    assert store.task_state("r1", "k", (1, "b")) == "skipped"
    assert store.task_state("r1", "k", ()) is None
    assert store.task_state("r1", "k", ("1", "a")) is None
    assert store.task_state("r2", "k", (1, "a")) is None


def test_what_is_stored_is_a_copy(store):
    outputs = {"result": Stored(format="json", data=b"1")}
    row = task_row(0, outputs=outputs)
    write(store, tasks=[row])
    row.state = "changed"
    outputs.clear()
    got = store.task("r1", 0)
    assert got == task_row(0, outputs={"result": Stored(format="json", data=b"1")})
    got.outputs.clear()
    store.tasks("r1")[0].state = "changed"
    store.outputs("r1", [0])[0].clear()
    assert store.task("r1", 0) == task_row(0, outputs={"result": Stored(format="json", data=b"1")})


def test_names_that_no_database_takes_do_not_stop_a_run(store):
    write(
        store,
        tasks=[task_row(0, reason="caf\udce9"), task_row(1, name="\udcff", path=("\udcff",))],
        events=event_rows(1, 2),
    )
    assert "caf" in store.task("r1", 0).reason
    assert len(store.events("r1")) == 2


def test_numbers_at_the_edges(store):
    row = task_row(0, path=(2**70, -1, ""), token=token(2**30, 2**32 - 1), key="k" * 3000, reason="'\"\x00;--")
    write(store, tasks=[row])
    assert store.task("r1", 0) == row


# --- attempts, scopes, assets ----------------------------------------------------------------------------------------


def test_attempts_by_task_and_number(store):
    rows = [
        AttemptRow(no=TaskNo(1), attempt=2, state="failed", started_at=1.0, finished_at=2.0, error=b"e", log=b"l"),
        AttemptRow(no=TaskNo(1), attempt=1, state="crashed"),
        AttemptRow(no=TaskNo(0), attempt=3, state="failed"),
    ]
    write(store, attempts=rows)
    assert store.attempts("r1") == [rows[2], rows[1], rows[0]]
    again = AttemptRow(no=TaskNo(0), attempt=3, state="cancelled")
    write(store, attempts=[again])
    assert store.attempts("r1")[0] == again


def test_a_new_expansion_of_a_scope_replaces_the_old_one(store):
    write(store, scopes=[ScopeRow(scope="g", path=(0,), generation=0, length=2, keys=("a", "b"))])
    again = ScopeRow(scope="g", path=(0,), generation=1, length=3)
    write(store, scopes=[again])
    assert store.load_run("r1").scopes == [again]


def test_the_latest_materialization_of_each_partition(store):
    create(store, run_row("r2"))
    old = AssetRow(key="a", partition="", run_id="r1", no=TaskNo(0), at=5.0, data_version="v", metadata=b"m")
    part = AssetRow(key="a", partition="2024", run_id="r1", no=TaskNo(1), at=5.0)
    other = AssetRow(key="b", partition="", run_id="r1", no=TaskNo(2), at=1.0)
    write(store, assets=[part, old, other])
    assert store.assets() == [old, part, other]
    assert store.assets(["a"]) == [old, part]
    assert store.asset("a", part.partition) == part
    assert store.asset("a", "never") is None
    assert store.assets(["b", "nobody"]) == [other]
    assert store.asset("a", "2024") == part
    assert store.asset("b", "2024") is None
    new = AssetRow(key="a", partition="", run_id="r2", no=TaskNo(7), at=6.0)
    write(store, "r2", assets=[new])
    write(store, assets=[AssetRow(key="a", partition="", run_id="r1", no=TaskNo(0), at=5.5)])
    assert store.assets(["a"]) == [new, part]


def test_what_is_remembered_of_a_materialization(store):
    row = AssetRow(
        key="a", partition="", run_id="r1", no=TaskNo(0), at=5.0, data_version="v", metadata=b"m", code_version="2",
        inputs=b'{"b":"1"}', data_time=3.5, observed=True,
    )  # fmt: skip
    write(store, assets=[row])
    assert store.asset("a", "") == row


def test_the_history_of_an_asset_comes_newest_first(store):
    made = [
        AssetEventRow(key="a", partition=part, kind=kind, at=at, run_id="r1", no=TaskNo(0), name=name, data=b'{"x":1}')
        for at, part, kind, name in (
            (1.0, "p", "materialized", ""),
            (1.0, "q", "materialized", ""),
            (2.0, "p", "check", "nulls"),
            (2.0, "p", "check", "rows"),
            (3.0, "p", "observed", ""),
        )
    ]
    write(store, asset_events=made[:3])
    write(
        store, asset_events=[*made[2:], AssetEventRow(key="b", partition="", kind="check", at=1.0, run_id="r1", no=1)]
    )
    assert store.asset_history("a") == made[::-1]
    assert store.asset_history("a", limit=2) == [made[4], made[3]]
    assert store.asset_history("a", partition="q") == [made[1]]
    assert store.asset_history("a", partition="p", kinds=["check"]) == [made[3], made[2]]
    assert store.asset_history("a", kinds=["observed", "materialized"], before=3.0) == [made[1], made[0]]
    assert store.asset_history("nobody") == []
    assert store.asset_updates(1.0) == [made[0], made[1], made[4]]
    assert store.asset_updates(1.0, limit=2) == [made[0], made[1]]
    assert store.asset_updates(1.5) == [made[4]]


# --- events ----------------------------------------------------------------------------------------------------------


def test_events_come_back_in_order_from_where_is_asked(store):
    write(store, events=event_rows(1, 3))
    write(store, events=event_rows(4, 4))
    write(store, events=event_rows(5, 9))
    assert store.events("r1") == event_rows(1, 9)
    assert store.events("r1", after=2) == event_rows(3, 9)
    assert store.events("r1", after=2, limit=4) == event_rows(3, 6)
    assert store.events("r1", after=9) == []
    assert store.events("r1", limit=0) == []
    assert store.load_run("r1").last_seq == 9


def test_events_in_a_large_batch(store):
    write(store, events=event_rows(1, 1700))
    assert store.events("r1", after=499, limit=2) == event_rows(500, 501)
    assert store.events("r1", after=500, limit=2) == event_rows(501, 502)
    assert store.events("r1", after=1200, limit=1000) == event_rows(1201, 1700)
    assert len(store.events("r1")) == 1000
    seen, after = [], 0
    while page := store.events("r1", after=after, limit=333):
        seen += page
        after = page[-1].seq
    assert seen == event_rows(1, 1700)
