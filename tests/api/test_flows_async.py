"""Async flows and tasks, in scripts, sessions and notebooks."""

import asyncio
import time
from typing import Any

import pytest

from plait import (
    TaskFailed,
    UsageError,
    dag,
    flow,
    task,
)
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.flow_tasks import collect, later, twice
from tests.api.helpers import Tally, states


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
