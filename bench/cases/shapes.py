"""How the cost of a task grows with their number: wide and deep DAGs and maps, from 100 to 10,000 tasks.

The ratio is that of a task's cost in the larger graph to its cost in the smallest one of the same shape, taken in turn:
near 1 means that the cost is linear. What a run costs whatever its size counts most in the smallest one, so that the
ratio may be below 1.
"""

from collections.abc import Iterator

from bench.cases.scene import Scene, once
from bench.measure import Measure

FILE = """
from plait import dag, task

@task
def numbers(n): return list(range(n))

@task
def inc(x): return x + 1

@task
def total(xs): return sum(xs)

@dag
def mapped(n: int = 100):
    return total(inc.map(numbers(n)))
"""
DEEP = """
@dag
def deep_{n}():
    x = inc(0)
    for _ in range({n} - 1):
        x = inc(x)
    return x
"""
WIDE = """
@dag
def wide_{n}():
    first = inc(0)
    return total([inc(first) for _ in range({n})])
"""
FLAT = 1.2


def measures(scene: Scene) -> Iterator[Measure]:
    """Each shape, in three sizes."""
    sizes = (100, 1_000, scene.size(10_000, 2_000))
    shapes = {"wide": WIDE, "deep": DEEP, "map": ""}
    text = FILE + "".join(shape.format(n=n) for shape in shapes.values() for n in sizes)
    file = scene.file("shapes", text)
    session = scene.session(target=file)

    def cost(shape: str, size: int) -> float:
        name, params = ("mapped", {"n": size}) if shape == "map" else (f"{shape}_{size}", {})
        # Smaller runs are repeated, so that all sizes are measured over some time.
        again = max(1, min(5, 1_000 // size))
        return sum(once(session, scene.workflow(file, name), params) for _ in range(again)) / again / size * 1e6

    for shape in shapes:
        for size in sizes:
            smallest = size == sizes[0]
            yield Measure(
                name=f"{shape}, {size:,} tasks: a task",
                case=lambda shape=shape, size=size: cost(shape, size),
                floor=None if smallest else lambda shape=shape: cost(shape, sizes[0]),
                floor_name="" if smallest else f"of {sizes[0]}",
                unit="us",
                aim_ratio=FLAT,
                repeats=3,
            )
