"""What a task costs the database, and what an idle engine asks of it. Counted, not timed."""

import time
from collections.abc import Callable, Iterator

import msgspec

from bench.cases.counting import Counts, counting
from bench.cases.fan import FILE
from bench.cases.scene import Scene
from bench.measure import Measure
from plait.authoring.definitions import Workflow
from plait.runtime.session import Session

EVENTS_A_TASK = 2
OF_THE_RUN = 10
"""Events of a run itself, of its expansion and of the tasks that are not mapped, at most."""


def measures(scene: Scene) -> Iterator[Measure]:
    """Rows and transactions a task of fan10k; queries a second when nothing goes on."""
    count = scene.size(10_000, 500)
    file = scene.file("load", FILE)
    with counting() as counts:
        session = scene.session(target=file)
        loads = loads_of(session, scene.workflow(file, "fan"), count, counts)
    for what, load in loads.items():
        yield Measure(
            name=f"database: {what} of fan10k",
            case=lambda load=load: load,
            unit="",
            aim=EVENTS_A_TASK + OF_THE_RUN / count if what == "events a task" else None,
            repeats=1,
            warm=False,
        )
    yield Measure(
        name="database: queries a second of an idle session",
        case=lambda: idle(counts, scene.size(60, 6)),
        unit="/s",
        aim=1.0,
        repeats=1,
        warm=False,
    )


def loads_of(session: Session, workflow: Workflow, count: int, counts: Counts) -> dict[str, float]:
    """What one warm run writes, by task."""
    found: dict[str, float] = {}
    for _ in range(2):
        rows, transactions = counts.task_rows, counts.transactions
        run_id = session.start(workflow, {"n": count})
        session.wait(run_id)
        events = session.store.events(run_id, limit=10 * count)
        session.forget(run_id)
        found = {
            "events a task": len(events) / count,
            "bytes of events a task": sum(len(msgspec.msgpack.encode(each)) for each in events) / count,
            "writes of its row a task": (counts.task_rows - rows) / count,
            "transactions a task": (counts.transactions - transactions) / count,
        }
    return found


def idle(counts: Counts, wait: float, sleep: Callable[[float], None] = time.sleep) -> float:
    """Queries a second while nothing goes on."""
    sleep(1)
    before = counts.queries
    sleep(wait)
    return (counts.queries - before) / wait
