"""Three ways to write the same thing. Try each:

plait run flows.py report                                 the dag: its graph is known before it runs
plait run flows.py countdown -p start=3                   the flow: plain Python decides as it runs
plait run flows.py --partition 2024-01-02                 the assets: what should exist, day by day
"""

from datetime import date

from plait import Retry, asset, cron, dag, daily, flow, logical_date, task

# --- tasks: plain functions with policies -----------------------------------------------------------------------------


@task(retries=Retry(2, delay=1))
def extract(day: date) -> list[int]:
    print(f"what a task prints is in its log: {day}")
    return [day.year, day.month, day.day]


@task
def double(number: int) -> int:
    return 2 * number


@task
def add(numbers) -> int:
    return sum(numbers)


# --- a dag: the body runs once, to draw the graph ---------------------------------------------------------------------


@dag(schedule=cron("0 6 * * *"))
def report(day: date = logical_date()):
    return add(double.map(extract(day)))


# --- a flow: the body runs each time, with real values ----------------------------------------------------------------


@flow
def countdown(start: int = 3) -> int:
    total = 0
    while start > 0:
        total = total + double(start)
        start = start - 1
    return total


# --- assets: a parameter's name says what it is made from -------------------------------------------------------------

days = daily("2024-01-01")


@asset(partitions=days)
def numbers(context) -> list[int]:
    return [int(part) for part in context.partition_key.split("-")]


@asset(partitions=days)
def total(numbers) -> int:
    return sum(numbers)
