"""Hooks of tasks and workflows."""

from collections.abc import Callable
from typing import Any

import pytest

from plait import (
    Skip,
    dag,
    flow,
    task,
)
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.helpers import in_dag, in_flow


def test_hooks_of_tasks_and_workflows_are_called_once_with_what_happened(session: Session):
    told: list[tuple[str, dict[str, Any]]] = []

    def teller(name: str) -> Callable[[dict[str, Any]], None]:
        def tell(event: dict[str, Any]) -> None:
            told.append((name, event))

        return tell

    on_retry, on_failure, on_success, on_skip = map(teller, ("retry", "failure", "success", "skip"))

    @task(retries=1, on_retry=on_retry, on_failure=[on_failure], on_success=on_success)
    def broken() -> None:
        raise OSError("broken")

    @task(on_success=on_success, on_failure=on_failure)
    def fine(x: int) -> int:
        return x

    @task(on_skip=on_skip)
    def skipped() -> None:
        raise Skip

    @dag(on_failure=teller("dag failed"), on_success=teller("dag succeeded"))
    def graph() -> None:
        broken()
        skipped()
        fine.map([1, 2])

    with pytest.raises(OSError, match="broken"):
        graph()
    run_id = session.store.list_runs()[0].run_id
    common = {"run_id": run_id, "workflow": "graph"}
    told_of = sorted(
        ((name, event.get("task"), event["state"], tuple(event["map_path"])) for name, event in told), key=str
    )
    assert told_of == sorted(
        [
            ("retry", "broken", "retry", ()),
            ("failure", "broken", "failed", ()),
            ("skip", "skipped", "skipped", ()),
            ("success", "fine", "success", (0,)),
            ("success", "fine", "success", (1,)),
            ("dag failed", None, "failed", ()),
        ],
        key=str,
    )
    assert all(common.items() <= event.items() for _, event in told)


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_hooks_of_tasks_that_a_flow_calls(open_here: Opener, executor: str):
    open_here(workers=1)
    told: list[tuple[Any, ...]] = []

    def tell(event: dict[str, Any]) -> None:
        told.append((event["workflow"], event["task"], event["state"]))

    @task(on_success=tell)
    def fine() -> int:
        return 1

    @flow(executor=executor, on_success=tell)
    def pipeline() -> int:
        return fine() + fine.submit().result()

    assert pipeline() == 2
    assert sorted(told, key=str) == sorted(
        [("pipeline", "fine", "success"), ("pipeline", "fine", "success"), ("pipeline", None, "success")], key=str
    )


def test_a_hook_that_raises_does_not_change_what_happened(session: Session):
    def broken(event: dict[str, Any]) -> None:
        raise RuntimeError("the hook is broken")

    @task(on_success=broken)
    def fine() -> int:
        return 1

    assert in_dag(fine) == 1
    assert in_flow(fine) == 1
