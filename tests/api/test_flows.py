"""Flows as a user sees them: calls, futures, subflows, threads, retries, slots."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from typing import Any

import pytest

from plait import (
    ParameterError,
    UsageError,
    context,
    dag,
    flow,
    logical_date,
    pool,
    task,
    unmapped,
)
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.flow_tasks import collect, twice
from tests.api.helpers import Tally, states
from tests.api.waiting import until

# --- calls and futures ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("executor", ["threads", "processes", "inline"])
def test_calls_submits_and_maps(open_here: Opener, executor: str):
    session = open_here(workers=2)

    @flow(executor=executor)
    def pipeline(n: int) -> Any:
        first = twice(n)
        second = twice.submit(first)
        return [
            first,
            second.result(),
            twice.map([1, 2, 3]).result(),
            twice.map({"a": 1, "b": 2}).result(),
            [future.result() for future in collect.map([1, 2], x=["a", "b"])],
            collect.product([1, 2], ["a", "b"]).result(),
            collect.map([1, 2], unmapped([7, 8])).result(),
        ]

    assert pipeline(1) == [
        2,
        4,
        [2, 4, 6],
        [2, 4],
        [[(1,), {"x": "a"}], [(2,), {"x": "b"}]],
        [[(1, "a"), {}], [(1, "b"), {}], [(2, "a"), {}], [(2, "b"), {}]],
        [[(1, [7, 8]), {}], [(2, [7, 8]), {}]],
    ]
    assert set(states(session).values()) == {"success"}


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_futures_are_arguments_wherever_they_lie(open_here: Opener, executor: str):
    open_here(workers=2)

    @flow(executor=executor)
    def pipeline() -> Any:
        a, b = twice.submit(1), twice.submit(2)
        return collect.submit(a, [b, (a, 5)], {"deep": {"er": [b]}}, named=a, many=twice.map([a, b])).result()

    assert pipeline() == [(2, [4, (2, 5)], {"deep": {"er": [4]}}), {"named": 2, "many": [4, 8]}]


def test_a_map_over_a_future_and_over_futures(session: Session):
    @task
    def numbers() -> list[int]:
        return [1, 2, 3]

    @flow
    def pipeline() -> Any:
        return twice.map(twice.map(numbers.submit())).result()

    assert pipeline() == [4, 8, 12]


def test_futures_tell_about_themselves(session: Session):
    go = threading.Event()

    @task
    def waits() -> str:
        go.wait(10)
        return "went"

    @flow
    def pipeline() -> None:
        future = waits.submit()
        assert (future.key, future.done()) == ("waits", False)
        assert future.wait(0.05) is False
        with pytest.raises(TimeoutError, match=r"'?waits'? did not end within 0.05 s"):
            future.result(timeout=0.05)
        go.set()
        assert future.result() == "went"
        assert (future.done(), future.state, future.wait()) == (True, "success", True)
        futures = twice.map([1, 2])
        assert futures.wait(10)
        assert [each.result() for each in futures] == futures.result() == [2, 4]

    pipeline()


def test_what_a_body_returns_may_hold_futures(session: Session):
    @flow
    def pipeline() -> Any:
        return {"one": twice.submit(1), "many": twice.map([1, 2]), "plain": 5}

    assert pipeline() == {"one": 2, "many": [2, 4], "plain": 5}


def test_a_body_that_returns_early_waits_for_what_it_submitted(session: Session):
    done: list[int] = []

    @task
    def slow(x: int) -> None:
        time.sleep(0.1)
        done.append(x)

    @flow
    def pipeline() -> str:
        slow.map([1, 2, 3])
        return "returned"

    assert pipeline() == "returned"
    assert sorted(done) == [1, 2, 3]
    assert states(session)["slow"] == "success"


def test_a_body_that_only_looks_sees_an_end_too(session: Session):
    """Nobody waits for the futures: their ends are committed all the same."""

    @flow
    def looks() -> list[int]:
        futures = [twice.submit(n) for n in range(20)]
        until(lambda: all(future.done() for future in futures))
        return [future.result() for future in futures]

    assert looks() == [2 * n for n in range(20)]


# --- subflows and dags ------------------------------------------------------------------------------------------------


def test_subflows_are_parts_of_the_run(session: Session):
    @flow
    def child(n: int, day: date = logical_date()) -> Any:
        return twice(n), type(day).__name__, context().task

    @flow
    def parent() -> Any:
        submitted = [child.submit(n) for n in (1, 2)]
        return [child(0), *(future.result() for future in submitted), child.submit(twice.submit(5)).result()]

    assert [value[0] for value in parent()] == [0, 2, 4, 20]
    assert len(session.store.list_runs()) == 1
    found = [task_row.key for task_row in session.store.tasks(session.store.list_runs()[0].run_id)]
    assert sorted(found) == ["child"] * 4 + ["parent"] + ["twice"] * 5


def test_a_subflows_parameters_are_checked(session: Session):
    @flow
    def child(n: int) -> int:
        return n

    @flow
    def parent(n: Any) -> Any:
        return child(n)

    assert parent("5") == 5
    with pytest.raises(ParameterError, match="parameter 'n' of 'child' does not fit"):
        parent("many")


def test_subflows_fail_and_are_retried_like_tasks(session: Session):
    tally = Tally()

    @flow(retries=2)
    def flaky() -> int:
        twice(1)
        if tally.add("tries") < 3:
            raise OSError("not yet")
        return tally["tries"]

    @flow
    def parent() -> int:
        with pytest.raises(ValueError, match="inner"):
            hopeless()
        return flaky()

    @flow
    def hopeless() -> None:
        raise ValueError("inner")

    assert parent() == 3
    found = [row.key for row in session.store.tasks(session.store.list_runs()[0].run_id)]
    assert found.count("twice") == 1


def test_recursion_of_submitted_flows(session: Session):
    @flow
    def down(n: int) -> int:
        return 0 if n == 0 else 1 + down.submit(n - 1).result()

    assert down(20) == 20


def test_a_dag_in_a_flow_gets_futures_and_gives_values(session: Session):
    @dag
    def graph(n: int) -> int:
        return twice(n)

    @flow
    def pipeline() -> Any:
        return graph(twice.submit(1)), collect(graph.submit(5))  # type: ignore[arg-type]

    assert pipeline() == (4, [(10,), {}])


# --- threads ----------------------------------------------------------------------------------------------------------


def test_threads_of_a_body_are_in_its_scope(session: Session):
    @flow
    def pipeline() -> Any:
        found: list[int] = []
        threads = [threading.Thread(target=lambda n=n: found.append(twice(n))) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        with ThreadPoolExecutor(2) as executor:
            return sorted(found), list(executor.map(twice, range(4))), executor.submit(twice, 9).result()

    assert pipeline() == ([0, 2, 4, 6], [0, 2, 4, 6], 18)
    rows = session.store.tasks(session.store.list_runs()[0].run_id)
    assert [row.key for row in rows].count("twice") == 9


def test_threads_that_serve_several_flows_work_for_the_right_one(session: Session):
    with ThreadPoolExecutor(1) as shared:
        assert shared.submit(twice, 1).result() == 2

        @flow
        def pipeline(n: int) -> int:
            return shared.submit(twice, n).result()

        assert [pipeline(n) for n in range(3)] == [0, 2, 4]
        assert shared.submit(twice, 5).result() == 10
    for row in session.store.list_runs():
        assert [each.key for each in session.store.tasks(row.run_id)] == ["pipeline", "twice"]


def test_a_thread_that_outlives_its_flow_is_told(session: Session):
    go, said = threading.Event(), []

    def work() -> None:
        go.wait(5)
        try:
            twice(1)
        except UsageError as error:
            said.append(str(error))

    @flow
    def pipeline() -> threading.Thread:
        thread = threading.Thread(target=work)
        thread.start()
        return thread

    thread = pipeline()
    go.set()
    thread.join()
    assert "'twice' is called when its flow 'pipeline' is over" in said[0]


# --- retries and replay -----------------------------------------------------------------------------------------------


def test_a_body_that_is_retried_gets_its_successes_back(session: Session):
    tally = Tally()

    @task
    def once(n: int) -> int:
        tally.add(n)
        return n

    @task
    def flaky() -> str:
        if tally.add("flaky") == 1:
            raise OSError("first time")
        return "second time"

    @flow(retries=1)
    def pipeline() -> Any:
        values = [once(1), once.submit(2).result(), *once.map([3, 3]).result()]
        return values, flaky()

    assert pipeline() == ([1, 2, 3, 3], "second time")
    assert [tally[n] for n in (1, 2, 3, "flaky")] == [1, 1, 2, 2]


def test_values_that_have_no_fingerprint_are_counted(session: Session):
    tally = Tally()

    @task
    def use(thing: Any) -> int:
        return tally.add("used")

    @flow(retries=1)
    def pipeline() -> Any:
        used = [use(threading.Lock()), use(threading.Lock())]
        if tally.add("body") == 1:
            raise OSError
        return used

    assert pipeline() == [1, 2]
    assert tally["used"] == 2


# --- slots ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["plain", "async"])
def test_a_body_gives_its_slot_to_its_children(session: Session, kind: str):
    pool("single", slots=1)

    @task(pool="single")
    def work(n: int) -> int:
        return n

    @task(pool="single")
    async def work_async(n: int) -> int:
        return n

    @flow(pool="single")
    def plain() -> Any:
        return work(1), work.submit(2).result(), work.map([3, 4]).result()

    @flow(pool="single")
    async def coroutine() -> Any:
        return await work_async(1), await work_async.submit(2), await asyncio.gather(work_async(3), work_async(4))

    if kind == "plain":
        assert plain() == (1, 2, [3, 4])
    else:
        assert asyncio.run(coroutine()) == (1, 2, [3, 4])
    assert session.store.slots() == []
