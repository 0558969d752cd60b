"""`python -m bench.floor`: the floor alone: each mode of the disk, in batches of 50 and one at a time."""

import shutil
import tempfile
from pathlib import Path

from bench.floor import scheduler
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
            disk = SqliteDisk(folder / f"{mode}.db", mode)
            for batch, count in SIZES.items():
                took = Figure(tuple(scheduler.run(workers, disk, count, batch) for _ in range(REPEATS)))
                rates = [round(count / each) for each in (took.median, took.best, took.worst)]
                table.add(f"SQLite WAL {mode}", batch, *rates, took.median / count * 1e6)
            disk.close()
    finally:
        workers.close()
        shutil.rmtree(folder)
    print(table.text())
    table.save()


if __name__ == "__main__":
    main()
