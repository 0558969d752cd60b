"""From the engine's aggregates to rows: what is written after a decision."""

from collections.abc import Sequence

import msgspec

from plait.engine.build import flags_of
from plait.engine.decide import Decision
from plait.engine.run import Run, TaskRun
from plait.model.events import Event
from plait.model.rows import EventRow, RunRow, TaskRow
from plait.model.states import RUN_TERMINAL, RunState
from plait.ports import RunBatch

_json = msgspec.json.Encoder()
_events = msgspec.msgpack.Encoder()
_event_decoder = msgspec.msgpack.Decoder(Event)


def task_row(task: TaskRun) -> TaskRow:
    """The row of a task run as it stands. Stored outputs go along once, when an execution has just left them."""
    outputs, task.outputs = task.outputs, None
    return TaskRow(
        no=task.no,
        key=task.key,
        path=task.path,
        generation=task.generation,
        state=task.state.value,
        attempt=task.attempt,
        token=task.token,
        executions=task.executions,
        parent=task.parent,
        child=task.child,
        spec=_json.encode(task.node.spec) if task.node.index < 0 else None,
        upstream=task.upstream,
        name=task.name,
        wait_until=task.wait_until,
        first_started_at=task.first_started_at,
        started_at=task.started_at,
        finished_at=task.finished_at,
        control=_json.encode(task.control) if task.control is not None else None,
        outputs=outputs,
        error=_json.encode(task.error) if task.error is not None else None,
        log=_json.encode(task.log) if task.log is not None else None,
        reason=task.reason,
        flags=flags_of(task),
        current=task.current,
    )


def event_row(event: Event, seq: int, at: float) -> EventRow:
    """An event as it is recorded."""
    return EventRow(seq=seq, at=at, data=_events.encode(event))


def decode_event(row: EventRow) -> Event:
    """The event that a row holds."""
    return _event_decoder.decode(row.data)


def update_run_row(row: RunRow, run: Run, owner: str) -> RunRow:
    """The run's row as the aggregate stands. What a run is to end as is needed by who takes it over meanwhile. A
    service-owned run that is over is nobody's: whoever finds a request for it in the inbox may take it."""
    extra = {key: value for key, value in row.extra.items() if key != "ending"}
    if run.ending is not None and run.state is RunState.CANCELLING:
        extra["ending"] = run.ending.value
    return msgspec.structs.replace(
        row,
        state=run.state.value,
        reason=run.reason,
        started_at=run.started_at,
        finished_at=run.finished_at,
        epoch=run.epoch,
        owner=None if run.state in RUN_TERMINAL and not row.session else owner,
        extra=extra,
    )


def batch_of(
    run: Run, row: RunRow, decision: Decision, seq: int, now: float, inbox: Sequence[int] = ()
) -> tuple[RunBatch, int]:
    """Everything that a decision writes, and the number of its last event. `inbox`: the rows that it decided."""
    events: list[EventRow] = []
    for event in decision.events:
        seq += 1
        events.append(event_row(event, seq, now))
    batch = RunBatch(
        run_id=run.run_id,
        epoch=run.epoch,
        run=row if decision.changed else None,
        tasks=[task_row(task) for task in decision.touched],
        attempts=[attempt for _, attempt in decision.attempts],
        scopes=decision.scopes,
        events=events,
        assets=decision.assets,
        asset_events=decision.asset_events,
        release=decision.released,
        inbox=list(inbox),
    )
    return batch, seq
