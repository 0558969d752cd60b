"""PostgreSQL between processes: a crowd on a fresh schema, rivals for everything, kills in the middle of commits."""

import contextlib
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psycopg
import pytest

from plait.adapters.stores.open import open_store
from plait.model.rows import LimitRow
from tests import pg
from tests.conformance.stores.crowd import RIVALED, SHARED
from tests.conformance.stores.kinds import create, run_row

pytestmark = [pytest.mark.postgres, pytest.mark.slow]
ROOT = Path(__file__).parents[3]
PROCESSES = 12
RIVALS = 6
SECONDS = 3.0


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.conformance.stores.crowd", *map(str, arguments)]


@pytest.fixture
def url():
    with pg.schema() as made:
        yield made


@pytest.fixture
def no_deadlocks():
    """What the server counts of them stays as it is."""
    before = deadlocks()
    yield
    assert deadlocks() == before


def deadlocks() -> int:
    with psycopg.connect(pg.url(), autocommit=True) as connection:
        connection.execute("SELECT pg_stat_force_next_flush()")
        row = connection.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()").fetchone()
        assert row is not None
        return int(row[0])


@pytest.mark.usefixtures("no_deadlocks")
def test_a_crowd_opens_a_fresh_schema_at_once_and_writes(url):
    done = subprocess.run(
        command("crowd", url, PROCESSES, SECONDS), cwd=ROOT, capture_output=True, text=True, timeout=100, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == {"failed": 0}
    with contextlib.closing(open_store(url)) as store:
        assert len(store.list_runs(limit=100)) == PROCESSES
        assert len(store.owners()) == PROCESSES
        assert store.slots() == []


@pytest.mark.usefixtures("no_deadlocks")
def test_rivals_for_runs_limits_assets_and_workflows(url):
    """Each takes the others' runs, in any order: what is written is whole, limits hold, and nobody is a deadlock's
    victim."""
    with contextlib.closing(open_store(url)) as store:
        store.save_limits([LimitRow(key=key, slots=2) for key in SHARED])
        create(store, *[run_row(run_id) for run_id in RIVALED])
        processes = [
            subprocess.Popen(
                command("rivals", url, f"rival {number}", SECONDS),
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(RIVALS)
        ]
        for process in processes:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in processes:
            assert process.stdin is not None
            process.stdin.write("go\n")
            process.stdin.flush()
        while any(process.poll() is None for process in processes):
            for key in SHARED:
                assert sum(row.slots for row in store.slots(key)) <= 2
        said = [json.loads(process.communicate()[0]) for process in processes]
        assert [process.returncode for process in processes] == [0] * RIVALS
        assert all(sum(each[what] for each in said) > 0 for what in ("written", "stale", "refused")), "they did meet"
        total = 0
        for run_id in RIVALED:
            snapshot = store.load_run(run_id)
            assert len(snapshot.tasks) == snapshot.last_seq == len(store.events(run_id, limit=10**6))
            total += snapshot.last_seq
        assert total == 2 * sum(each["written"] for each in said), "what was told to be committed is there, and no more"


def test_a_kill_in_the_middle_of_commits_leaves_whole_transactions(url):
    chance = random.Random(7)
    told = 0
    for _ in range(10):
        process = subprocess.Popen(command("pairs", url), cwd=ROOT, stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        time.sleep(chance.uniform(0.0, 0.15))
        process.send_signal(signal.SIGKILL)
        lines = process.stdout.read().split(b"\n")
        process.stdout.close()
        process.wait()
        told = max([told, *[int(line) for line in lines[:-1] if line]])
        with contextlib.closing(open_store(url)) as store:
            one, two = store.load_run("a"), store.load_run("b")
            assert one is not None
            assert two is not None
            assert one.last_seq >= told, "what was told to be committed is there"
            assert len(one.tasks) == one.last_seq == len(store.events("a", limit=10**6))
            assert len(two.tasks) == two.last_seq == len(store.events("b", limit=10**6))
            assert abs(one.last_seq - two.last_seq) <= 1, "between the two looks the server may have gone on"
            assert len(store.slots("l")) >= 2 * told
    assert told > 20
