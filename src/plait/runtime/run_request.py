"""What it takes to make a run, and the row that it begins with."""

from typing import Any

import msgspec

from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.rows import RunRow
from plait.model.states import RunState
from plait.model.wire import DATA_INTERVAL


class RunRequest(msgspec.Struct, kw_only=True):
    """A run to be made. `params` is JSON; `lengths` are those of the parameters that scopes map over; `triggered` runs
    wait while their workflow is paused, those that a person asked for do not; `occurrence` names what of a trigger the
    run is for; `interval` is the data interval (ISO 8601, from the first to before the second), else it is that of the
    logical date by the workflow's schedule."""

    graph: Graph
    params: bytes = b"{}"
    lengths: dict[str, int | list[str]] = {}
    logical_date: str | None = None
    partition: str | None = None
    target: str = ""
    parent: str | None = None
    tags: tuple[str, ...] = ()
    session: bool = True
    run_id: RunId | None = None
    triggered: bool = False
    occurrence: str | None = None
    interval: tuple[str, str] | None = None
    extra: dict[str, Any] = {}


def first_row(request: RunRequest, run_id: RunId, graph_hash: str, owner: str | None, now: float) -> RunRow:
    """The row of a run that has just been asked for."""
    extra = dict(request.extra)
    if request.lengths:
        extra["lengths"] = request.lengths
    interval = request.interval or _interval(request)
    if interval is not None:
        extra[DATA_INTERVAL] = list(interval)
    if request.triggered:
        extra["triggered"] = True
    return RunRow(
        run_id=run_id,
        workflow=request.graph.name,
        kind=request.graph.kind,
        graph_hash=graph_hash,
        state=RunState.QUEUED.value,
        created_at=now,
        params=request.params,
        logical_date=request.logical_date,
        partition=request.partition,
        parent=request.parent,
        owner=owner,
        session=request.session,
        target=request.target,
        occurrence=request.occurrence,
        tags=request.tags,
        extra=extra,
    )


def _interval(request: RunRequest) -> tuple[str, str] | None:
    if not request.graph.triggers:
        return None
    from plait.engine.schedules import interval_for  # zones and calendars, which only schedules need

    return interval_for(request.graph.triggers, request.logical_date)
