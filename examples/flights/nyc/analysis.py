"""Adds to each flight what is known about its hour and its plane, and measures the delays of a day."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from nyc import source
from nyc.validation import Checked

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True, kw_only=True)
class Delays:
    """The delays of a day, in minutes; a mean is over the flights that left (or arrived), null where none did.

    by_carrier  one row per carrier, most flights first: carrier, airline, flights, cancelled, mean_dep_delay,
                mean_arr_delay, late (arrivals 15 minutes or more behind the schedule).
    by_hour     one row per scheduled local hour, 0 to 23: hour, flights, cancelled, mean_dep_delay, late, and the
                weather, as the flights of the hour had it: temp (F), wind_speed (mph), precip (inches), visib (miles).
    """

    by_carrier: pd.DataFrame
    by_hour: pd.DataFrame


def enrich(checked: Checked) -> pd.DataFrame:
    """The good flights, with the weather of their hour and the names behind their codes. As many rows as came in.

    Adds cancelled (true or false), temp (F), wind_speed (mph), precip (inches), visib (miles), airline, dest_name,
    plane_year and seats. Nulls where the source knows no weather, airport or plane.
    """
    tables = [
        (["origin", "time_hour"], source.weather()),
        (["carrier"], source.reference("airlines", {"carrier": "carrier", "name": "airline"})),
        (["dest"], source.reference("airports", {"faa": "dest", "name": "dest_name"})),
        (["tailnum"], source.reference("planes", {"tailnum": "tailnum", "year": "plane_year", "seats": "seats"})),
    ]
    flights = checked.good.assign(cancelled=checked.good["dep_time"].isna())
    for key, table in tables:
        flights = flights.merge(table, on=key, how="left", validate="many_to_one")
    return flights.astype({"plane_year": "Int64", "seats": "Int64"})


def measure_delays(enriched: pd.DataFrame) -> Delays:
    """The delays of what enrich gives (one row per flight), by carrier and by hour."""
    flights = enriched.assign(late=(enriched["arr_delay"] >= 15).fillna(False))
    counts = {
        "flights": ("flight", "size"),
        "cancelled": ("cancelled", "sum"),
        "mean_dep_delay": ("dep_delay", "mean"),
        "late": ("late", "sum"),
    }
    weather = {name: (name, "mean") for name in ("temp", "wind_speed", "precip", "visib")}
    by_carrier = flights.groupby(["carrier", "airline"], dropna=False, as_index=False).agg(
        **counts, mean_arr_delay=("arr_delay", "mean")
    )
    by_hour = flights.groupby("hour", as_index=False).agg(**counts, **weather)
    return Delays(
        by_carrier=by_carrier.sort_values(["flights", "carrier"], ascending=[False, True], ignore_index=True),
        by_hour=by_hour.sort_values("hour", ignore_index=True),
    )
