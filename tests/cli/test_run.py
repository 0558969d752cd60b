"""`plait run`: what runs, what it says where, and how it ends."""

import os
import signal
from pathlib import Path

import pytest

from plait.cli.run import iso_date, parse_value, split_params
from tests.cli.conftest import Command
from tests.waiting import wait_until

KEYS = ["run_id", "workflow", "state", "result", "tasks"]
TASK_KEYS = ["key", "map_index", "state", "attempts", "duration_s", "error"]


def test_the_object(shared: Command, files: Path) -> None:
    result = shared("run", files / "work.py", "doubles", "-p", "count=3", "--json")
    found = result.json
    assert list(found)[: len(KEYS)] == KEYS
    assert (found["workflow"], found["state"], found["result"], found["error"]) == ("doubles", "success", 6, None)
    assert [list(task)[: len(TASK_KEYS)] for task in found["tasks"]] == [TASK_KEYS] * 5
    assert [(task["key"], task["map_index"]) for task in found["tasks"]] == [
        ("numbers", None),
        ("double", 0),
        ("double", 1),
        ("double", 2),
        ("total", None),
    ]
    assert all(task["state"] == "success" and task["attempts"] == 1 for task in found["tasks"])
    assert all(task["duration_s"] >= 0 and task["error"] is None for task in found["tasks"])
    assert "doubling" not in result.err
    assert shared("runs", "show", found["run_id"], "--json").json == found


def test_progress_goes_to_stderr_and_results_to_stdout(shared: Command, files: Path) -> None:
    result = shared("run", files / "work.py", "doubles", "--executor", "threads")
    assert "result: 6" in result.out
    assert "double \u00d73" in result.out
    assert "doubling" not in result.out + result.err
    assert len(result.err.splitlines()) <= 4
    assert "dag doubles" in result.err


@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_stdout_is_for_results_whatever_user_code_writes_there(shared: Command, files: Path, executor: str) -> None:
    result = shared("run", files / "noisy.py", "body", "--executor", executor, "--json")
    assert result.json["result"] == 2
    assert "module: echoed" in result.err
    again = shared("runs", "retry", result.json["run_id"], "--task", "body", "--executor", executor, "--json")
    assert again.json["result"] == 2
    for command in ("list", "check", "graph"):
        name = ("body",) if command == "graph" else ()
        assert shared(command, files / "noisy.py", *name, "--json").json


def test_a_crash_shows_where_the_users_code_was(shared: Command, files: Path) -> None:
    err = shared("run", files / "noisy.py", "segfault", code=1).err
    assert "SIGSEGV" in err
    assert f'  |   File "{files / "noisy.py"}", line 28 in crashes' in err
    assert "plait/worker" not in err


def test_a_failed_run_is_exit_code_one(shared: Command, files: Path) -> None:
    result = shared("run", files / "work.py", "fails", "--json", code=1)
    found = result.json
    assert found["state"] == "failed"
    assert found["error"] == "ValueError: no 1, please"
    assert found["result"] is None
    states = {(task["key"], task["map_index"]): (task["state"], task["attempts"]) for task in found["tasks"]}
    assert states["breaks", 1] == ("failed", 2)
    assert states["breaks", 0] == ("success", 1)
    assert states["total", None] == ("upstream_failed", 0)
    broken = next(task for task in found["tasks"] if task["map_index"] == 1)
    assert broken["error"] == "ValueError: no 1, please"
    assert broken["error_at"].startswith(f"{files / 'work.py'}:")


def test_a_failure_is_shown_with_its_traceback_and_log(shared: Command, files: Path) -> None:
    result = shared("run", files / "work.py", "fails", code=1)
    assert "breaks[1] failed (attempt 2)" in result.err
    assert 'raise ValueError(f"no {x}, please")' in result.err
    assert "| about to break on 1" in result.err
    assert "harness.py" not in result.err
    assert "ValueError: no 1, please" in result.out


@pytest.mark.parametrize("executor", ["inline", "threads", "processes"])
def test_a_flow(shared: Command, files: Path, executor: str) -> None:
    found = shared("run", files / "work.py", "loop", "-p", "count=4", "--executor", executor, "--json").json
    assert (found["state"], found["result"], found["kind"]) == ("success", 12, "flow")
    assert [(task["key"], task["map_index"]) for task in found["tasks"]] == [("double", at) for at in range(4)]


def test_a_flow_that_raises(shared: Command, files: Path) -> None:
    found = shared("run", files / "work.py", "loop_fails", "--json", code=1).json
    assert found["error"] == "ValueError: no 1, please"
    assert [task["state"] for task in found["tasks"]] == ["failed"]


def test_one_workflow_need_not_be_named(shared: Command, files: Path) -> None:
    assert shared("run", files / "one.py", "--json").json["result"] == [0, 1, 4]


def test_date_and_text_parameters(shared: Command, files: Path) -> None:
    found = shared("run", files / "work.py", "dated", "--date", "2013-02-09", "-p", "version=3", "--json").json
    assert found["result"] == {"day": "2013-02-09", "version": "3"}
    assert found["logical_date"] == "2013-02-09"
    found = shared("run", files / "work.py", "dated", "-p", "day=2013-01-01", "--json").json
    assert found["result"]["day"] == "2013-01-01"


def test_assets(shared: Command, files: Path) -> None:
    found = shared("run", files / "assets.py", "--partition", "2024-02-03", "--json").json
    assert found["result"] == {"day": "20240203"}
    assert found["partition"] == "2024-02-03"
    some = shared("run", files / "assets.py", "--partition", "2024-02-03", "--select", "+tidy", "--json").json
    assert [task["key"] for task in some["tasks"]] == ["raw", "tidy"]
    one = shared("run", files / "assets.py", "raw", "--partition", "2024-02-03", "--json").json
    assert [task["key"] for task in one["tasks"]] == ["raw"]


def test_what_is_not_plain_data_is_described(shared: Command, files: Path) -> None:
    found = shared("run", files / "work.py", "odd", "--json").json
    assert found["result"] is None
    assert "not plain data" in found["result_note"]


def test_a_skip(shared: Command, files: Path) -> None:
    found = shared("run", files / "work.py", "skipped", "--json").json
    assert {task["key"]: task["state"] for task in found["tasks"]}["skips"] == "skipped"


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["work.py"], "there are several workflows here"),
        (["work.py", "nope"], "there is no workflow 'nope'"),
        (["work.py", "doubles", "-p", "count=many"], "parameter 'count' of 'doubles' does not fit"),
        (["work.py", "doubles", "-p", "size=1"], "'doubles' has no parameter 'size'"),
        (["work.py", "doubles", "-p", "count"], "is not KEY=VALUE"),
        (["work.py", "dated", "--date", "yesterday"], "is not a date"),
        (["work.py", "doubles", "--select", "raw"], "--select chooses assets"),
        (["assets.py"], "has partitions, and none is given"),
        (["assets.py", "--partition", "2025-01-01"], "not before the end"),
        (["assets.py", "--partition", "2024-01-01", "--select", "nope"], "no asset is selected by 'nope'"),
        (["assets.py", "--partition", "2024-01-01", "-p", "x=1"], "assets have no parameters"),
        (["work.py", "doubles", "--resume", "ffff"], "there is no run 'ffff'"),
        (["work.py", "doubles", "--executor", "moon"], "moon"),
        (["none.py"], "there is no file or folder"),
    ],
)
def test_wrong_use(shared: Command, files: Path, args: list[str], told: str) -> None:
    result = shared("run", files / args[0], *args[1:], code=2)
    assert told in result.err
    assert "Traceback" not in result.err
    assert result.out == ""


def test_wrong_use_leaves_no_run(plait: Command, files: Path) -> None:
    plait("run", files / "work.py", "doubles", "-p", "count=many", code=2)
    plait("run", files / "assets.py", "--partition", "2025-01-01", code=2)
    assert plait("runs", "list", "--json").json == {"runs": []}


@pytest.mark.parametrize(
    ("text", "told", "where"),
    [
        ("import sys\n\nsys.exit(3)\n", "SystemExit: 3", "bad.py"),
        ("import not_there\n", "ModuleNotFoundError", "bad.py:1"),
        ("from plait import dag\n\n\n@dag\ndef d():\n    return {}['k']\n", "KeyError: 'k'", "bad.py:6"),
    ],
)
def test_a_file_that_does_not_load(shared: Command, text: str, told: str, where: str) -> None:
    (shared.folder / "bad.py").write_text(text)
    result = shared("run", "bad.py", code=2)
    assert told in result.err
    assert where in result.err
    assert "Traceback" not in result.err


def test_json_is_taken_apart_and_text_stays() -> None:
    assert split_params(["a=1", "b=x=y"]) == {"a": "1", "b": "x=y"}
    assert parse_value("[1, 2]") == [1, 2]
    assert parse_value("2013-01-01") == "2013-01-01"
    assert parse_value("NaN") == "NaN"
    assert parse_value("3", text=True) == "3"
    assert parse_value('"3"', text=True) == "3"
    assert parse_value("null", text=True) == "null"
    assert iso_date("2013-02-09T06:00Z") == "2013-02-09T06:00:00+00:00"


# --- interruptions ----------------------------------------------------------------------------------------------------


def _until(command: Command, count: int) -> None:
    """Wait until tasks have noted so many lines."""
    wait_until(lambda: len(command.noted()) >= count, f"{count} notes of tasks")


@pytest.mark.parametrize("name", ["naps", "naps_in_body", "dozes"])
def test_ctrl_c_cancels_the_run(plait: Command, files: Path, name: str) -> None:
    process = plait.start("run", files / "work.py", name, "--json")
    _until(plait, 1)
    os.kill(process.pid, signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "cancelling the run" in err
    assert "Traceback" not in err
    assert '"state": "cancelled"' in out
    assert plait.last_run()["state"] == "cancelled"


def test_a_second_ctrl_c_kills(plait: Command, files: Path) -> None:
    process = plait.start("run", files / "stubborn.py")
    _until(plait, 1)
    os.kill(process.pid, signal.SIGINT)
    assert process.stderr is not None
    assert any("once more to kill it" in line for line in process.stderr)
    os.kill(process.pid, signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "killed" in err
    assert plait.last_run()["state"] == "crashed"


@pytest.mark.parametrize("name", ["slow", "slow_flow"])
def test_killed_and_resumed(plait: Command, files: Path, name: str) -> None:
    """What had succeeded when the whole process group was killed does not run again."""
    process = plait.start("run", files / "work.py", name)
    _until(plait, 6)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    row = plait.last_run()
    assert row["state"] == "crashed"
    before = plait("runs", "show", row["run_id"], "--json").json
    done = sum(task["state"] == "success" for task in before["tasks"])
    assert done >= 1
    found = plait("run", files / "work.py", name, "--resume", row["run_id"][:20], "--json").json
    assert (found["run_id"], found["state"], found["result"]) == (row["run_id"], "success", 380)
    assert len(plait.noted()) <= 20 + 2  # those in flight when it died
    again = plait("run", files / "work.py", name, "--resume", row["run_id"], "--json")
    assert again.json["result"] == 380
    assert "has succeeded already" in again.err


def test_a_failed_run_is_resumed_from_its_failures(plait: Command, files: Path) -> None:
    failed = plait("run", files / "work.py", "fails", "--json", code=1).json
    found = plait("run", files / "work.py", "fails", "--resume", failed["run_id"], "--json", MENDED="1").json
    assert (found["run_id"], found["state"], found["result"]) == (failed["run_id"], "success", 3)
    assert (
        "one of 'fails', not of 'doubles'"
        in plait("run", files / "work.py", "doubles", "--resume", failed["run_id"], code=2).err
    )
