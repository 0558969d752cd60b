"""Tables of results, with what a number is worth: machine, versions, durability."""

import json
import os
import platform
import sqlite3
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


class Table:
    """A benchmark's rows."""

    def __init__(self, name: str, columns: tuple[str, ...]):
        self.name = name
        self.columns = columns
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *values: Any) -> None:
        """Add a row."""
        self.rows.append(values)

    def text(self) -> str:
        """The table as text."""
        lines = [self.columns, *[tuple(_shown(value) for value in row) for row in self.rows]]
        widths = [max(len(str(line[i])) for line in lines) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(str(cell).rjust(width) for cell, width in zip(line, widths, strict=True)) for line in lines
        )

    def save(self) -> Path:
        """Write the rows as JSON, with the surroundings."""
        RESULTS.mkdir(exist_ok=True)
        path = RESULTS / f"{self.name}.json"
        rows = [dict(zip(self.columns, row, strict=True)) for row in self.rows]
        path.write_text(json.dumps({"surroundings": surroundings(), "rows": rows}, indent=1) + "\n")
        return path


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def surroundings() -> dict[str, Any]:
    """The machine, the versions, the durability mode, the date."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
        "durability": "SQLite WAL, synchronous=FULL",
    }


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor()
    return platform.processor()
