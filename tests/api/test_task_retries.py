"""Tasks that fail as a user sees them: retries, time limits, skips, sensors."""

import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plait import (
    Fail,
    LookAgain,
    Retry,
    RetryAfter,
    Skip,
    TaskFailed,
    Unfinished,
    context,
    dag,
    flow,
    task,
)
from plait.bootstrap import Settings
from plait.runtime.session import Session
from tests.api.helpers import Tally, in_dag, in_flow, lines, run_file, states


@task
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


# --- retries ----------------------------------------------------------------------------------------------------------


def failing(times: int, tally: Tally, error: BaseException | None = None, **options: Any) -> Any:
    @task(**options)
    def flaky() -> int:
        if tally.add("tries") <= times:
            raise error or OSError("not yet")
        return tally["tries"]

    return flaky


@pytest.mark.parametrize("run", [in_flow, in_dag])
def test_a_failure_is_tried_again_as_often_as_it_may(session: Session, run: Callable[[Any], Any]):
    assert run(failing(2, Tally(), retries=2)) == 3
    tally = Tally()
    with pytest.raises(OSError, match="not yet"):
        run(failing(9, tally, retries=2))
    assert tally["tries"] == 3


@pytest.mark.parametrize("run", [in_flow, in_dag])
def test_a_condition_says_which_errors_are_worth_it(session: Session, run: Callable[[Any], Any]):
    def worth(error: BaseException) -> bool:
        return isinstance(error, OSError)

    assert run(failing(1, Tally(), retries=Retry(3, when=worth))) == 2
    tally = Tally()
    with pytest.raises(ValueError, match="wrong"):
        run(failing(1, tally, ValueError("wrong"), retries=Retry(3, when=worth)))
    assert tally["tries"] == 1


def test_a_condition_that_raises_fails_the_task_and_says_so(session: Session):
    def broken(error: BaseException) -> bool:
        raise RuntimeError("I am broken")

    tally = Tally()
    with pytest.raises(OSError, match="not yet"):
        in_flow(failing(1, tally, retries=Retry(3, when=broken)))
    row = next(row for row in session.store.tasks(session.store.list_runs()[0].run_id) if row.key == "flaky")
    assert b"the retry policy raised RuntimeError: I am broken" in (row.error or b"")
    assert tally["tries"] == 1


def waited(session: Session, **retry: Any) -> list[float]:
    """The pauses between the attempts of a task that fails three times."""
    at: list[float] = []

    @task(retries=Retry(3, **retry))
    def flaky() -> None:
        at.append(time.monotonic())
        if len(at) < 4:
            raise OSError

    in_flow(flaky)
    return [round(b - a, 2) for a, b in pairwise(at)]


def test_delays_are_a_number_a_list_or_a_function(session: Session):
    """How much longer than it has to the machine takes is none of its business: a pause is never shorter."""
    assert all(pause >= 0.1 for pause in waited(session, delay=0.1))
    assert all(pause >= 0.05 for pause in waited(session, delay=timedelta(seconds=0.05)))
    first, second, third = waited(session, delay=[0.05, 0.2])
    assert first >= 0.05
    assert min(second, third) >= 0.2, "the last one repeats"
    asked: list[int] = []

    def delay(attempt: int) -> float:
        asked.append(attempt)
        return 0.05 * attempt

    first, second, third = waited(session, delay=delay)
    assert asked == [1, 2, 3]
    assert (first >= 0.05, second >= 0.1, third >= 0.15) == (True, True, True)


def test_a_factor_lets_delays_grow_up_to_a_cap(session: Session):
    first, second, third = waited(session, delay=0.05, factor=3, cap=0.2)
    assert 0.05 <= first < 0.15 <= second < 0.2 <= third < 0.3


def test_retry_after_asks_for_a_delay(session: Session):
    at: list[float] = []

    @task(retries=1)
    def limited() -> str:
        at.append(time.monotonic())
        if len(at) == 1:
            raise RetryAfter(0.2)
        return "there"

    assert in_flow(limited) == "there"
    assert at[1] - at[0] >= 0.2
    without = Tally()

    @task
    def never() -> None:
        without.add("tries")
        raise RetryAfter(0.1, "too many requests")

    with pytest.raises(RetryAfter, match="too many requests"):
        in_flow(never)
    assert without["tries"] == 1


def test_fail_is_final(session: Session):
    tally = Tally()
    with pytest.raises(Fail, match="no such table"):
        in_flow(failing(9, tally, Fail("no such table"), retries=5))
    assert tally["tries"] == 1


def test_the_context_tells_the_attempt(session: Session):
    seen: list[tuple[int, int]] = []

    @task(retries=2)
    def flaky() -> None:
        seen.append((context().attempt, context().max_attempts))
        if len(seen) < 3:
            raise OSError

    in_flow(flaky)
    assert seen == [(1, 3), (2, 3), (3, 3)]


# --- time limits and waits --------------------------------------------------------------------------------------------


def test_a_timeout_in_processes_kills_that_process_and_no_other(settings: Settings, tmp_path: Path):
    file = tmp_path / "late.py"
    ledger = tmp_path / "ledger"
    file.write_text(f"""
import os, time
from plait import dag, task

def note(what):
    with open({str(ledger)!r}, "a") as out:
        out.write(f"{{what}} {{os.getpid()}}\\n")

@task(timeout=0.4)
def slow():
    note("slow")
    time.sleep(60)

@task
def steady():
    note("steady")
    time.sleep(1.0)
    return os.getpid()

@dag
def late():
    slow()
    return steady()
""")
    began = time.monotonic()
    run = run_file(settings, file)
    assert time.monotonic() - began < 10
    assert run.states == {"slow": "failed", "steady": "success"}
    assert b"TaskTimeout" in next(row.error or b"" for row in run.tasks if row.key == "slow")
    pids = dict(line.split() for line in lines(ledger))
    assert pids["slow"] != pids["steady"]


@pytest.mark.parametrize("how", ["call", "submit"])
def test_a_timeout_in_threads_fails_on_time(session: Session, how: str):
    done: list[str] = []

    @task(timeout=0.2)
    def slow() -> None:
        for _ in range(500):
            time.sleep(0.01)
        done.append("done")

    @flow
    def pipeline() -> None:
        if how == "call":
            slow()
        else:
            slow.submit().result()

    began = time.monotonic()
    with pytest.raises(TaskFailed, match="TaskTimeout"):
        pipeline()
    assert time.monotonic() - began < 2
    assert not done


def test_skip_skips_what_is_below(session: Session):
    @task
    def look() -> list[int]:
        raise Skip("no rows today")

    @task
    def load(rows: list[int]) -> None: ...

    @task(trigger_rule="all_done")
    def tell(rows: Any) -> str:
        return "told"

    @dag
    def graph() -> str:
        rows = look()
        load(rows)
        return tell(rows)

    assert graph() == "told"
    assert states(session) == {"look": "skipped", "load": "skipped", "tell": "success"}

    @flow
    def pipeline() -> None:
        look()

    with pytest.raises(Unfinished, match="skipped"):
        pipeline()


@pytest.mark.parametrize("run", [in_flow, in_dag])
def test_a_sensor_looks_again_without_using_an_attempt(session: Session, run: Callable[[Any], Any]):
    tally = Tally()

    @task(wait_timeout=5)
    def arrived() -> int:
        if tally.add("looks") < 4:
            raise LookAgain(0.05)
        return context().attempt

    assert run(arrived) == 1
    assert tally["looks"] == 4


@pytest.mark.parametrize(("soft_fail", "state"), [(False, "failed"), (True, "skipped")])
def test_a_sensor_that_waits_too_long_fails_or_is_skipped(session: Session, soft_fail: bool, state: str):
    @task(wait_timeout=0.3, soft_fail=soft_fail, retries=3)
    def arrived() -> None:
        raise LookAgain(0.1)

    @task(trigger_rule="all_done")
    def tell(_: Any) -> str:
        return "told"

    @dag
    def graph() -> str:
        return tell(arrived())

    began = time.monotonic()
    assert graph() == "told"
    assert time.monotonic() - began < 2
    assert states(session)["arrived"] == state
