"""What flows return, and transactions in them."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

from plait import flow, task, transaction
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.flow_tasks import twice
from tests.api.helpers import Tally

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
