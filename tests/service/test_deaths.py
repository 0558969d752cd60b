"""Processes of a service that die: what they were at goes on, by itself, and nothing recorded happens again."""

import os
import signal

import pytest

from plait.model.ids import RunId
from tests.service.house import House


def at_work(house: House, name: str, *, workflow: str = "stubbornly", times: int = 1) -> RunId:
    """A run whose task is at work, for the so many-th time."""
    run_id = house.ask("steps.py", workflow, "-p", f"name={name}")
    holders(house, name, times)
    return run_id


def holders(house: House, name: str, times: int) -> list[int]:
    """The processes in which the task began, once it has begun so often."""
    found: list[int] = []

    def there() -> bool:
        found[:] = [int(line.split()[2]) for line in house.noted() if line.startswith(f"holds {name} ")]
        return len(found) >= times

    house.until(there, f"{name} is at work")
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_restart_of_the_scheduler_kills_no_task(house, number):
    house.put("steps.py")
    house.worker().ready()
    first = house.scheduler("steps.py").ready()
    run_id = at_work(house, "a", workflow="holding")
    first.stop(number)
    house.let_go("a")
    house.until(lambda: "done a 1" in house.noted(), "the task has ended while no scheduler was there")
    house.scheduler("steps.py")
    house.ended(run_id)
    assert len(holders(house, "a", 1)) == 1, "its outcome counted: it did not run again"


def test_a_task_goes_on_under_the_next_scheduler(house):
    house.put("steps.py")
    house.worker().ready()
    first = house.scheduler("steps.py").ready()
    run_id = at_work(house, "a", workflow="holding")
    first.kill()
    house.scheduler("steps.py").ready()
    house.until(lambda: house.row(run_id).owner in [row.owner for row in house.schedulers()], "the next one has it")
    house.let_go("a")
    house.ended(run_id)
    assert (len(holders(house, "a", 1)), house.task(run_id, "held").attempt) == (1, 1)


def test_a_killed_worker_costs_one_attempt_of_what_had_begun(house):
    house.put("steps.py")
    house.scheduler("steps.py").ready()
    worker = house.worker("--workers", 2).ready()
    stubborn, once = at_work(house, "a"), at_work(house, "b", workflow="holding")
    waiting = house.ask("steps.py", "squares")
    worker.kill()
    house.ended(once, "failed")
    assert "died while it ran this" in house.error(once, "held")
    house.worker().ready()
    house.let_go("a")
    house.ended(stubborn)
    house.ended(waiting)
    assert house.task(stubborn, "stubborn").attempt == 2
    assert {row.attempt for row in house.store.tasks(waiting)} == {1}, "what had not begun lost nothing"
    assert any("died while it ran this" in (row.error or b"").decode() for row in house.store.attempts(stubborn))


@pytest.mark.parametrize("whole_worker", [False, True], ids=["body", "worker"])
def test_a_flow_whose_process_is_killed_is_replayed(house, whole_worker):
    house.put("steps.py")
    house.scheduler("steps.py").ready()
    worker = house.worker().ready()
    run_id = house.ask("steps.py", "waiting_flow")
    holders(house, "a", 1)
    body = int(next(line for line in house.noted() if line.startswith("body ")).split()[1])
    if whole_worker:
        worker.kill()
        house.worker()
    else:
        os.kill(body, signal.SIGKILL)
    holders(house, "a", 2)
    house.let_go("a")
    house.ended(run_id)
    assert len([line for line in house.noted() if line.startswith("body")]) == 2
    assert [line for line in house.noted() if line.startswith("child")] == ["child 0", "child 1", "child 2"]


def test_everything_is_killed_and_goes_on(house):
    house.put("steps.py")
    processes = [house.scheduler("steps.py").ready(), house.worker().ready()]
    runs = [at_work(house, "a", workflow="holding"), house.ask("steps.py", "waiting_flow", "-p", "name=b")]
    holders(house, "b", 1)
    for process in processes:
        process.kill()
    house.until(lambda: not house.left(), "nothing is left")
    house.let_go("a")
    house.let_go("b")
    house.scheduler("steps.py")
    house.worker()
    for run_id in runs:
        house.ended(run_id)
    assert [line for line in house.noted() if line.startswith("child")] == ["child 0", "child 1", "child 2"]


def test_a_flow_that_kills_its_process_again_and_again_crashes(house):
    house.put("steps.py")
    house.dev("steps.py")
    run_id = house.ask("steps.py", "deadly")
    house.ended(run_id, "failed")
    assert "SIGKILL" in house.error(run_id, "deadly")
    assert "3 times in a row" in house.error(run_id, "deadly")
    assert house.noted() == ["alive 2"] * 3
    house.ended(house.ask("steps.py", "squares"))
