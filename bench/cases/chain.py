"""Tasks that wait for each other: 40 of fib(10), which cost a transaction each; 10 of fib(33), which cost nothing else
than themselves."""

from collections.abc import Iterator

from bench.cases.scene import Scene, once
from bench.measure import Measure, seconds
from bench.work import fib

FILE = """
from bench.work import fib
from plait import dag, task

@task
def work(n, before=None):
    return fib(n)

@dag
def chain(n: int = 10):
    x = work({n})
    for _ in range({steps} - 1):
        x = work({n}, x)
    return x
"""


def measures(scene: Scene) -> Iterator[Measure]:
    """`chain40` and `long10`."""
    short = scene.file("chain40", FILE.format(n=10, steps=40))
    session = scene.session(target=short)
    workflow = scene.workflow(short, "chain")
    yield Measure(
        name="chain40: 40 sequential fib(10)",
        case=lambda: once(session, workflow),
        floor=lambda: scene.floor(40, 1),
        floor_name="one at a time",
        tasks=40,
        aim=0.10,
        aim_ratio=5,
        repeats=15,
    )
    n = 33 if not scene.quick else 20
    long = scene.file("long10", FILE.format(n=n, steps=10))
    other = scene.session(target=long)
    slow = scene.workflow(long, "chain")
    yield Measure(
        name="long10: 10 sequential fib(33)",
        case=lambda: once(other, slow),
        floor=lambda: seconds(lambda: [fib(n) for _ in range(10)]),
        floor_name="bare loop",
        aim_ratio=1.02,
        repeats=3,
        note="the loop runs in the process that hosts the session",
    )
