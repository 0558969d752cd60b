"""Flows: 10,000 `.submit` calls to threads; 10,000 gathered async tasks; 1,000 plain calls."""

import asyncio
from collections.abc import Iterator

from bench.cases.scene import Scene, once
from bench.measure import Measure, seconds
from bench.work import fib
from plait import flow, task


@task
def work(n: int) -> int:
    """Some work."""
    return fib(n)


@task
async def async_work(n: int) -> int:
    """The same on the event loop."""
    return fib(n)


@flow
def submits(n: int) -> int:
    """In the background."""
    return len([future.result() for future in [work.submit(10) for _ in range(n)]])


@flow
def calls(n: int) -> int:
    """One after the other."""
    return sum(work(10) for _ in range(n))


@flow
async def gathers(n: int) -> int:
    """At once, on one loop."""
    return len(await asyncio.gather(*[async_work(10) for _ in range(n)]))


RATE = 5_000


def measures(scene: Scene) -> Iterator[Measure]:
    """Each kind of call."""
    session = scene.session()
    count = scene.size(10_000, 300)
    yield Measure(
        name=f"flow: {count:,} .submit to threads",
        case=lambda: once(session, submits, {"n": count}),
        floor=lambda: scene.floor(count),
        floor_name="batches of 50",
        tasks=count,
        aim=count / RATE,
        repeats=3,
    )
    yield Measure(
        name=f"flow: {count:,} gathered async tasks",
        case=lambda: seconds(lambda: asyncio.run(session.run(gathers, (count,), {}))),
        floor=lambda: scene.floor(count),
        floor_name="batches of 50",
        tasks=count,
        aim=count / RATE,
        repeats=3,
    )
    few = scene.size(1_000, 50)
    yield Measure(
        name=f"flow: {few:,} plain calls",
        case=lambda: once(session, calls, {"n": few}),
        floor=lambda: scene.floor(few, 1),
        floor_name="one at a time",
        tasks=few,
        repeats=3,
    )
