"""Schedules as a user writes them, checked when they are written: `cron`, `every`."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from plait.authoring.retry import Seconds, seconds
from plait.authoring.where import here
from plait.model.errors import DefinitionError
from plait.model.graph import TriggerSpec

ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}


@dataclass(frozen=True)
class Schedule:
    """When runs of a workflow are started; made by `cron` or `every`."""

    kind: str
    spec: tuple[tuple[str, str | float], ...]

    def trigger(self, *, catchup: bool) -> TriggerSpec:
        """The schedule as plain data."""
        return TriggerSpec(kind=self.kind, spec=dict(self.spec), catchup=catchup)


def cron(expression: str, *, tz: str = "UTC") -> Schedule:
    """A cron schedule: five fields (minute hour day month weekday), or an alias such as `@daily`, in time zone `tz`.

    Raises DefinitionError with the place if the expression or the zone is not valid.

        cron("0 6 * * *", tz="America/New_York")   # at six in the morning, whatever daylight saving does
    """
    zone(tz)
    from cronsim import CronSim, CronSimError

    fields = ALIASES.get(expression.strip().lower(), expression)
    try:
        CronSim(fields, datetime(2024, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        where, wrong = here()
        raise DefinitionError(
            f"{expression!r} is not a cron expression: {error}",
            where=where,
            wrong=wrong,
            right='cron("0 6 * * *")   # minute hour day-of-month month day-of-week',
        ) from None
    return Schedule("cron", (("cron", fields), ("tz", tz)))


def every(interval: Seconds, *, start: datetime | None = None, tz: str = "UTC") -> Schedule:
    """A fixed interval (seconds or timedelta), counted from `start` (aware; the Unix epoch if not given)."""
    zone(tz)
    length = seconds(interval)
    if length <= 0:
        where, wrong = here()
        raise DefinitionError(
            f"an interval is longer than nothing, not {interval!r}", where=where, wrong=wrong, right="every(3600)"
        )
    anchor = start.isoformat() if start is not None else "1970-01-01T00:00:00+00:00"
    return Schedule("interval", (("seconds", length), ("anchor", anchor), ("tz", tz)))


def zone(name: str) -> ZoneInfo:
    """A time zone by its name. Raises DefinitionError for an unknown one."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, IsADirectoryError):
        where, wrong = here()
        raise DefinitionError(
            f"{name!r} is not a time zone",
            where=where,
            wrong=wrong,
            right='tz="Europe/Berlin" (a name of the IANA list)',
        ) from None


def schedule_of(value: "Schedule | str | timedelta | None") -> Schedule | None:
    """What `schedule=` may be: a Schedule, a cron expression or alias, a timedelta, or none."""
    if value is None or isinstance(value, Schedule):
        return value
    if isinstance(value, timedelta):
        return every(value)
    if isinstance(value, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # users are not always type-checked
        return cron(value)
    where, wrong = here()
    raise DefinitionError(
        f"a schedule is not {value!r}", where=where, wrong=wrong, right='schedule=cron("0 6 * * *") or every(3600)'
    )
