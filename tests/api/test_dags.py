"""Dags as a user sees them: mapping, groups, order, results, parameters, and graphs of ten thousand tasks."""

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from plait import ParameterError, context, dag, flow, group, logical_date, partition_key, task, unmapped
from plait.bootstrap import Settings
from plait.runtime.session import Session
from tests.api.conftest import Opener
from tests.api.helpers import Script, run_file, states


@task
def numbers(n: int = 3) -> list[int]:
    return list(range(n))


@task
def named(n: int = 2) -> dict[str, int]:
    return {f"key{number}": number for number in range(n)}


@task
def twice(x: int) -> int:
    return 2 * x


@task
def pair(a: Any, b: Any = None) -> Any:
    return [a, b]


@task
def total(values: list[int]) -> int:
    return sum(values)


def result_of(body: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    return dag(body)(*args, **kwargs)


# --- mapping ----------------------------------------------------------------------------------------------------------


MAPPED = {
    "literal list": (lambda: twice.map([1, 2, 3]), [2, 4, 6]),
    "literal tuple": (lambda: twice.map((1, 2)), [2, 4]),
    "range": (lambda: twice.map(range(3)), [0, 2, 4]),
    "literal dict": (lambda: twice.map({"a": 1, "b": 2}), [2, 4]),
    "dict of numbers": (lambda: twice.map({1: 1, 2: 2}), [2, 4]),
    "output list": (lambda: twice.map(numbers()), [0, 2, 4]),
    "output dict": (lambda: twice.map(named()), [0, 2]),
    "objects": (lambda: pair.map([{1, 2}, date(2024, 1, 1)]), [[{1, 2}, None], [date(2024, 1, 1), None]]),
    "zip": (lambda: pair.map([1, 2], numbers(2)), [[1, 0], [2, 1]]),
    "zip of dicts": (lambda: pair.map({"a": 1, "b": 2}, named(2)), [[1, 0], [2, 1]]),
    "product": (lambda: pair.product([1, 2], numbers(2)), [[1, 0], [1, 1], [2, 0], [2, 1]]),
    "product of dicts": (lambda: pair.product({"a": 1}, named(2)), [[1, 0], [1, 1]]),
    "unmapped list": (lambda: pair.map([1, 2], unmapped([7, 8])), [[1, [7, 8]], [2, [7, 8]]]),
    "unmapped output": (lambda: pair.map([1, 2], unmapped(numbers(2))), [[1, [0, 1]], [2, [0, 1]]]),
    "a scalar for all": (lambda: pair.map([1, 2], b="x"), [[1, "x"], [2, "x"]]),
    "over a mapped task": (lambda: twice.map(twice.map([1, 2])), [4, 8]),
    "reduce": (lambda: total(twice.map([1, 2, 3])), 12),
    "reduce in a list": (lambda: pair([twice.map([1, 2]), 5]), [[[2, 4], 5], None]),
    "empty literal": (lambda: twice.map([]), []),
    "empty output": (lambda: twice.map(numbers(0)), []),
    "reduce of nothing": (lambda: total(twice.map(numbers(0))), None),
}


@pytest.mark.parametrize("case", MAPPED)
def test_mapping(session: Session, case: str):
    body, expected = MAPPED[case]
    assert result_of(body) == expected


def test_mapping_in_worker_processes(settings: Settings, tmp_path: Path):
    """All of it once more where arguments travel."""
    file = tmp_path / "mapping.py"
    file.write_text("""
from plait import dag, group, task, unmapped

@task
def numbers(n): return list(range(n))

@task
def named(n): return {f"key{number}": number for number in range(n)}

@task
def large(n): return [str(number) * 1000 for number in range(n)]

@task
def pair(a, b=None): return [a, b]

@task
def first(text): return text[:1]

class Point:
    def __init__(self, x): self.x = x

@task
def x_of(point): return point.x

@group
def branch(n, points):
    return x_of.map(points), pair(n, n)

@dag
def mapping(values: list[int], keyed: dict[str, int]):
    return {
        "list": pair.map([1, 2], b=numbers(2)),
        "dict": pair.map({"a": 1, "b": 2}, unmapped("x")),
        "product": pair.product(values, named(2)),
        "keyed": pair.map(keyed),
        "large": first.map(large(20)),
        "code": x_of.map([Point(1), Point(2)]),
    }
""")
    run = run_file(settings, file, params={"values": [1, 2], "keyed": {"k": 5}})
    assert run.error is None
    assert run.result == {
        "list": [[1, 0], [2, 1]],
        "dict": [[1, "x"], [2, "x"]],
        "product": [[1, 0], [1, 1], [2, 0], [2, 1]],
        "keyed": [[5, None]],
        "large": [str(number)[0] for number in range(20)],
        "code": [1, 2],
    }


def test_mapping_over_a_parameter(session: Session):
    @dag
    def graph(values: list[int], by_name: dict[str, int] = {"x": 1}) -> Any:  # noqa: B006  nobody changes it
        return {"values": twice.map(values), "names": twice.map(by_name), "both": pair.product(values, by_name)}

    assert graph([1, 2]) == {"values": [2, 4], "names": [2], "both": [[1, 1], [2, 1]]}
    assert graph([], {})["values"] == []
    assert graph((3,), by_name={"a": 1, "b": 2})["names"] == [2, 4]


def test_an_element_that_fails_leaves_the_others(session: Session):
    @task
    def careful(x: int) -> int:
        if x == 1:
            raise ValueError("one")
        return x

    @task(trigger_rule="all_done")
    def gather(values: list[int]) -> list[int]:
        return values

    @dag
    def graph() -> list[int]:
        return gather(careful.map([0, 1, 2]))

    assert graph() == [0, 2]
    assert states(session)["careful"] == ["success", "failed", "success"]


def test_what_is_no_list_cannot_be_mapped_over(session: Session):
    @task
    def scalar() -> int:
        return 3

    with pytest.raises(Exception, match="what 'scalar' returned is not a list or a dict to map over"):
        result_of(lambda: twice.map(scalar()))


def test_lists_of_different_lengths_fail(session: Session):
    with pytest.raises(Exception, match="lists of different lengths to map over: 2, 3"):
        result_of(lambda: pair.map(numbers(2), numbers(3)))


def test_the_context_of_an_element(session: Session):
    @task
    def where(x: Any) -> Any:
        return context().map_path

    assert result_of(lambda: where.map([5, 6])) == [(0,), (1,)]
    assert result_of(lambda: where.map({"a": 5, "b": 6})) == [("a",), ("b",)]


# --- groups -----------------------------------------------------------------------------------------------------------


def test_groups_give_names(session: Session):
    @group
    def load(n: int) -> int:
        return twice(twice(n))

    @dag
    def graph() -> Any:
        with group("extract"):
            one = twice(1)
            with group("inner"):
                two = twice(one)
        return {"a": load(two), "b": load(one)}

    assert graph() == {"a": 16, "b": 8}
    assert set(states(session)) == {
        "extract.twice", "extract.inner.twice", "load.twice", "load.twice_2", "load_2.twice", "load_2.twice_2",
        "result",
    }  # fmt: skip


def test_a_mapped_group_runs_whole_for_every_element(session: Session):
    @group
    def region(name: str, factor: int, shared: Any) -> Any:
        rows = pair(name, factor)
        return pair(rows, shared)

    @dag
    def graph() -> Any:
        return region.map(["eu", "us"], [1, 2], unmapped([9]))

    assert graph() == [[["eu", 1], [9]], [["us", 2], [9]]]
    assert states(session) == {"region.pair": ["success"] * 2, "region.pair_2": ["success"] * 2}


@pytest.mark.parametrize("source", ["list", "dict", "output", "parameter"])
def test_a_group_maps_over_whatever_a_task_maps_over(session: Session, source: str):
    @group
    def region(n: int) -> int:
        return twice(twice(n))

    @dag
    def graph(given: list[int]) -> Any:
        over = {"list": [1, 2], "dict": {"a": 1, "b": 2}, "output": numbers(), "parameter": given}[source]
        return total(region.map(over))

    assert graph([1, 2]) == 12


def test_groups_and_maps_nest(session: Session):
    @task
    def parts(n: int) -> list[int]:
        return [n * 10 + i for i in range(n)]

    @group
    def inner(n: int, m: int) -> int:
        return total([twice(n), m])

    @group
    def outer(n: int) -> int:
        return total(inner.map(parts(n), unmapped(n)))

    @dag
    def graph() -> Any:
        return {"each": outer.map([1, 2, 3]), "all": total(outer.map([1, 2]))}

    assert graph() == {"each": [21, 86, 195], "all": 107}


def test_a_map_in_a_mapped_group(session: Session):
    @task
    def parts(n: int) -> list[int]:
        return list(range(n))

    @group
    def outer(n: int) -> Any:
        return twice.map(parts(n))

    @dag
    def graph() -> Any:
        return outer.map([1, 0, 3])

    assert graph() == [0, 0, 2, 4]


# --- order and results ------------------------------------------------------------------------------------------------


def test_order_without_data(session: Session):
    order: list[str] = []

    @task
    def step(name: str) -> None:
        order.append(name)

    @dag
    def graph() -> None:
        a, b, c, d, e = (step.options(name=name)(name) for name in "abcde")
        a >> [b, c] >> d  # type: ignore[operator]
        e.after(d)  # type: ignore[attr-defined]
        b << a  # type: ignore[operator]

    graph()
    assert order[0] == "a"
    assert set(order[1:3]) == {"b", "c"}
    assert order[3:] == ["d", "e"]


def test_the_result_of_a_dag(session: Session):
    assert result_of(lambda: twice(4)) == 8
    assert result_of(lambda: {"a": twice(1), "b": [twice(2), (twice(3), "text")]}) == {"a": 2, "b": [4, (6, "text")]}
    assert result_of(lambda: [twice(1), twice.map([1, 2])]) == [2, [2, 4]]

    def nothing() -> None:
        twice(1)

    def constant() -> dict[str, int]:
        twice(1)
        return {"rows": 5}

    def parameter(day: date) -> Any:
        twice(1)
        return {"day": day}

    assert result_of(nothing) is None
    assert result_of(constant) == {"rows": 5}
    assert result_of(parameter, date(2024, 1, 2)) == {"day": date(2024, 1, 2)}


def test_collecting_a_result_does_not_decide_the_outcome(session: Session):
    @task
    def broken() -> int:
        raise OSError("broken")

    @task(trigger_rule="all_done")
    def notify(_: Any) -> str:
        return "told"

    @dag
    def mended() -> Any:
        load = broken()
        return {"load": load, "notified": notify(load)}

    @dag
    def failed() -> Any:
        return {"one": twice(1), "other": broken()}

    assert mended() == {"load": None, "notified": "told"}
    with pytest.raises(OSError, match="broken"):
        failed()


# --- parameters -------------------------------------------------------------------------------------------------------


class Window(BaseModel):
    first: int
    last: int = 9


def test_parameters_are_validated_and_have_defaults(session: Session):
    @dag
    def graph(n: int, name: str = "x", window: Window = Window(first=1), days: list[date] = []) -> Any:  # noqa: B006, B008
        return pair([n, name], [window, days])

    assert graph(1) == [[1, "x"], [Window(first=1), []]]
    assert graph("5", window={"first": 2}, days=["2024-01-02"]) == [  # type: ignore[arg-type]
        [5, "x"], [Window(first=2), [date(2024, 1, 2)]],
    ]  # fmt: skip


def test_parameters_in_worker_processes(settings: Settings, tmp_path: Path):
    """Also those that JSON would change: tuples, sets, dates without an annotation, objects."""
    (tmp_path / "params.py").write_text("""
from dataclasses import dataclass
from datetime import date
from plait import dag, task

@dataclass
class Point:
    x: int

@task
def show(*values): return [repr(value) for value in values]

@dag
def params(day: date, point: Point, pair, when, things: set, n: int = 3, text="x"):
    return show(day, point, pair, when, things, n, text)
""")
    values = {"day": "2024-01-02", "point": {"x": 1}, "pair": (1, 2), "when": date(2024, 1, 3), "things": {4}}
    run = run_file(settings, tmp_path / "params.py", params=values)
    assert run.error is None
    assert run.result == [
        "datetime.date(2024, 1, 2)", "Point(x=1)", "(1, 2)", "datetime.date(2024, 1, 3)", "{4}", "3", "'x'",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"n": "many"}, r"parameter 'n' of 'graph' does not fit: n: Input should be a valid integer"),
        ({"n": 1, "window": {"last": 3}}, r"window.first: Field required"),
        ({"n": 1, "days": ["2024-01-02", "soon"]}, r"days.1: Input should be a valid date"),
        ({}, r"graph\(\) is called wrongly: missing a required argument: 'n'"),
        ({"n": 1, "m": 2}, r"graph\(\) is called wrongly: got an unexpected keyword argument 'm'"),
    ],
)
def test_a_wrong_parameter_is_named(session: Session, arguments: dict[str, Any], field: str):
    @dag
    def graph(n: int, window: Window = Window(first=1), days: list[date] = []) -> Any:  # noqa: B006, B008
        return pair(n, [window, days])

    with pytest.raises(ParameterError, match=field) as raised:
        graph(**arguments)
    assert "test_dags.py:" in str(raised.value)
    assert session.store.list_runs() == []


def test_a_parameter_that_is_not_data_stays_in_this_process(session: Session):
    import threading

    @task
    def is_locked(lock: Any) -> bool:
        return lock.locked()

    @dag
    def graph(lock: Any) -> Any:
        return is_locked(lock)

    lock = threading.Lock()
    with lock:
        assert graph(lock) is True
    assert graph(lock) is False


@pytest.mark.parametrize(
    ("annotation", "expected"),
    [
        (date, date(2013, 2, 9)),
        (datetime, datetime(2013, 2, 9, tzinfo=UTC)),
        (str, "2013-02-09"),
        (date | None, date(2013, 2, 9)),
        (Any, "2013-02-09"),
    ],
)
def test_the_logical_date_comes_as_what_is_asked_for(session: Session, annotation: Any, expected: Any):
    def body(day: Any = logical_date()) -> Any:
        return pair(day)

    body.__annotations__["day"] = annotation
    graph = dag(body)
    run_id = session.start(graph, {}, date="2013-02-09")
    session.wait(run_id)
    assert session._ends.result_of(session.scheduler.runs[run_id])[0] == expected


def test_nobody_gave_a_date(session: Session):
    @task
    def dates(day: date) -> Any:
        return day, context().logical_date

    @dag
    def graph(day: date = logical_date()) -> Any:
        return dates(day)

    day, logical = graph()
    assert day == datetime.now(UTC).date() == logical.date()
    day, logical = graph(date(2013, 1, 1))
    assert (day, logical) == (date(2013, 1, 1), datetime(2013, 1, 1, tzinfo=UTC))
    assert session.store.list_runs()[0].logical_date == "2013-01-01"


def test_the_partition_key(session: Session):
    @task
    def where(key: str) -> Any:
        return key, context().partition_key

    @dag
    def graph(key: str = partition_key()) -> Any:
        return where(key)

    run_id = session.start(graph, {}, partition="eu")
    session.wait(run_id)
    assert session._ends.result_of(session.scheduler.runs[run_id]) == ("eu", "eu")
    assert graph("us") == ("us", "us")
    with pytest.raises(ParameterError, match="parameter 'key' of 'graph' is not given"):
        graph()


# --- calls ------------------------------------------------------------------------------------------------------------


def test_called_in_a_script(run_script: Callable[..., Script]):
    text = """
from plait import dag, task

@task
def double(n): return 2 * n

@dag
def pipeline(n: int):
    return double(double(n))

if __name__ == "__main__":
    print(pipeline(3), pipeline(n=4))
"""
    assert run_script(text).ok() == "12 16"


def test_called_in_a_flow_a_dag_is_a_run_of_its_own(session: Session):
    @dag
    def graph(values: list[int]) -> Any:
        return twice.map(values)

    @dag
    def broken() -> Any:
        return total(numbers.options(name="nobody")("x"))  # type: ignore[arg-type]

    @flow
    def pipeline() -> Any:
        later = graph.submit(twice.map([1, 2]))
        with pytest.raises(TypeError):
            broken()
        with pytest.raises(ParameterError, match="does not fit"):
            graph("x")
        return graph([1]), later.result(), twice(later.result()[0])

    assert pipeline() == ([2], [4, 8], 8)
    rows = session.store.list_runs()
    parent = next(row for row in rows if row.workflow == "pipeline")
    assert all(
        row.parent == parent.run_id or (row.parent or "").startswith(parent.run_id) for row in rows if row != parent
    )


def test_a_dag_with_options_changed(session: Session):
    @dag(tags=["a"])
    def graph(n: int = 1) -> int:
        return twice(n)

    other = graph.options(name="other", tags=["b"], max_active_tasks=1)
    assert other(2) == 4
    assert session.store.list_runs()[0].workflow == "other"


# --- policies of runs -------------------------------------------------------------------------------------------------


@task
def sleep(seconds: float) -> float:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        time.sleep(0.01)  # a thread can be interrupted between two instructions
    return seconds


def test_a_run_that_takes_too_long_fails(session: Session):
    @dag(timeout=0.2)
    def graph() -> Any:
        return sleep(30)

    began = time.monotonic()
    with pytest.raises(Exception, match=r"is failed: timed out after 0.2 s"):
        graph()
    assert time.monotonic() - began < 7


def test_max_active_tasks_bounds_one_run(session: Session):
    from tests.api.helpers import Tally

    tally = Tally()

    @task
    def work(n: int) -> None:
        with tally:
            time.sleep(0.02)

    @dag(max_active_tasks=2)
    def graph() -> None:
        work.map(range(8))

    graph()
    assert tally.most == 2


def test_fail_fast_ends_the_run_with_its_first_failure(session: Session):
    @task
    def broken() -> None:
        raise OSError("broken")

    @dag(fail_fast=True)
    def graph() -> None:
        broken()
        twice(sleep(0.3))

    with pytest.raises(OSError, match="broken"):
        graph()
    assert states(session)["twice"] == "cancelled"


# --- size -------------------------------------------------------------------------------------------------------------


def test_a_chain_of_a_thousand_tasks(open_here: Opener):
    open_here(executor="inline")

    @task
    def more(n: int) -> int:
        return n + 1

    @dag
    def graph() -> int:
        n = more(0)
        for _ in range(999):
            n = more(n)
        return n

    assert graph() == 1000


def test_ten_thousand_tasks_and_ten_thousand_elements(settings: Settings, tmp_path: Path):
    (tmp_path / "many.py").write_text("""
from plait import dag, task

@task
def numbers(n): return {str(i): i for i in range(n)}

@task
def twice(x): return 2 * x

@task
def total(values): return sum(values)

@dag
def tasks():
    return total([twice(n) for n in range(10_000)])

@dag
def elements():
    return total(twice.map(numbers(10_000)))
""")
    for name in ("tasks", "elements"):
        run = run_file(settings, tmp_path / "many.py", name)
        assert run.error is None
        assert run.result == 2 * sum(range(10_000))
        assert len(run.tasks) == 10_001 + (name == "elements")
