"""1,000 files of definitions: loaded, each in a process of its own, and looked at again."""

import time
from collections.abc import Iterator
from pathlib import Path

from bench.cases.scene import Scene, settings_in
from bench.measure import Measure, seconds
from plait.adapters.clock import SystemClock
from plait.bootstrap import open_store
from plait.services.deployments import Deployments

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
    """The first look of a scheduler, beside running the same files in one process; the second one, beside asking the
    system for the state of each file."""
    count = scene.size(1_000, 50)
    folder = scene.folder / "definitions"
    folder.mkdir()
    for n in range(count):
        (folder / f"dag_{n}.py").write_text(FILE.format(n=n))
    store = open_store(settings_in(scene.folder / "home"))
    deployments = Deployments(store, SystemClock())
    yield Measure(
        name=f"{count:,} definition files: first load",
        case=lambda: look(deployments, folder, count),
        floor=lambda: execute(folder),
        floor_name="exec in one process",
        aim=count / 100,
        repeats=1,
        warm=False,
        note="each file in a process of its own",
    )
    yield Measure(
        name=f"{count:,} definition files: second look, nothing changed",
        case=lambda: look(deployments, folder, 0),
        floor=lambda: seconds(lambda: [file.stat() for file in folder.glob("*.py")]),
        floor_name="stat of each",
        aim=count / 10_000,
        repeats=9,
    )
    store.close()


def look(deployments: Deployments, folder: Path, expected: int) -> float:
    """Seconds of a look that finds so many files to load."""
    begin = time.perf_counter()
    synced = deployments.sync(str(folder))
    took = time.perf_counter() - begin
    if len(synced.loaded) != expected or synced.errors:
        raise RuntimeError(f"{len(synced.loaded)} files loaded, not {expected}; {synced.errors[:1]}")
    return took


def execute(folder: Path) -> float:
    """Seconds to compile and run all of them here."""
    begin = time.perf_counter()
    for file in sorted(folder.glob("*.py")):
        exec(compile(file.read_text(), str(file), "exec"), {"__name__": file.stem})  # noqa: S102  that is what loading is
    return time.perf_counter() - begin
