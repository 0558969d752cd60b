"""A service as its user sees it: `plait dev` on one side, the commands that ask and look on the other."""

import pytest

from tests.service.house import House


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A project whose file `plait dev` serves, for all tests here."""
    house = House(tmp_path_factory.mktemp("served"))
    house.put("steps.py")
    house.dev("steps.py")
    yield house
    house.close()


def test_a_dag_is_asked_for_watched_and_shown(served):
    run_id = served.ask("steps.py", "squares", "-p", "n=4")
    watched = served("runs", "watch", run_id)
    assert "success" in watched.out + watched.err
    shown = served("runs", "show", run_id, "--json").json
    assert (shown["state"], shown["result"], shown["kind"]) == ("success", 14, "dag")
    assert [task["state"] for task in shown["tasks"]] == ["success"] * 6
    assert "squared 3" in served("runs", "logs", run_id).out
    listed = served("runs", "list", "--json").json["runs"]
    assert run_id in [run["run_id"] for run in listed]


def test_a_flow_runs_in_a_worker_with_its_children(served):
    run_id = served.ask("steps.py", "walk")
    assert served("runs", "watch", run_id, "--json").json["state"] == "success"
    shown = served("runs", "show", run_id, "--json").json
    assert (shown["result"], len([task for task in shown["tasks"] if task["key"] == "square"])) == (140, 8)
    logs = served("runs", "logs", run_id).out
    assert "walking 4" in logs
    assert "squared 7" in logs


def test_assets_are_materialized(served):
    run_id = served.ask("steps.py", "--select", "+doubled")
    assert served("runs", "watch", run_id, "--json").json["state"] == "success"
    assert [row.run_id for row in served.store.assets(["raw", "doubled"])] == [run_id, run_id]


def test_a_dag_is_cancelled_while_its_task_runs(served):
    run_id = served.ask("steps.py", "holding", "-p", "name=cancelled-dag")
    served.until(lambda: any("holds cancelled-dag" in line for line in served.noted()), "the task runs")
    assert "cancelled" in served("runs", "cancel", run_id, "--reason", "enough").out
    row = served.ended(run_id, "cancelled")
    assert row.reason == "enough"
    assert served.task(run_id, "held").state == "cancelled"


def test_a_flow_is_cancelled_while_its_child_runs(served):
    run_id = served.ask("steps.py", "waiting_flow", "-p", "name=cancelled-flow")
    served.until(lambda: any("holds cancelled-flow" in line for line in served.noted()), "the child runs")
    assert "cancelled" in served("runs", "cancel", run_id).out
    served.ended(run_id, "cancelled")
    assert [row.state for row in served.store.tasks(run_id) if row.key == "noted"] == ["success"] * 3


def test_a_failed_run_is_retried_from_its_failures(served):
    run_id = served.ask("steps.py", "mendable")
    assert served("runs", "watch", run_id, code=1)
    assert "not yet mended" in served("runs", "logs", run_id).out + served("runs", "show", run_id).out
    served.let_go("mended")
    served("runs", "retry", run_id)
    served.ended(run_id)
    assert [row.attempt for row in served.store.tasks(run_id) if row.key == "square"] == [1, 1]


def test_many_runs_at_once(served):
    runs = served.many("steps.py", "squares", 50)
    for run_id in runs:
        served.ended(run_id)


def test_what_is_wrong_with_a_request_is_told_by_who_asks(served):
    assert "nowhere" in served("runs", "start", "steps.py", "nowhere", code=2).err
    assert "n" in served("runs", "start", "steps.py", "squares", "-p", "n=x", code=2).err
