"""What holds for every store: runs, graphs, and how they are found."""

import pytest

from plait.model.errors import StoreError
from plait.model.graph import CodeRef, Graph, InCode, Literal, TaskSpec
from plait.model.ids import RunId
from plait.model.rows import EventRow, RunRow, ScopeRow
from plait.ports import RunSnapshot
from tests.conformance.stores.kinds import create, event_rows, run_row, task_row, write

FULL_ROW = RunRow(
    run_id=RunId("r-full"),
    workflow="wörk",
    kind="flow",
    graph_hash="h" * 32,
    state="failed",
    created_at=1.25,
    started_at=2.5,
    finished_at=3.75,
    params=b'{"a": "\xc3\xa4"}',
    logical_date="2024-05-01T00:00:00+02:00",
    partition="2024-05",
    parent="r-parent/3",
    owner="host:1:x",
    epoch=7,
    session=False,
    engine_min=2,
    reason="no\nreason",
    target="flows.py",
    occurrence="wörk 0 2024-05-01",
    tags=("a", "b"),
    extra={"lengths": {"xs": 3}, "keys": ["a", None, 1.5, True], "nested": {"bytes": b"\x00\xff"}},
)


def test_a_run_comes_back_as_it_was_written(store):
    create(store, FULL_ROW, run_row())
    assert store.get_run("r-full") == FULL_ROW
    assert store.get_run("r1") == run_row()


def test_a_run_that_is_not_there_is_none(store):
    assert store.get_run("nobody") is None
    assert store.load_run("nobody") is None
    assert store.task("nobody", 0) is None
    assert store.tasks("nobody") == []
    assert store.events("nobody") == []
    assert store.attempts("nobody") == []
    assert store.outputs("nobody", [0]) == {}
    assert store.task_state("nobody", "t", ()) is None


def test_an_id_that_exists_is_refused_and_nothing_of_the_transaction_stays(store):
    create(store, run_row())
    with pytest.raises(StoreError, match="there is a run r1 already"):
        create(store, run_row("r2"), run_row("r1"))
    assert store.get_run("r2") is None


def test_an_id_is_refused_twice_in_one_transaction(store):
    with pytest.raises(StoreError, match="r1 already"):
        create(store, run_row(), run_row())
    assert store.get_run("r1") is None


def test_of_an_occurrence_there_is_one_run(store):
    create(store, run_row(occurrence="w 0 10"))
    with store.transaction() as tx:
        assert not tx.create_run(run_row("r2", occurrence="w 0 10"))
        assert tx.create_run(run_row("r3", occurrence="w 0 20"))
        assert not tx.create_run(run_row("r4", occurrence="w 0 20"))
        assert tx.create_run(run_row("r5"))
        assert tx.create_run(run_row("r6"))
    assert [row.run_id for row in store.list_runs()] == ["r6", "r5", "r3", "r1"]
    assert store.get_run("r3") == run_row("r3", occurrence="w 0 20")


def test_who_tries_again_to_make_the_run_of_an_occurrence_finds_it_made(store):
    create(store, run_row(occurrence="caf\udce9"))
    with store.transaction() as tx:
        assert not tx.create_run(run_row(occurrence="caf\udce9"))
    with pytest.raises(StoreError, match="there is a run r1 already"):
        create(store, run_row(occurrence="another"))


def test_an_occurrence_whose_transaction_failed_is_free(store):
    with pytest.raises(StoreError, match="r1 already"):
        create(store, run_row(occurrence="o"), run_row())
    with store.transaction() as tx:
        assert tx.create_run(run_row("r2", occurrence="o"))


def test_a_batch_leaves_the_occurrence_to_its_run(store):
    create(store, run_row(occurrence="o"))
    write(store, run=run_row(occurrence="o", state="success"))
    with store.transaction() as tx:
        assert not tx.create_run(run_row("r2", occurrence="o"))


def test_a_batch_replaces_the_runs_row(store):
    create(store, run_row())
    changed = run_row(state="success", finished_at=9.0, reason="all done", tags=("x",), extra={"k": 1})
    write(store, run=changed)
    assert store.get_run("r1") == changed


def test_what_comes_out_is_a_copy(store):
    row = run_row(extra={"list": [1]})
    create(store, row)
    row.state = "changed"
    row.extra["list"].append(2)
    got = store.get_run("r1")
    assert got == run_row(extra={"list": [1]})
    got.extra["list"].append(3)
    assert store.get_run("r1") == run_row(extra={"list": [1]})


def test_two_store_objects_see_the_same(place):
    one, two = place.open(), place.open()
    create(one, run_row())
    assert two.get_run("r1") == run_row()


# --- snapshots -------------------------------------------------------------------------------------------------------


def test_a_snapshot_has_all_generations_the_scopes_and_the_last_event(store):
    create(store, run_row())
    tasks = [task_row(0, current=False), task_row(1, generation=1), task_row(2, path=(1, "b"))]
    scopes = [
        ScopeRow(scope="g", path=(), generation=0, length=2),
        ScopeRow(scope="g.h", path=(1,), generation=0, length=1),
    ]
    write(store, tasks=tasks, scopes=scopes, events=event_rows(1, 3))
    snapshot = store.load_run("r1")
    assert snapshot == RunSnapshot(run=run_row(), tasks=tasks, scopes=snapshot.scopes, last_seq=3)
    assert sorted(snapshot.scopes, key=repr) == sorted(scopes, key=repr)


def test_a_run_without_events_has_last_seq_0(store):
    create(store, run_row())
    assert store.load_run("r1").last_seq == 0


# --- graphs ----------------------------------------------------------------------------------------------------------


def graph() -> Graph:
    inputs = {"x": Literal(value={"a": [1, "ä"]}), "f": InCode(path="f")}
    node = TaskSpec(key="a", code=CodeRef(location="/x.py", name="a", line=3), inputs=inputs)
    return Graph(name="w", nodes=(node,))


def test_a_graph_comes_back_equal_with_its_hash(store):
    made = graph()
    store.save_graph(made.hash(), made)
    assert store.load_graph(made.hash()) == made
    assert store.load_graph(made.hash()).hash() == made.hash()


def test_a_graph_that_is_there_is_left_as_it_is(store):
    store.save_graph("h", graph())
    store.save_graph("h", Graph(name="another"))
    assert store.load_graph("h").name == "w"


def test_an_unknown_graph_is_none(store):
    assert store.load_graph("h") is None


# --- finding ---------------------------------------------------------------------------------------------------------


def ids(rows: list[RunRow]) -> list[str]:
    return [row.run_id for row in rows]


def test_runs_are_found_by_how_their_id_begins_or_ends(store):
    create(store, run_row("0193-aa-71"), run_row("0193-bb-72"), run_row("0194-cc-71"))
    assert ids(store.find_runs("0194")) == ["0194-cc-71"]
    assert ids(store.find_runs("0193", limit=5)) == ["0193-bb-72", "0193-aa-71"]
    assert ids(store.find_runs("71", limit=5)) == ["0194-cc-71", "0193-aa-71"]
    assert ids(store.find_runs("019", limit=2)) == ["0194-cc-71", "0193-bb-72"]
    assert ids(store.find_runs("0193-aa-71")) == ["0193-aa-71"]
    assert store.find_runs("9") == []


def test_an_id_prefix_is_not_a_pattern(store):
    create(store, run_row("a_b"), run_row("axb"), run_row("a%b"))
    assert ids(store.find_runs("a_")) == ["a_b"]
    assert ids(store.find_runs("%b")) == ["a%b"]
    assert ids(store.find_runs("A")) == []


def test_runs_are_listed_newest_first_by_what_is_asked(store):
    create(
        store,
        run_row("1", workflow="a", state="success"),
        run_row("2", workflow="b", state="running", parent="1/0"),
        run_row("3", workflow="a", state="queued"),
        run_row("4", workflow="a", state="failed", parent="1/0"),
    )
    assert ids(store.list_runs()) == ["4", "3", "2", "1"]
    assert ids(store.list_runs(limit=2)) == ["4", "3"]
    assert ids(store.list_runs(before="3")) == ["2", "1"]
    assert ids(store.list_runs(workflow="a")) == ["4", "3", "1"]
    assert ids(store.list_runs(workflow="a", before="4", limit=1)) == ["3"]
    assert ids(store.list_runs(states=["running", "queued"])) == ["3", "2"]
    assert ids(store.list_runs(states=["failed", "queued"])) == ["4", "3"]
    assert ids(store.list_runs(states=["failed"], workflow="a", parent="1/0")) == ["4"]
    assert ids(store.list_runs(parent="1/0")) == ["4", "2"]
    assert store.list_runs(workflow="nobody") == []


def test_the_previous_run_is_by_logical_date(store):
    create(
        store,
        run_row("1", logical_date="2024-01-02T00:00:00+00:00"),
        run_row("2", logical_date="2024-01-01T00:00:00+00:00"),
        run_row("3", logical_date="2024-01-01T00:00:00+00:00"),
        run_row("4"),
        run_row("5", workflow="v", logical_date="2024-01-02T12:00:00+00:00"),
        run_row("6", logical_date="no date"),
    )
    assert store.previous_run("w", "2024-01-03T00:00:00+00:00").run_id == "1"
    assert store.previous_run("w", "2024-01-02T00:00:00+00:00").run_id == "3"
    assert store.previous_run("w", "2024-01-01T00:00:00+00:00") is None
    assert store.previous_run("w", "no date") is None
    assert store.previous_run("nobody", "2024-01-03") is None


def test_logical_dates_are_compared_as_moments_whatever_their_zone(store):
    create(
        store,
        run_row("1", logical_date="2024-01-01T23:30:00-02:00"),
        run_row("2", logical_date="2024-01-02T00:30:00+00:00"),
        run_row("3", logical_date="2024-01-01"),
    )
    assert store.previous_run("w", "2024-01-02T02:00:00Z").run_id == "1"
    assert store.previous_run("w", "2024-01-02T01:30:00Z").run_id == "2"
    assert store.previous_run("w", "2024-01-02").run_id == "3"


def test_many_runs_in_one_transaction(store):
    create(store, *[run_row(f"{index:05}") for index in range(1200)])
    assert len(store.list_runs(limit=5000)) == 1200
    assert store.events("00007", after=0) == []
    write(store, "00007", events=[EventRow(seq=1, at=0.0, data=b"x")])
    assert store.load_run("00007").last_seq == 1
    assert store.load_run("00008").last_seq == 0
