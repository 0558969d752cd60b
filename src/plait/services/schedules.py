"""Schedules for people: when workflows run next, or ran before, and where the triggers of a database stand."""

import msgspec

from plait.engine import conditions, schedules
from plait.engine.occurrences import zone_name
from plait.engine.schedule_specs import TIMED, describe, parse, timed
from plait.model.graph import Graph, TriggerSpec
from plait.model.rows import TriggerRow
from plait.model.schedules import Timed, When
from plait.ports import RunStore


class OccurrenceView(msgspec.Struct, kw_only=True):
    """A run that a schedule brings. Times are ISO 8601 in UTC; `starts_at` differs from `at` where there is jitter."""

    at: str
    starts_at: str
    logical_date: str
    data_interval_start: str
    data_interval_end: str


class ScheduleView(msgspec.Struct, kw_only=True):
    """A schedule of a workflow, and some of its occurrences. `tz`: the zone on whose clock it is. One that waits for
    updates or events (`waits_for`) has no occurrences that anybody knows."""

    workflow: str
    schedule: str
    kind: str
    tz: str
    catchup: str
    times: list[OccurrenceView]
    waits_for: list[str] = []


class WaitView(msgspec.Struct, kw_only=True):
    """What a deployed trigger waits for: what has happened since then (ISO 8601 in UTC), and what is missing."""

    since: str
    happened: list[str]
    missing: list[str]


class TriggerView(msgspec.Struct, kw_only=True):
    """A trigger that is deployed. `cursor`: the last occurrence that is settled, or since when it counts; `next_at`:
    when it fires next, none for one that does not. Times are ISO 8601 in UTC. `waits_for`: for one that waits for more
    than times."""

    workflow: str
    no: int
    schedule: str
    kind: str
    tz: str
    catchup: str
    paused: bool
    cursor: str | None
    next_at: str | None
    waits_for: WaitView | None = None


def occurrences(graph: Graph, at: float, count: int, *, previous: bool = False) -> list[ScheduleView]:
    """The schedules of a workflow with their next occurrences after a moment or, with `previous`, the last ones, newest
    first. Raises DefinitionError for a trigger that cannot be read."""
    return [
        _schedule(graph.name, no, trigger, at, count, previous=previous)
        for no, trigger in enumerate(part for trigger in graph.triggers for part in conditions.apart(trigger))
    ]


def _schedule(workflow: str, no: int, trigger: TriggerSpec, at: float, count: int, *, previous: bool) -> ScheduleView:
    when = parse(trigger.kind, trigger.spec)
    view = ScheduleView(
        workflow=workflow,
        schedule=describe(when),
        kind=trigger.kind,
        tz=_zone(when),
        catchup=trigger.catchup.value,
        times=[],
    )
    if trigger.kind not in TIMED:
        view.waits_for = [_told(leaf) for leaf in conditions.leaves(when).values()]
        return view
    times, row = timed(trigger.kind, trigger.spec), schedules.begin(workflow, no, trigger, at)
    found = (schedules.previous if previous else schedules.upcoming)(times, at, count)
    view.times = [_occurrence(schedules.about(times, each), each, schedules.due_at(row, each)) for each in found]
    return view


def _zone(when: When) -> str:
    return zone_name(when) if isinstance(when, Timed) else "UTC"


def _told(leaf: conditions.Leaf) -> str:
    """What a trigger waits for, in words."""
    if leaf.time is not None:
        return describe(leaf.time)
    kind, _, name = (leaf.subject or "").partition(":")
    return f"{kind} {name}" + (f" with {msgspec.json.encode(leaf.match).decode()}" if leaf.match else "")


def _waits_for(row: TriggerRow, when: When) -> WaitView | None:
    if row.kind in TIMED:
        return None
    counted = conditions.standing_of(row).counted
    leaves = conditions.leaves(when).values()
    return WaitView(
        since=schedules.moment(row.cursor or 0.0),
        happened=[_told(leaf) for leaf in leaves if leaf.name in counted],
        missing=[_told(leaf) for leaf in leaves if leaf.name not in counted],
    )


def _occurrence(about: schedules.About, at: float, due: float) -> OccurrenceView:
    return OccurrenceView(
        at=schedules.moment(at),
        starts_at=schedules.moment(due),
        logical_date=about.logical_date,
        data_interval_start=about.start,
        data_interval_end=about.end,
    )


def deployed(store: RunStore, workflow: str | None = None) -> list[TriggerView]:
    """The triggers of a database, or of one of its workflows."""
    return [
        TriggerView(
            workflow=row.workflow,
            no=row.no,
            schedule=describe(when),
            kind=row.kind,
            tz=_zone(when),
            catchup=row.catchup.value,
            paused=(remembered := store.workflow(row.workflow)) is not None and remembered.paused,
            cursor=schedules.moment(row.cursor) if row.cursor is not None else None,
            next_at=schedules.moment(row.next_at) if row.next_at is not None else None,
            waits_for=_waits_for(row, when),
        )
        for row in store.definitions.triggers(workflow)
        for when in (parse(row.kind, row.spec),)
    ]
