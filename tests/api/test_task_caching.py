"""What is cached of tasks, as a user sees it."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from plait import (
    Cache,
    dag,
    flow,
    task,
)
from plait.runtime.session import Session
from tests.api.helpers import Script, Tally, states


@task
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


def counted(tally: Tally, **options: Any) -> Any:
    @task(cache=Cache(**options))
    def work(a: Any, b: Any = 0) -> list[Any]:
        tally.add("calls")
        return [a, b]

    return work


def calls_of(step: Any, *calls: tuple[Any, ...], how: str = "call") -> list[Any]:
    @flow
    def pipeline() -> list[Any]:
        if how == "submit":
            return [step.submit(*each).result() for each in calls]
        return [step(*each) for each in calls]

    return pipeline()


@pytest.mark.parametrize("how", ["call", "submit"])
def test_equal_inputs_are_answered_from_the_cache_in_every_run(session: Session, how: str):
    tally = Tally()
    work = counted(tally)
    for _ in range(2):
        assert calls_of(work, (1,), (2,), (1, 0), how=how) == [[1, 0], [2, 0], [1, 0]]
    assert tally["calls"] == 2


def test_a_changed_source_is_another_task(session: Session, run_script: Callable[..., Script]):
    text = """
from plait import Cache, flow, task

@task(cache=Cache(SOURCE))
def work(x):
    print("works")
    return x + 1

@flow
def pipeline():
    return work(1)

print(pipeline())
"""
    assert run_script(text.replace("SOURCE", "")).ok() == "works\n2"
    assert run_script(text.replace("SOURCE", "")).ok() == "2"
    assert run_script(text.replace("SOURCE", "").replace("+ 1", "+ 2")).ok() == "works\n3"
    assert run_script(text.replace("SOURCE", "source=False")).ok() == "works\n2"
    assert run_script(text.replace("SOURCE", "source=False").replace("+ 1", "+ 2")).ok() == "2"


def test_a_cache_of_the_run_is_not_shared(session: Session):
    tally = Tally()
    work = counted(tally, run=True)
    calls_of(work, (1,), (1,))
    calls_of(work, (1,), (1,))
    assert tally["calls"] == 2


def test_a_cached_result_expires(session: Session):
    tally = Tally()
    work = counted(tally, expires=0.3)
    calls_of(work, (1,), (1,))
    assert tally["calls"] == 1
    time.sleep(0.35)
    calls_of(work, (1,))
    assert tally["calls"] == 2


def test_refresh_runs_and_replaces(session: Session):
    tally = Tally()
    work = counted(tally)
    calls_of(work, (1,))
    calls_of(work.options(cache=Cache(refresh=True)), (1,))
    calls_of(work, (1,))
    assert tally["calls"] == 2


def test_excluded_inputs_do_not_count(session: Session):
    tally = Tally()
    assert calls_of(counted(tally, exclude=("b",)), (1, 2), (1, 3)) == [[1, 2], [1, 2]]
    assert tally["calls"] == 1


def test_a_key_of_ones_own(session: Session):
    asked: list[tuple[str, dict[str, Any]]] = []

    def key(name: str, inputs: dict[str, Any]) -> str | None:
        asked.append((name, inputs))
        return str(inputs["a"] % 10) if inputs["a"] < 100 else None

    tally = Tally()
    assert calls_of(counted(tally, key=key), (1,), (11,), (2,)) == [[1, 0], [1, 0], [2, 0]]
    assert tally["calls"] == 2
    assert asked[0] == ("work", {"a": 1, "b": 0})
    calls_of(counted(tally, key=key), (100,), (100,))
    assert tally["calls"] == 4


def test_what_a_graph_reads_of_a_result_is_cached_with_it(session: Session):
    """Lengths for mappings, the chosen branch, which outputs were emitted."""
    tally = Tally()

    @task(cache=Cache())
    def numbers() -> dict[str, int]:
        tally.add("numbers")
        return {"x": 1, "y": 2}

    @task(cache=Cache(), branch=True)
    def choose() -> str:
        tally.add("choose")
        return "add"

    @task
    def other() -> None: ...

    @task(cache=Cache(), outputs=["good", "bad?"])
    def split() -> dict[str, int]:
        tally.add("split")
        return {"good": 1}

    @task
    def take(x: int) -> int:
        return x

    @dag
    def graph() -> Any:
        way = choose()
        added = add.map(numbers())
        way >> added
        way >> other()
        parts = split()
        take(parts["good"])
        take(parts["bad"])
        return added

    for _ in range(2):
        assert graph() == [2, 3]
        found = states(session)
        assert (found["other"], found["take"], found["take_2"]) == ("skipped", "success", "skipped")
    assert (tally["numbers"], tally["choose"], tally["split"]) == (1, 1, 1)


def test_a_large_cached_result_survives_its_run(session: Session):
    import shutil

    tally = Tally()
    work = counted(tally)
    large = "x" * 100_000
    assert calls_of(work, (large,))[0] == [large, 0]
    run_id = session.store.list_runs()[0].run_id
    shutil.rmtree(Path(str(session.results.url).removeprefix("file://")) / run_id, ignore_errors=True)
    assert calls_of(work, (large,))[0] == [large, 0]
    assert tally["calls"] == 1
    shutil.rmtree(Path(str(session.results.url).removeprefix("file://")) / "cached")
    assert calls_of(work, (large,))[0] == [large, 0]
    assert tally["calls"] == 2
