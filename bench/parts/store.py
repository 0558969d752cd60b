"""What a store costs a task: insert its row, update it, two events; in batches, each one durable transaction.

    python -m bench.parts.store

`bare` is a loop over the driver (sqlite3, psycopg) that writes the same columns, encoded beforehand, into the same
tables: what is left between the two is plait's own (encoding, the fence, locks). CPU is of the process, so without that
of a server; best of three. PostgreSQL is `bench/postgres.py`.
"""

import contextlib
import os
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from bench import postgres
from bench.report import Table
from plait.adapters.stores import encoding
from plait.adapters.stores.open import open_store
from plait.adapters.stores.postgres import batches
from plait.adapters.stores.postgres.server import Server
from plait.adapters.stores.sqlite import queries
from plait.adapters.stores.urls import parse
from plait.model.events import TaskDispatched, TaskFinished
from plait.model.ids import RunId, TaskKey, TaskNo, token
from plait.model.outcome import Stored
from plait.model.rows import EventRow, RunRow, TaskRow
from plait.ports import RunBatch
from tests import pg

TASKS = 20_000
REPEATS = 3
NOW = 1_764_000_000.25
RUN = RunId("0193a5c0-7b1e-7c3d-8f00-0123456789ab")
LOG = b'{"segment":"1a207813f2d-5037-host-1","offset":123456,"length":0}'


def written(size: int) -> Iterator[RunBatch]:
    """What the scheduler writes of TASKS mapped tasks: dispatches, and the ends of those of the batch before."""
    seq = 0
    for first in range(0, TASKS, size):
        for ended in (False, True):
            tasks, events = [], []
            for no in range(first, min(first + size, TASKS)):
                seq += 1
                tasks.append(_task(TaskNo(no), ended))
                events.append(EventRow(seq=seq, at=NOW, data=_event(TaskNo(no), ended)))
            yield RunBatch(run_id=RUN, epoch=1, tasks=tasks, events=events)


def _task(no: TaskNo, ended: bool) -> TaskRow:
    return TaskRow(
        no=no,
        key="load",
        path=(no,),
        generation=0,
        state="success" if ended else "dispatched",
        attempt=1,
        token=token(1, no + 1),
        executions=1,
        first_started_at=NOW if ended else None,
        started_at=NOW if ended else None,
        finished_at=NOW if ended else None,
        outputs={"result": Stored(format="json", data=b"55", size=2)} if ended else None,
        log=LOG if ended else None,
    )


def _event(no: TaskNo, ended: bool) -> bytes:
    if ended:
        return msgspec.msgpack.encode(TaskFinished(no=no, state="success", attempt=1))
    return msgspec.msgpack.encode(
        TaskDispatched(no=no, key=TaskKey("load"), path=(no,), generation=0, attempt=1, token=token(1, no + 1))
    )


def through_store(url: str, size: int) -> tuple[float, float]:
    """Wall and CPU seconds of the store."""
    store = open_store(url, migrate=False)
    with store.transaction() as tx:
        tx.create_run(RunRow(run_id=RUN, workflow="w", kind="dag", graph_hash="h", state="running", created_at=NOW))
    todo = list(written(size))
    wall, cpu = time.perf_counter(), time.process_time()
    for batch in todo:
        with store.transaction() as tx:
            tx.write(batch)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    store.close()
    return spent


def bare(url: str, size: int) -> tuple[float, float]:
    """Wall and CPU seconds of sqlite3 alone: the same pragmas, tables and columns."""
    path = url.removeprefix("sqlite:///").split("?")[0]
    open_store(url, migrate=False).close()
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute(f"PRAGMA synchronous = {'NORMAL' if 'NORMAL' in url else 'FULL'}")
    connection.execute("PRAGMA cache_size = -16000")
    todo = [(encoding.task_values(1, batch.tasks), encoding.event_chunks(1, batch.events)) for batch in written(size)]
    wall, cpu = time.perf_counter(), time.process_time()
    for tasks, events in todo:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(queries.UPSERT_TASK, tasks)
        connection.executemany(queries.INSERT_EVENTS, events)
        connection.execute("COMMIT")
    spent = time.perf_counter() - wall, time.process_time() - cpu
    connection.close()
    return spent


def bare_psycopg(url: str, size: int) -> tuple[float, float]:
    """Wall and CPU seconds of psycopg alone: an array for each column, prepared statements, binary parameters."""
    store = open_store(url, migrate=False)
    upsert, insert = (re.sub(r"\$\d+", "%b", text) for text in (batches.UPSERT_TASKS.text, batches.INSERT_EVENTS.text))
    todo = [
        ([list(column) for column in zip(*encoding.task_values(1, batch.tasks), strict=True)],
         [list(column) for column in zip(*encoding.event_chunks(1, batch.events), strict=True)])
        for batch in written(size)
    ]  # fmt: skip
    with Server(parse(url)).writer() as connection:
        connection.prepare_threshold = 0
        cursor = connection.cursor()
        wall, cpu = time.perf_counter(), time.process_time()
        for tasks, events in todo:
            cursor.execute("BEGIN")
            cursor.execute(upsert.encode(), tasks)
            cursor.execute(insert.encode(), events)
            cursor.execute("COMMIT")
        spent = time.perf_counter() - wall, time.process_time() - cpu
    store.close()
    return spent


Measure = Callable[[str, int], tuple[float, float]]
Place = Callable[[], AbstractContextManager[str]]


@contextlib.contextmanager
def file(options: str = "") -> Iterator[str]:
    """The URL of a fresh file."""
    folder = Path(tempfile.mkdtemp())
    try:
        yield f"sqlite:///{folder / 'b.db'}{options}"
    finally:
        shutil.rmtree(folder)


def best(measure: Measure, place: Place, size: int) -> tuple[float, float]:
    """The best wall and the best CPU of a few tries, each in a fresh place."""
    tries = []
    for _ in range(REPEATS):
        with place() as url:
            tries.append(measure(url, size))
    return min(wall for wall, _ in tries), min(cpu for _, cpu in tries)


def main() -> None:
    """All of it."""
    table = Table("store", ("what", "batch", "tasks/s", "us a task", "CPU us a task", "of bare"))
    compare(table, "SQLite FULL", file, bare)
    compare(table, "SQLite NORMAL", lambda: file("?synchronous=NORMAL"), bare)
    wall, cpu = best(through_store, lambda: contextlib.nullcontext("memory://"), 200)
    table.add("memory", 200, *_figures(wall, cpu), "")
    with postgres.start() as url:
        os.environ[pg.GIVEN] = url
        compare(table, "PostgreSQL synchronous_commit=on", pg.schema, bare_psycopg)
        compare(table, "PostgreSQL synchronous_commit=off", lambda: without_waiting(pg.schema()), bare_psycopg)
    print(table.text())
    table.save()


@contextlib.contextmanager
def without_waiting(place: AbstractContextManager[str]) -> Iterator[str]:
    """The same, where commits do not wait for the disk."""
    with place as url:
        yield f"{url}&synchronous_commit=off"


def compare(table: Table, name: str, place: Place, alone: Measure) -> None:
    """The store beside the bare driver."""
    for size in (200, 50):
        wall, cpu = best(through_store, place, size)
        floor, floor_cpu = best(alone, place, size)
        table.add(name, size, *_figures(wall, cpu), f"{floor / wall:.0%}")
        table.add(f"bare {name}", size, *_figures(floor, floor_cpu), "")


def _figures(wall: float, cpu: float) -> tuple[int, float, float]:
    return round(TASKS / wall), wall / TASKS * 1e6, cpu / TASKS * 1e6


if __name__ == "__main__":
    main()
