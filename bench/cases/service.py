"""The service (`plait dev`): chain, fan, many runs; due times; memory and the database's rest."""

import statistics
import time
from collections.abc import Iterator, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

from bench.cases import chain, fan
from bench.cases.runs import HALF, MORE
from bench.cases.scene import Scene
from bench.cases.serving import Serving
from bench.measure import Measure, memory_of, peak_memory

ONE = """
from plait import dag, every, task

@task
def mark(): return 1

@dag(schedule=every({seconds}))
def alone(): return mark()
"""
MANY = """
from plait import dag, every, task

@task
def mark(): return 1

def body(): return mark()

for n in range({count}):
    globals()[f"w{{n}}"] = dag(body, name=f"w{{n}}", schedule=every({seconds}))
"""


def measures(scene: Scene) -> Iterator[Measure]:
    """Runs that are asked for; then schedules, alone and many at once."""
    yield from _runs(scene)
    yield from _due(scene)


def _runs(scene: Scene) -> Iterator[Measure]:
    count, runs = scene.size(10_000, 300), scene.size(1_000, 20)
    folder = scene.folder / "runs"
    text = fan.FILE + chain.FILE.format(n=10, steps=40).replace("def work", "def step").replace("work(", "step(")
    counts = folder / "counts"
    with Serving(folder, scene.file("served", text), counts=counts) as serving:
        yield _plain("service: plait dev is ready", serving.ready_after, "s", 2.0)
        serving.run("fan", {"n": 100})
        time.sleep(scene.size(10, 2))
        idle = memory_of(serving.pid)
        yield _plain("service: memory of plait dev, idle, all its processes", idle, "MB", 150.0)
        yield _plain("service: queries a second, idle", _rest(counts, scene.size(60, 5)), "/s", 1.0)
        yield Measure(
            name="service: chain40",
            case=lambda: serving.run("chain"),
            floor=lambda: scene.floor(40, 1),
            floor_name="one at a time",
            tasks=40,
            aim=0.10,
            aim_ratio=5,
            repeats=9,
        )
        yield Measure(
            name=f"service: fan10k, {count:,} mapped fib(10)",
            case=lambda: serving.run("fan", {"n": count}),
            floor=lambda: scene.floor(count),
            floor_name="batches of 50",
            tasks=count,
            aim=count / 10_000,
            aim_ratio=4,
            repeats=3,
        )
        yield Measure(
            name=f"service: {runs:,} runs of 10 at once",
            case=lambda: serving.many("fan", {"n": 9}, runs),
            floor=lambda: serving.run("fan", {"n": runs * 10}),
            floor_name=f"one run of {runs * 10:,}",
            tasks=runs * 10,
            aim_ratio=MORE,
            least_ratio=HALF,
            repeats=3,
        )
        with peak_memory(serving.pid, 0.2) as peak:
            serving.many("fan", {"n": 9}, runs)
        yield _plain(f"service: {runs:,} runs of 10, peak of memory above idle", peak() - idle, "MB")


def _due(scene: Scene) -> Iterator[Measure]:
    seconds = scene.size(100, 5)
    with Serving(scene.folder / "alone", scene.file("alone", ONE.format(seconds=1))) as serving:
        time.sleep(seconds + 3)
        late = _lateness(serving, "alone")[2:]  # the first ones find everything cold
    yield _plain(f"due time to task body, alone: median of {len(late)}", statistics.median(late) * 1e3, "ms")
    yield _plain(f"due time to task body, alone: p99 of {len(late)}", _p99(late) * 1e3, "ms", 20.0)
    count, every = scene.size(1_000, 30), scene.size(60, 10)
    file: Path = scene.file("many", MANY.format(count=count, seconds=every))
    with Serving(scene.folder / "many", file) as serving:
        time.sleep(2 * every + 5)  # twice at least, so that the workers are warm
        late = []
        for n in range(count):
            late.append(_lateness(serving, f"w{n}")[-1])
    yield _plain(f"due time to task body, {count:,} at once: median", statistics.median(late) * 1e3, "ms")
    yield _plain(f"due time to task body, {count:,} at once: p99", _p99(late) * 1e3, "ms", 500.0)


def _lateness(serving: Serving, workflow: str) -> list[float]:
    """Seconds from when each run of a workflow was due to the start of its task's body, oldest first."""
    found: list[float] = []
    for row in reversed(serving.store.list_runs(workflow=workflow, states=["success"], limit=1000)):
        (task,) = serving.store.tasks(row.run_id)
        assert row.logical_date is not None  # a schedule made it
        assert task.started_at is not None  # it has succeeded
        found.append(task.started_at - datetime.fromisoformat(row.logical_date).timestamp())
    return found


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[max(0, round(len(values) * 0.99) - 1)]


def _plain(name: str, value: float, unit: str, aim: float | None = None) -> Measure:
    """Something that was measured already."""
    return Measure(name=name, case=partial(float, value), unit=unit, aim=aim, repeats=1, warm=False)


def _rest(counts: Path, seconds: float) -> float:
    """Queries a second of all processes, while nothing goes on."""

    def total() -> int:
        return sum(int(file.read_text() or 0) for file in counts.iterdir())

    before, begin = total(), time.monotonic()
    time.sleep(seconds)
    return (total() - before) / (time.monotonic() - begin)
