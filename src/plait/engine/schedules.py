"""When schedules fire: the occurrences of cron expressions and intervals, and what is due of a trigger.

Times are epoch seconds (UTC). The clocks of a schedule's own time zone count: a time that daylight saving skips fires
at the next one that exists, a time that comes twice fires once (cronsim, as Debian's cron; docs/decisions/0002).
"""

from datetime import UTC, datetime
from math import floor
from typing import Any
from zoneinfo import ZoneInfo

import msgspec

from plait.model.errors import EngineError
from plait.model.graph import TriggerSpec
from plait.model.rows import TriggerRow

MOST = 100
"""Occurrences that one look at a trigger makes up for; the next ones come with the next look (C8)."""
TIMED = frozenset({"cron", "interval"})
"""The kinds of triggers that time alone fires."""


def following(kind: str, spec: dict[str, Any], at: float) -> float | None:
    """The first occurrence after a moment, none when there is none. Raises EngineError for another kind."""
    if kind == "cron":
        return _cron(spec, floor(at), reverse=False)
    start, length = _interval(kind, spec)
    return start + max(0, floor((at - start) / length) + 1) * length


def latest(kind: str, spec: dict[str, Any], at: float) -> float | None:
    """The last occurrence that is not after a moment, none when there was none."""
    if kind == "cron":
        return _cron(spec, floor(at) + 1, reverse=True)
    start, length = _interval(kind, spec)
    return start + floor((at - start) / length) * length if at >= start else None


def begin(workflow: str, no: int, trigger: TriggerSpec, now: float) -> TriggerRow:
    """A trigger that was deployed just now: what was before is not its business."""
    next_at = following(trigger.kind, trigger.spec, now) if trigger.kind in TIMED else None
    return TriggerRow(
        workflow=workflow,
        no=no,
        kind=trigger.kind,
        spec=trigger.spec,
        catchup=trigger.catchup,
        cursor=now,
        next_at=next_at,
    )


def fire(row: TriggerRow, now: float) -> tuple[list[float], TriggerRow]:
    """The occurrences of a trigger that runs are due for, in order, and the trigger as it is from then on.

    With catch-up, all since the cursor (at most `MOST` at a time); without, the latest one.
    """
    due: list[float] = []
    at = row.next_at
    if not row.catchup and at is not None and at <= now:
        at = latest(row.kind, row.spec, now)
    while at is not None and at <= now and len(due) < MOST:
        due.append(at)
        at = following(row.kind, row.spec, at)
    return due, msgspec.structs.replace(row, cursor=due[-1] if due else row.cursor, next_at=at)


def name_of(row: TriggerRow, at: float) -> str:
    """What an occurrence is called: no two runs are made of one (F9). The schedule itself is part of it, so that a run
    at a time that an older schedule had as well is its own."""
    return f"{row.workflow}#{row.kind}:{moment(at)}"


def moment(at: float) -> str:
    """A moment as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at, UTC).isoformat()


def _cron(spec: dict[str, Any], at: int, *, reverse: bool) -> float | None:
    """The next occurrence after a whole second, or the last one before it."""
    from cronsim import CronSim  # heavy, and only who has schedules needs it

    zone = ZoneInfo(spec.get("tz", "UTC"))
    found = next(CronSim(spec["cron"], datetime.fromtimestamp(at, zone), reverse=reverse), None)
    return found.timestamp() if found is not None else None


def _interval(kind: str, spec: dict[str, Any]) -> tuple[float, float]:
    if kind != "interval":
        raise EngineError(f"time alone does not fire triggers of the kind {kind!r}")
    return datetime.fromisoformat(spec["anchor"]).timestamp(), float(spec["seconds"])
