"""What holds for every store: files of definitions, deployments and their triggers."""

import contextlib
import itertools
import threading

import msgspec
import pytest

from plait.model.errors import StoreError
from plait.model.rows import AutomationRow, WorkflowRow
from plait.model.schedules import Catchup
from tests.conformance.stores.kinds import deploy, deployment_row, file_row, run_row, trigger_row

CRON = {"cron": "0 6 * * *", "timezone": "Europe/Paris"}


def save_files(store, *rows, gone=()) -> None:
    with store.transaction() as tx:
        tx.save_files(rows, gone=gone)


def undeploy(store, *workflows: str) -> None:
    with store.transaction() as tx:
        tx.undeploy(workflows)


def pause(store, name: str, *, paused: bool = True) -> None:
    """What is remembered of a workflow, in a transaction of its own."""
    with store.transaction() as tx:
        tx.save_workflow(WorkflowRow(name=name, paused=paused))


def due(store, now: float, limit: int = 200) -> list[tuple[str, int]]:
    with store.transaction() as tx:
        return [(row.workflow, row.no) for row in tx.due_triggers(now, limit)]


# --- files -----------------------------------------------------------------------------------------------------------


def test_files_are_kept_by_location(store):
    broken = file_row("/p/2.py", error="SyntaxError: no", traceback="line 1\n\tline 2", loaded_at=2.5)
    save_files(store, broken, file_row("/p/1.py"), file_row("/q.py", location="/q.py"))
    assert store.definitions.files("/p") == [file_row("/p/1.py"), broken]
    assert store.definitions.files("/q.py") == [file_row("/q.py", location="/q.py")]
    assert store.definitions.files("/") == []
    assert store.definitions.files() == [file_row("/p/1.py"), broken, file_row("/q.py", location="/q.py")]


def test_a_file_is_replaced_and_dropped(store):
    save_files(store, file_row("/p/1.py"), file_row("/p/2.py"))
    save_files(store, file_row("/p/1.py", stamp="2"), gone=["/p/2.py", "/never/seen.py"])
    assert store.definitions.files("/p") == [file_row("/p/1.py", stamp="2")]


# --- deployments -----------------------------------------------------------------------------------------------------


def test_a_deployment_comes_back_as_it_was_written(store):
    row = deployment_row("wörk", kind="flow", lengths={"xs": 3, "keys": ["a", "b"]}, tags=("t", "u"), updated_at=2.5)
    deploy(store, row)
    deploy(store, deployment_row("a"))
    assert store.definitions.deployment("wörk") == row
    assert store.definitions.deployments() == [deployment_row("a"), row]
    assert store.definitions.deployment("nobody") is None


def test_a_deployment_is_replaced(store):
    deploy(store, deployment_row(tags=("t",)))
    deploy(store, deployment_row(graph_hash="h2", target="/elsewhere"))
    assert store.definitions.deployments() == [deployment_row(graph_hash="h2", target="/elsewhere")]


def test_what_is_no_longer_defined_has_no_deployment_and_no_triggers_but_its_runs(store):
    with store.transaction() as tx:
        tx.create_run(run_row())
    deploy(store, deployment_row("w"), trigger_row(0, next_at=1.0), trigger_row(1))
    deploy(store, deployment_row("v"), trigger_row(0, "v"))
    undeploy(store, "w", "nobody")
    assert [row.workflow for row in store.definitions.deployments()] == ["v"]
    assert store.definitions.triggers() == [trigger_row(0, "v")]
    assert store.definitions.next_trigger() is None
    assert store.get_run("r1") == run_row()


def test_a_transaction_that_fails_leaves_all_as_it_was(store):
    deploy(store, deployment_row(), trigger_row(next_at=1.0))
    save_files(store, file_row())

    def change_and_stop() -> None:
        with store.transaction() as tx:
            tx.deploy(deployment_row("v"), [trigger_row(0, "v")])
            tx.advance_trigger(trigger_row(next_at=9.0))
            tx.undeploy(["w"])
            tx.save_files([file_row("/p/2.py")], gone=["/p/1.py"])
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        change_and_stop()
    assert store.definitions.deployments() == [deployment_row()]
    assert store.definitions.triggers() == [trigger_row(next_at=1.0)]
    assert store.definitions.files("/p") == [file_row()]


def test_an_open_transaction_is_not_seen_and_sees_itself(store):
    with store.transaction() as tx:
        tx.deploy(deployment_row(), [trigger_row(next_at=1.0), trigger_row(1, next_at=2.0)])
        assert store.definitions.deployments() == []
        assert store.definitions.triggers() == []
        first, second = tx.due_triggers(5.0)
        tx.advance_trigger(msgspec.structs.replace(first, next_at=6.0))
        assert tx.due_triggers(5.0) == [second]
        tx.undeploy(["w"])
        tx.deploy(deployment_row(), [trigger_row(next_at=3.0)])
        assert tx.due_triggers(5.0) == [trigger_row(next_at=3.0)]
    assert store.definitions.triggers() == [trigger_row(next_at=3.0)]


def test_what_comes_out_is_a_copy(store):
    row, trigger = deployment_row(lengths={"xs": ["a"]}), trigger_row(spec={"list": [1]}, next_at=1.0)
    deploy(store, row, trigger)
    for lengths in (row.lengths, store.definitions.deployment("w").lengths):
        lengths["xs"].append("b")
    for spec in (trigger.spec, store.definitions.triggers()[0].spec):
        spec["list"].append(2)
    assert store.definitions.deployment("w") == deployment_row(lengths={"xs": ["a"]})
    assert store.definitions.triggers() == [trigger_row(spec={"list": [1]}, next_at=1.0)]


def test_a_name_that_is_no_text_is_deployed_all_the_same(store):
    deploy(store, deployment_row("caf\udce9"), trigger_row(0, "caf\udce9", next_at=1.0))
    save_files(store, file_row("/p/caf\udce9.py"))
    assert len(store.definitions.triggers("caf\udce9")) == len(store.definitions.files("/p")) == 1
    assert store.definitions.deployment("caf\udce9") is not None
    undeploy(store, "caf\udce9")
    save_files(store, gone=["/p/caf\udce9.py"])
    assert store.definitions.deployments() == store.definitions.triggers() == store.definitions.files("/p") == []


def test_a_closed_store_says_so(store):
    definitions = store.definitions
    store.close()
    for read in (definitions.deployments, definitions.triggers, definitions.next_trigger):
        with pytest.raises(StoreError, match="closed"):
            read()


# --- triggers --------------------------------------------------------------------------------------------------------


def test_triggers_come_back_as_they_were_written(store):
    daily = trigger_row(0, spec={**CRON, "nested": [None, {"x": 1.5}]}, catchup=Catchup.ALL, cursor=1.25, next_at=2.5)
    deploy(store, deployment_row("w"), daily, trigger_row(1, kind="asset", spec={}))
    deploy(store, deployment_row("a"), trigger_row(0, "a"))
    assert store.definitions.triggers() == [trigger_row(0, "a"), daily, trigger_row(1, kind="asset", spec={})]
    assert store.definitions.triggers("a") == [trigger_row(0, "a")]
    assert store.definitions.triggers("nobody") == []


def test_a_redeploy_drops_nothing_that_is_due(store):
    deploy(store, deployment_row(), trigger_row(spec={"a": 1, "b": [2]}, cursor=10.0, next_at=20.0))
    deploy(store, deployment_row(graph_hash="h2"), trigger_row(spec={"b": (2,), "a": 1}, cursor=500.0, next_at=600.0))
    assert store.definitions.triggers() == [trigger_row(spec={"a": 1, "b": [2]}, cursor=10.0, next_at=20.0)]


@pytest.mark.parametrize("change", [{"kind": "interval"}, {"spec": {"cron": "1 * * * *"}}, {"catchup": Catchup.NONE}])
def test_a_trigger_that_is_another_now_begins_anew(store, change):
    deploy(store, deployment_row(), trigger_row(cursor=10.0, next_at=20.0), trigger_row(1, cursor=1.0, next_at=2.0))
    changed = trigger_row(**change, cursor=500.0, next_at=600.0)
    deploy(store, deployment_row(), changed, trigger_row(1, cursor=7.0, next_at=8.0))
    assert store.definitions.triggers() == [changed, trigger_row(1, cursor=1.0, next_at=2.0)]


def test_a_transaction_sees_the_triggers_of_a_workflow_as_it_left_them(store):
    deploy(store, deployment_row("v"), trigger_row(0, "v"))
    deploy(store, deployment_row(), trigger_row(cursor=1.0, next_at=2.0), trigger_row(1, catchup=Catchup.NONE))
    with store.transaction() as tx:
        [fired] = tx.due_triggers(5.0)
        moved = msgspec.structs.replace(fired, cursor=2.0, next_at=3.0)
        tx.advance_trigger(moved)
        assert tx.triggers("w") == [moved, trigger_row(1, catchup=Catchup.NONE)]
        assert tx.triggers("nobody") == []
        tx.deploy(deployment_row(), [])
        assert tx.triggers("w") == []


def test_triggers_that_a_workflow_has_no_more_are_dropped(store):
    deploy(store, deployment_row("v"), trigger_row(0, "v"), trigger_row(1, "v"))
    deploy(store, deployment_row(), *[trigger_row(no, next_at=5.0) for no in range(3)])
    deploy(store, deployment_row(), trigger_row(0))
    assert store.definitions.triggers("w") == [trigger_row(0, next_at=5.0)]
    deploy(store, deployment_row())
    assert store.definitions.triggers() == [trigger_row(0, "v"), trigger_row(1, "v")]


def test_what_is_due_comes_longest_due_first_and_bounded(store):
    deploy(
        store,
        deployment_row("w"),
        *[trigger_row(no, next_at=at) for no, at in enumerate((30.0, 10.0, None, 50.0, 20.0))],
    )
    deploy(store, deployment_row("a"), trigger_row(0, "a", next_at=20.0))
    assert due(store, 30.0) == [("w", 1), ("a", 0), ("w", 4), ("w", 0)]
    assert due(store, 30.0, 2) == [("w", 1), ("a", 0)]
    assert due(store, 29.9) == [("w", 1), ("a", 0), ("w", 4)]
    assert due(store, 9.9) == []


def test_what_is_held_back_is_left_out_and_hides_nothing_else(store):
    for name, times in (("a", (1.0, 2.0)), ("b", (3.0,)), ("c", (9.0,))):
        deploy(store, deployment_row(name), *[trigger_row(no, name, next_at=at) for no, at in enumerate(times)])
    with store.transaction() as tx:
        found = tx.due_triggers(5.0, 2, [("a", 0), ("b", 1), ("nobody", 0)])
        assert [(row.workflow, row.no) for row in found] == [("a", 1), ("b", 0)]
        assert tx.due_triggers(5.0, 10, [("a", 0), ("a", 1), ("b", 0)]) == []
    assert store.definitions.next_trigger() == 1.0
    assert store.definitions.next_trigger(1.0) == 2.0
    assert store.definitions.next_trigger(5.0) == 9.0
    assert store.definitions.next_trigger(9.0) is None


def test_a_trigger_that_has_fired_goes_on_from_there(store):
    deploy(store, deployment_row(), trigger_row(cursor=1.0, next_at=10.0), trigger_row(1, next_at=20.0))
    assert store.definitions.next_trigger() == 10.0
    with store.transaction() as tx:
        [fired] = tx.due_triggers(10.0)
        assert fired == trigger_row(cursor=1.0, next_at=10.0)
        assert tx.create_run(run_row(occurrence="w 0 10"))
        tx.advance_trigger(msgspec.structs.replace(fired, cursor=10.0, next_at=70.0))
    assert store.definitions.triggers()[0] == trigger_row(cursor=10.0, next_at=70.0)
    assert store.definitions.next_trigger() == 20.0
    with store.transaction() as tx:
        [second] = tx.due_triggers(20.0)
        tx.advance_trigger(msgspec.structs.replace(second, cursor=20.0, next_at=None))
    assert store.definitions.next_trigger() == 70.0
    assert due(store, 60.0) == []


def test_what_is_paused_is_not_due(store):
    deploy(store, deployment_row("w"), trigger_row(0, "w", next_at=10.0), trigger_row(1, "w", next_at=30.0))
    deploy(store, deployment_row("v"), trigger_row(0, "v", next_at=20.0))
    pause(store, "w")
    assert store.definitions.next_trigger() == 20.0
    assert due(store, 50.0) == [("v", 0)]
    pause(store, "v")
    assert store.definitions.next_trigger() is None
    assert due(store, 50.0) == []
    assert len(store.definitions.triggers()) == 3
    pause(store, "w", paused=False)
    assert store.definitions.next_trigger() == 10.0
    assert due(store, 50.0) == [("w", 0), ("w", 1)]


def test_a_pause_counts_in_its_own_transaction(store):
    deploy(store, deployment_row(), trigger_row(next_at=1.0))
    with store.transaction() as tx:
        tx.save_workflow(WorkflowRow(name="w", paused=True))
        assert tx.due_triggers(5.0) == []
        tx.save_workflow(WorkflowRow(name="w"))
        assert tx.due_triggers(5.0) == [trigger_row(next_at=1.0)]
    assert store.workflow("w") == WorkflowRow(name="w")


def test_a_trigger_that_is_gone_is_not_brought_back(store):
    deploy(store, deployment_row(), trigger_row(next_at=1.0))
    undeploy(store, "w")
    with store.transaction() as tx:
        tx.advance_trigger(trigger_row(cursor=1.0, next_at=2.0))
    assert store.definitions.triggers() == []


def test_of_many_that_look_one_fires_a_trigger(place):
    stores = [place.open() for _ in range(3)]
    deploy(stores[0], deployment_row(), *[trigger_row(no, next_at=1.0) for no in range(20)])
    fired: list[list[int]] = [[], [], []]
    ready = threading.Barrier(3)

    def work(index: int) -> None:
        ready.wait()
        while stores[index].definitions.next_trigger() == 1.0:
            with stores[index].transaction() as tx:
                for row in tx.due_triggers(5.0, 3):
                    fired[index].append(row.no)
                    tx.advance_trigger(msgspec.structs.replace(row, next_at=9.0))

    threads = [threading.Thread(target=work, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(itertools.chain(*fired)) == list(range(20))


# --- automations -----------------------------------------------------------------------------------------------------


def test_automations_that_are_gone_are_found_and_deleted(store):
    with store.transaction() as tx:
        rows = [("", 1.0), ("b", 1.0), ("a", 2.0), ("c", 2.9), ("d", 3.0)]
        tx.save_automations([AutomationRow(key=key, at=at, cursor=b"", decision=b"") for key, at in rows])
    assert store.definitions.old_automations(3.0) == ["a", "b", "c"]
    assert store.definitions.old_automations(3.0, limit=2) == ["a", "b"]
    assert store.definitions.old_automations(3.0, after="b") == ["c"]
    with store.transaction() as tx:
        tx.delete_automations(["c", "nobody", "a"])
        tx.delete_automations([])
    assert [row.key for row in store.definitions.automations()] == ["", "b", "d"]


def test_where_automations_stand_is_replaced(store):
    first = AutomationRow(key="b", at=1.0, cursor=b"{}", decision=b"[]")
    second = AutomationRow(key="a", at=2.0, cursor=b"\x00\xff", decision=b"d")
    with store.transaction() as tx:
        tx.save_automations([first, second])
    assert store.definitions.automations() == [second, first]
    moved = AutomationRow(key="b", at=3.0, cursor=b"c", decision=b"")
    with store.transaction() as tx:
        assert tx.automation("b") == first
        assert tx.automation("nobody") is None
        tx.save_automations([moved])
    assert store.definitions.automations(["b", "nobody"]) == [moved]
    with contextlib.suppress(ZeroDivisionError), store.transaction() as tx:
        tx.save_automations([first])
        raise ZeroDivisionError
    assert store.definitions.automations(["b"]) == [moved]
