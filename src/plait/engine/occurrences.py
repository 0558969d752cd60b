"""The occurrences of schedules (`model.schedules`), forward and backward, in epoch seconds (UTC).

`following` and `latest` are each other's inverse: after each occurrence comes the one before which it is. Neither
walks over time: each asks the parts of a schedule for their next (or last) occurrence. Only what a schedule takes away
from another one is passed by, in stretches (`_covered`): whole days where it names days.

What clocks do when they change is in `wall`; of intervals, only whole days on a zone's own clock know clocks.
"""

from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from math import floor, inf, nextafter
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from plait.engine import wall
from plait.engine.wall import EveryDays, Listed, Walls
from plait.model.schedules import Cron, Dates, Edge, Interval, Rule, TimedSchedule, Union, Without

MOST_PASSED = 10_000
"""Stretches that a schedule passes by before it counts as over: what is taken away from it leaves nothing (C8)."""
DAY = 86400


# --- forward and backward ---------------------------------------------------------------------------------------------


def following(when: TimedSchedule, at: float) -> float | None:
    """The first occurrence after a moment, none when there is none."""
    begin = beginning(when)
    if begin is not None and at < begin:
        at = nextafter(begin, -inf)
    found = _following(when, at)
    return None if found is None or (when.end is not None and found >= when.end.timestamp()) else found


def latest(when: TimedSchedule, at: float) -> float | None:
    """The last occurrence that is not after a moment, none when there was none."""
    if when.end is not None:
        at = min(at, nextafter(when.end.timestamp(), -inf))
    found = _latest(when, at)
    begin = beginning(when)
    return None if found is None or (begin is not None and found < begin) else found


def before(when: TimedSchedule, at: float) -> float | None:
    """The last occurrence before a moment, whether or not the schedule had begun; none when there was none."""
    return _latest(when, nextafter(at, -inf))


def beginning(when: TimedSchedule) -> float | None:
    """The moment before which a schedule has no occurrences, if it says one."""
    start = when.start.timestamp() if when.start is not None else None
    if isinstance(when, Interval):
        anchor = when.anchor.timestamp()
        return anchor if start is None else max(start, anchor)
    return start


def interval_of(when: TimedSchedule, at: float) -> tuple[float, float]:
    """The data interval of an occurrence. Where none is before it, it is as long as the one that follows."""
    if when.width is not None:
        return at - when.width, at
    start = before(when, at)
    if start is None:
        after = _following(when, at)
        start = 2 * at - after if after is not None else at
    return start, at


def interval_around(when: TimedSchedule, logical: float) -> tuple[float, float] | None:
    """The data interval of a run that somebody asked for at a logical date: that of the occurrence which has it or,
    where none has, of the last one before."""
    if when.logical is Edge.END or when.width is not None:
        found = _latest(when, logical if when.logical is Edge.END else logical + (when.width or 0.0))
        return interval_of(when, found) if found is not None else None
    start = _latest(when, logical)
    end = _following(when, start) if start is not None else None
    return (start, end) if start is not None and end is not None else None


def _following(when: TimedSchedule, at: float) -> float | None:
    match when:
        case Union():
            return min((each for part in when.parts if (each := following(part, at)) is not None), default=None)
        case Without():
            return _passed(when, at, forward=True)
        case Interval() if not _on_the_clock(when):
            anchor, length = when.anchor.timestamp(), when.seconds
            count = floor((at - anchor) / length) + 1
            while anchor + count * length <= at:  # the division was not exact
                count += 1
            while anchor + (count - 1) * length > at:
                count -= 1
            return anchor + count * length
        case _:
            return wall.following(walls_of(when), zone_of(when.tz), at)


def _latest(when: TimedSchedule, at: float) -> float | None:
    match when:
        case Union():
            return max((each for part in when.parts if (each := latest(part, at)) is not None), default=None)
        case Without():
            return _passed(when, at, forward=False)
        case Interval() if not _on_the_clock(when):
            anchor, length = when.anchor.timestamp(), when.seconds
            count = floor((at - anchor) / length)
            while anchor + count * length > at:
                count -= 1
            while anchor + (count + 1) * length <= at:
                count += 1
            return anchor + count * length
        case _:
            return wall.latest(walls_of(when), zone_of(when.tz), at)


def _passed(when: Without, at: float, *, forward: bool) -> float | None:
    """The next occurrence that is not taken away, forward or backward."""
    for _ in range(MOST_PASSED):
        found = following(when.base, at) if forward else latest(when.base, at)
        stretch = _covered(when.without, found) if found is not None else None
        if found is None or stretch is None:
            return found
        at = nextafter(stretch[1], -inf) if forward else nextafter(stretch[0], -inf)
    return None


# --- what a schedule covers -------------------------------------------------------------------------------------------


def _covered(when: TimedSchedule, at: float) -> tuple[float, float] | None:
    """A stretch around a moment of which a schedule takes away all: from its begin to before its end. None where it
    does not take the moment."""
    begin = beginning(when)
    if (begin is not None and at < begin) or (when.end is not None and at >= when.end.timestamp()):
        return None
    found = _covered_by_kind(when, at)
    if found is None:
        return None
    end = found[1] if when.end is None else min(found[1], when.end.timestamp())
    return found[0] if begin is None else max(found[0], begin), end


def _covered_by_kind(when: TimedSchedule, at: float) -> tuple[float, float] | None:
    moment = at, nextafter(at, inf)
    match when:
        case Union():
            return next((found for part in when.parts if (found := _covered(part, at)) is not None), None)
        case Without():  # how far what is left of the base goes, nobody knows
            return moment if _covered(when.base, at) and not _covered(when.without, at) else None
        case Dates():
            shown = wall.wall_of(at, zone_of(when.tz))
            if shown.date() in _days(when.days):
                midnight = shown.replace(hour=0, minute=0, second=0)
                return _stretch(midnight, midnight + timedelta(days=1), when.tz, at)
            return moment if shown in when.times else None
        case Cron():
            from plait.engine import cron

            shown = wall.wall_of(at, zone_of(when.tz))
            found = cron.parse(when.cron).covers(shown)
            if found is not None:
                return _stretch(*found, when.tz, at)
        case _:
            pass
    return moment if latest(when, at) == at else None


def _stretch(first: datetime, end: datetime, tz: str, at: float) -> tuple[float, float]:
    """The moments of a stretch of the clock around one of them."""
    zone = zone_of(tz)
    begin, over = wall.moment_of(first, zone), wall.moment_of(end, zone)
    return (begin if begin <= at else at), (over if over > at else nextafter(at, inf))


@lru_cache(maxsize=256)
def _days(days: tuple[date, ...]) -> frozenset[date]:
    return frozenset(days)


# --- walls ------------------------------------------------------------------------------------------------------------


def walls_of(when: Cron | Rule | Dates | Interval) -> Walls:
    """The walls that a schedule names. Raises ValueError for an expression that is none."""
    match when:
        case Cron():
            from plait.engine import cron

            return cron.parse(when.cron)
        case Rule():
            from plait.engine import recurrence

            return recurrence.parse(when.rrule, when.since, zone_of(when.tz))
        case Dates():
            return _calendar(when.days, when.times, when.seconds)
        case Interval():
            anchor = wall.wall_of(when.anchor.timestamp(), zone_of(when.tz))
            return EveryDays(anchor, timedelta(seconds=when.seconds))


@lru_cache(maxsize=256)
def _calendar(days: tuple[date, ...], times: tuple[datetime, ...], seconds: float) -> Listed:
    at = timedelta(seconds=floor(seconds))
    listed = {datetime.combine(day, time()) + at for day in days} | {each.replace(microsecond=0) for each in times}
    return Listed(sorted(listed))


def _on_the_clock(when: Interval) -> bool:
    return when.seconds % DAY == 0 and when.tz != "UTC"


def moment(at: float) -> str:
    """A moment as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def zone_name(when: TimedSchedule) -> str:
    """The zone on whose clock a schedule is; UTC where its parts are in several."""
    match when:
        case Union():
            names = {zone_name(part) for part in when.parts}
            return names.pop() if len(names) == 1 else "UTC"
        case Without():
            return zone_name(when.base)
        case _:
            return when.tz


@lru_cache(maxsize=1024)
def zone_of(name: str) -> tzinfo:
    """A time zone by its name. Raises ValueError for an unknown one."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name!r} is not a time zone") from None
