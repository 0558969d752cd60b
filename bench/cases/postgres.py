"""chain40 and fan10k on PostgreSQL, beside the same floor on it."""

from collections.abc import Iterator

from bench.cases import chain, fan
from bench.cases.scene import Scene, once
from bench.measure import Measure


def measures(scene: Scene) -> Iterator[Measure]:
    """Both, on a server that commits to the disk."""
    count = scene.size(10_000, 500)
    url = scene.postgres()
    db = f"{url}{'&' if '?' in url else '?'}schema=bench"
    steps, file = scene.file("chain40", chain.FILE.format(n=10, steps=40)), scene.file("fan", fan.FILE)
    session = scene.session(target=file, db=db)
    workflow = scene.workflow(file, "fan")
    yield Measure(
        name=f"PostgreSQL, fan10k: {count:,} mapped fib(10)",
        case=lambda: once(session, workflow, {"n": count}),
        floor=lambda: scene.floor(count, disk="postgres"),
        floor_name="batches of 50",
        tasks=count,
        aim=count / 5_000,
        repeats=5,
    )
    other = scene.session(target=steps, db=db)
    sequence = scene.workflow(steps, "chain")
    yield Measure(
        name="PostgreSQL, chain40: 40 sequential fib(10)",
        case=lambda: once(other, sequence),
        floor=lambda: scene.floor(40, 1, disk="postgres"),
        floor_name="one at a time",
        tasks=40,
        aim_ratio=5,
        repeats=15,
    )
