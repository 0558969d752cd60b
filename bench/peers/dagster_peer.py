"""Dagster: jobs of ops, with an instance on SQLite. `mode` is in_process, or multiprocess (a process for each op)."""

import os

from common import Times, fib, options
from dagster import (
    DagsterInstance,
    In,
    Nothing,
    execute_job,
    job,
    multiprocess_executor,
    op,
    reconstructable,
)


@op(ins={"before": In(Nothing)})
def short() -> int:
    """fib(10)."""
    return fib(10)


@op(ins={"before": In(Nothing)})
def long() -> int:
    """fib(33)."""
    return fib(33)


executor = multiprocess_executor.configured({"max_concurrent": 2})


@job(executor_def=executor)
def chain40():
    last = short.alias("s0")()
    for number in range(1, 40):
        last = short.alias(f"s{number}")(last)


@job(executor_def=executor)
def long10():
    last = long.alias("s0")()
    for number in range(1, 10):
        last = long.alias(f"s{number}")(last)


@job(executor_def=executor)
def parallel200():
    for number in range(200):
        short.alias(f"s{number}")()


@job(executor_def=executor)
def fan():
    for number in range(int(os.environ["PEER_FAN"])):
        short.alias(f"s{number}")()


JOBS = {"chain40": chain40, "long10": long10, "parallel200": parallel200, "fan": fan}


def main() -> None:
    """Measure."""
    asked = options()
    how = "execute_in_process" if asked["mode"] == "in_process" else "multiprocess executor, 2 at once"
    times = Times(asked, f"{how}, runs and events in SQLite")
    with DagsterInstance.get() as instance:
        for name, one in JOBS.items():
            if asked["mode"] == "in_process":
                times.take(name, lambda one=one: one.execute_in_process(instance=instance))
            else:
                times.take(name, lambda one=one: execute_job(reconstructable(one), instance=instance), warm=False)


if __name__ == "__main__":
    main()
