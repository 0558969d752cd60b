"""`plait runs`: what ran, what it printed; cancel, watch and retry."""

import time
from pathlib import Path

import pytest

from tests.cli.conftest import Command


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
    deadline = time.monotonic() + 20
    while not plait.noted():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    run_id = plait.last_run()["run_id"]
    shown = plait("runs", "show", run_id, "--json").json
    assert (shown["state"], shown["tasks"][0]["state"], shown["tasks"][0]["duration_s"]) == ("running", "running", None)
    assert plait("runs", "logs", run_id, "nap").out == "napping\n"
    watching = plait.start("runs", "watch", run_id)
    following = plait.start("runs", "logs", run_id, "--follow")
    time.sleep(0.5)
    began = time.monotonic()
    cancelled = plait("runs", "cancel", run_id, "--reason", "enough")
    assert f"run {run_id} of naps: cancelled" in cancelled.out
    assert time.monotonic() - began < 3
    out, _ = process.communicate(timeout=10)
    assert process.returncode == 1
    assert "enough" in out
    out, err = watching.communicate(timeout=10)
    assert watching.returncode == 1
    assert "nap" in err
    assert "cancelled" in out
    out, _ = following.communicate(timeout=10)
    assert out == "napping\n"


def test_cancel_of_a_run_whose_process_died(plait: Command, files: Path) -> None:
    process = plait.start("run", files / "work.py", "naps")
    while not plait.noted():
        time.sleep(0.02)
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


def test_retry_needs_the_code(plait: Command) -> None:
    source = plait.folder / "gone.py"
    source.write_text("from plait import flow\n\n\n@flow\ndef f():\n    raise ValueError\n")
    run_id = plait("run", "gone.py", "--json", code=1).json["run_id"]
    source.unlink()
    assert "is not there any more" in plait("runs", "retry", run_id, code=2).err
