"""Airflow: `airflow standalone` with the LocalExecutor on SQLite, two tasks at a time; a run's own times count."""

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from datetime import datetime
from pathlib import Path

from common import Times, options

DAGS = ("chain40", "long10", "parallel200")
HOME = Path.cwd() / "airflow"


def airflow(*arguments: str) -> None:
    """A command of Airflow's."""
    subprocess.run([sys.executable, "-m", "airflow", *arguments], check=True, stdout=subprocess.DEVNULL)


def ask(query: str, *values: str) -> list[tuple]:
    """Look into Airflow's database: its own commands take seconds each."""
    with sqlite3.connect(HOME / "airflow.db", timeout=30) as database:
        return database.execute(query, values).fetchall()


def wait(condition, seconds: float) -> None:
    """Wait for something, or raise."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise TimeoutError(f"Airflow did not do it within {seconds} s")
        time.sleep(0.5)


def run(name: str, number: int, seconds: float) -> float:
    """Seconds of a run, from when it was queued to its end."""
    run_id = f"r{number}"
    airflow("dags", "trigger", name, "--run-id", run_id)
    query = "SELECT state, queued_at, end_date FROM dag_run WHERE dag_id = ? AND run_id = ?"
    wait(lambda: ask(query, name, run_id)[0][0] in ("success", "failed"), seconds)
    state, queued, ended = ask(query, name, run_id)[0]
    if state != "success":
        raise RuntimeError(f"run {run_id} of {name} is {state}")
    return (datetime.fromisoformat(ended) - datetime.fromisoformat(queued)).total_seconds()


def main() -> None:
    """Start it, measure, stop it."""
    asked = options()
    (HOME / "dags").mkdir(parents=True)
    shutil.copy(Path(__file__).with_name("airflow_dags.py"), HOME / "dags")
    os.environ |= {
        "AIRFLOW_HOME": str(HOME),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
        "AIRFLOW__CORE__PARALLELISM": "2",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "PEER_SCRIPTS": str(Path(__file__).parent),
    }
    begin = time.perf_counter()
    with open("standalone.log", "wb") as log:
        standalone = subprocess.Popen(
            [sys.executable, "-m", "airflow", "standalone"], stdout=log, stderr=log, start_new_session=True
        )
    try:
        wait(lambda: (HOME / "airflow.db").exists() and _known() >= len(DAGS), 240)
        times = Times(asked, "standalone, LocalExecutor, 2 at once, SQLite; fan is parallel200", fan=200)
        times.told("ready", time.perf_counter() - begin)
        number = 0
        for name in DAGS:
            for _ in range(2):  # the first to warm up
                number += 1
                took = run(name, number, asked["budget"])
            times.told(name, took)
    finally:
        os.killpg(standalone.pid, signal.SIGTERM)
        try:
            standalone.wait(60)
        except subprocess.TimeoutExpired:
            os.killpg(standalone.pid, signal.SIGKILL)


def _known() -> int:
    try:
        return ask("SELECT count(*) FROM serialized_dag")[0][0]
    except sqlite3.OperationalError:  # its tables are still being made
        return 0


if __name__ == "__main__":
    main()
