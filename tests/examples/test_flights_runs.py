"""The flights example through plait, as a user runs it: `plait run`, on a real database and warehouse."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

FLIGHTS = Path(__file__).parents[2] / "examples" / "flights"
STORM = {"day": "2013-02-09", "flights": 684, "cancelled": 393, "quarantined": 0}
FACES = {
    "flights_dag.py": ["--date", "2013-02-09"],
    "flights_flow.py": ["--date", "2013-02-09"],
    "flights_assets.py": ["--partition", "2013-02-09"],
}


@pytest.fixture(scope="module")
def surroundings(tmp_path_factory):
    """A home and a data folder that the tests of this module share."""
    folder = tmp_path_factory.mktemp("flights")
    env = {key: value for key, value in os.environ.items() if not key.startswith(("PLAIT_", "FLIGHTS_"))}
    return env | {"PLAIT_HOME": str(folder / "home"), "FLIGHTS_DATA": str(folder / "data")}


def plait(env, *arguments, exit_code=0):
    done = subprocess.run(
        [sys.executable, "-m", "plait", *arguments], env=env, capture_output=True, text=True, timeout=110, check=False
    )
    assert done.returncode == exit_code, done.stderr
    return json.loads(done.stdout) if "--json" in arguments else done.stdout


@pytest.mark.parametrize("face", FACES)
def test_a_day_gives_the_same_result_twice(face, surroundings):
    for _ in range(2):
        run = plait(surroundings, "run", str(FLIGHTS / face), *FACES[face], "--json")
        assert run["state"] == "success"
        assert run["result"] == STORM
        assert {task["state"] for task in run["tasks"]} == {"success"}
    assert [task["key"] for task in run["tasks"] if task["cached"]] == ["plot" if "assets" in face else "draw"]
    report = Path(surroundings["FLIGHTS_DATA"]) / "reports" / "2013-02-09"
    assert sorted(file.name for file in report.iterdir()) == ["delays.png", "report.md"]


def test_a_row_that_is_bad_is_quarantined_with_its_reason(surroundings, tmp_path):
    extra = tmp_path / "extra.csv"
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from datetime import date\n"
        "from nyc import source\n"
        "row = source.extract(date(2013, 1, 1)).iloc[[0]].assign(flight='9999', distance='-5')\n"
        "row.to_csv(sys.argv[2], index=False)\n"
    )
    subprocess.run([sys.executable, "-c", code, str(FLIGHTS), str(extra)], env=surroundings, check=True)
    env = surroundings | {"FLIGHTS_EXTRA_ROWS": str(extra)}
    run = plait(env, "run", str(FLIGHTS / "flights_flow.py"), "-p", "day=2013-01-01", "--json")
    assert run["result"] == {"day": "2013-01-01", "flights": 842, "cancelled": 4, "quarantined": 1}


def test_days_run_as_runs_of_their_own(surroundings):
    run = plait(
        surroundings, "run", str(FLIGHTS / "month.py"), "-p", "first=2013-01-01", "-p", "last=2013-01-03", "--json"
    )
    assert [day["flights"] for day in run["result"]] == [842, 943, 914]
    runs = plait(surroundings, "runs", "list", "--workflow", "daily_flights", "--json")["runs"]
    assert len([each for each in runs if each["state"] == "success"]) >= 3


def test_the_files_load_in_isolation(surroundings):
    found = plait(surroundings, "check", str(FLIGHTS), "--json")
    assert found["errors"] == []
    assert {each["name"] for each in found["workflows"]} == {"daily_flights", "flights", "month"}
    assert "daily_summary" in json.dumps(found["assets"])


def test_an_unknown_partition_is_told(surroundings):
    done = subprocess.run(
        [sys.executable, "-m", "plait", "run", str(FLIGHTS / "flights_assets.py"), "--partition", "2012-12-31"],
        env=surroundings,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "2012-12-31" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_backfill_that_is_killed_counts_every_flight_once(surroundings, tmp_path):
    """Two of the 365 days, which take a quarter of an hour; the year has its 336,776 flights that way, too."""
    env = surroundings | {"PLAIT_HOME": str(tmp_path / "home"), "FLIGHTS_DATA": str(tmp_path / "data")}
    days = ["--partitions", "2013-02-08...2013-02-09", "--concurrency", "1"]
    command = [sys.executable, "-m", "plait", "backfill", str(FLIGHTS / "flights_assets.py")]
    process = subprocess.Popen([*command, *days], env=env, stderr=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stderr is not None
    id = next(line.split()[1] for line in process.stderr if line.startswith("backfill "))
    next(line for line in process.stderr if line.startswith("1 of 2"))
    process.kill()
    process.wait()
    process.stderr.close()
    view = plait(env, "backfill", str(FLIGHTS / "flights_assets.py"), "--resume", id, "--json")
    assert (view["state"], view["done"]) == ("success", 2)
    counted = plait(env, "partitions", "list", str(FLIGHTS / "flights_assets.py"), "--json")["assets"]
    assert [each["materialized"] for each in counted] == [2] * 8
    code = (
        "import sys, duckdb\n"
        "table = duckdb.connect(sys.argv[1], read_only=True)\n"
        "print(table.sql('SELECT count(*), count(DISTINCT flight_date) FROM flights').fetchall())\n"
    )
    (warehouse,) = Path(env["FLIGHTS_DATA"]).rglob("*.duckdb")
    done = subprocess.run([sys.executable, "-c", code, str(warehouse)], capture_output=True, text=True, check=True)
    assert done.stdout == "[(1614, 2)]\n"
