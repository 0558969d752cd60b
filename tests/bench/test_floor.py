"""The floor does what an engine has to do: the rows that it leaves are those that plait reads."""

from pathlib import Path

import pytest

from bench.floor import scheduler
from bench.floor.sqlite import SqliteDisk
from bench.floor.workers import Workers
from bench.measure import Figure, Measure, Row, take
from plait.adapters.stores.open import open_store
from plait.runtime.rows import decode_event


@pytest.mark.parametrize(("count", "batch"), [(5, 1), (230, 50)])
def test_the_floor_records_every_task_as_plait_does(tmp_path: Path, count: int, batch: int) -> None:
    workers = Workers(2)
    disk = SqliteDisk(tmp_path / "floor.db")
    try:
        assert scheduler.run(workers, disk, count, batch) > 0
    finally:
        disk.close()
        workers.close()
    store = open_store(f"sqlite:///{tmp_path / 'floor.db'}")
    (run,) = store.list_runs()
    tasks = store.tasks(run.run_id)
    assert [(task.no, task.state, task.attempt) for task in tasks] == [(no, "success", 1) for no in range(count)]
    events = [decode_event(row) for row in store.events(run.run_id)]
    assert len(events) == 2 * count
    store.close()


def test_floor_and_case_are_measured_in_turn_and_judged_by_their_aim() -> None:
    told: list[str] = []

    def cost(name: str, value: float) -> float:
        told.append(name)
        return value

    measure = Measure(
        name="m", case=lambda: cost("case", 3.0), floor=lambda: cost("floor", 1.0), repeats=2, aim=3.0, aim_ratio=2
    )
    row = take(measure)
    assert told == ["floor", "case"] * 3  # once to warm up
    assert row.ratio == Figure((3.0, 3.0))
    assert row.verdict == "half"  # the aim itself is reached, the ratio to the floor by half


@pytest.mark.parametrize(
    ("values", "aim", "verdict"),
    [((1.0,), 1.0, "aim"), ((1.9,), 1.0, "half"), ((2.1,), 1.0, "short"), ((1.0,), None, "")],
)
def test_verdicts(values: tuple[float, ...], aim: float | None, verdict: str) -> None:
    assert Row(name="m", unit="s", figure=Figure(values), aim=aim).verdict == verdict


def test_two_percent_above_a_bare_loop_leaves_four_as_the_least() -> None:
    row = Row(name="m", unit="s", figure=Figure((1.03,)), floor=Figure((1.0,)), aim_ratio=1.02)
    assert row.verdict == "half"
