"""A service deletes what ended long ago: its rows, its results, its logs."""

import os

import msgspec

from plait.ports import RunBatch
from tests.service.house import House

DAYS = 86400.0
SOURCE = """
from plait import dag, task

@task
def large():
    print("printed", "here")
    return "x" * 100_000

@dag
def work():
    large()
"""


def aged(house: House, run_id, days: float) -> None:
    """As if this had ended that many days earlier; and as if what lies there in files had been written then."""
    row = house.row(run_id)
    assert row.finished_at is not None
    older = msgspec.structs.replace(row, finished_at=row.finished_at - days * DAYS)
    with house.store.transaction() as tx:
        tx.write(RunBatch(run_id=run_id, epoch=row.epoch, run=older))
    for path in (house.home / "logs").iterdir():
        os.utime(path, (path.stat().st_atime, path.stat().st_mtime - days * DAYS))


def test_old_runs_vanish_with_their_results_and_logs(house):
    house.put("work.py", SOURCE)
    first = house.dev("work.py")
    runs = [house.ask("work.py", "work") for _ in range(2)]
    for run_id in runs:
        house.ended(run_id)
    first.stop()
    logs, results = house.home / "logs", house.home / "results"
    old_logs = set(logs.iterdir())
    assert old_logs
    assert {run_id for run_id in runs if (results / run_id).exists()} == set(runs)
    aged(house, runs[0], 31)
    aged(house, runs[1], 28)

    house.dev("work.py")
    house.until(lambda: house.store.get_run(runs[0]) is None, "the old run vanishes")
    house.until(lambda: not (results / runs[0]).exists(), "its results do")
    house.until(lambda: not old_logs & set(logs.iterdir()), "logs that were written long ago do")
    assert house.row(runs[1]).state == "success"
    assert house.value(runs[1], "large") == "x" * 100_000
