"""Tables of results, with what a number is worth: machine, versions, durability, how busy the machine was."""

import json
import os
import platform
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench.measure import Row

RESULTS = Path(__file__).parent / "results"
DURABILITY = "SQLite WAL, synchronous=FULL"


class Table:
    """Rows under columns, as text and as JSON."""

    def __init__(self, name: str, columns: tuple[str, ...]):
        self.name = name
        self.columns = columns
        self.rows: list[tuple[Any, ...]] = []

    def add(self, *values: Any) -> None:
        """Add a row."""
        self.rows.append(values)

    def text(self) -> str:
        """The table as text: numbers to the right, words to the left."""
        lines = [self.columns, *[tuple(shown(value) for value in row) for row in self.rows]]
        widths = [max(len(str(line[i])) for line in lines) for i in range(len(self.columns))]
        words = [any(isinstance(row[i], str) for row in self.rows) for i in range(len(self.columns))]
        return "\n".join(
            "  ".join(
                str(cell).ljust(width) if word else str(cell).rjust(width)
                for cell, width, word in zip(line, widths, words, strict=True)
            ).rstrip()
            for line in lines
        )

    def save(self) -> Path:
        """Write the rows as JSON, with the surroundings."""
        return save(self.name, [dict(zip(self.columns, row, strict=True)) for row in self.rows])


def save(name: str, rows: object) -> Path:
    """Write results as JSON, with the surroundings."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"surroundings": surroundings(), "rows": rows}, indent=1) + "\n")
    return path


def plain(row: Row) -> dict[str, Any]:
    """A row for JSON, with what is derived from it."""
    ratio = row.ratio
    return {**asdict(row), "ratio": asdict(ratio) if ratio is not None else None, "verdict": row.verdict}


def table_of(rows: Iterable[Row], name: str = "cases") -> Table:
    """The rows of cases as they are printed."""
    table = Table(name, ("case", "median", "best", "worst", "rate", "floor", "times the floor", "aim", "reached"))
    for row in rows:
        ratio = row.ratio
        figure = row.figure
        table.add(
            row.name + (f" ({row.note})" if row.note else ""),
            _with_unit(figure.median, row.unit),
            shown(figure.best),
            shown(figure.worst),
            f"{row.tasks / figure.median:,.0f}/s" if row.tasks else "",
            f"{_with_unit(row.floor.median, row.unit)} {row.floor_name}".strip() if row.floor is not None else "",
            f"{ratio.median:.2f} ({ratio.best:.2f} to {ratio.worst:.2f})" if ratio is not None else "",
            _aim(row),
            row.verdict,
        )
    return table


def _aim(row: Row) -> str:
    aims: list[str] = []
    if row.aim is not None:
        aims.append(f"{row.tasks / row.aim:,.0f}/s" if row.tasks else _with_unit(row.aim, row.unit))
    if row.aim_ratio is not None:
        aims.append(f"{row.aim_ratio:g} x")
    return ", ".join(aims)


def _with_unit(value: float, unit: str) -> str:
    return f"{shown(value)} {unit}".strip()


def shown(value: Any) -> str:
    """A number with about three digits that mean something."""
    if isinstance(value, float):
        return f"{value:.4f}" if abs(value) < 0.1 else f"{value:.3f}" if abs(value) < 10 else f"{value:,.1f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def surroundings() -> dict[str, Any]:
    """The machine, the versions, the durability mode, the date; and the load average, which says how quiet it was."""
    return {
        "date": time.strftime("%Y-%m-%d"),
        "commit": _commit(),
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "load": [round(each, 2) for each in os.getloadavg()],
        "python": sys.version.split()[0],
        "sqlite": sqlite3.sqlite_version,
        "platform": platform.platform(),
        "durability": DURABILITY,
    }


def _commit() -> str:
    command: Sequence[str] = ("git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def _cpu() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        return platform.processor()
    return platform.processor()
