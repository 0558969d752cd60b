"""Flows as a user sees them: calls, futures, failures, subflows, async, threads, retries, transactions, scripts."""

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from plait import (
    ParameterError,
    TaskFailed,
    Unfinished,
    UsageError,
    context,
    dag,
    flow,
    logical_date,
    pool,
    task,
    transaction,
    unmapped,
)
from plait.bootstrap import Settings
from plait.model.errors import LoadError
from plait.runtime.session import Session
from plait.worker.loading import load_target
from tests.api.conftest import Opener
from tests.api.helpers import Script, Tally, run_file, states
from tests.api.waiting import until


@task
def twice(x: int) -> int:
    return 2 * x


@task
def collect(*values: Any, **named: Any) -> Any:
    return [values, named]


@task
def broken(x: Any = None) -> None:
    raise OSError("broken", x)


@task
async def later(x: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * x


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


# --- failures ---------------------------------------------------------------------------------------------------------


class CustomError(Exception):
    def __init__(self, code: int, *, detail: str):
        super().__init__(f"code {code}")
        self.code, self.detail = code, detail


def test_an_exception_comes_back_as_what_it_was(session: Session):
    """Also one that cannot be pickled, and with the traceback that leads to the user's line."""
    raised = CustomError(7, detail="x")

    @task
    def fail() -> None:
        raise raised

    @flow
    def pipeline(how: str) -> None:
        if how == "call":
            fail()
        fail.submit().result()

    for how in ("call", "submit"):
        with pytest.raises(CustomError) as caught:
            pipeline(how)
        assert caught.value is raised
        assert any(entry.name == "fail" for entry in caught.traceback)


def test_an_exception_of_a_worker_process(open_here: Opener):
    open_here(workers=1)

    @task
    def fail(kind: str) -> None:
        if kind == "known":
            raise LookupError("not there")
        raise CustomError(7, detail="x")

    @flow(executor="processes")
    def pipeline(kind: str) -> None:
        fail(kind)

    with pytest.raises(LookupError, match="not there"):
        pipeline("known")
    with pytest.raises(TaskFailed, match="CustomError: code 7"):
        pipeline("unpicklable")


def test_failures_may_be_allowed(session: Session):
    @flow
    def pipeline() -> Any:
        futures = [twice.submit(1), broken.submit(2), twice.submit(broken.submit(3))]
        came = [future.result(raise_on_failure=False) for future in futures]
        assert [future.state for future in futures] == ["success", "failed", "upstream_failed"]
        return came

    good, bad, unfinished = pipeline()
    assert good == 2
    assert (type(bad), bad.args) == (OSError, ("broken", 2))
    assert isinstance(unfinished, Unfinished)


def test_a_body_may_catch_a_failure_and_go_on(session: Session):
    @flow
    def pipeline() -> str:
        try:
            broken(1)
        except OSError as error:
            return f"caught {error.args[1]}"
        return "nothing"

    assert pipeline() == "caught 1"


def test_a_failed_body_takes_what_is_still_running_along(session: Session):
    @task
    def slow() -> None:
        for _ in range(1000):
            time.sleep(0.01)

    @flow
    def pipeline() -> None:
        slow.submit()
        time.sleep(0.05)
        raise ValueError("the body is wrong")

    began = time.monotonic()
    with pytest.raises(ValueError, match="the body is wrong"):
        pipeline()
    assert time.monotonic() - began < 5
    assert states(session) == {"pipeline": "failed", "slow": "cancelled"}


def test_wrong_arguments_are_told_where_the_call_stands(session: Session):
    @flow
    def pipeline() -> None:
        twice(1, 2)

    with pytest.raises(Exception, match=r"twice\(\) is called wrongly: too many positional arguments") as caught:
        pipeline()
    assert "twice(1, 2)" in str(caught.value)
    assert "test_flows.py:" in str(caught.value)


def test_ctrl_c_in_a_body_is_a_ctrl_c(session: Session):
    @task
    def interrupted() -> None:
        raise KeyboardInterrupt

    @flow
    def in_body() -> None:
        raise KeyboardInterrupt

    @flow
    def in_task() -> None:
        interrupted()

    for pipeline in (in_body, in_task):
        with pytest.raises(KeyboardInterrupt):
            pipeline()
        assert session.store.list_runs()[0].state == "cancelled"


def test_a_cancelled_run_ends_whatever_its_body_does(session: Session):  # noqa: C901  a list of bodies
    """In a wait, in a task's code, in its own code, also where it swallows the cancellation."""
    started = threading.Event()

    @task
    def spin() -> None:
        started.set()
        for _ in range(3000):
            time.sleep(0.01)

    @flow
    def waits() -> None:
        spin.submit().result()

    @flow
    def calls() -> None:
        spin()

    @flow
    def works() -> None:
        spin.fn()

    @flow
    def swallows() -> None:
        for _ in range(3):
            try:  # noqa: SIM105  as users write it
                spin()
            except BaseException:  # noqa: BLE001, S110  as users write it
                pass

    @flow
    def inner() -> None:
        spin()

    @flow
    def nested() -> None:
        inner()

    @flow
    def submitted() -> None:
        inner.submit().result()

    for pipeline in (waits, calls, works, swallows, nested, submitted):
        started.clear()
        began = time.monotonic()
        run_id = session.start(pipeline, {})
        canceller = threading.Thread(target=lambda run=run_id: started.wait(5) and session.cancel(run, "enough"))
        canceller.start()
        assert session.wait(run_id, timeout=10), pipeline
        canceller.join()
        assert time.monotonic() - began < 3, pipeline
        assert session.store.get_run(run_id).state == "cancelled", pipeline  # type: ignore[union-attr]
        with pytest.raises(TaskFailed, match="is cancelled: enough"):
            session._ends.result_of(session.scheduler.runs[run_id])


def test_a_flow_that_takes_too_long_fails(session: Session):
    @flow(timeout=0.2)
    def endless() -> None:
        while True:
            time.sleep(0.01)

    @flow
    def outer() -> Any:
        with pytest.raises(TaskFailed, match="TaskTimeout"):
            endless()
        return endless.submit().result(raise_on_failure=False)

    began = time.monotonic()
    with pytest.raises(TaskFailed, match=r"timed out after 0\.2 s"):
        endless()
    assert "TaskTimeout" in str(outer())
    assert time.monotonic() - began < 5


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


# --- async ------------------------------------------------------------------------------------------------------------


def test_an_async_flow_awaits(session: Session):
    @flow
    async def child(n: int) -> int:
        return await later(n) + twice(n)

    @flow
    async def pipeline() -> Any:
        one = later.submit(1)
        many = later.map([1, 2, 3])
        return [
            await later(5),
            await asyncio.gather(*(later(n) for n in range(5))),
            await one,
            await asyncio.gather(*many),
            await later(await twice.submit(3)),
            await twice.submit(later.submit(4)),
            await child(1),
            await child.submit(2),
            collect(one),
        ]

    assert asyncio.run(pipeline()) == [
        10, [0, 2, 4, 6, 8], 2, [2, 4, 6], 12, 16, 4, 8, [(2,), {}],
    ]  # fmt: skip
    assert set(states(session).values()) == {"success"}


def test_async_tasks_run_at_the_same_time(session: Session):
    tally = Tally()

    @task
    async def wait(n: int) -> int:
        with tally:
            await asyncio.sleep(0.1)
        return n

    @flow
    async def pipeline() -> Any:
        return await asyncio.gather(*(wait(n) for n in range(20)), *wait.map(range(20)))

    began = time.monotonic()
    assert asyncio.run(pipeline()) == [*range(20), *range(20)]
    assert tally.most == 40
    assert time.monotonic() - began < 2


@pytest.mark.parametrize("executor", ["threads", "processes", "inline"])
def test_async_tasks_in_flows_and_dags_that_are_not(open_here: Opener, executor: str):
    open_here(workers=1)

    @flow(executor=executor)
    def pipeline() -> Any:
        return later.submit(1).result(), asyncio.run(later(2)), later.map([3, 4]).result()

    @dag
    def graph() -> Any:
        return later.map([1, 2])

    assert pipeline() == (2, 4, [6, 8])
    assert graph() == [2, 4]


def test_an_async_flow_in_a_session_that_waits(session: Session):
    @flow
    async def pipeline() -> int:
        return await later(2)

    run_id = session.start(pipeline, {})
    assert session.wait(run_id, 10)
    assert session._ends.result_of(session.scheduler.runs[run_id]) == 4


def test_failures_of_async_tasks(session: Session):
    @task(retries=1)
    async def fail(n: int) -> None:
        raise OSError(n)

    @flow
    async def pipeline() -> Any:
        with pytest.raises(OSError, match="1"):
            await fail(1)
        with pytest.raises(OSError, match="2"):
            await fail.submit(2)
        return await asyncio.gather(fail(3), later(1), return_exceptions=True)

    error, value = asyncio.run(pipeline())
    assert (type(error), value) == (OSError, 2)
    rows = session.store.tasks(session.store.list_runs()[0].run_id)
    assert {row.attempt for row in rows if row.key == "fail"} == {2}


def test_an_async_task_that_is_given_up_is_cancelled(session: Session):
    @task
    async def slow() -> None:
        await asyncio.sleep(30)

    @task(timeout=0.1)
    async def bounded() -> None:
        await asyncio.sleep(30)

    @flow
    async def pipeline() -> str:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(slow(), 0.1)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await slow()
        with pytest.raises(TaskFailed, match="TaskTimeout"):
            await bounded()
        return await _value()

    async def _value() -> str:
        return "went on"

    began = time.monotonic()
    assert asyncio.run(pipeline()) == "went on"
    assert time.monotonic() - began < 5
    found = [(row.key, row.state) for row in session.store.tasks(session.store.list_runs()[0].run_id)]
    assert found[1:] == [("slow", "cancelled"), ("slow", "cancelled"), ("bounded", "failed")]


def test_an_async_flow_that_is_cancelled_from_outside(session: Session):
    @flow
    async def pipeline() -> None:
        await later(1)
        await asyncio.sleep(30)

    async def main() -> None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(pipeline(), 0.3)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 5
    assert session.store.list_runs()[0].state == "cancelled"


def test_an_async_run_that_is_cancelled(session: Session):
    @flow
    async def pipeline() -> None:
        await asyncio.sleep(30)

    async def main() -> None:
        running = asyncio.create_task(pipeline())
        await asyncio.sleep(0.2)
        session.cancel(session.store.list_runs()[0].run_id, "enough")
        with pytest.raises(TaskFailed, match="is cancelled: enough"):
            await running

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 5


def test_blocking_the_event_loop_for_its_own_task_is_told(session: Session):
    @flow
    async def pipeline() -> None:
        later.submit(1).result()

    with pytest.raises(UsageError, match="blocks the event loop that runs it, for ever") as caught:
        asyncio.run(pipeline())
    assert "later.submit(1).result()" in str(caught.value)
    assert "await future" in str(caught.value)


def test_a_coroutine_that_nobody_awaits_starts_no_run(session: Session):
    @flow
    async def pipeline() -> None: ...

    pipeline().close()  # type: ignore[attr-defined]
    assert session.store.list_runs() == []


def test_in_a_notebook(session: Session):
    """Cells run on a thread whose event loop is running; a cell that runs again defines its flows anew."""
    define = """
from plait import flow, task

@task
def twice(x): return FACTOR * x

@task
async def later(x): return FACTOR * x

@flow
def pipeline(): return twice(1), twice.map([1, 2]).result(), later.submit(3).result()

@flow
async def awaited(): return await later(1)
"""
    names: dict[str, Any] = {"__name__": "__main__"}

    async def cell(text: str) -> Any:
        import ast

        code = compile(text, "<ipython-input>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        made = eval(code, names)  # noqa: S307  as IPython does it
        if made is not None:
            await made
        return names.get("out")

    async def notebook() -> list[Any]:
        seen = []
        for factor in (2, 3, 3):
            await cell(define.replace("FACTOR", str(factor)))
            for _ in range(2):
                seen.append(await cell("out = pipeline()"))  # noqa: PERF401  one cell after the other
            seen.append(await cell("out = await awaited()"))
        return seen

    expected = [[(f, [f, 2 * f], 3 * f)] * 2 + [f] for f in (2, 3, 3)]
    assert asyncio.run(notebook()) == [value for cells in expected for value in cells]


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


# --- results ----------------------------------------------------------------------------------------------------------


def test_a_result_that_cannot_be_stored_is_there_as_long_as_the_process(session: Session):
    tally = Tally()

    @task
    def connect() -> Any:
        tally.add("connected")
        return threading.Lock()

    @task
    def use(lock: Any) -> bool:
        return lock.locked()

    @flow(retries=1)
    def pipeline() -> Any:
        lock = connect()
        submitted = connect.submit()
        assert submitted.result() is not lock
        used = use(lock), use.submit(submitted).result()
        if tally.add("body") == 1:
            raise OSError("once more")
        return lock, used

    lock, used = pipeline()
    assert isinstance(lock, type(threading.Lock()))
    assert used == (False, False)
    assert tally["connected"] == 4  # nobody could give them back to the second try


def test_a_result_that_cannot_leave_a_process_fails(open_here: Opener):
    open_here(workers=1)

    @task
    def connect() -> Any:
        return threading.Lock()

    @flow(executor="processes")
    def pipeline() -> Any:
        return connect()

    with pytest.raises(TypeError, match="cannot be stored as a result"):
        pipeline()


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_large_results(open_here: Opener, executor: str):
    session = open_here(workers=2)

    @task
    def large(n: int) -> bytes:
        return bytes(n)

    @task
    def size(data: bytes) -> int:
        return len(data)

    @flow(executor=executor)
    def pipeline() -> Any:
        data = large.submit(5_000_000)
        return size.submit(data).result(), len(data.result()), size(large(3_000_000))

    assert pipeline() == (5_000_000, 5_000_000, 3_000_000)
    run_id = session.store.list_runs()[0].run_id
    stored = [
        each["result"]
        for each in session.store.outputs(run_id, [row.no for row in session.store.tasks(run_id)]).values()
        if each["result"].size > 8192
    ]
    assert len(stored) == 2
    assert all(each.data is None and each.url for each in stored)


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


# --- transactions -----------------------------------------------------------------------------------------------------


def ledger_of(session: Session) -> tuple[list[str], Any]:
    ledger: list[str] = []

    def noting(what: str) -> Callable[[dict[str, Any]], None]:
        def note(event: dict[str, Any]) -> None:
            time.sleep(0.02)
            ledger.append(f"{what} {event['task']}")

        return note

    def make(name: str) -> Any:
        @task(name=name, on_commit=noting("commit"), on_rollback=noting("undo"))
        def step() -> str:
            ledger.append(name)
            return name

        return step

    return ledger, make


@pytest.mark.parametrize("how", ["call", "submit"])
def test_a_transaction_commits_or_is_undone_newest_first(session: Session, how: str):
    ledger, make = ledger_of(session)
    steps = [make(name) for name in ("a", "b", "c")]

    @flow
    def pipeline(fail: bool) -> str:
        with transaction():
            for step in steps:
                step() if how == "call" else step.submit().result()
            if fail:
                raise ValueError("no money")
        ledger.append("after")
        return "done"

    assert pipeline(False) == "done"
    assert ledger[:3] == ["a", "b", "c"]
    assert ledger[3:] == ["commit a", "commit b", "commit c", "after"]
    ledger.clear()
    with pytest.raises(ValueError, match="no money"):
        pipeline(True)
    assert ledger == ["a", "b", "c", "undo c", "undo b", "undo a"]


def test_what_was_undone_runs_again_in_a_retried_body(session: Session):
    ledger, make = ledger_of(session)
    inside = make("inside")
    tally = Tally()

    @flow(retries=1)
    def pipeline() -> str:
        twice(tally.add("before"))
        with transaction():
            inside()
            if tally.add("tries") == 1:
                raise OSError("first time")
        return "done"

    assert pipeline() == "done"
    assert ledger == ["inside", "undo inside", "inside", "commit inside"]


def test_transactions_nest_and_reach_subflows(session: Session):
    ledger, make = ledger_of(session)
    a, b, c = make("a"), make("b"), make("c")

    @flow
    def child() -> None:
        c()

    @flow
    def pipeline() -> None:
        with transaction("outer"):
            a()
            with transaction("inner"):
                b()
            child()
            raise ValueError("too late")

    with pytest.raises(ValueError, match="too late"):
        pipeline()
    assert ledger == ["a", "b", "c", "undo c", "undo b", "undo a"]


def test_transactions_of_async_tasks_are_their_own(session: Session):
    ledger, make = ledger_of(session)
    good, bad = make("good"), make("bad")

    async def one(step: Any, fail: bool) -> None:
        with transaction():
            step()
            await asyncio.sleep(0.05)
            if fail:
                raise ValueError("no")

    @flow
    async def pipeline() -> Any:
        return await asyncio.gather(one(good, False), one(bad, True), return_exceptions=True)

    asyncio.run(pipeline())
    assert sorted(ledger) == ["bad", "commit good", "good", "undo bad"]


# --- scripts ----------------------------------------------------------------------------------------------------------


SCRIPT = """
import sys
from plait import flow, task

@task
def twice(x): return 2 * x

@flow
def pipeline(n):
    return sum(twice.map(range(n)).result()) + twice(1)

result = pipeline(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
print(result)
"""


def test_two_scripts_at_once_on_one_database(run_script: Callable[..., Script]):
    scripts = [run_script(SCRIPT, "40", name=f"script{number}.py", wait=False) for number in range(3)]
    assert [script.wait().ok() for script in scripts] == ["1562"] * 3


def test_a_flow_at_module_level_runs_under_plain_python(run_script: Callable[..., Script]):
    assert run_script(SCRIPT).ok() == "8"


def test_a_flow_at_module_level_does_not_run_while_it_is_loaded(session: Session, tmp_path: Path):
    (tmp_path / "loaded_script.py").write_text(SCRIPT.replace("sys.argv", "[]"))
    with pytest.warns(UserWarning, match="'pipeline' is called at module level; while the file is loaded") as caught:
        definitions = load_target(str(tmp_path / "loaded_script.py"))
    assert caught[0].filename == str(tmp_path / "loaded_script.py")
    assert caught[0].lineno == 12
    assert session.store.list_runs() == []
    run_id = session.start(definitions.workflow(None), {"n": 3})
    session.wait(run_id)
    assert session._ends.result_of(session.scheduler.runs[run_id]) == 8


def test_a_task_at_module_level_is_a_plain_call_while_it_is_loaded(tmp_path: Path):
    text = (
        "from plait import flow, task\n@task\ndef one(): return 1\nvalue = one()\n@flow\ndef pipeline(): return value\n"
    )
    (tmp_path / "plain_call.py").write_text(text)
    assert load_target(str(tmp_path / "plain_call.py")).tasks["one"].fn() == 1
    (tmp_path / "submits.py").write_text(text.replace("one()\n@flow", "one.submit()\n@flow"))
    with pytest.raises((LoadError, Exception), match=r"one.submit\(\) is called while its file is loaded") as caught:
        load_target(str(tmp_path / "submits.py"))
    assert "submits.py:4" in str(caught.value)
    assert "value = one.submit()" in str(caught.value)


def test_a_flow_of_a_file_in_worker_processes(settings: Settings, tmp_path: Path):
    """As `plait run` does it: what it submits runs in threads unless it says otherwise; by name, not by value."""
    (tmp_path / "by_name.py").write_text("""
import os, threading
from plait import flow, task

LOCK = threading.Lock()      # a function that is sent by its value could not take it along

@task
def where(n):
    with LOCK:
        return os.getpid()

@flow(executor="processes")
def pipeline():
    return os.getpid(), where.map(range(4)).result(), where.options(name="other")(1)
""")
    own, pids, other = run_file(settings, tmp_path / "by_name.py").result
    assert own not in {*pids, other}


def test_a_fork_of_a_script_has_a_session_of_its_own(run_script: Callable[..., Script]):
    text = """
import os
from plait import flow, task

@task
def twice(x): return 2 * x

@flow
def pipeline(n): return twice(n)

print(pipeline(1), flush=True)
pid = os.fork()
if pid == 0:
    print(pipeline(2), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(pipeline(3))
"""
    assert run_script(text).ok().split() == ["2", "4", "6"]


def test_a_body_that_only_looks_sees_an_end_too(session: Session):
    """Nobody waits for the futures: their ends are committed all the same."""

    @flow
    def looks() -> list[int]:
        futures = [twice.submit(n) for n in range(20)]
        until(lambda: all(future.done() for future in futures))
        return [future.result() for future in futures]

    assert looks() == [2 * n for n in range(20)]
