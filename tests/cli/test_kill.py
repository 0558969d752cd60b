"""`plait run` killed -9 with its whole process group, again and again: `--resume` finishes the run and repeats
nothing recorded."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

CODE = """
import os
import time

from plait import dag, flow, task


def note(text):
    file = os.open(os.environ["LEDGER"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, (text + "\\n").encode())
    os.close(file)


@task
def step(i):
    time.sleep(0.03)
    note(str(i))
    return i


@task
def numbers(n):
    return list(range(n))


@task
def total(xs):
    return sum(xs)


@dag
def as_dag(n: int = 60):
    return total(step.map(numbers(n)))


@flow
def as_flow(n: int = 30):
    return sum(step(i) for i in range(n)) + sum(step.map(range(n, 2 * n)).result())
"""
KILLS = 3


def recorded(home: Path) -> set[str]:
    """The task runs whose success is in the database."""
    file = home / "plait.db"
    if not file.exists():
        return set()
    connection = sqlite3.connect(f"file:{file}?mode=ro", uri=True)
    try:
        rows = connection.execute("SELECT no FROM task_runs WHERE state = 'success' AND key = 'step'").fetchall()
    except sqlite3.OperationalError:  # it was killed before the schema was there
        return set()
    finally:
        connection.close()
    return {str(no) for (no,) in rows}


def run_for(command: list[str], env: dict[str, str], seconds: float) -> str | None:
    """What the command prints, none when it was killed with its whole group after so many seconds."""
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            return process.communicate(timeout=seconds)[0]
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return None


@pytest.mark.parametrize("name", ["as_dag", "as_flow"])
def test_a_killed_run_is_resumed(name: str, tmp_path: Path) -> None:
    draw = random.Random(name)
    (tmp_path / "steps.py").write_text(CODE)
    home = tmp_path / "home"
    env = {**os.environ, "PLAIT_HOME": str(home), "LEDGER": str(tmp_path / "ledger")}
    plait = [sys.executable, "-m", "plait"]
    command = [*plait, "run", str(tmp_path / "steps.py"), name, "--json"]
    known: set[str] = set()
    for kills in range(20):
        out = run_for(command, env, draw.uniform(0.5, 1.2) if kills < KILLS else 60)
        if out is not None:
            break
        before, known = known, recorded(home)
        assert before <= known, "what was recorded stays recorded"
        listed = subprocess.run([*plait, "runs", "list", "--json"], env=env, capture_output=True, text=True, check=True)
        runs = json.loads(listed.stdout)["runs"]
        if runs:
            assert runs[0]["state"] in ("crashed", "success"), "success: the kill came after the end"
            command = [*command[:6], "--json", "--resume", runs[0]["run_id"]]
    assert out is not None
    result = json.loads(out)
    assert (result["state"], result["result"]) == ("success", sum(range(60)))
    times = [line for line in (tmp_path / "ledger").read_text().split() if line]
    assert set(times) == {str(i) for i in range(60)}
    in_flight = 4 if name == "as_dag" else 30  # two workers and what they prefetch; all threads of a map
    assert len(times) - 60 <= in_flight * KILLS, "at most what was in flight is repeated"
