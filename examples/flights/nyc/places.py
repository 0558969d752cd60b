"""Where the example keeps its files: the folder in FLIGHTS_DATA, or else `examples/flights/.data/`."""

import os
from datetime import date
from pathlib import Path


def data_folder() -> Path:
    """The folder of everything that the example writes; made when it is not there."""
    folder = Path(os.environ.get("FLIGHTS_DATA") or Path(__file__).parent.parent / ".data").absolute()
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def warehouse_file() -> Path:
    return data_folder() / "flights.duckdb"


def report_folder(day: date) -> Path:
    return data_folder() / "reports" / f"{day:%Y-%m-%d}"


def extra_rows_file() -> Path | None:
    """A CSV of late flights, which the environment may name; each row counts for the day that its date says."""
    name = os.environ.get("FLIGHTS_EXTRA_ROWS")
    return Path(name) if name else None
