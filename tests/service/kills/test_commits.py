"""A process kills itself at a commit of its store, before it or after it, in the middle of its work: what it served
goes on by itself, and the books agree. `make soak` does so at every commit, of more workflows."""

import pytest

from tests.service.house import House
from tests.service.kills.books import Ledger, check_run
from tests.service.kills.driver import IN_FLIGHT, Driver, at_every_commit

ON_POSTGRES = pytest.mark.postgres
WORK = {"scheduler": ("fan", 300, 14), "everything": ("fan", 300, 14), "flow": ("walk", 30, 8)}
"""While what runs (how much of it) who dies, at its so many-th commit."""


@pytest.mark.parametrize(
    ("house", "victim", "point"),
    [
        ("sqlite", "scheduler", "before_commit"),
        ("sqlite", "everything", "after_commit"),
        ("sqlite", "flow", "before_commit"),
        pytest.param("postgres", "scheduler", "after_commit", marks=ON_POSTGRES),
        pytest.param("postgres", "everything", "before_commit", marks=ON_POSTGRES),
        pytest.param("postgres", "flow", "after_commit", marks=ON_POSTGRES),
    ],
    indirect=["house"],
)
def test_a_run_goes_on_after_a_kill_at_a_commit(house, nursery, victim, point):
    driver = Driver(house, nursery, workers=1)
    workflow, size, number = WORK[victim]
    assert at_every_commit(driver, victim, point, lambda: driver.ask(workflow, n=size), range(number, number + 1)) == 1
    assert driver.check().most_again <= IN_FLIGHT


def test_the_books_tell_what_did_not_happen_and_what_happened_too_often(tmp_path, nursery):
    house = House(tmp_path)
    try:
        driver = Driver(house, nursery, workers=1)
        driver.start("scheduler-0")
        driver.start("worker-0")
        run_id = driver.ask("chain")
        driver.until(lambda: driver.is_over(run_id), "the end of the run")
        driver.check()
        driver.rest()
        row, lines = house.row(run_id), house.noted()
        with pytest.raises(AssertionError, match="what is recorded did happen"):
            check_run(house, Ledger(line for line in lines if not line.startswith("done")), row)
        with pytest.raises(AssertionError, match="each step has begun"):
            check_run(house, Ledger(line for line in lines if " b " not in line), row)
        with pytest.raises(AssertionError, match="3 executions began again before anything was killed"):
            Ledger([*lines, *lines]).again([])
    finally:
        house.close()
