"""The command line and sessions on PostgreSQL: runs, their lists and logs, the schema; no password is shown."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import pg
from tests.cli.conftest import Command
from tests.waiting import wait_until

pytestmark = pytest.mark.postgres
WORK = Path(__file__).parent / "files" / "work.py"


@pytest.fixture
def url() -> Iterator[str]:
    """A schema that is not there yet."""
    with pg.schema() as made:
        yield made


@pytest.fixture
def served(plait: Command, url: str) -> Command:
    """The command, whose database is on a server."""
    plait.env["PLAIT_DB"] = url
    return plait


def test_runs_are_made_listed_shown_and_followed(served: Command) -> None:
    made = served("run", WORK, "doubles", "--json").json
    assert (made["state"], made["result"]) == ("success", 6)
    assert served.last_run()["run_id"] == made["run_id"]
    assert "workflow:     doubles (dag)" in served("runs", "show", made["run_id"]).out
    assert "doubling 1" in served("runs", "logs", made["run_id"], "double[1]").out
    assert served("run", WORK, "loop", "--json").json["state"] == "success"
    assert len(served("runs", "list", "--json").json["runs"]) == 2
    assert not (served.folder / "home" / "plait.db").exists()


def test_a_database_is_named_on_the_command_line(plait: Command, url: str) -> None:
    made = plait("run", WORK, "doubles", "--json", "--db", url).json
    assert plait("--db", url, "runs", "list", "--json").json["runs"][0]["run_id"] == made["run_id"]
    assert plait("runs", "list", "--json").json["runs"] == [], "the embedded one is another"


def test_a_failed_run_is_resumed(served: Command) -> None:
    failed = served("run", WORK, "fails", "--json", code=1).json
    assert failed["state"] == "failed"
    resumed = served("run", WORK, "--resume", failed["run_id"], "--json", MENDED="1").json
    assert (resumed["run_id"], resumed["state"], resumed["result"]) == (failed["run_id"], "success", 3)


STEPS = """
import os
import time

from plait import dag, flow, task


def note(text):
    with open(os.environ["NOTES"], "a") as file:
        file.write(f"{text}\\n")


@task
def sleeps():
    note("asleep")
    time.sleep(60)


@dag
def slow():
    return sleeps()


@task
def step(i):
    note(i)
    time.sleep(0.05)
    return i


@task
def total(xs):
    return sum(xs)


@dag
def steps():
    return total(step.map(list(range(40))))


@flow
def added(n):
    return sum(future.result() for future in [step.submit(i) for i in range(n)])


if __name__ == "__main__":
    print(added(10))
"""


@pytest.fixture
def steps(served: Command) -> Command:
    """The command, with a file of steps."""
    (served.folder / "steps.py").write_text(STEPS)
    return served


def test_a_run_is_cancelled_from_another_process(steps: Command) -> None:
    process = steps.start("run", "steps.py", "slow", "--json")
    wait_until(steps.noted, "a task that runs", 60)
    steps("runs", "cancel", steps.last_run()["run_id"])
    process.communicate(timeout=50)
    assert steps.last_run()["state"] == "cancelled"


def test_a_killed_run_is_crashed_and_goes_on(steps: Command) -> None:
    process = steps.start("run", "steps.py", "steps")
    wait_until(lambda: len(steps.noted()) > 5, "some steps", 60)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    crashed = steps.last_run()
    assert crashed["state"] == "crashed"
    done = steps("run", "steps.py", "--resume", crashed["run_id"], "--json").json
    assert (done["state"], done["result"]) == ("success", sum(range(40)))
    assert len(steps.noted()) <= 40 + 40, "only what was in flight ran again"


def test_a_script_runs_flows_there(steps: Command) -> None:
    done = subprocess.run(
        [sys.executable, "steps.py"], env=steps.env, cwd=steps.folder, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, "45\n"), done.stderr
    assert steps.last_run()["workflow"] == "added"


def test_the_schema(served: Command, url: str) -> None:
    fresh = served("db", "status", "--json").json
    assert (fresh["revision"], fresh["up_to_date"]) == (None, False)
    assert f"is at {fresh['head']} now" in served("db", "upgrade").out
    assert served("db", "status", "--json").json["up_to_date"] is True
    assert "was up to date" in served("db", "upgrade").out


def test_no_password_is_shown(plait: Command) -> None:
    secret = "postgresql://plait:geheim@127.0.0.1:1/plait"
    for args in (["config"], ["config", "--json"], ["doctor", "--json"], ["db", "status"], ["runs", "list"]):
        result = plait(*args, code=None, PLAIT_DB=secret)
        assert "geheim" not in result.out + result.err
        assert "Traceback" not in result.err
        assert "plait:***@127.0.0.1" in result.out + result.err
    assert "is the server running there" in plait("runs", "list", code=2, PLAIT_DB=secret).err


def test_doctor(served: Command) -> None:
    found = {each["name"]: each for each in served("doctor", "--json").json["checks"]}
    assert found["database"]["ok"] is True
    assert found["database"]["found"].startswith("postgresql://")
