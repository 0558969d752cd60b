"""What the command line's tests run: small, quick, and some of it fails on purpose."""

import asyncio
import os
import sys
import time
from datetime import date
from pathlib import Path

from plait import Retry, Skip, dag, flow, logical_date, task


def note(text):
    """One line a call in the file that the environment names, so that a test can count calls."""
    if os.environ.get("NOTES"):
        with Path(os.environ["NOTES"]).open("a") as file:
            file.write(f"{text}\n")


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


@task
def numbers(count):
    say(f"making {count} numbers")
    return list(range(count))


@task
def double(x):
    note(f"double {x}")
    say(f"doubling {x}")
    return 2 * x


@task
def total(values):
    return sum(values)


@dag
def doubles(count: int = 3, label: str = "none"):
    """Doubles some numbers and adds them up."""
    return total(double.map(numbers(count)))


@dag
def dated(day: date = logical_date(), version: str = "1"):
    return describe(day, version)


@task
def describe(day, version):
    return {"day": day.isoformat(), "version": version}


@task(retries=Retry(1, delay=0))
def breaks(x):
    say(f"about to break on {x}")
    if x == 1 and not os.environ.get("MENDED"):
        raise ValueError(f"no {x}, please")
    return x


@dag
def fails():
    return total(breaks.map([0, 1, 2]))


@task
def skips():
    raise Skip("nothing to do")


@dag
def skipped():
    return total([skips()])


@flow
def loop(count: int = 3):
    say("in the body")
    return sum(double(i) for i in range(count))


@flow
def loop_fails():
    return breaks(1)


@task
def nap(seconds):
    note("nap")
    say("napping")
    time.sleep(seconds)
    return seconds


@dag
def naps(seconds: float = 60.0):
    return nap(seconds)


@flow
def naps_in_body(seconds: float = 60.0):
    note("nap")
    time.sleep(seconds)


@task
def slow_double(x):
    time.sleep(0.05)
    note(f"slow {x}")
    return 2 * x


@dag
def slow():
    return total(slow_double.map(list(range(20))))


@flow
def slow_flow():
    return sum(slow_double(i) for i in range(20))


class Odd:
    """Not plain data."""


@task
def make_odd():
    return Odd()


@dag
def odd():
    return make_odd()


@task
def same(x):
    return x


@dag
def many(count: int = 2000):
    return total(same.map(numbers(count)))


@task
async def doze(seconds):
    note("nap")
    await asyncio.sleep(seconds)


@flow
async def dozes(seconds: float = 60.0):
    await doze(seconds)
