"""When tasks may start: trigger rules, priorities, concurrency, pools and limits."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait import (
    Skip,
    dag,
    flow,
    limit,
    pool,
    task,
)
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.helpers import Script, Tally, states

# --- rules, priority, concurrency -------------------------------------------------------------------------------------


RULES = {
    # the rule: what it makes of (success, failed), (success, skipped), (failed, skipped), (success, success)
    "all_success": ("upstream_failed", "skipped", "upstream_failed", "success"),
    "all_failed": ("skipped", "skipped", "skipped", "skipped"),
    "all_done": ("success", "success", "success", "success"),
    "one_success": ("success", "success", "upstream_failed", "success"),
    "one_failed": ("success", "skipped", "success", "skipped"),
    "one_done": ("success", "success", "success", "success"),
    "none_failed": ("upstream_failed", "success", "upstream_failed", "success"),
    "none_failed_min_one_success": ("upstream_failed", "success", "upstream_failed", "success"),
    "none_skipped": ("success", "skipped", "skipped", "success"),
    "all_skipped": ("skipped", "skipped", "skipped", "skipped"),
    "all_done_min_one_success": ("success", "skipped", "skipped", "success"),  # Airflow's: skipped is not done
    "always": ("success", "success", "success", "success"),
}
CASES = [("ok", "bad"), ("ok", "skip"), ("bad", "skip"), ("ok", "ok")]


def test_trigger_rules(open_here: Opener):
    session = open_here(executor="inline")  # whether a failure or a skip comes first decides some of them

    @task
    def become(what: str) -> str:
        if what == "bad":
            raise OSError(what)
        if what == "skip":
            raise Skip
        return what

    @task
    def last() -> None: ...

    @dag
    def graph() -> None:
        for one, other in CASES:
            first, second = become.options(name=f"{one}1")(one), become.options(name=f"{other}2")(other)
            for rule in RULES:
                [first, second] >> last.options(name=f"{rule} {one} {other}", trigger_rule=rule)()  # type: ignore[operator]

    with pytest.raises(OSError, match="bad"):
        graph()
    found = states(session)
    seen = {rule: tuple(found[f"{rule} {one} {other}"] for one, other in CASES) for rule in RULES}
    assert seen == RULES


def test_a_higher_priority_starts_first(open_here: Opener):
    open_here(executor="inline")
    order: list[int] = []

    @task
    def note(number: int) -> None:
        order.append(number)

    @dag
    def graph() -> None:
        for number in (1, 3, 2):
            note.options(priority=number)(number)

    graph()
    assert order == [3, 2, 1]


@pytest.mark.parametrize("kind", ["dag", "flow"])
def test_concurrency_bounds_one_task_in_one_run(session: Session, kind: str):
    tally = Tally()

    @task(concurrency=2)
    def work(number: int) -> int:
        with tally:
            time.sleep(0.03)
        return number

    @dag
    def graph() -> Any:
        return work.map(list(range(8)))

    @flow
    def pipeline() -> list[int]:
        return work.map(range(8)).result()

    assert (graph if kind == "dag" else pipeline)() == list(range(8))
    assert tally.most == 2


# --- pools and limits -------------------------------------------------------------------------------------------------


def test_a_pool_bounds_all_runs_of_a_session(session: Session):
    pool("narrow", slots=2)
    tally = Tally()

    @task(pool="narrow")
    def work(number: int) -> None:
        with tally:
            time.sleep(0.03)

    @task(pool="narrow", slots=2)
    def wide() -> None:
        with tally:
            assert tally.live == 1
            time.sleep(0.03)

    @flow
    def pipeline() -> None:
        futures = work.map(range(4))
        both = wide.submit()
        futures.wait()
        both.result()

    @flow
    def two() -> None:
        first, second = pipeline.submit(), pipeline.submit()
        first.result()
        second.result()

    two()
    assert tally.most == 2


def test_tags_and_keys_have_limits_of_their_own(session: Session):
    limit(tag="database", slots=1)
    limit(key="api", slots=3)
    database, api, free = Tally(), Tally(), Tally()

    def slow(tally: Tally, **options: Any) -> Any:
        @task(**options)
        def work(number: int) -> None:
            with tally:
                time.sleep(0.05)

        return work

    @flow
    def pipeline() -> None:
        calls = [
            slow(database, tags=["database", "unlimited"]).map(range(4)),
            slow(api, limits={"api": 1}).map(range(6)),
            slow(free, tags=["unlimited"]).map(range(6)),
        ]
        for each in calls:
            each.result()

    pipeline()
    assert (database.most, api.most) == (1, 3)
    assert free.most > 3


def test_a_pool_holds_across_two_processes(run_script: Callable[..., Script], tmp_path: Path):
    text = f"""
import os, time
from plait import flow, pool, task

pool("narrow", slots=1)

@task(pool="narrow")
def work(number):
    inside = os.open({str(tmp_path / "inside")!r}, os.O_CREAT | os.O_EXCL)
    time.sleep(0.02)
    os.close(inside)
    os.unlink({str(tmp_path / "inside")!r})
    return number

@flow
def pipeline():
    return work.map(range(10)).result()

print(sum(pipeline()))
"""
    began = time.monotonic()
    scripts = [run_script(text, name=f"script{number}.py", wait=False) for number in range(2)]
    assert [script.wait().ok() for script in scripts] == ["45", "45"]
    assert time.monotonic() - began < 20
