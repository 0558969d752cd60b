"""The warehouse: one DuckDB file. Only this module speaks SQL.

DuckDB lets one process write at a time, so the steps that open the file (load, check) belong into a pool of one slot.
A day is replaced as a whole, in one transaction: to load it again, or after a crash, gives the same rows.
"""
# ruff: noqa: PLC0415 - duckdb is slow to import, see nyc/__init__.py

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, TypedDict

from nyc import contract, places
from nyc.analysis import Delays
from nyc.errors import CheckFailed, WarehouseBusy
from nyc.validation import Checked

if TYPE_CHECKING:
    import duckdb
    import pandas as pd

# The worst day of the year, the snow storm of 9 February, had 57 % cancelled. More is a broken source, not weather.
MOST_CANCELLED = 0.75


class Summary(TypedDict):
    """What a run of a day results in."""

    day: str
    flights: int
    cancelled: int
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What load wrote of a day: extracted = flights + quarantined, or rows were lost on the way."""

    day: date
    extracted: int
    flights: int
    quarantined: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DayCounts:
    """What stands in the warehouse of a day, and was found right."""

    day: date
    flights: int
    cancelled: int
    quarantined: int


_TYPES = {"whole": "INTEGER", "clock": "INTEGER", "text": "VARCHAR", "instant": "TIMESTAMP"}
_SOURCE = {name: _TYPES[column.kind] for name, column in contract.COLUMNS.items()}
_WEATHER = {"temp": "DOUBLE", "wind_speed": "DOUBLE", "precip": "DOUBLE", "visib": "DOUBLE"}
_COUNTS = {"flights": "INTEGER", "cancelled": "INTEGER", "late": "INTEGER", "mean_dep_delay": "DOUBLE"}

# Each table starts with the column flight_date, by which a day is replaced.
_TABLES: dict[str, dict[str, str]] = {
    # one row per good flight
    "flights": _SOURCE
    | {"cancelled": "BOOLEAN"}
    | _WEATHER
    | {"airline": "VARCHAR", "dest_name": "VARCHAR", "plane_year": "INTEGER", "seats": "INTEGER"},
    # one row per bad row, as it came
    "quarantine": {"reasons": "VARCHAR"} | dict.fromkeys(contract.COLUMNS, "VARCHAR"),
    "delays_by_carrier": {"carrier": "VARCHAR", "airline": "VARCHAR"} | _COUNTS | {"mean_arr_delay": "DOUBLE"},
    "delays_by_hour": {"hour": "INTEGER"} | _COUNTS | _WEATHER,
}

_REPLACE = "DELETE FROM {table} WHERE flight_date = $day"
_INSERT = "INSERT INTO {table} (flight_date, {columns}) SELECT $day, {columns} FROM incoming"
_COUNT = """
    SELECT
        (SELECT count(*) FROM flights WHERE flight_date = $day),
        (SELECT count(*) FROM flights WHERE flight_date = $day AND dep_time IS NULL),
        (SELECT count(*) FROM quarantine WHERE flight_date = $day),
        (SELECT coalesce(sum(flights), 0) FROM delays_by_carrier WHERE flight_date = $day)
"""
_DAYS = """
    SELECT flight_date, count(*) FILTER (good), count(*) FILTER (good AND dep_time IS NULL), count(*) FILTER (NOT good)
    FROM (
        SELECT flight_date, dep_time, true AS good FROM flights
        UNION ALL
        SELECT flight_date, NULL, false FROM quarantine
    )
    WHERE flight_date BETWEEN $first AND $last GROUP BY flight_date ORDER BY flight_date
"""


def load(day: date, checked: Checked, enriched: pd.DataFrame, delays: Delays) -> Loaded:
    """Replaces the day in the warehouse: good flights as enrich gave them, bad rows with their reasons, the delays."""
    rows = {
        "flights": enriched,
        "quarantine": checked.bad,
        "delays_by_carrier": delays.by_carrier,
        "delays_by_hour": delays.by_hour,
    }
    with _connect() as warehouse:
        for table, columns in _TABLES.items():
            declared = ", ".join(f"{name} {kind}" for name, kind in columns.items())
            warehouse.execute(f"CREATE TABLE IF NOT EXISTS {table} (flight_date DATE, {declared})")
        warehouse.begin()  # an error from here on closes the connection, which rolls back
        for table, frame in rows.items():
            _replace(warehouse, table, day, frame)
        warehouse.commit()
    return Loaded(day=day, extracted=checked.extracted, flights=len(enriched), quarantined=len(checked.bad))


def check(loaded: Loaded) -> DayCounts:
    """Counts the day in the warehouse; raises CheckFailed when that is not what was loaded, or cannot be right."""
    with _connect(read_only=True) as warehouse:
        counts = warehouse.execute(_COUNT, {"day": _plain(loaded.day)}).fetchall()
    flights, cancelled, quarantined, in_delays = counts[0]
    rate = cancelled / flights if flights else 0.0
    claims = {
        f"the warehouse holds {flights} flights, {loaded.flights} were loaded": flights == loaded.flights,
        f"{quarantined} rows are in quarantine, {loaded.quarantined} were loaded": quarantined == loaded.quarantined,
        f"{loaded.extracted} rows were extracted, {flights} + {quarantined} arrived": (
            flights + quarantined == loaded.extracted
        ),
        f"the delays by carrier count {in_delays} flights, there are {flights}": in_delays == flights,
        "no flight is good": flights > 0,
        f"{rate:.0%} of the flights are cancelled, more than {MOST_CANCELLED:.0%}": rate <= MOST_CANCELLED,
    }
    broken = [claim for claim, holds in claims.items() if not holds]
    if broken:
        raise CheckFailed(f"{loaded.day:%Y-%m-%d} is not fit to be published: {'; '.join(broken)}.")
    return DayCounts(day=loaded.day, flights=flights, cancelled=cancelled, quarantined=quarantined)


def summarize(counts: DayCounts) -> Summary:
    """The day in plain data: {"day": "2013-01-01", "flights": 842, "cancelled": 4, "quarantined": 0}."""
    return _summary(counts.day, counts.flights, counts.cancelled, counts.quarantined)


def read_days(first: date, last: date) -> list[Summary]:
    """The summaries of the days in the warehouse from first to last, both included."""
    with _connect(read_only=True) as warehouse:
        rows = warehouse.execute(_DAYS, {"first": _plain(first), "last": _plain(last)}).fetchall()
    return [_summary(*row) for row in rows]


def _replace(warehouse: duckdb.DuckDBPyConnection, table: str, day: date, frame: pd.DataFrame) -> None:
    columns = ", ".join(_TABLES[table])
    warehouse.register("incoming", frame[list(_TABLES[table])])
    warehouse.execute(_REPLACE.format(table=table), {"day": _plain(day)})
    warehouse.execute(_INSERT.format(table=table, columns=columns), {"day": _plain(day)})
    warehouse.unregister("incoming")


@contextmanager
def _connect(*, read_only: bool = False) -> Iterator[duckdb.DuckDBPyConnection]:
    import duckdb

    path = places.warehouse_file()
    try:
        connection = duckdb.connect(path, read_only=read_only)
    except (duckdb.IOException, duckdb.ConnectionException) as error:
        if not path.exists():
            raise
        raise WarehouseBusy(
            f"Cannot open {path}: {error}\nDuckDB lets one process at a time in while one writes. If it is this "
            'pipeline, give the step pool="warehouse"; if it is a DuckDB shell or a notebook, close it.'
        ) from error
    try:
        yield connection
    finally:
        connection.close()


def _plain(day: date) -> date:
    """A datetime is a date too, and would compare as an instant."""
    return date(day.year, day.month, day.day)


def _summary(day: date, flights: int, cancelled: int, quarantined: int) -> Summary:
    return {"day": f"{day:%Y-%m-%d}", "flights": flights, "cancelled": cancelled, "quarantined": quarantined}
