"""What raises, hangs or is cancelled in a flow, as a user sees it."""

import threading
import time
from typing import Any

import pytest

from plait import (
    TaskFailed,
    Unfinished,
    flow,
    task,
)
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.flow_tasks import broken, twice
from tests.api.helpers import states


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
    assert "test_flow_failures.py:" in str(caught.value)


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
