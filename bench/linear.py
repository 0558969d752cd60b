"""How the cost of a task grows with the number of tasks: a chain, a wide graph, a map; from 100 to 10,000 tasks.

Each case runs warm (the second of two runs in one session), tasks in two worker processes, on SQLite with WAL and
synchronous=FULL. The measure is wall time a task; the last column is its ratio to the smallest size of the same
shape, which stays near 1 when the cost is linear.
"""

import tempfile
import time
from pathlib import Path

from bench.report import Table
from plait.authoring.definitions import Workflow
from plait.bootstrap import open_session, temporary_settings
from plait.runtime.session import Session
from plait.worker.loading import load_target

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
CHAIN = """
@dag
def chain_{n}():
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
SIZES = {"chain": (100, 300, 1000), "wide": (100, 1000, 10_000), "map": (100, 1000, 10_000)}


def run() -> Table:
    """Measure all shapes and sizes."""
    folder = Path(tempfile.mkdtemp(prefix="plait-bench-"))
    file = folder / "linear_shapes.py"
    text = FILE + "".join(CHAIN.format(n=n) for n in SIZES["chain"]) + "".join(WIDE.format(n=n) for n in SIZES["wide"])
    file.write_text(text)
    definitions = load_target(str(file))
    table = Table("linear", ("shape", "tasks", "seconds", "us a task", "tasks/s", "ratio to the smallest"))
    with open_session(temporary_settings(), target=str(file), workers=2) as session:
        for shape, sizes in SIZES.items():
            smallest = 0.0
            for size in sizes:
                name, params = ("mapped", {"n": size}) if shape == "map" else (f"{shape}_{size}", {})
                best = min(_once(session, definitions.workflow(name), params) for _ in range(3))
                smallest = smallest or best / size
                table.add(shape, size, best, best / size * 1e6, size / best, best / size / smallest)
    return table


def _once(session: Session, workflow: Workflow, params: dict[str, int]) -> float:
    begin = time.perf_counter()
    run_id = session.start(workflow, params)
    session.wait(run_id)
    took = time.perf_counter() - begin
    state = session.scheduler.runs[run_id].run.state
    if state != "success":
        raise RuntimeError(f"{workflow.name} is {state}")
    session.forget(run_id)
    return took
