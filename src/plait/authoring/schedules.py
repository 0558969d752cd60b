"""Schedules as a user writes them, checked when they are written: `cron`, `every`, `rrule`, `on_dates`, `updated`,
`event`, and what is made of them. What they mean is in `engine.occurrences` and `engine.conditions`; a `Schedule` only
holds the plain data."""

from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from typing import Any, cast
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from plait.authoring.points import Day, point_of
from plait.authoring.retry import Seconds, seconds
from plait.authoring.where import here
from plait.engine import schedule_specs
from plait.engine.occurrences import zone_name
from plait.model.errors import DefinitionError
from plait.model.graph import TriggerSpec
from plait.model.schedules import (
    AllOf,
    AnyOf,
    AssetCondition,
    AssetUpdates,
    Catchup,
    Cron,
    Dates,
    Event,
    Interval,
    Rule,
    Timed,
    TimedSchedule,
    Union,
    When,
    Without,
)

CRON = 'cron("0 6 * * *")   # minute hour day-of-month month day-of-week'
UPDATED = 'updated("orders", "customers")   # keys, or what @asset has made'


class Schedule(msgspec.Struct, frozen=True):
    """When runs of a workflow are started; made by `cron`, `every`, `rrule`, `on_dates`, `updated` or `event`.

    `a | b`: whenever one of the two comes. `a & b`: when both have come since the last run. `a - b`: a without what b
    covers (times only).

        weekdays = cron("0 6 * * MON-FRI", tz="Europe/Berlin") - on_dates("2026-12-25", "2027-01-01")
        @dag(schedule=(weekdays | cron("0 12 * * SAT")).between("2026-01-01", "2028-01-01").jitter(60))

        @dag(schedule=cron("0 6 * * *") | (updated("orders") & updated("customers")))
    """

    when: When

    def __or__(self, other: "Schedule") -> "Schedule":
        right = _schedule(other, "|").when
        if isinstance(self.when, Timed) and isinstance(right, Timed):
            parts = (*_alternatives(self.when), *_alternatives(right))
            return _checked(Union(parts=parts), '(cron("0 6 * * *") | cron("30 12 * * *")).jitter(60)')
        if isinstance(self.when, AssetUpdates) and isinstance(right, AssetUpdates):
            return Schedule(AssetUpdates(op="any", parts=(*_assets(self.when, "any"), *_assets(right, "any"))))
        return Schedule(AnyOf(parts=(*_parts(self.when, AnyOf), *_parts(right, AnyOf))))

    def __and__(self, other: "Schedule") -> "Schedule":
        right = _schedule(other, "&").when
        if isinstance(self.when, AssetUpdates) and isinstance(right, AssetUpdates):
            return Schedule(AssetUpdates(op="all", parts=(*_assets(self.when, "all"), *_assets(right, "all"))))
        both = AllOf(parts=(*_parts(self.when, AllOf), *_parts(right, AllOf)))
        return _checked(both, 'cron("0 6 * * *") & updated("orders")')

    def __sub__(self, other: "Schedule") -> "Schedule":
        example = 'cron("0 6 * * *") - on_dates("2026-12-25")'
        base, without = self._times("-", example), _schedule(other, "-")._times("-", example)
        return _checked(Without(base=base, without=without), example)

    def between(self, start: Day | None = None, end: Day | None = None) -> "Schedule":
        """The same schedule from `start` to before `end`; without a zone of their own, on its clock. What has passed
        since the start when the workflow is deployed counts as missed (see `catchup`)."""
        if start is None and end is None:
            return self
        when = self._times("between", 'cron("0 6 * * *").between("2026-01-01") | updated("orders")')
        begin, over = _point(when, start), _point(when, end)
        if when.start is not None and begin is not None:
            begin = max(begin, when.start)
        if when.end is not None and over is not None:
            over = min(over, when.end)
        changed = msgspec.structs.replace(when, start=begin or when.start, end=over or when.end)
        return _checked(changed, 'between("2026-01-01", "2027-01-01")   # or start=..., end=... of the workflow')

    def jitter(self, most: Seconds) -> "Schedule":
        """The same schedule, each of whose runs starts up to so many seconds (or a timedelta) late, and before the next
        one: so that many workflows with one schedule do not start at one moment. How late, an occurrence says."""
        when = self._times("jitter", 'cron("0 6 * * *").jitter(60) | updated("orders")')
        changed = msgspec.structs.replace(when, jitter=seconds(most))
        return _checked(changed, 'cron("0 6 * * *").jitter(60)')

    def _times(self, what: str, right: str) -> TimedSchedule:
        """The schedule, if it is one of times. Raises DefinitionError for another one."""
        if isinstance(self.when, Timed):
            return self.when
        where, wrong = here()
        raise DefinitionError(
            f"{schedule_specs.describe(self.when)!r} is no schedule of times, which {what!r} is for",
            where=where,
            wrong=wrong,
            right=right,
        )

    def trigger(self, *, catchup: Catchup) -> TriggerSpec:
        """The schedule as plain data."""
        return schedule_specs.spec_of(self.when, catchup)

    def __repr__(self) -> str:
        return f"<schedule {schedule_specs.describe(self.when)}>"


def cron(expression: str, *, tz: str = "UTC") -> Schedule:
    """A cron schedule on the clock of time zone `tz`: five fields (minute hour day month weekday), six with the seconds
    first, or an alias such as `@daily`.

    Raises DefinitionError with the place and the field if the expression or the zone is not valid.

        cron("0 6 * * *", tz="America/New_York")   # at six in the morning, whatever daylight saving does
        cron("0 6 LW * *")                         # the month's last weekday; also L, 15W, FRI#2, 5L
    """
    from plait.engine.cron import normal

    zone(tz)
    return _checked(Cron(cron=normal(expression), tz=tz), CRON)


def every(interval: Seconds, *, start: Day | None = None, tz: str = "UTC") -> Schedule:
    """A fixed interval (seconds or timedelta), counted from `start` (the Unix epoch if not given), and not before it.
    Whole days in a zone `tz` come at the same time of its days, also when clocks change.

    every(timedelta(days=1), start=datetime(2026, 1, 1, 6), tz="Europe/Berlin")
    """
    clock = zone(tz)
    length = seconds(interval)
    if length <= 0:
        where, wrong = here()
        raise DefinitionError(
            f"an interval is longer than nothing, not {interval!r}", where=where, wrong=wrong, right="every(3600)"
        )
    anchor = point_of(start) if start is not None else datetime(1970, 1, 1, tzinfo=clock)
    anchor = anchor if anchor.tzinfo is not None else anchor.replace(tzinfo=clock)
    return _checked(Interval(seconds=length, anchor=anchor, tz=tz), "every(3600)")


def rrule(rule: str, *, start: Day, tz: str = "UTC") -> Schedule:
    """A recurrence rule (RFC 5545) from `start` on, which is on the clock of time zone `tz` and gives what the rule
    does not say, such as the time of day.

    rrule("FREQ=MONTHLY;BYDAY=-1FR;INTERVAL=2", start="2026-01-30T18:00", tz="Europe/Berlin")
    """
    since = point_of(start)
    since = since.astimezone(zone(tz)).replace(tzinfo=None) if since.tzinfo is not None else since
    zone(tz)
    return _checked(Rule(rrule=rule, since=since, tz=tz), 'rrule("FREQ=WEEKLY;BYDAY=MO,TH", start="2026-01-01")')


def on_dates(*dates: Day, at: time | str = "00:00", tz: str = "UTC") -> Schedule:
    """A calendar: days, each at the time `at` on the clock of time zone `tz`, and points in time. Taken away from
    another schedule, a day takes away all that is on it.

    on_dates("2026-03-31", "2026-06-30", at="18:00", tz="Europe/Berlin")
    """
    clock = zone(tz)
    days: list[date] = []
    times: list[datetime] = []
    for given in dates:
        found = point_of(given)
        if isinstance(given, datetime) or (isinstance(given, str) and len(given) > 10):
            times.append(found.astimezone(clock).replace(tzinfo=None) if found.tzinfo is not None else found)
        else:
            days.append(found.date())
    of_day = at if isinstance(at, time) else _time(at)
    late = timedelta(hours=of_day.hour, minutes=of_day.minute, seconds=of_day.second).total_seconds()
    made = Dates(days=tuple(sorted(set(days))), times=tuple(sorted(set(times))), seconds=late, tz=tz)
    return _checked(made, 'on_dates("2026-12-24", "2026-12-31", at="18:00")')


def updated(*assets: Any) -> Schedule:
    """When assets (their keys, or what `@asset` and `external` have made) were updated, all of them since the last run.

    `updated(a) | updated(b)`: at each update of one of them. An update is a materialization, by whatever run, or an
    observation that found a new data version. The run is told of them: `context().updates`.

        @dag(schedule=updated("orders", "customers"))
        def report(): ...
    """
    keys = [key for each in assets for key in _keys_of(each)]
    if not keys:
        where, wrong = here()
        raise DefinitionError("updates are those of at least one asset", where=where, wrong=wrong, right=UPDATED)
    parts = tuple(AssetCondition(op="asset", key=key) for key in dict.fromkeys(keys))
    return Schedule(AssetUpdates(op="all", parts=parts) if len(parts) > 1 else AssetUpdates(op="asset", key=keys[0]))


def _keys_of(asset: Any) -> list[str]:
    if isinstance(asset, str) and asset:
        return [asset]
    key, keys = getattr(asset, "key", None), getattr(asset, "keys", None)
    if isinstance(key, str):
        return [key]
    if isinstance(keys, tuple):
        return [str(each) for each in cast("tuple[object, ...]", keys)]
    where, wrong = here()
    raise DefinitionError(f"{asset!r} is not an asset", where=where, wrong=wrong, right=UPDATED)


def event(name: str, match: Mapping[str, Any] | None = None) -> Schedule:
    """When an event is published under a name (`plait.publish`, `plait events publish`) whose data have the values of
    `match`, if given. The run is told of it: `context().events`.

        @flow(schedule=event("orders_ready", {"region": "eu"}))
        def load(): ...
    """
    made = {"name": name, "match": dict(match or {})}
    try:
        return Schedule(msgspec.convert(msgspec.to_builtins(made), Event))
    except (TypeError, msgspec.ValidationError) as error:
        where, wrong = here()
        raise DefinitionError(
            f"{name!r} is not an event to wait for: {error}",
            where=where,
            wrong=wrong,
            right='event("orders_ready", {"region": "eu"})   # a name, and plain data',
        ) from None


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


def _time(given: str) -> time:
    try:
        return time.fromisoformat(given)
    except (TypeError, ValueError):
        where, wrong = here()
        raise DefinitionError(f"{given!r} is not a time of day", where=where, wrong=wrong, right='at="18:00"') from None


def _point(when: TimedSchedule, given: Day | None) -> datetime | None:
    if given is None:
        return None
    found = point_of(given)
    return found if found.tzinfo is not None else found.replace(tzinfo=zone(zone_name(when)))


def _alternatives(when: TimedSchedule) -> tuple[TimedSchedule, ...]:
    """The parts of a union that has nothing of its own, else the schedule."""
    return when.parts if isinstance(when, Union) and when == Union(parts=when.parts) else (when,)


def _parts(when: When, kind: type[AllOf | AnyOf]) -> tuple[When, ...]:
    """The parts of an expression of a kind, else the expression."""
    return when.parts if isinstance(when, kind) else (when,)


def _assets(when: AssetCondition, op: str) -> tuple[AssetCondition, ...]:
    """The parts of a condition over assets with this word, else the condition."""
    return when.parts if when.op == op else (AssetCondition(op=when.op, key=when.key, parts=when.parts),)


def _schedule(given: object, sign: str) -> Schedule:
    if isinstance(given, Schedule):
        return given
    where, wrong = here()
    raise DefinitionError(
        f"{given!r} is not a schedule, so there is no {sign} with one",
        where=where,
        wrong=wrong,
        right=f'cron("0 6 * * *") {sign} on_dates("2026-12-25")',
    )


def _checked(when: When, right: str) -> Schedule:
    """A schedule that was looked at. Raises DefinitionError with the user's line."""
    try:
        schedule_specs.check(when)
    except DefinitionError as error:
        where, wrong = here()
        raise DefinitionError(error.what, where=where, wrong=wrong, right=right) from None
    return Schedule(when)
