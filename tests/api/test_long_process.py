"""A process that runs workflows again and again: it keeps nothing of those that are over, no handle and no thread
(F14, F19)."""

import gc
import os
import sys
import threading

import pytest

from plait import dag, flow, task
from tests.kept import places


@task
def one(i):
    sys.stdout.write(f"one {i}\n")
    return i


@task
def two(i):
    return i + 1


@flow
def inner(i):
    return two(i)


@flow
def walk(n=3):
    futures = [one.submit(i) for i in range(n)]
    return sum(future.result() for future in futures) + inner(1)


@task(retries=1)
def breaks():
    raise ValueError("as it was told")


@flow
def failing():
    return breaks()


@dag
def chain():
    two.map(one.map([1, 2, 3]))


def some_runs() -> None:
    for _ in range(5):
        walk()
        chain()
        with pytest.raises(ValueError, match="as it was told"):
            failing()


def handles() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(sys.platform != "linux", reason="counts open files in /proc")
def test_nothing_is_kept_of_runs_that_are_over(session):
    some_runs()
    before = handles(), threading.active_count()
    some_runs()
    some_runs()
    # What readings at the same time have opened stays open for the next ones; each of the 30 runs had files of its own.
    assert (handles() - before[0] < 10, threading.active_count()) == (True, before[1])
    run_ids = [row.run_id for row in session.store.list_runs(limit=1000)]
    assert len(run_ids) == 45
    assert places({"session": session}, run_ids) == []


def test_objects_do_not_become_more(session):
    some_runs()
    counts = []
    for _ in range(3):
        some_runs()
        gc.collect()
        counts.append(sum(str(type(each).__module__).startswith("plait.") for each in gc.get_objects()))
    assert counts[2] <= counts[0] + 10, "what there is after 45 runs was there after 30"
