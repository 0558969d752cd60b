"""`plait runs answer`; and runs that wait, killed with all of their processes and resumed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Command


def until(holds: Callable[[], Any], seconds: float = 40.0) -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.05)
    return found


def states(plait: Command) -> dict[str, str]:
    """The states of the newest run's tasks."""
    listed = plait("runs", "list", "--json", "--limit", 1).json["runs"]
    if not listed:
        return {}
    return {each["key"]: each["state"] for each in plait("runs", "show", listed[0]["run_id"], "--json").json["tasks"]}


def kill(process: "subprocess.Popen[str]") -> None:
    """kill -9 of the whole process group."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_question_is_shown_and_answered(plait: Command, files: Path) -> None:
    process = plait.start("run", files / "asks.py", "pays", "--json")
    until(lambda: states(plait).get("approve") == "paused")
    run_id = plait.last_run()["run_id"]
    (shown,) = plait("runs", "show", run_id, "--json").json["tasks"]
    assert (shown["asks"]["prompt"], shown["asks"]["schema"]["required"]) == ("Pay order 5?", ["approved", "amount"])
    assert f"plait runs answer {run_id} -p approved=... -p amount=... -p note=..." in plait("runs", "show", run_id).out

    watching = plait.start("runs", "watch", run_id)
    nothing = plait("runs", "answer", run_id, code=2)
    assert "approve asks: Pay order 5?" in nothing.err
    assert '"amount"' in nothing.err
    wrong = plait("runs", "answer", run_id, "-p", "approved=maybe", "-p", "amount=2", code=2)
    assert "the answer does not fit: approved: 'maybe' is not of type 'boolean'" in wrong.err
    missing = plait("runs", "answer", run_id, "--json", '{"approved": true}', code=2)
    assert "the answer: 'amount' is a required property" in missing.err
    assert "is not JSON" in plait("runs", "answer", run_id, "--json", "yes", code=2).err
    assert "either -p" in plait("runs", "answer", run_id, "--json", "{}", "-p", "a=1", code=2).err
    assert "has no question 'other'" in plait("runs", "answer", run_id, "other", "--json", "{}", code=2).err

    refused = plait("runs", "answer", run_id, "approve", "-p", "approved=true", "-p", "amount=3")
    assert refused.out == f"run {run_id} of pays: approve goes on\n"
    until(lambda: "only even amounts" in plait("runs", "show", run_id).out)
    plait("runs", "answer", run_id[-8:], "-p", "approved=true", "-p", "amount=4", "-p", "note=007")
    out, err = process.communicate(timeout=40)
    assert process.returncode == 0
    assert '"result": {\n    "approved": true,\n    "amount": 4,\n    "note": "007"\n  }' in out
    assert f"approve asks: Pay order 5?  (plait runs answer {run_id})" in err
    assert f"approve asks: Pay order 5?  (plait runs answer {run_id})" in watching.communicate(timeout=40)[1]
    assert "asks nothing at the moment" in plait("runs", "answer", run_id, "--json", "true", code=2).err


def test_a_flow_that_asks_is_killed_answered_and_resumed(plait: Command, files: Path) -> None:
    process = plait.start("run", files / "asks.py", "releases")
    until(lambda: states(plait).get("who") == "paused")
    run_id = plait.last_run()["run_id"]
    plait("runs", "answer", run_id, "--json", '"Ada"')
    until(lambda: states(plait).get("release") == "paused")
    kill(process)
    left = plait("runs", "answer", run_id, "--json", "true")
    assert f"nobody owns run {run_id}" in left.err
    assert f"--resume {run_id}" in left.err
    done = plait("run", files / "asks.py", "--resume", run_id, "--json").json
    assert (done["state"], done["result"]) == ("success", "Ada")
    assert {each["key"]: each["state"] for each in done["tasks"]} == {"who": "success", "release": "success"}


@pytest.mark.parametrize("name", ["arrivals", "collects"])
def test_a_run_that_waits_is_killed_and_resumed(name: str, plait: Command, files: Path) -> None:
    """Kill -9 of the whole process group while everything is deferred; what had been done is not done again."""
    command = ("run", files / "asks.py", name, "-p", f"folder={plait.folder}", "--json")
    waits = ["load_a", "load_b"] if name == "arrivals" else ["file_exists"]
    process = plait.start(*command)
    until(lambda: [states(plait).get(key) for key in waits] == ["deferred"] * len(waits))
    kill(process)
    run_id = plait.last_run()["run_id"]
    assert plait.last_run()["state"] == "crashed"
    again = plait.start(*command[:-1], "--resume", run_id, "--json")
    until(lambda: plait.last_run()["state"] == "running")
    (plait.folder / "go").write_text("x")
    out, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert '"state": "success"' in out
    if name == "arrivals":
        assert sorted(plait.noted()) == ["begun"] * 4 + ["went on"] * 2
    else:
        assert plait.noted().count("done") == 1
