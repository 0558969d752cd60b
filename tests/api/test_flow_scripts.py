"""Flows in scripts, in files that are loaded, in worker processes, in forks."""

from collections.abc import Callable
from pathlib import Path

import pytest

from plait.bootstrap import Settings
from plait.model.errors import LoadError
from plait.runtime.session import Session
from plait.worker.loading import load_target
from tests.api.helpers import Script, run_file

SCRIPT = """
import sys
from plait import flow, task

@task
def twice(x): return 2 * x

@flow
def pipeline(n):
    return sum(twice.map(range(n)).result()) + twice(1)

result = pipeline(int(sys.argv[1]) if len(sys.argv) > 1 else 3)
print(result)
"""


def test_two_scripts_at_once_on_one_database(run_script: Callable[..., Script]):
    scripts = [run_script(SCRIPT, "40", name=f"script{number}.py", wait=False) for number in range(3)]
    assert [script.wait().ok() for script in scripts] == ["1562"] * 3


def test_a_flow_at_module_level_runs_under_plain_python(run_script: Callable[..., Script]):
    assert run_script(SCRIPT).ok() == "8"


def test_a_flow_at_module_level_does_not_run_while_it_is_loaded(session: Session, tmp_path: Path):
    (tmp_path / "loaded_script.py").write_text(SCRIPT.replace("sys.argv", "[]"))
    with pytest.warns(UserWarning, match="'pipeline' is called at module level; while the file is loaded") as caught:
        definitions = load_target(str(tmp_path / "loaded_script.py"))
    assert caught[0].filename == str(tmp_path / "loaded_script.py")
    assert caught[0].lineno == 12
    assert session.store.list_runs() == []
    run_id = session.start(definitions.workflow(None), {"n": 3})
    session.wait(run_id)
    assert session._ends.result_of(session.scheduler.runs[run_id]) == 8


def test_a_task_at_module_level_is_a_plain_call_while_it_is_loaded(tmp_path: Path):
    text = (
        "from plait import flow, task\n@task\ndef one(): return 1\nvalue = one()\n@flow\ndef pipeline(): return value\n"
    )
    (tmp_path / "plain_call.py").write_text(text)
    assert load_target(str(tmp_path / "plain_call.py")).tasks["one"].fn() == 1
    (tmp_path / "submits.py").write_text(text.replace("one()\n@flow", "one.submit()\n@flow"))
    with pytest.raises((LoadError, Exception), match=r"one.submit\(\) is called while its file is loaded") as caught:
        load_target(str(tmp_path / "submits.py"))
    assert "submits.py:4" in str(caught.value)
    assert "value = one.submit()" in str(caught.value)


def test_a_flow_of_a_file_in_worker_processes(settings: Settings, tmp_path: Path):
    """As `plait run` does it: what it submits runs in threads unless it says otherwise; by name, not by value."""
    (tmp_path / "by_name.py").write_text("""
import os, threading
from plait import flow, task

LOCK = threading.Lock()      # a function that is sent by its value could not take it along

@task
def where(n):
    with LOCK:
        return os.getpid()

@flow(executor="processes")
def pipeline():
    return os.getpid(), where.map(range(4)).result(), where.options(name="other")(1)
""")
    own, pids, other = run_file(settings, tmp_path / "by_name.py").result
    assert own not in {*pids, other}


def test_a_fork_of_a_script_has_a_session_of_its_own(run_script: Callable[..., Script]):
    text = """
import os
from plait import flow, task

@task
def twice(x): return 2 * x

@flow
def pipeline(n): return twice(n)

print(pipeline(1), flush=True)
pid = os.fork()
if pid == 0:
    print(pipeline(2), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(pipeline(3))
"""
    assert run_script(text).ok().split() == ["2", "4", "6"]
