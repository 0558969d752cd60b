"""Tasks that only wait: 1,000 and 10,000 at once, on an event loop and in threads. Until the last one has begun."""

import asyncio
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench.cases.scene import Scene, here, once
from bench.measure import Measure, memory_of, peak_memory
from plait import flow, task
from plait.runtime.session import Session

SECONDS = 10
_begun: list[float] = []


@task
async def async_sleep(seconds: float) -> None:
    """Waits on the event loop."""
    _begun.append(time.perf_counter())
    await asyncio.sleep(seconds)


@task
def sleep(seconds: float) -> None:
    """Waits in a thread."""
    _begun.append(time.perf_counter())
    time.sleep(seconds)


@flow
async def async_sleeps(n: int, seconds: float) -> None:
    """All at once on one loop."""
    await asyncio.gather(*[async_sleep(seconds) for _ in range(n)])


@flow
def sleeps(n: int, seconds: float) -> None:
    """All at once in threads."""
    for future in [sleep.submit(seconds) for _ in range(n)]:
        future.result()


def measures(scene: Scene) -> Iterator[Measure]:
    """Both kinds, 1,000 and 10,000."""
    session = scene.session()
    kinds: dict[str, Callable[[int], float]] = {
        "async": partial(_async, session),
        "in threads": partial(_threads, session),
    }
    for count, aim in ((1_000, 1.0), (scene.size(10_000, 2_000), 5.0)):
        for kind, run in kinds.items():
            before = memory_of(here())
            with peak_memory(here(), 0.5) as peak:
                found = [_last(run, count)]
            yield Measure(
                name=f"{count:,} tasks that sleep {SECONDS} s, {kind}: all begun",
                case=found.pop,
                aim=aim,
                tasks=None,
                repeats=1,
                warm=False,
                note=f"{max(0.0, peak() - before):.0f} MB more at the peak",
            )


def _last(run: Callable[[int], float], count: int) -> float:
    """Seconds until the last of so many tasks has begun."""
    _begun.clear()
    begin = time.perf_counter()
    took = run(count)
    if len(_begun) != count or took < SECONDS:
        raise RuntimeError(f"{len(_begun)} of {count} tasks have begun in {took:.1f} s")
    return max(_begun) - begin


def _async(session: Session, count: int) -> float:
    begin = time.perf_counter()
    asyncio.run(session.run(async_sleeps, (count, SECONDS), {}))
    return time.perf_counter() - begin


def _threads(session: Session, count: int) -> float:
    return once(session, sleeps, {"n": count, "seconds": SECONDS})
