"""`plait runs`: what ran, what it printed; cancel, watch and retry."""

import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Command
from tests.waiting import wait_until


@pytest.fixture(scope="module")
def ran(shared: Command) -> dict[str, str]:
    """Ids of runs, by workflow."""
    work = Path(__file__).parent / "files" / "work.py"
    found: dict[str, str] = {}
    for name in ("doubles", "fails", "loop"):
        found[name] = shared("run", work, name, "--json", code=None).json["run_id"]
    return found


def test_list(shared: Command, ran: dict[str, str]) -> None:
    runs = shared("runs", "list", "--json").json["runs"]
    assert [run["run_id"] for run in runs] == [ran["loop"], ran["fails"], ran["doubles"]]
    assert list(runs[0])[:4] == ["run_id", "workflow", "kind", "state"]
    assert runs[1]["state"] == "failed"
    assert runs[0]["created_at"] > runs[2]["created_at"]
    assert shared("runs", "list").out.splitlines()[1].startswith(ran["loop"])


def test_list_is_narrowed_and_paged(shared: Command, ran: dict[str, str]) -> None:
    def ids(*args: object) -> list[str]:
        return [run["run_id"] for run in shared("runs", "list", "--json", *args).json["runs"]]

    assert ids("--workflow", "loop") == [ran["loop"]]
    assert ids("--state", "failed") == [ran["fails"]]
    assert ids("--state", "failed", "--state", "success", "--limit", 2) == [ran["loop"], ran["fails"]]
    assert ids("--before", ran["fails"]) == [ran["doubles"]]
    assert "no runs like that" in shared("runs", "list", "--workflow", "nope").err


def test_show(shared: Command, ran: dict[str, str]) -> None:
    result = shared("runs", "show", ran["fails"][-8:])
    assert "workflow:     fails (dag)" in result.out
    assert "2 success, 1 failed" in result.out
    assert "breaks[1]: ValueError: no 1, please" in result.out
    assert "work.py:" in result.out


def test_logs(shared: Command, ran: dict[str, str]) -> None:
    everything = shared("runs", "logs", ran["doubles"])
    assert sorted(everything.out.splitlines()) == ["doubling 0", "doubling 1", "doubling 2", "making 3 numbers"]
    assert "==> double[1], attempt 1, success" in everything.err
    assert shared("runs", "logs", ran["doubles"], "double[1]").out == "doubling 1\n"
    assert len(shared("runs", "logs", ran["doubles"], "double").out.splitlines()) == 3
    assert "in the body" in shared("runs", "logs", ran["loop"]).out
    assert shared("runs", "logs", ran["loop"], "double[2]").out == "doubling 2\n"
    assert "has no task 'nope'" in shared("runs", "logs", ran["doubles"], "nope", code=2).err
    followed = shared("runs", "logs", ran["doubles"], "--follow")
    assert sorted(followed.out.splitlines()) == sorted(everything.out.splitlines())


def test_logs_of_an_attempt_before_the_last(shared: Command, ran: dict[str, str]) -> None:
    result = shared("runs", "logs", ran["fails"], "breaks[1]", "--attempt", 1)
    assert result.out == "about to break on 1\n"
    assert "==> breaks[1], attempt 1, failed" in result.err
    assert "there is no attempt 9" in shared("runs", "logs", ran["fails"], "breaks[1]", "--attempt", 9).err


def test_watch_of_a_run_that_is_over(shared: Command, ran: dict[str, str]) -> None:
    assert shared("runs", "watch", ran["doubles"], "--json").json["state"] == "success"
    assert "failed" in shared("runs", "watch", ran["fails"], code=1).out


def test_cancel_of_a_run_that_is_over(shared: Command, ran: dict[str, str]) -> None:
    assert "is over already: it is success" in shared("runs", "cancel", ran["doubles"], code=2).err


def test_show_logs_watch_and_cancel_while_it_runs(plait: Command, files: Path) -> None:
    process = plait.start("run", files / "work.py", "naps")
    wait_until(plait.noted, "the task")
    run_id = plait.last_run()["run_id"]
    shown = plait("runs", "show", run_id, "--json").json
    assert (shown["state"], shown["tasks"][0]["state"], shown["tasks"][0]["duration_s"]) == ("running", "running", None)
    assert plait("runs", "logs", run_id, "nap").out == "napping\n"
    watching = plait.start("runs", "watch", run_id)
    following = plait.start("runs", "logs", run_id, "--follow")
    assert watching.stderr is not None
    assert following.stdout is not None
    assert next(line for line in watching.stderr if "nap " in line)
    assert following.stdout.readline() == "napping\n"
    cancelled = plait("runs", "cancel", run_id, "--reason", "enough")
    assert f"run {run_id} of naps: cancelled" in cancelled.out
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "enough" in out
    out, _ = watching.communicate(timeout=60)
    assert watching.returncode == 1
    assert "cancelled" in out
    out, _ = following.communicate(timeout=60)
    assert out == ""


def test_cancel_of_a_run_whose_process_died(plait: Command, files: Path) -> None:
    process = plait.start("run", files / "work.py", "naps")
    wait_until(plait.noted, "the task")
    process.kill()
    process.communicate()
    assert "it is crashed" in plait("runs", "cancel", plait.last_run()["run_id"], code=2).err


def test_retry(plait: Command, files: Path) -> None:
    run_id = plait("run", files / "work.py", "fails", "--json", code=1).json["run_id"]
    again = plait("runs", "retry", run_id, "--json", MENDED="1").json
    assert (again["run_id"], again["state"], again["result"]) == (run_id, "success", 3)
    assert "has succeeded, there is nothing to resume" in plait("runs", "retry", run_id, code=2).err
    assert "has no task 'nope'" in plait("runs", "retry", run_id, "--task", "nope", code=2).err


def test_retry_of_one_task(plait: Command, files: Path) -> None:
    run_id = plait("run", files / "work.py", "doubles", "--json").json["run_id"]
    again = plait("runs", "retry", run_id, "--task", "double", "--json").json
    assert again["state"] == "success"
    assert len([line for line in plait.noted() if line.startswith("double")]) == 6


def test_retry_of_a_flow(plait: Command, files: Path) -> None:
    run_id = plait("run", files / "work.py", "loop", "--json").json["run_id"]
    refused = plait("runs", "retry", run_id, "--task", "double", code=2).err
    assert "has no task 'double' that can run again by itself" in refused
    assert "--task loop" in refused
    again = plait("runs", "retry", run_id, "--task", "loop", "--json").json
    assert (again["state"], again["result"], len(plait.noted())) == ("success", 6, 6)


def test_a_run_that_was_cancelled_before_it_began_is_not_resumed(plait: Command) -> None:
    (plait.folder / "single.py").write_text(SINGLE)
    first = plait.start("run", "single.py")
    wait_until(plait.noted, "the first run")
    second = plait("run", "single.py", "--json", code=1).json
    assert (second["state"], second["reason"]) == ("cancelled", "'single' has 1 active runs already")
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=60)
    told = plait("run", "single.py", "--resume", second["run_id"], code=2).err
    assert f"nothing of run {second['run_id']} is to run again" in told


SINGLE = """
import os, time
from pathlib import Path
from plait import dag, task

@task
def nap():
    Path(os.environ["NOTES"]).open("a").write("nap\\n")
    time.sleep(0 if os.environ.get("QUICK") else 60)
    return 1

@dag(max_active_runs=1, collision="skip")
def single():
    return nap()
"""


def test_retry_needs_the_code(plait: Command) -> None:
    source = plait.folder / "gone.py"
    source.write_text("from plait import flow\n\n\n@flow\ndef f():\n    raise ValueError\n")
    run_id = plait("run", "gone.py", "--json", code=1).json["run_id"]
    source.unlink()
    assert "is not there any more" in plait("runs", "retry", run_id, code=2).err
