"""`plait check`: whatever a file does while it is loaded is told, and the others are found."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import msgspec
import pytest

from plait.model.errors import UsageError
from plait.worker.found import Found
from plait.worker.isolated import Request, load_isolated
from tests.cli.conftest import Command

GOOD = '''"""Loads."""

from plait import asset, dag, flow, task


@task
def step(x):
    return x


@dag
def straight():
    return step(1)


@flow
def body():
    raise RuntimeError("a flow is not run when its file is loaded")


@asset
def thing():
    return 1


body()
'''
BAD = {
    "syntax.py": ("x = (\n", "SyntaxError", 1),
    "raises.py": ("import not_there_at_all\n", "ModuleNotFoundError: No module named 'not_there_at_all'", 1),
    "exits.py": ("import sys\n\nsys.exit(4)\n", "exits while it is loaded (SystemExit: 4)", 3),
    "hard_exit.py": ("import os\n\nos._exit(5)\n", "with exit code 5", 3),
    "hangs.py": ("import time\n\n\ndef wait():\n    time.sleep(99)\n\n\nwait()\n", "was still loading after 1 s", 5),
    "floods.py": ('while True:\n    print("x" * 1000)\n', "was still loading after 1 s", 2),
    "crashes.py": (
        "import ctypes\n\n\ndef boom():\n    ctypes.string_at(0)\n\n\nboom()\n",
        "crashed its process while it was loaded: SIGSEGV",
        5,
    ),
    "killed.py": ("import os\n\nos.kill(os.getpid(), 9)\n", "SIGKILL", None),
    "replaced.py": ('import os\n\nos.execv("/bin/true", ["true"])\n', "with exit code 0", None),
    "asks.py": ('input("name?")\n', "EOFError", 1),
    "interrupts.py": ("raise KeyboardInterrupt\n", "KeyboardInterrupt", 1),
    "bad_body.py": (
        "from plait import dag\n\n\n@dag\ndef d():\n    return {}['k']\n",
        "the body of the dag 'd' raises while its graph is made: KeyError: 'k'",
        6,
    ),
    "cycle.py": (
        "from plait import asset\n\n\n@asset\ndef a(b): ...\n\n\n@asset\ndef b(a): ...\n",
        "cycle",
        None,
    ),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("defs")
    for name, (text, _, _) in BAD.items():
        (folder / name).write_text(text)
    (folder / "good.py").write_text(GOOD)
    (folder / "nothing.py").write_text('"""No definitions."""\n')
    return folder


@pytest.fixture(scope="module")
def checked(shared: Command, folder: Path):
    return shared("check", folder, "--json", "--load-timeout", 1, code=1)


def test_the_object(checked, folder: Path) -> None:
    found = checked.json
    assert list(found) == ["files", "workflows", "assets", "errors", "warnings"]
    assert found["files"] == len(BAD) + 2
    good = str(folder / "good.py")
    assert {"name": "straight", "kind": "dag", "file": good} in found["workflows"]
    assert {"name": "body", "kind": "flow", "file": good} in found["workflows"]
    assert {"name": "thing", "kind": "asset", "file": good} in found["assets"]
    assert {Path(each["file"]).name for each in found["errors"]} == set(BAD)


@pytest.mark.parametrize("name", BAD)
def test_what_happened_and_where(checked, folder: Path, name: str) -> None:
    _, told, line = BAD[name]
    error = next(each["error"] for each in checked.json["errors"] if each["file"] == str(folder / name))
    assert told in error
    assert str(folder / name) + (f":{line}" if line else "") in error


def test_for_people(shared: Command, folder: Path) -> None:
    one = shared("check", folder / "raises.py", code=1)
    assert one.out == "1 file: 0 dags, 0 flows, 0 assets; 1 error\n"
    assert "import not_there_at_all" in one.err
    assert "plait/worker" not in one.err
    good = shared("check", folder / "good.py")
    assert good.out == "1 file: 1 dag, 1 flow, 1 asset; 0 errors\n"
    assert "'body' is called at module level" in good.err


def test_nothing_is_left_behind(tmp_path: Path) -> None:
    mark = f"{time.time_ns()}"
    (tmp_path / "leaves.py").write_text(f'import subprocess\n\nsubprocess.Popen(["sleep", "99.{mark}"])\n')
    assert load_isolated(Request(target=str(tmp_path))).errors == []
    assert mark not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout


def test_a_caller_with_threads_is_served_by_a_helper(files: Path) -> None:
    stop = threading.Event()
    thread = threading.Thread(target=stop.wait)
    thread.start()
    try:
        found = load_isolated(Request(target=str(files / "one.py")))
        with pytest.raises(UsageError, match="no file"):
            load_isolated(Request(target="nowhere.py"))
    finally:
        stop.set()
        thread.join()
    assert [each.name for each in found.workflows] == ["squares"]


def test_the_helper_does_the_work_also_where_every_python_has_a_thread(files: Path, tmp_path: Path) -> None:
    """Profilers and tracing start one in `sitecustomize`: a helper that asked another helper would never end."""
    (tmp_path / "sitecustomize.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(300,), daemon=True).start()\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "plait.worker.isolated"],
        input=msgspec.json.encode({"request": Request(target=str(files / "one.py")), "path": sys.path}),
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    found = msgspec.msgpack.decode(done.stdout, type=Found)
    assert [each.name for each in found.workflows] == ["squares"]


def test_assets_of_several_files_fit_together(tmp_path: Path) -> None:
    (tmp_path / "raw.py").write_text("from plait import asset\n\n\n@asset\ndef raw():\n    return 1\n")
    (tmp_path / "made.py").write_text("from plait import asset\n\n\n@asset\ndef made(raw):\n    return raw\n")
    whole = load_isolated(Request(target=str(tmp_path), graphs=True))
    assert whole.errors == []
    assert whole.asset_graph is not None
    assert {node.key for node in whole.asset_graph.nodes} == {"raw", "made"}
    (tmp_path / "raw.py").unlink()
    (error,) = load_isolated(Request(target=str(tmp_path))).errors
    assert "'made' is made from 'raw', which is not an asset here" in error.error


def test_packages_and_siblings(tmp_path: Path, shared: Command) -> None:
    """A file in a package is loaded under its dotted name; what is imported from a sibling counts once, where it is."""
    package = tmp_path / "jobs"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "base.py").write_text("from plait import flow\n\n\n@flow\ndef nightly(): ...\n")
    (package / "more.py").write_text("from .base import nightly\n\nassert nightly\n")
    (tmp_path / "top.py").write_text("from jobs.base import nightly\n\nassert nightly\n")
    found = shared("check", tmp_path, "--json").json
    assert found["workflows"] == [{"name": "nightly", "kind": "flow", "file": str(package / "base.py")}]
    shared.folder.joinpath("by_name.py").write_text("from plait import flow\n\n\n@flow\ndef named(): ...\n")
    assert shared("check", "by_name", "--json").json["workflows"][0]["name"] == "named"


def test_two_of_one_name_are_a_warning(tmp_path: Path, shared: Command) -> None:
    for name in ("a.py", "b.py"):
        (tmp_path / name).write_text("from plait import flow\n\n\n@flow\ndef main(): ...\n")
    result = shared("check", tmp_path)
    assert "2 flows" in result.out
    assert "two workflows have the name 'main'" in result.err


def test_an_asset_that_is_waited_for_and_not_here_is_a_warning(tmp_path: Path, shared: Command) -> None:
    text = (
        "from plait import asset, external, flow, updated\n\nelse_ = external('elsewhere')\n\n\n"
        "@asset\ndef orders(): ...\n\n\n@flow(schedule=updated('ordres', orders, else_))\ndef main(): ...\n"
    )
    (tmp_path / "a.py").write_text(text)
    [told] = shared("check", tmp_path, "--json").json["warnings"]
    assert told.startswith("'main' waits for asset 'ordres', which nothing here defines; did you mean 'orders'?")
    assert f"at {tmp_path / 'a.py'}:10" in told
    assert "did you mean 'orders'?" in shared("check", tmp_path).err


@pytest.mark.slow
def test_many_files(tmp_path: Path) -> None:
    text = (
        "from plait import dag, task\n\n\n@task\ndef a(x: int): ...\n\n\n"
        "@dag\ndef d{}(n: int | None = None):\n    a(n)\n"
    )
    for at in range(300):
        (tmp_path / f"file_{at}.py").write_text(text.format(at))
    found = load_isolated(Request(target=str(tmp_path)))
    assert len(found.workflows) == 300
