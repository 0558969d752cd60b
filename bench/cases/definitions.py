"""1,000 files of definitions: loaded, each in a process of its own, and looked at again."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.cases.scene import Scene
from bench.measure import Measure
from plait.worker.isolated import Request, load_isolated

FILE = """
from plait import cron, dag, task

@task(retries=2)
def extract_{n}(day): return [day] * 3

@task
def transform_{n}(row): return row

@task
def load_{n}(rows): return len(rows)

@dag(schedule=cron("0 6 * * *"))
def daily_{n}(day: str = "2013-01-01"):
    return load_{n}(transform_{n}.map(extract_{n}(day)))
"""


def measures(scene: Scene) -> Iterator[Measure]:
    """The first look, beside running the same files in one process."""
    count = scene.size(1_000, 50)
    folder = scene.folder / "definitions"
    folder.mkdir()
    for n in range(count):
        (folder / f"dag_{n}.py").write_text(FILE.format(n=n))
    yield Measure(
        name=f"{count:,} definition files: first load",
        case=lambda: look(folder, count),
        floor=lambda: execute(folder),
        floor_name="exec in one process",
        aim=count / 100,
        repeats=1,
        warm=False,
        note="each file in a process of its own",
    )


def look(folder: Path, count: int) -> float:
    """Seconds to load all of them in isolation."""
    begin = time.perf_counter()
    found = load_isolated(Request(target=str(folder), graphs=True))
    took = time.perf_counter() - begin
    if len(found.workflows) != count or found.errors:
        raise RuntimeError(f"{len(found.workflows)} of {count} workflows; {found.errors[:1]}")
    return took


def execute(folder: Path) -> float:
    """Seconds to compile and run all of them here."""
    begin = time.perf_counter()
    for file in sorted(folder.glob("*.py")):
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": file.stem})  # noqa: S102  that is what loading is
    return time.perf_counter() - begin
