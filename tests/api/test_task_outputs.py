"""What follows from a task's value: branches, short circuits, several outputs."""

from typing import Any

import pytest

from plait import (
    TaskFailed,
    dag,
    flow,
    task,
)
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.helpers import in_dag, in_flow, states

# --- branches and short circuits --------------------------------------------------------------------------------------


def branching(chosen: Any) -> Any:
    @task(branch=True)
    def choose() -> Any:
        return chosen

    @task
    def left() -> str:
        return "left"

    @task
    def right() -> str:
        return "right"

    @task(trigger_rule="none_failed_min_one_success")
    def join() -> str:
        return "joined"

    @dag
    def graph() -> str:
        way, one, other, last = choose(), left(), right(), join()
        way >> [one, other] >> last  # type: ignore[operator]  # lists take part by their elements
        return last

    return graph


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ("left", {"left": "success", "right": "skipped", "join": "success"}),
        (["left", "right"], {"left": "success", "right": "success", "join": "success"}),
        (None, {"left": "skipped", "right": "skipped", "join": "skipped"}),
        ([], {"left": "skipped", "right": "skipped", "join": "skipped"}),
    ],
)
def test_a_branch_runs_what_it_names(session: Session, chosen: Any, expected: dict[str, str]):
    assert branching(chosen)() == ("joined" if expected["join"] == "success" else None)
    assert states(session) == {"choose": "success", **expected}


@pytest.mark.parametrize(("chosen", "message"), [("lefft", "'lefft'"), (3, "not 3")])
def test_a_branch_that_names_nothing_below_it_fails(session: Session, chosen: Any, message: str):
    with pytest.raises(Exception, match=message):
        branching(chosen)()
    assert states(session)["choose"] == "failed"


@pytest.mark.parametrize(("kind", "last"), [("all", "skipped"), ("direct", "success"), (True, "skipped")])
def test_a_short_circuit_skips_the_next_tasks_or_all_below(session: Session, kind: Any, last: str):
    @task(short_circuit=kind)
    def is_there(answer: bool) -> bool:
        return answer

    @task
    def load() -> None: ...

    @task(trigger_rule="all_done")
    def tell() -> None: ...

    @dag
    def graph(answer: bool) -> None:
        is_there(answer) >> load() >> tell()  # type: ignore[operator]

    graph(False)
    assert states(session) == {"is_there": "success", "load": "skipped", "tell": last}
    graph(True)
    assert states(session) == {"is_there": "success", "load": "success", "tell": "success"}


# --- outputs ----------------------------------------------------------------------------------------------------------


def test_several_outputs_go_their_own_ways(session: Session):
    @task(outputs=["good", "bad?"])
    def split(rows: list[int]) -> dict[str, list[int]]:
        good = [row for row in rows if row >= 0]
        return {"good": good} if len(good) == len(rows) else {"good": good, "bad": [r for r in rows if r < 0]}

    @task
    def load(rows: list[int]) -> int:
        return len(rows)

    @task
    def quarantine(rows: list[int]) -> int:
        return len(rows)

    @dag
    def graph(rows: list[int]) -> Any:
        parts = split(rows)
        return {"loaded": load(parts["good"]), "bad": quarantine(parts["bad"])}

    assert graph([1, -2, 3]) == {"loaded": 2, "bad": 1}
    assert graph([1, 2]) == {"loaded": 2, "bad": None}
    assert states(session)["quarantine"] == "skipped"


@pytest.mark.parametrize("executor", ["threads", "processes"])
def test_in_a_flow_several_outputs_are_the_dict(open_here: Opener, executor: str):
    open_here(workers=1)

    @task(outputs=["good", "bad?"])
    def split() -> dict[str, int]:
        return {"good": 1}

    @flow(executor=executor)
    def pipeline() -> Any:
        return split(), split.submit().result()

    assert pipeline() == ({"good": 1}, {"good": 1})


def test_a_required_output_that_is_missing_fails(session: Session):
    @task(outputs=["good", "bad?"])
    def split() -> dict[str, int]:
        return {"bad": 1}

    @task(outputs=["good", "bad?"])
    def lost() -> Any:
        return {"better": 1}

    for run in (in_dag, in_flow):
        with pytest.raises(TaskFailed, match="required output 'good' was not emitted"):
            run(split)
        with pytest.raises(TypeError, match="a task with the outputs good, bad returns a dict"):
            run(lost)
