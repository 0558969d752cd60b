"""Workflows whose every execution leaves a line outside of the database: begun before it does anything, done before it
returns. The value of a step is the number of its own execution, so the database tells which execution it recorded."""

import os
import time

from plait import context, dag, flow, pool, task, unmapped

FOREVER = 1000
"""Retries: what is killed runs again, as often as it takes."""


def note(what: str, name: str, number: str = "") -> str:
    """Append a line in one write; returns the execution's number, which no other has."""
    here = context()
    number = number or f"{os.getpid()}-{time.monotonic_ns()}"
    line = f"{what} {here.run_id} {here.task} {name} {here.attempt} {number} {time.time():.6f}\n"
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, line.encode())
    os.close(file)
    return number


def work(name: str, seconds: float) -> str:
    """Something with an effect."""
    number = note("begun", name)
    if seconds:
        time.sleep(seconds)
    note("done", name, number)
    return number


pool("narrow", slots=3)


@task(retries=FOREVER)
def step(name, before=None, seconds=0.0):
    return work(str(name), seconds)


@task(retries=FOREVER, pool="narrow")
def narrow_step(name, seconds=0.0):
    return work(str(name), seconds)


@task(retries=FOREVER)
def names(n):
    return list(range(n))


@task(retries=FOREVER)
def gather(numbers):
    return list(numbers)


@dag
def chain(seconds: float = 0.0):
    first = step("a", seconds=seconds)
    second = step("b", first, seconds=seconds)
    return gather([first, second, step("c", second, seconds=seconds)])


@dag
def fan(n: int = 30, seconds: float = 0.0):
    return gather(step.map(names(n), seconds=unmapped(seconds)))


@dag
def narrow(n: int = 6, seconds: float = 0.002):
    return gather(narrow_step.map(names(n), seconds=unmapped(seconds)))


@flow
def walk(n: int = 5, seconds: float = 0.0):
    note("body", "walk")
    one_by_one = [step(f"s{i}", seconds=seconds) for i in range(n)]
    mapped = step.map([f"m{i}" for i in range(n)], seconds=seconds).result()
    return one_by_one + list(mapped)
