"""Workflows of every kind, for the tests of the service."""

import json
import os
import time

from plait import asset, context, dag, flow, pool, task


def note(text: str) -> None:
    """Leave a line outside of the database."""
    file = os.open(os.environ["NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.write(file, (text + "\n").encode())
    os.close(file)


def hold(name: str) -> None:
    """Wait until the test lets go: a file of that name appears."""
    note(f"holds {name} {os.getpid()}")
    until = time.monotonic() + 60
    while not os.path.exists(os.environ["NOTES"] + "." + name):
        assert time.monotonic() < until, f"nobody lets {name} go"
        time.sleep(0.005)


@task
def numbers(n):
    return list(range(n))


@task
def square(i):
    print("squared", i)
    return i * i


@task
def total(xs):
    return sum(xs)


@dag
def squares(n: int = 5):
    return total(square.map(numbers(n)))


@flow
def walk(n: int = 4):
    print("walking", n)
    return sum(square(i) for i in range(n)) + sum(square.map(range(n, 2 * n)).result())


@task
def fragile():
    if not os.path.exists(os.environ["NOTES"] + ".mended"):
        raise ValueError("not yet mended")
    return "mended"


@dag
def mendable(n: int = 2):
    return fragile(), total(square.map(numbers(n)))


@task
def held(name):
    hold(name)
    note(f"done {name} {context().attempt}")
    return name


@task(retries=2)
def stubborn(name):
    hold(name)
    note(f"done {name} {context().attempt}")
    return name


@dag
def holding(name: str = "a"):
    return held(name)


@dag
def stubbornly(name: str = "a"):
    return stubborn(name)


@task
def noted(i):
    note(f"child {i}")
    return i * i


@flow
def waiting_flow(n: int = 3, name: str = "a"):
    note(f"body {os.getpid()}")
    before = [noted(i) for i in range(n)]
    stubborn(name)
    return sum(before)


@asset
def raw():
    return 3


@asset
def doubled(raw):
    return raw * 2


@flow
def deadly():
    note(f"alive {len([square(i) for i in range(2)])}")
    os.kill(os.getpid(), 9)


# --- limits -----------------------------------------------------------------------------------------------------------

pool("door", slots=2)


def inside(name: str) -> None:
    """Tell from when to when this was at work."""
    began = time.monotonic()
    time.sleep(0.05)
    note(json.dumps({"name": name, "at": [began, time.monotonic()]}))


@task(pool="door")
def through(i):
    inside("door")


@dag
def through_the_door():
    through.map([0, 1])


@task
def alone():
    inside("alone")


@dag(max_active_runs=1)
def one_at_a_time():
    alone()
