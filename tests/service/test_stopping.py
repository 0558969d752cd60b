"""How a service ends, and what its processes leave behind: nothing, however it ends."""

import signal

import pytest

from plait.model.ids import RunId
from tests.service.house import House


def at_work(house: House, name: str, *, workflow: str = "stubbornly") -> RunId:
    """A run whose task is at work."""
    run_id = house.ask("steps.py", workflow, "-p", f"name={name}")
    house.until(lambda: any(f"holds {name}" in line for line in house.noted()), "the task is at work")
    return run_id


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_ends_everything_that_dev_started(house, number):
    house.put("steps.py")
    dev = house.dev("steps.py")
    house.ended(house.ask("steps.py", "walk"))
    assert dev.stop(number) == 0
    assert "Traceback" not in dev.said()
    assert house.left() == []
    assert house.sockets() == []
    assert not house.schedulers()


def test_what_is_at_work_has_a_moment_and_counts_as_crashed_when_dev_ends(house):
    house.put("steps.py")
    dev = house.dev("steps.py", "--grace", "0.1")
    once, stubborn = at_work(house, "once", workflow="holding"), at_work(house, "stubborn")
    assert dev.stop(signal.SIGINT) == 0
    assert house.left() == []
    house.ended(once, "failed")
    assert "was stopped" in house.error(once, "held")
    assert house.row(stubborn).state == "running", "it may try again: the next service does"
    house.let_go("stubborn")
    house.dev("steps.py")
    house.ended(stubborn)
    assert "done stubborn 2" in house.noted()


def test_killing_dev_ends_its_processes_and_the_next_one_goes_on(house):
    house.put("steps.py")
    dev = house.dev("steps.py", "--grace", "0.1")
    run_id = at_work(house, "a", workflow="holding")
    dev.kill()
    house.until(lambda: not house.left(), "nothing of it is left")
    house.let_go("a")
    house.dev("steps.py")
    house.ended(run_id)
