"""1,000 runs of 10 tasks at once, beside one run of 10,000; and the memory that they take."""

import time
from collections.abc import Iterator

from bench.cases.fan import FILE
from bench.cases.scene import Scene, check, here, once
from bench.measure import Measure, memory_of, peak_memory
from plait.authoring.definitions import Workflow
from plait.runtime.session import Session

TASKS = 10
MORE = 1.1
"""Throughput may differ by a tenth before it is another one."""
HALF = 2.0
"""Half of the throughput takes twice as long."""


def measures(scene: Scene) -> Iterator[Measure]:
    """Throughput, and the peak of memory above that of the one large run."""
    count = scene.size(1_000, 30)
    file = scene.file("fan", FILE)
    session = scene.session(target=file)
    workflow = scene.workflow(file, "fan")
    yield Measure(
        name=f"{count:,} runs of {TASKS} at once (in a session)",
        case=lambda: many(session, workflow, count),
        floor=lambda: once(session, workflow, {"n": count * TASKS}),
        floor_name=f"one run of {count * TASKS:,}",
        tasks=count * TASKS,
        aim_ratio=MORE,
        least_ratio=HALF,
        repeats=3,
    )
    idle = memory_of(here())
    with peak_memory(here()) as peak:
        many(session, workflow, count)
    yield Measure(
        name=f"{count:,} runs of {TASKS}: peak of memory above idle",
        case=lambda: peak() - idle,
        unit="MB",
        repeats=1,
        warm=False,
    )


def many(session: Session, workflow: Workflow, count: int) -> float:
    """Seconds for that many runs, all started before any is waited for."""
    begin = time.perf_counter()
    runs = [session.start(workflow, {"n": TASKS - 1}) for _ in range(count)]  # and the task that makes the list
    for run_id in runs:
        session.wait(run_id)
    took = time.perf_counter() - begin
    check(session, runs)
    return took
