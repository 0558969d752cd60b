"""Assets of days: `sales` notes each day; it waits for the file `notes.go`, and fails for the days in `notes.bad`."""

import os
import time
from datetime import date
from pathlib import Path

from plait import PartitionMapping, asset, cron, dag, daily, logical_date, task, weekly

NOTES = Path(os.environ["NOTES"])
days = daily("2026-01-01", end="2026-01-22")


def note(text: str) -> None:
    """A line, at once."""
    file = os.open(NOTES, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\n".encode())
    os.close(file)


@asset(partitions=days)
def sales(context) -> int:
    while not NOTES.with_suffix(".go").exists():
        time.sleep(0.02)
    bad = NOTES.with_suffix(".bad")
    if bad.exists() and context.partition_keys[0] in bad.read_text():
        raise ValueError("no data")
    note(f"sales {context.partition_keys[0]} {len(context.partition_keys)}")
    return 1


@asset(partitions=days)
def report(sales) -> int:
    return sales


@asset(partitions=weekly("2026-01-01", end="2026-01-15", day="monday"))
def week(context, report: dict[str, int]) -> int:
    note(f"week {context.partition_key}")
    return sum(report.values())


@asset(partitions=days, deps=[PartitionMapping.windows(-1).of("balance")])
def balance(context, balance: int | None, sales: int) -> int:
    note(f"balance {context.partition_key}")
    return (balance or 0) + sales


@asset
def total(week: dict[str, int]) -> int:
    return sum(week.values())


@task
def look(day):
    note(f"looked {day:%Y-%m-%d}")


@dag(schedule=cron("0 6 * * *"))
def nightly(day: date = logical_date()):
    look(day)
