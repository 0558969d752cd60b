"""Runs that failed or died, and go on: nothing whose success was recorded runs again, and the result is right."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from plait import UsageError, dag, flow, task
from plait.authoring.definitions import Definitions, Workflow
from plait.bootstrap import Settings, open_store
from plait.model.errors import StoreError
from plait.model.rows import RunRow
from plait.runtime.session import Session
from tests.api.conftest import SRC
from tests.api.helpers import Script, Tally, lines, states
from tests.waiting import wait_until


def definitions_of(workflow: Workflow) -> Definitions:
    found = Definitions()
    found.add(workflow, __file__)
    return found


# --- failed runs ------------------------------------------------------------------------------------------------------


def resumed(session: Session, workflow: Workflow) -> Any:
    row = next(row for row in session.store.list_runs() if row.parent is None)
    session.resume(row.run_id, definitions_of(workflow))
    session.wait(row.run_id)
    return session._ends.result_of(session.scheduler.runs[row.run_id])


def test_a_failed_dag_runs_its_failures_and_what_is_below_again(session: Session):
    tally = Tally()

    @task
    def step(name: str, *_: Any) -> str:
        tally.add(name)
        if name == "b" and tally["b"] == 1:
            raise OSError("first time")
        return name

    @task
    def each(n: int) -> int:
        if tally.add(n) == 1 and n == 2:
            raise OSError("first time")
        return n

    @dag
    def graph() -> Any:
        a = step("a")
        b = step.options(name="b")("b", a)
        c = step.options(name="c")("c", b)
        return {"c": c, "side": step.options(name="side")("side", a), "each": each.map([1, 2, 3])}

    with pytest.raises(OSError, match="first time"):
        graph()
    assert states(session)["c"] == "upstream_failed"
    assert resumed(session, graph) == {"c": "c", "side": "side", "each": [1, 2, 3]}
    assert tally.counts == {"a": 1, "b": 2, "c": 1, "side": 1, 1: 1, 2: 2, 3: 1}


def test_a_failed_flow_gets_its_successes_back(session: Session):
    tally = Tally()

    @task
    def step(n: int) -> int:
        tally.add(n)
        return n

    @flow
    def child() -> int:
        return step(10) + step(11)

    @dag
    def graph() -> int:
        return step.options(name="in_dag")(20)

    @flow
    def pipeline() -> Any:
        values = [step(1), *step.map([2, 3]).result(), child(), graph()]
        if tally.add("body") == 1:
            raise OSError("first time")
        return values

    with pytest.raises(OSError, match="first time"):
        pipeline()
    assert resumed(session, pipeline) == [1, 2, 3, 21, 20]
    assert tally.counts == {"body": 2, **dict.fromkeys((1, 2, 3, 10, 11, 20), 1)}


def test_tables_that_a_body_hands_on_are_known_again(session: Session):
    """Read from the store they are other objects, with other insides, than those that were computed."""
    tally = Tally()

    @task
    def extract() -> pd.DataFrame:
        tally.add("extract")
        texts = pd.Series(["UA", "DL", "UA"], dtype=object)
        return pd.DataFrame({"carrier": texts, "delay": pd.array([5, None, 7], dtype="Int64")})

    @task
    def by_carrier(flights: pd.DataFrame) -> pd.DataFrame:
        tally.add("by_carrier")
        return flights.groupby("carrier", as_index=False).agg(worst=("delay", "max"))

    @task
    def describe(tables: dict[str, pd.DataFrame], best: pd.Series) -> int:
        tally.add("describe")
        return len(tables["flights"]) + len(best)

    @flow
    def pipeline() -> int:
        flights = extract()
        delays = by_carrier(flights)
        number = describe({"flights": flights, "delays": delays.rename(columns={"worst": "carrier"})}, delays["worst"])
        if tally.add("body") == 1:
            raise OSError("first time")
        return number

    with pytest.raises(OSError, match="first time"):
        pipeline()
    assert resumed(session, pipeline) == 5
    assert tally.counts == {"body": 2, "extract": 1, "by_carrier": 1, "describe": 1}


def test_what_has_succeeded_is_not_resumed(session: Session):
    @task
    def step() -> int:
        return 1

    @dag
    def graph() -> int:
        return step()

    graph()
    with pytest.raises(UsageError, match="has succeeded, there is nothing to resume"):
        resumed(session, graph)


# --- killed processes -------------------------------------------------------------------------------------------------


DRIVER = """
import json, sys
from plait.bootstrap import load_settings, open_session
from plait.worker.loading import load_target

target, run_id = sys.argv[1:]
with open_session(load_settings(), target=target, echo=False, workers=2) as session:
    definitions = load_target(target)
    if run_id:
        session.resume(run_id, definitions)
    else:
        run_id = session.start(definitions.workflow("pipeline"), {})
    session.wait(run_id)
    print(json.dumps(session._ends.result_of(session.scheduler.runs[run_id])))
"""

COMMON = """
import os, time
from plait import dag, flow, group, pool, task

LEDGER = os.environ["LEDGER"]
pool("narrow", slots=1)

def note(what):
    out = os.open(LEDGER, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(out, f"{what}\\n".encode())
    os.close(out)

def tries(name):
    with open(LEDGER) as ledger:
        return sum(line.strip() == name for line in ledger)

@task
def work(name, *values, element=""):
    note(f"{name} {element}".strip())
    time.sleep(0.015)
    return 1 + sum(values)

@task(retries=30, pool="narrow")
def flaky(name, value):
    note(name)
    if tries(name) < 2:
        raise OSError("first time")
    return value

@task
def total(name, values):
    note(name)
    return sum(values)
"""

DAG = (
    COMMON
    + """
@group
def region(n):
    first = work.options(name="first")("region.first", n, element=n)
    return work.options(name="last")("region.last", first, element=n)

@dag
def pipeline():
    first = work.options(name="first")("first")
    middle = [work.options(name=f"middle{n}")(f"middle{n}", first) for n in range(10)]
    wobbly = flaky.options(name="wobbly")("wobbly", total.options(name="sum")("sum", middle))
    return {"sum": wobbly, "regions": region.map(list(range(8)))}
"""
)

FLOW = (
    COMMON
    + """
@dag
def graph(n):
    return work.options(name="in_dag")("in_dag", n)

@flow
def child(n):
    return work.options(name=f"child{n}")(f"child{n}", n)

@flow
def pipeline():
    first = work.options(name="first")("first")
    middle = [work.options(name=f"middle{n}").submit(f"middle{n}", first) for n in range(8)]
    away = [work.options(name=f"away{n}", executor="processes").submit(f"away{n}", first) for n in range(4)]
    wobbly = flaky.options(name="wobbly")("wobbly", total.options(name="sum")("sum", [*middle, *away]))
    children = [child(0), child.submit(1), child.submit(2)]
    return {"sum": wobbly, "children": children, "dag": graph(7), "regions": [f.result() for f in away]}
"""
)

EXPECTED = {
    "dag": {"sum": 20, "regions": [2 + n for n in range(8)]},
    "flow": {"sum": 24, "children": [1, 2, 3], "dag": 8, "regions": [2] * 4},
}


class Killer:
    """Starts a run, kills its process group at random instants, and looks at what was recorded by then."""

    def __init__(self, folder: Path, settings: Settings, text: str):
        self.settings = settings
        self.ledger = folder / "ledger"
        self.target = folder / "killed.py"
        self.target.write_text(text)
        self.driver = folder / "driver.py"
        self.driver.write_text(DRIVER)
        self.environment = {**os.environ, "PYTHONPATH": str(SRC), "LEDGER": str(self.ledger)}
        self.ledger.touch()

    def start(self) -> Script:
        """Start the run, or go on with it."""
        row = self.row()
        process = subprocess.Popen(
            [sys.executable, str(self.driver), str(self.target), row.run_id if row else ""],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        return Script(process)

    def kill(self, notes: int = 0, more: float = 0.0, when: Callable[[], bool] | None = None) -> None:
        """Start it, and kill it when so many more notes were made (or it is over, or what is asked holds), `more`
        seconds later."""
        before = len(lines(self.ledger))
        script = self.start()
        there = when or (lambda: len(lines(self.ledger)) >= before + notes)
        wait_until(lambda: there() or script.process.poll() is not None, "the kill")
        time.sleep(more)
        with contextlib.suppress(ProcessLookupError):  # it was over
            os.killpg(script.process.pid, signal.SIGKILL)
        script.wait()

    def row(self) -> RunRow | None:
        """The top run as it stands."""
        store = open_store(self.settings)
        try:
            return next((row for row in store.list_runs(limit=100) if row.parent is None), None)
        finally:
            store.close()

    def task_state(self, key: str) -> str | None:
        """What is recorded of a task of that run."""
        row = self.row()
        if row is None:
            return None
        store = open_store(self.settings, sweep=False)
        try:
            return next((task.state for task in store.tasks(row.run_id) if task.key == key), None)
        finally:
            store.close()

    def recorded(self) -> set[str]:
        """The names of the tasks whose success is recorded, as the ledger has them."""
        store = open_store(self.settings)
        try:
            rows = [(task.key, task.path, task.state) for run in store.list_runs() for task in store.tasks(run.run_id)]
        finally:
            store.close()
        return {" ".join([key, *map(str, path)]) for key, path, state in rows if state == "success"}


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("kind", ["dag", "flow"])
def test_a_killed_run_goes_on(settings: Settings, tmp_path: Path, kind: str, seed: int):
    draw = random.Random(f"{kind} {seed}")
    killer = Killer(tmp_path, settings, DAG if kind == "dag" else FLOW)
    done: set[str] = set()
    for _ in range(5):
        before = len(lines(killer.ledger))
        killer.kill(notes=draw.randint(0, 8), more=draw.uniform(0, 0.05))
        again = done & set(lines(killer.ledger)[before:])
        assert not again, f"ran again, though its success was recorded: {again}"
        done = killer.recorded()
        row = killer.row()
        if row is not None and row.state == "success":
            break
        assert row is None or row.state == "crashed"
    row = killer.row()
    before = len(lines(killer.ledger))
    if row is None or row.state != "success":
        assert json.loads(killer.start().wait().ok()) == EXPECTED[kind]
    assert not done & set(lines(killer.ledger)[before:])
    store = open_store(settings)
    assert {run.state for run in store.list_runs()} == {"success"}
    assert store.slots() == []
    store.close()


def test_a_retry_that_was_pending_is_made_when_the_body_asks_again(settings: Settings, tmp_path: Path):
    """Killed between two attempts: the wait is recorded, and the attempt that failed counts."""
    killer = Killer(
        tmp_path,
        settings,
        COMMON
        + """
@task(retries=1)
def waits():
    note("waits")
    if tries("waits") < 2:
        raise OSError("first time")
    return "second time"

@flow
def pipeline():
    late = waits.options(retries=__import__("plait").Retry(1, delay=4))
    return [late(), late.submit().result()]
""",
    )
    killer.kill(when=lambda: killer.task_state("waits") == "retry_wait")
    assert lines(killer.ledger) == ["waits"]
    assert json.loads(killer.start().wait().ok()) == ["second time", "second time"]
    assert lines(killer.ledger) == ["waits"] * 3


def test_a_run_of_a_live_process_is_not_taken_over(
    settings: Settings, session: Session, run_script: Callable[..., Script]
):
    script = run_script(
        """
import time
from plait import flow

@flow
def pipeline():
    print("started", flush=True)
    time.sleep(30)

pipeline()
""",
        wait=False,
    )
    assert script.process.stdout is not None
    assert script.process.stdout.readline().strip() == "started"
    row = session.store.list_runs()[0]

    @flow
    def pipeline() -> None: ...

    with pytest.raises(StoreError, match=r"belongs to .*, which is alive"):
        session.resume(row.run_id, definitions_of(pipeline))
    os.killpg(script.process.pid, signal.SIGKILL)
    script.wait()
