"""Tasks as a user sees them: calls, options, retries, time limits, caching, branches, outputs, hooks, rules, limits."""

import time
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from plait import (
    Cache,
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
    limit,
    pool,
    task,
)
from plait.bootstrap import Settings
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.helpers import Script, Tally, lines, run_file, states


@task
def add(a: int, b: int = 1) -> int:
    """Adds."""
    return a + b


# --- calls ------------------------------------------------------------------------------------------------------------


def test_outside_of_a_run_it_is_a_plain_call():
    assert add(2) == 3
    assert add(a=2, b=5) == 7
    assert (add.name, add.__name__, add.__doc__) == ("add", "add", "Adds.")


def test_in_a_task_a_task_is_a_plain_call(session: Session):
    @task
    def outer() -> int:
        return add(1)

    @flow
    def pipeline() -> int:
        return outer()

    assert pipeline() == 2
    assert "add" not in states(session)


def test_a_task_made_from_a_function_is_the_function_with_policies(session: Session):
    def twice(x: int) -> int:
        return 2 * x

    made = task(twice, name="doubled", retries=2)
    assert made(4) == twice(4) == 8
    assert (made.name, made.options_.retries.times) == ("doubled", 2)


def test_options_make_another_task_with_some_options_changed(session: Session):
    eager = add.options(name="add_eu", retries=Retry(5), tags=["eu"], priority=3)
    assert (eager.name, eager.options_.retries.times, eager.options_.tags) == ("add_eu", 5, ("eu",))
    assert (add.name, add.options_.retries.times) == ("add", 0)

    @flow
    def pipeline() -> int:
        return eager(1)

    assert pipeline() == 2
    assert states(session)["add_eu"] == "success"


@pytest.mark.parametrize("how", ["call", "submit"])
def test_every_kind_of_parameter_arrives(session: Session, how: str):
    @task
    def collect(a: Any, /, b: Any, *rest: Any, c: Any = 0, **more: Any) -> Any:
        return a, b, rest, c, more

    @flow
    def pipeline() -> Any:
        if how == "call":
            return collect(1, 2, 3, 4, c=5, d=6)
        return collect.submit(1, 2, 3, 4, c=5, d=6).result()

    @dag
    def graph() -> Any:
        return collect(add(0), 2, add(2), 4, c=5, d=add(5))

    assert pipeline() == (1, 2, (3, 4), 5, {"d": 6})
    assert graph() == (1, 2, (3, 4), 5, {"d": 6})


# --- retries ----------------------------------------------------------------------------------------------------------


def failing(times: int, tally: Tally, error: BaseException | None = None, **options: Any) -> Any:
    @task(**options)
    def flaky() -> int:
        if tally.add("tries") <= times:
            raise error or OSError("not yet")
        return tally["tries"]

    return flaky


def in_flow(step: Any) -> Any:
    @flow
    def pipeline() -> Any:
        return step()

    return pipeline()


def in_dag(step: Any) -> Any:
    @dag
    def graph() -> Any:
        return step()

    return graph()


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
    assert all(0.1 <= pause < 0.3 for pause in waited(session, delay=0.1))
    assert all(0.05 <= pause < 0.25 for pause in waited(session, delay=timedelta(seconds=0.05)))
    first, second, third = waited(session, delay=[0.05, 0.2])
    assert 0.05 <= first < 0.2 <= second < 0.4
    assert 0.2 <= third < 0.4  # the last one repeats
    asked: list[int] = []

    def delay(attempt: int) -> float:
        asked.append(attempt)
        return 0.05 * attempt

    first, second, third = waited(session, delay=delay)
    assert asked == [1, 2, 3]
    assert 0.05 <= first < 0.1 <= second < 0.15 <= third


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


# --- caching ----------------------------------------------------------------------------------------------------------


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


# --- hooks ------------------------------------------------------------------------------------------------------------


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
