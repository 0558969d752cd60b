"""Whether an asset is as new as it has to be (`Freshness`)."""

import math
from enum import StrEnum

from plait.engine import schedules
from plait.model.assets import Freshness
from plait.model.policies import Value
from plait.model.rows import AssetRow
from plait.model.schedules import Cron


class Age(StrEnum):
    """`unknown`: it was never materialized and no deadline has passed, or nothing says how new it has to be."""

    FRESH = "fresh"
    LATE = "late"
    UNKNOWN = "unknown"


class FreshnessReport(Value):
    """How new an asset is. `why` is for people; `late_at`: when it becomes (or became) late, if nothing happens (epoch
    seconds)."""

    state: Age
    why: str = ""
    late_at: float | None = None


def check(freshness: Freshness | None, row: AssetRow | None, now: float) -> FreshnessReport:
    """How new an asset (or its latest partition) is now. Raises DefinitionError for a deadline that is no cron
    expression."""
    if freshness is None:
        return FreshnessReport(state=Age.UNKNOWN)
    reports: list[FreshnessReport] = []
    if freshness.deadline:
        reports.append(_deadline(freshness, row, now))
    if freshness.lag is not None:
        reports.append(_lag(freshness.lag, row, now))
    late = [report for report in reports if report.state is Age.LATE]
    if late:
        return min(late, key=lambda report: report.late_at or 0.0)
    known = [report for report in reports if report.state is Age.FRESH]
    return min(
        known or reports, key=lambda report: report.late_at or math.inf, default=FreshnessReport(state=Age.UNKNOWN)
    )


def _deadline(freshness: Freshness, row: AssetRow | None, now: float) -> FreshnessReport:
    """At the last time of the cron expression it has to have been made since the time before (or `within`)."""
    when = Cron(cron=freshness.deadline, tz=freshness.tz)
    past = schedules.previous(when, now, 2)
    coming = schedules.upcoming(when, now, 1)
    if not past:
        return FreshnessReport(state=Age.UNKNOWN, late_at=coming[0] if coming else None)
    last = past[0]
    since = last - freshness.within if freshness.within is not None else (past[1] if len(past) > 1 else 0.0)
    if row is None or row.at < since:
        at = schedules.moment(last)
        made = f"was materialized last at {schedules.moment(row.at)}" if row is not None else "was never materialized"
        return FreshnessReport(state=Age.LATE, why=f"missed its deadline of {at}: {made}", late_at=last)
    begin = coming[0] - freshness.within if coming and freshness.within is not None else last
    due = coming[0] if coming and row.at < begin else None
    return FreshnessReport(state=Age.FRESH, why=f"made its deadline of {schedules.moment(last)}", late_at=due)


def _lag(lag: float, row: AssetRow | None, now: float) -> FreshnessReport:
    if row is None:
        return FreshnessReport(state=Age.LATE, why="was never materialized", late_at=now)
    data_time = row.data_time if row.data_time is not None else row.at
    report = FreshnessReport(
        state=Age.FRESH, why=f"its data is of {schedules.moment(data_time)}", late_at=data_time + lag
    )
    if now - data_time <= lag:
        return report
    return FreshnessReport(
        state=Age.LATE, why=f"{report.why}, {now - data_time:.0f} s ago; it may be {lag:.0f}", late_at=report.late_at
    )
