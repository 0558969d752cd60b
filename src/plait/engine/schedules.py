"""What triggers do in time: where each one begins, what is due of it, and what a run of it is about.

A trigger stands at its cursor: the last occurrence that is settled. What is due is what comes after it, whatever
happened in between, so nothing is lost over a restart, and nothing comes twice: a trigger moves in the transaction that
makes its runs. Of the occurrences that were missed, the catch-up policy says which still get their run. All of this
asks schedules for their next or last occurrence, and never walks over time that has passed.

Times are epoch seconds (UTC).
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from math import inf, nextafter

import msgspec

from plait.engine import conditions, occurrences
from plait.engine.occurrences import moment
from plait.engine.schedule_specs import TIMED, check, parse, timed
from plait.model.graph import TriggerSpec
from plait.model.hashes import blake2b
from plait.model.rows import TriggerRow
from plait.model.schedules import Catchup, Edge, TimedSchedule, When

__all__ = [
    "About", "about", "begin", "check_trigger", "due_at", "fire", "interval_for", "moment", "name_of", "previous",
    "redeploy", "upcoming",
]  # fmt: skip

MOST = 100
"""Occurrences that one look at a trigger makes up for; the next ones come with the next look (C8)."""
GRACE = 60.0
"""Seconds by which an occurrence is late before it counts as missed, for those that then get no run."""


# --- where triggers stand ---------------------------------------------------------------------------------------------


def check_trigger(trigger: TriggerSpec) -> When:
    """What a trigger waits for. Raises DefinitionError for one that is wrong."""
    when = parse(trigger.kind, trigger.spec)
    check(when)
    return when


def begin(workflow: str, no: int, trigger: TriggerSpec, now: float) -> TriggerRow:
    """A trigger that was deployed just now. What was before is not its business, unless the schedule says where it
    starts: what has passed since then was missed. Raises DefinitionError for a trigger that is wrong."""
    when = check_trigger(trigger)
    if trigger.kind not in TIMED:
        return conditions.begin(_of(workflow, no, trigger), when, now)
    when = timed(trigger.kind, trigger.spec)
    start = when.start.timestamp() if when.start is not None else None
    cursor = now if start is None or start > now else nextafter(start, -inf)
    return _row(workflow, no, trigger, cursor, when)


def redeploy(
    workflow: str, triggers: Sequence[TriggerSpec], known: Sequence[TriggerRow], now: float, last_signal: int = 0
) -> list[TriggerRow]:
    """The triggers of a workflow that was deployed just now, given those that it had. Alternatives are triggers of
    their own (`conditions.apart`).

    One that is as it was stays where it is. One whose schedule has changed begins now; but where the old one had
    something due, what the new one has since then is due, and at least its latest occurrence: a change loses no run.
    It never goes back to what was settled before. What was counted of updates and events counts on, as far as it is
    waited for; what begins to be waited for counts after `last_signal` (`Transaction.last_signal`).
    Raises DefinitionError as `begin` does.
    """
    given = [part for trigger in triggers for part in conditions.apart(trigger)]
    return [
        _again(_of(workflow, no, trigger), trigger, given, known, now, last_signal) for no, trigger in enumerate(given)
    ]


def _again(
    fresh: TriggerRow, trigger: TriggerSpec, given: Sequence[TriggerSpec], known: Sequence[TriggerRow], now: float,
    last_signal: int,
) -> TriggerRow:  # fmt: skip
    workflow, no = fresh.workflow, fresh.no
    same = next((row for row in known if row.kind == trigger.kind and row.spec == trigger.spec), None)
    if same is not None and same.cursor is not None:
        return msgspec.structs.replace(same, no=no, catchup=trigger.catchup)
    if trigger.kind not in TIMED:
        stays = [(each.kind, each.spec) for each in given]
        old = next((row for row in known if row.kind not in TIMED and (row.kind, row.spec) not in stays), None)
        return conditions.begin(fresh, check_trigger(trigger), now, old, last_signal)
    old = next((row for row in known if row.no == no), None)
    if old is None or old.cursor is None or old.kind not in TIMED:
        return begin(workflow, no, trigger, now)
    return _changed(workflow, no, trigger, old, now)


def _changed(workflow: str, no: int, trigger: TriggerSpec, old: TriggerRow, now: float) -> TriggerRow:
    check_trigger(trigger)
    when = timed(trigger.kind, trigger.spec)
    cursor = now
    if old.next_at is not None and old.next_at <= now:
        cursor = nextafter(old.next_at - old.spec.get("jitter", 0.0), -inf)
        last = occurrences.latest(when, now)
        if last is not None and (old.cursor or 0.0) < last <= cursor:
            cursor = nextafter(last, -inf)
    return _row(workflow, no, trigger, cursor, when)


def _of(workflow: str, no: int, trigger: TriggerSpec) -> TriggerRow:
    return TriggerRow(workflow=workflow, no=no, kind=trigger.kind, spec=trigger.spec, catchup=trigger.catchup)


def _row(workflow: str, no: int, trigger: TriggerSpec, cursor: float, when: TimedSchedule) -> TriggerRow:
    return _next(_of(workflow, no, trigger), when, cursor, occurrences.following(when, cursor))


def _next(row: TriggerRow, when: TimedSchedule, cursor: float, at: float | None) -> TriggerRow:
    """A trigger that stands at a cursor, and whose next occurrence is this one."""
    return msgspec.structs.replace(row, cursor=cursor, next_at=_due(row, when, at) if at is not None else None)


# --- what is due ------------------------------------------------------------------------------------------------------


def fire(row: TriggerRow, now: float, most: int = MOST) -> tuple[list[float], TriggerRow]:
    """The occurrences of a trigger that runs are due for, in order, and the trigger as it is from then on.

    With `Catchup.ALL`, all since the cursor (at most `most` at a time); with `LATEST`, the last one; with `NONE`, the
    last one unless it is more than `GRACE` late.
    """
    when = timed(row.kind, row.spec)
    cursor = row.cursor if row.cursor is not None else now
    at = occurrences.following(when, cursor)
    due: list[float] = []
    while at is not None and len(due) < most and _due(row, when, at) <= now:
        cursor = at
        due.append(at)
        at = occurrences.following(when, at)
        if row.catchup is not Catchup.ALL and at is not None and _due(row, when, at) <= now:
            cursor = max(at, _last_due(row, when, now) or at)
            due = [cursor]
            at = occurrences.following(when, cursor)
            break
    if due and row.catchup is Catchup.NONE and now - _due(row, when, cursor) > GRACE:
        due = []
    return due, _next(row, when, cursor, at)


def _last_due(row: TriggerRow, when: TimedSchedule, now: float) -> float | None:
    """The last occurrence that is due."""
    last = occurrences.latest(when, now)
    if last is not None and _due(row, when, last) > now:
        # By its jitter. The one before it is due: none is due after the next one has come.
        return occurrences.latest(when, nextafter(last, -inf))
    return last


def _due(row: TriggerRow, when: TimedSchedule, at: float) -> float:
    """When an occurrence's run starts: with jitter, somewhat later, but before the next occurrence. How much depends on
    the trigger and the occurrence only, so that all schedulers agree."""
    if not when.jitter:
        return at
    digest = blake2b(name_of(row, at).encode("utf-8", "surrogateescape"), digest_size=8).digest()
    share = int.from_bytes(digest) / 2**64
    after = occurrences.following(when, at)
    return at + share * (when.jitter if after is None else min(when.jitter, after - at))


def due_at(row: TriggerRow, at: float) -> float:
    """When the run of an occurrence starts."""
    return _due(row, timed(row.kind, row.spec), at)


def name_of(row: TriggerRow, at: float) -> str:
    """What an occurrence is called: no two runs are made of one (F9). The schedule itself is part of it, so that a run
    at a time that an older schedule had as well is its own."""
    return f"{row.workflow}#{row.kind}:{moment(at)}"


# --- what a run is about ----------------------------------------------------------------------------------------------


class About(msgspec.Struct, frozen=True, kw_only=True):
    """What the run of an occurrence is about: its data interval, from `start` to before `end`, and its logical date,
    which is one of the two. As ISO 8601 in UTC."""

    start: str
    end: str
    logical_date: str


def about(when: TimedSchedule, at: float) -> About:
    """What the run of an occurrence is about."""
    start, end = (moment(each) for each in occurrences.interval_of(when, at))
    return About(start=start, end=end, logical_date=end if when.logical is Edge.END else start)


def interval_for(triggers: Sequence[TriggerSpec], logical_date: str | None) -> tuple[str, str] | None:
    """The data interval of a run that somebody asked for, by its workflow's first schedule; none for one without a
    schedule or a date. As ISO 8601 in UTC."""
    parts = (part for each in triggers for part in conditions.apart(each))
    trigger = next((part for part in parts if part.kind in TIMED), None) if logical_date is not None else None
    if trigger is None or logical_date is None:
        return None
    try:
        date = datetime.fromisoformat(logical_date)
    except ValueError:  # no date: whoever reads it as one tells
        return None
    at = (date if date.tzinfo is not None else date.replace(tzinfo=UTC)).timestamp()
    found = occurrences.interval_around(timed(trigger.kind, trigger.spec), at)
    return (moment(found[0]), moment(found[1])) if found is not None else None


def upcoming(when: TimedSchedule, at: float, count: int) -> list[float]:
    """The next occurrences after a moment, at most so many, in order."""
    found: list[float] = []
    while len(found) < count and (after := occurrences.following(when, found[-1] if found else at)) is not None:
        found.append(after)
    return found


def previous(when: TimedSchedule, at: float, count: int) -> list[float]:
    """The last occurrences that are not after a moment, at most so many, newest first."""
    found: list[float] = []
    while len(found) < count:
        before = occurrences.latest(when, nextafter(found[-1], -inf) if found else at)
        if before is None:
            break
        found.append(before)
    return found
