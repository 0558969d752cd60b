"""Schedules for people: when workflows run next, or ran before, and where the triggers of a database stand."""

import msgspec

from plait.engine import schedules
from plait.engine.occurrences import zone_name
from plait.engine.schedule_specs import describe, parse, timed
from plait.model.graph import Graph
from plait.model.schedules import Timed
from plait.ports import RunStore


class OccurrenceView(msgspec.Struct, kw_only=True):
    """A run that a schedule brings. Times are ISO 8601 in UTC; `starts_at` differs from `at` where there is jitter."""

    at: str
    starts_at: str
    logical_date: str
    data_interval_start: str
    data_interval_end: str


class ScheduleView(msgspec.Struct, kw_only=True):
    """A schedule of a workflow, and some of its occurrences. `tz`: the zone on whose clock it is."""

    workflow: str
    schedule: str
    kind: str
    tz: str
    catchup: str
    times: list[OccurrenceView]


class TriggerView(msgspec.Struct, kw_only=True):
    """A trigger that is deployed. `cursor`: the last occurrence that is settled, or since when it counts; `next_at`:
    when it fires next, none for one that does not. Times are ISO 8601 in UTC."""

    workflow: str
    no: int
    schedule: str
    kind: str
    tz: str
    catchup: str
    paused: bool
    cursor: str | None
    next_at: str | None


def occurrences(graph: Graph, at: float, count: int, *, previous: bool = False) -> list[ScheduleView]:
    """The schedules of a workflow with their next occurrences after a moment or, with `previous`, the last ones, newest
    first. Raises DefinitionError for a trigger that time does not fire."""
    found: list[ScheduleView] = []
    for no, trigger in enumerate(graph.triggers):
        when = timed(trigger.kind, trigger.spec)
        row = schedules.begin(graph.name, no, trigger, at)
        times = (schedules.previous if previous else schedules.upcoming)(when, at, count)
        found.append(
            ScheduleView(
                workflow=graph.name,
                schedule=describe(when),
                kind=trigger.kind,
                tz=zone_name(when),
                catchup=trigger.catchup.value,
                times=[_occurrence(schedules.about(when, each), each, schedules.due_at(row, each)) for each in times],
            )
        )
    return found


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
            tz=zone_name(when) if isinstance(when, Timed) else "UTC",
            catchup=row.catchup.value,
            paused=(remembered := store.workflow(row.workflow)) is not None and remembered.paused,
            cursor=schedules.moment(row.cursor) if row.cursor is not None else None,
            next_at=schedules.moment(row.next_at) if row.next_at is not None else None,
        )
        for row in store.definitions.triggers(workflow)
        for when in (parse(row.kind, row.spec),)
    ]
