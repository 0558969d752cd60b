"""What `make demo` runs: January 2013 through plait, then a table of what stands in the warehouse.

python examples/flights/demo.py
"""

import os
import subprocess
import sys
from datetime import date
from pathlib import Path

from rich.console import Console
from rich.table import Table

from nyc import places, warehouse

HERE = Path(__file__).parent
FIRST, LAST = date(2013, 1, 1), date(2013, 1, 31)
KNOWN = (27_004, 521)  # flights of the month, and the cancelled ones among them


def main() -> int:
    command = [sys.executable, "-m", "plait", "run", os.path.relpath(HERE / "month.py")]
    command += ["-p", f"first={FIRST}", "-p", f"last={LAST}"]
    console = Console()
    console.print(f"$ plait {' '.join(command[3:])}", style="bold", highlight=False)
    # The folder is named, so that the run and the table below look at the same one.
    run = subprocess.run(command, env={**os.environ, "FLIGHTS_DATA": str(places.data_folder())}, check=False)
    if run.returncode != 0:
        return run.returncode

    days = warehouse.read_days(FIRST, LAST)
    totals = [sum(day[name] for day in days) for name in ("flights", "cancelled", "quarantined")]
    table = Table(title=f"Flights from New York, {FIRST:%B %Y}", show_footer=True)
    table.add_column("day", footer=f"{len(days)} days")
    for name, total in zip(("flights", "cancelled", "quarantined"), totals, strict=True):
        table.add_column(name, footer=f"{total:,}", justify="right")
    for day in days:
        table.add_row(day["day"], *(f"{day[name]:,}" for name in ("flights", "cancelled", "quarantined")))
    console.print(table)
    console.print(f"Warehouse: {os.path.relpath(places.warehouse_file())}", highlight=False)
    console.print(f"Reports:   {os.path.relpath(places.data_folder() / 'reports')}/<day>/report.md", highlight=False)

    if tuple(totals[:2]) != KNOWN:
        console.print(f"Expected {KNOWN[0]:,} flights, {KNOWN[1]} of them cancelled.", style="bold red")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
