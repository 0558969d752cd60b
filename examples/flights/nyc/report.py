"""The report of a day: a plot and a short text beside it."""
# ruff: noqa: PLC0415 - matplotlib is slow to import, see nyc/__init__.py

from __future__ import annotations

import io
import os
import tempfile
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from nyc import places
from nyc.analysis import Delays
from nyc.warehouse import DayCounts

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.axes import Axes

_BLUE, _RED, _DARK = "#3b6ea5", "#c8553d", "#1f2937"

_REPORT = """# Flights from New York on {day:%A, %-d %B %Y}

{flights:,} flights, {cancelled:,} of them cancelled; {quarantined:,} rows in quarantine.
{worst}

![Delays by hour and by carrier](delays.png)

{table}
"""


def publish(day: date, counts: DayCounts, delays: Delays, plot: bytes) -> Path:
    """Writes report.md and delays.png of the day; gives their folder. A reader never sees half a file."""
    folder = places.report_folder(day)
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / "delays.png", plot)
    _write(folder / "report.md", _text(counts, delays).encode())
    return folder


def draw(counts: DayCounts, delays: Delays) -> bytes:
    """The plot of the day, as PNG: equal numbers give equal bytes."""
    # The object API alone: pyplot keeps global state, which threads and forked workers would share.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(11, 4.2), layout="constrained")
    FigureCanvasAgg(figure)
    hours, carriers = figure.subplots(1, 2, width_ratios=[3, 2])
    figure.suptitle(
        f"New York, {counts.day:%Y-%m-%d}: {counts.flights:,} flights, {counts.cancelled:,} cancelled",
        fontweight="bold",
    )
    _plot_hours(hours, delays.by_hour)
    _plot_carriers(carriers, delays.by_carrier)
    for axes in (hours, carriers):
        axes.spines[["top", "right"]].set_visible(False)
    image = io.BytesIO()
    figure.savefig(image, format="png", dpi=110)
    return image.getvalue()


def _plot_hours(axes: Axes, by_hour: pd.DataFrame) -> None:
    hours = by_hour["hour"].astype(int)
    axes.bar(hours, by_hour["flights"].astype(int), color=_BLUE, alpha=0.35, label="planned flights")
    axes.bar(hours, by_hour["cancelled"].astype(int), color=_RED, label="cancelled")
    axes.set(xlabel="scheduled hour of departure (local)", ylabel="flights", xticks=range(5, 24, 3))
    minutes = axes.twinx()
    minutes.plot(hours, _floats(by_hour["mean_dep_delay"]), color=_DARK, marker="o", markersize=4, label="mean delay")
    minutes.set_ylabel("mean delay of departure (minutes)")
    minutes.spines["top"].set_visible(False)
    drawn = [pair for axis in (axes, minutes) for pair in zip(*axis.get_legend_handles_labels(), strict=True)]
    axes.legend(*zip(*drawn, strict=True), loc="lower left", bbox_to_anchor=(0, 1), ncols=3, frameon=False)


def _plot_carriers(axes: Axes, by_carrier: pd.DataFrame) -> None:
    rows = by_carrier.iloc[::-1]
    delays = _floats(rows["mean_arr_delay"])
    axes.barh(rows["carrier"].astype(str), delays, color=[_RED if delay > 0 else _BLUE for delay in delays])
    axes.axvline(0, color="black", linewidth=0.8)
    axes.set_xlabel("mean delay of arrival (minutes; below 0: early)")


def _text(counts: DayCounts, delays: Delays) -> str:
    by_carrier = delays.by_carrier.assign(airline=delays.by_carrier["airline"].fillna(delays.by_carrier["carrier"]))
    lines = ["| airline | flights | cancelled | late | departs | arrives |", "| --- | --: | --: | --: | --: | --: |"]
    lines += [
        f"| {row.airline} | {row.flights} | {row.cancelled} | {row.late} | "
        f"{_minutes(row.mean_dep_delay)} | {_minutes(row.mean_arr_delay)} |"
        for row in by_carrier.itertuples()
    ]
    lines += ["", "late: 15 minutes or more at arrival. departs, arrives: the mean delay in minutes."]
    return _REPORT.format(
        day=counts.day,
        flights=counts.flights,
        cancelled=counts.cancelled,
        quarantined=counts.quarantined,
        worst=_worst_hour(delays.by_hour),
        table="\n".join(lines),
    )


def _worst_hour(by_hour: pd.DataFrame) -> str:
    flown = by_hour.dropna(subset="mean_dep_delay")
    if flown.empty:
        return "No flight left."
    worst = max(flown.itertuples(), key=lambda row: row.mean_dep_delay)
    return f"The worst hour began at {worst.hour}:00: {_minutes(worst.mean_dep_delay)} minutes on average."


def _minutes(mean: float) -> str:
    import pandas as pd

    return "" if pd.isna(mean) else f"{mean:+.1f}"


def _floats(numbers: pd.Series) -> list[float]:
    """For matplotlib, which does not know the pandas null."""
    return numbers.astype("Float64").to_numpy(dtype=float, na_value=float("nan")).tolist()


def _write(path: Path, content: bytes) -> None:
    handle, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
    os.replace(scratch, path)
