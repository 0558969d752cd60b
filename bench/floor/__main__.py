"""`python -m bench.floor`: the floor alone: each mode of the disk, in batches of 50 and one at a time."""

import shutil
import tempfile
from pathlib import Path

from bench import postgres
from bench.floor import scheduler
from bench.floor.postgres import PostgresDisk
from bench.floor.scheduler import Disk
from bench.floor.sqlite import SqliteDisk
from bench.floor.workers import Workers
from bench.measure import Figure
from bench.report import Table, surroundings

REPEATS = 5
SIZES = {50: 10_000, 1: 1_000}
"""Tasks to a run, by the size of a batch."""


def main() -> None:
    """Measure and print; the results are kept as JSON."""
    table = Table("floor", ("disk", "batch", "tasks/s", "best", "worst", "us a task"))
    print(surroundings())
    workers = Workers()
    folder = Path(tempfile.mkdtemp(prefix="plait-floor-"))
    try:
        for mode in ("FULL", "NORMAL"):
            _measure(table, f"SQLite WAL {mode}", workers, SqliteDisk(folder / f"{mode}.db", mode))
        with postgres.start() as url:
            _measure(table, "PostgreSQL, psycopg", workers, PostgresDisk(url))
    finally:
        workers.close()
        shutil.rmtree(folder)
    print(table.text())
    table.save()


def _measure(table: Table, name: str, workers: Workers, disk: Disk) -> None:
    for batch, count in SIZES.items():
        took = Figure(tuple(scheduler.run(workers, disk, count, batch) for _ in range(REPEATS)))
        rates = [round(count / each) for each in (took.median, took.best, took.worst)]
        table.add(name, batch, *rates, took.median / count * 1e6)
    disk.close()


if __name__ == "__main__":
    main()
