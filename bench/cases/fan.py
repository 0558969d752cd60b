"""10,000 mapped tasks of one run."""

from collections.abc import Iterator

from bench.cases.scene import Scene, once
from bench.measure import Measure

FILE = """
from bench.work import fib
from plait import dag, task

@task
def numbers(n):
    return [10] * n

@task
def work(n):
    return fib(n)

@dag
def fan(n: int = 10):
    return work.map(numbers(n))
"""


def measures(scene: Scene) -> Iterator[Measure]:
    """`fan10k`."""
    count = scene.size(10_000, 500)
    file = scene.file("fan", FILE)
    session = scene.session(target=file)
    workflow = scene.workflow(file, "fan")
    yield Measure(
        name=f"fan10k: {count:,} mapped fib(10)",
        case=lambda: once(session, workflow, {"n": count}),
        floor=lambda: scene.floor(count),
        floor_name="batches of 50",
        tasks=count,
        aim=count / 10_000,
        aim_ratio=4,
        repeats=5,
    )
