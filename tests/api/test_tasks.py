"""Tasks as a user sees them: calls and options."""

from typing import Any

import pytest

from plait import (
    Retry,
    dag,
    flow,
    task,
)
from plait.runtime.session import Session
from tests.api.helpers import states


@task
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


def test_outside_of_a_run_it_is_a_plain_call():
    assert add(2) == 3
    assert add(a=2, b=5) == 7
    assert (add.name, add.__name__, add.__doc__) == ("add", "add", "Adds.")


def test_in_a_task_a_task_is_a_plain_call(session: Session):
    @task
    def outer() -> int:
        return add(1)

    @flow
    def pipeline() -> int:
        return outer()

    assert pipeline() == 2
    assert "add" not in states(session)


def test_a_task_made_from_a_function_is_the_function_with_policies(session: Session):
    def twice(x: int) -> int:
        return 2 * x

    made = task(twice, name="doubled", retries=2)
    assert made(4) == twice(4) == 8
    assert (made.name, made.options_.retries.times) == ("doubled", 2)


def test_options_make_another_task_with_some_options_changed(session: Session):
    eager = add.options(name="add_eu", retries=Retry(5), tags=["eu"], priority=3)
    assert (eager.name, eager.options_.retries.times, eager.options_.tags) == ("add_eu", 5, ("eu",))
    assert (add.name, add.options_.retries.times) == ("add", 0)

    @flow
    def pipeline() -> int:
        return eager(1)

    assert pipeline() == 2
    assert states(session)["add_eu"] == "success"


@pytest.mark.parametrize("how", ["call", "submit"])
def test_every_kind_of_parameter_arrives(session: Session, how: str):
    @task
    def collect(a: Any, /, b: Any, *rest: Any, c: Any = 0, **more: Any) -> Any:
        return a, b, rest, c, more

    @flow
    def pipeline() -> Any:
        if how == "call":
            return collect(1, 2, 3, 4, c=5, d=6)
        return collect.submit(1, 2, 3, 4, c=5, d=6).result()

    @dag
    def graph() -> Any:
        return collect(add(0), 2, add(2), 4, c=5, d=add(5))

    assert pipeline() == (1, 2, (3, 4), 5, {"d": 6})
    assert graph() == (1, 2, (3, 4), 5, {"d": 6})
