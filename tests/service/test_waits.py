"""What waits for events and people in a service: tasks hold no worker, bodies of flows no process."""

import pytest

from tests.service.house import House


def owned_by_a_scheduler(house: House, run_id: str) -> bool:
    """Whether the run is back with a scheduler: no process of a worker is held."""
    return house.row(run_id).owner in [row.owner for row in house.schedulers()]


def test_a_task_waits_for_an_event_of_user_code(house: House):
    house.put("waits.py")
    house.dev("waits.py")
    run_id = house.ask("waits.py", "waiting", "-p", "name=parcel")
    house.task_is(run_id, "arrives", "deferred")
    house.let_go("parcel")
    house.ended(run_id)
    assert house("runs", "show", run_id, "--json").json["result"].startswith("parcel in ")
    assert house.noted() == ["parcel begins"] * 2
    assert house.task(run_id, "arrives").attempt == 1


def test_a_body_that_waits_is_with_the_scheduler_and_everything_may_die(house: House):
    house.put("waits.py")
    scheduler, worker = house.scheduler("waits.py").ready(), house.worker().ready()
    run_id = house.ask("waits.py", "asking", "-p", "name=parcel")
    house.until(lambda: owned_by_a_scheduler(house, run_id) and house.task(run_id, "let_go"), "the body has left")
    house.task_is(run_id, "asking", "deferred")
    house.task_is(run_id, "let_go", "deferred")
    scheduler.kill()
    worker.kill()
    house.scheduler("waits.py").ready()
    house.worker().ready()
    house.let_go("parcel")
    house.task_is(run_id, "ask", "paused")
    house.until(lambda: owned_by_a_scheduler(house, run_id), "the body has left again")
    wrong = house("runs", "answer", run_id, "--json", '"yes"', code=2)
    assert "'yes' is not of type 'boolean'" in wrong.err
    assert "ask goes on" in house("runs", "answer", run_id, "--json", "true").out
    house.ended(run_id)
    shown = house("runs", "show", run_id, "--json").json
    assert shown["result"] == ["parcel", "parcel", True, "notes.parcel"]
    assert house.noted().count("parcel is done") == 1
    bodies = [line for line in house.noted() if line.startswith("body in")]
    assert len(bodies) >= 4


def test_a_body_whose_child_works_keeps_its_process(house: House):
    house.put("waits.py")
    house.dev("waits.py")
    run_id = house.ask("waits.py", "busy", "-p", "name=work")
    house.task_is(run_id, "ask", "paused")
    house.until(lambda: any("work works" in line for line in house.noted()), "the child works")
    assert not owned_by_a_scheduler(house, run_id)
    house("runs", "answer", run_id, "--json", "41")
    house.let_go("work")
    house.ended(run_id)
    assert house("runs", "show", run_id, "--json").json["result"] == 42
    assert len(house.noted()) == 1


@pytest.mark.parametrize("name", ["waiting", "asking"])
def test_what_waits_is_cancelled_at_once(name: str, house: House):
    house.put("waits.py")
    house.dev("waits.py")
    run_id = house.ask("waits.py", name, "-p", "name=never")
    house.task_is(run_id, "arrives" if name == "waiting" else "let_go", "deferred")
    house("runs", "cancel", run_id)
    house.ended(run_id, "cancelled")
