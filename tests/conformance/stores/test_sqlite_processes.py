"""SQLite between processes: a crowd on one file, kills in the middle of commits, forks, what a start imports."""

import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from plait.adapters.stores.sqlite.store import SqliteStore

ROOT = Path(__file__).parents[3]
PROCESSES = 32
SECONDS = float(os.environ.get("PLAIT_CROWD_SECONDS", "4"))
"""For how long the crowd writes; `make soak` lets it for a minute."""


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.conformance.stores.crowd", *map(str, arguments)]


def run(*arguments: object) -> dict:
    done = subprocess.run(
        command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=100 + SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.mark.slow
def test_32_processes_open_a_fresh_file_at_once_and_write(tmp_path):
    path = tmp_path / "folder" / "plait.db"
    assert run("crowd", f"sqlite:///{path}?synchronous=NORMAL", PROCESSES, SECONDS) == {"failed": 0}
    with contextlib.closing(SqliteStore(path)) as store:
        assert len(store.list_runs(limit=100)) == PROCESSES
        assert len(store.owners()) == PROCESSES
        assert store.slots() == []
        assert store._writer.execute("PRAGMA integrity_check").fetchone() == ("ok",)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_commits_leaves_whole_transactions(tmp_path):
    path = tmp_path / "plait.db"
    chance = random.Random(7)
    told = 0
    for _ in range(10):
        process = subprocess.Popen(command("pairs", path), cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split(b"\n")
        process.stdout.close()
        process.wait()
        told = max([told, *[int(line) for line in lines[:-1] if line]])
        with contextlib.closing(SqliteStore(path)) as store:
            one, two = store.load_run("a"), store.load_run("b")
            assert one is not None
            assert two is not None
            assert one.last_seq == two.last_seq >= told, "what was told to be committed is there"
            assert len(one.tasks) == len(two.tasks) == one.last_seq == len(store.events("a", limit=10**6))
            assert len(store.slots("l")) == 2 * one.last_seq
    assert told > 20


def test_a_child_does_not_use_its_parents_store(tmp_path):
    assert run("fork", tmp_path / "plait.db") == {"status": "0", "runs": "r4 r3 r1"}


@pytest.mark.parametrize("times", [1, 2], ids=["fresh", "current"])
def test_opening_imports_no_migration_tools(tmp_path, times):
    script = f"""
import sys
from plait.adapters.stores.open import open_store, status
for _ in range({times}):
    open_store({str(tmp_path / "plait.db")!r}, migrate=True).close()
status({str(tmp_path / "plait.db")!r})
print([name for name in ("alembic", "sqlalchemy", "mako", "pickle", "cloudpickle") if name in sys.modules])
"""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(entry for entry in sys.path if entry)}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "[]\n"
