"""The DAGs of the Airflow peer."""

import os
import sys

from airflow.sdk import dag, task

sys.path.insert(0, os.environ["PEER_SCRIPTS"])
from common import fib


@task
def work(n: int) -> int:
    """One task."""
    return fib(n)


def chain(n: int, count: int) -> None:
    last = work.override(task_id="s0")(n)
    for number in range(1, count):
        following = work.override(task_id=f"s{number}")(n)
        last >> following
        last = following


@dag(schedule=None)
def chain40():
    chain(10, 40)


@dag(schedule=None)
def long10():
    chain(33, 10)


@dag(schedule=None, max_active_tasks=1000)
def parallel200():
    work.expand(n=[10] * 200)


for made in (chain40, long10, parallel200):
    made()
