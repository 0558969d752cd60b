"""The one door to a run: `decide(run, stimulus, now)` and `dispatch(run, executor, room, now)`.

Theory of operation. A shell hands every stimulus to `decide`, which looks the handler up by its type, lets it change
the aggregate, works off what follows (`settle`), and checks whether the run has ended. A shell that has room at an
executor calls `dispatch`, which takes ready task runs by priority, within the limits that lie inside of the run. Both
leave what is to be recorded and done in the run's lists; `take` empties them. The shell commits what is recorded
before it carries out a command (C1).
"""

import heapq
from collections.abc import Callable
from typing import Any

import msgspec

from plait.engine import children, clear, executions, requests, takeover
from plait.engine.ending import check_end, fail_fast
from plait.engine.propagate import settle
from plait.engine.run import Run, TaskRun
from plait.model import stimuli
from plait.model.commands import Command, Execute, StartRun
from plait.model.errors import EngineError
from plait.model.events import Event, TaskDispatched
from plait.model.ids import TaskNo
from plait.model.rows import AssetEventRow, AssetRow, AttemptRow, ScopeRow
from plait.model.states import RunState, TaskState

Handler = Callable[[Run, Any, float], None]

HANDLERS: dict[type, Handler] = {
    stimuli.RunAdmitted: requests.admitted,
    stimuli.ExecutionStarted: executions.started,
    stimuli.ExecutionFinished: executions.finished,
    stimuli.ExecutionLost: executions.lost,
    stimuli.ExecutionReturned: executions.returned,
    stimuli.ExecutionBlocked: executions.blocked,
    stimuli.ExecutionUnblocked: executions.unblocked,
    stimuli.TimerFired: requests.timer_fired,
    stimuli.SlotsGranted: requests.granted,
    stimuli.SlotsRefused: requests.refused,
    stimuli.WatchFired: requests.watch_fired,
    stimuli.TriggerFired: requests.trigger_fired,
    stimuli.InputReceived: requests.input_received,
    stimuli.ChildSubmitted: children.submitted,
    stimuli.TransactionEnded: children.transaction_ended,
    stimuli.ClearRequested: clear.cleared,
    stimuli.MarkRequested: requests.marked,
    stimuli.CancelRequested: requests.cancelled,
    stimuli.PauseRequested: requests.paused,
    stimuli.ResumeRequested: requests.resumed,
    stimuli.OwnerChanged: takeover.owner_changed,
    stimuli.OwnerLost: takeover.owner_lost,
}


def decide(run: Run, stimulus: stimuli.Stimulus, now: float) -> None:
    """Decide what a stimulus means for a run at epoch second `now`. Raises EngineError for an unknown kind."""
    handler = HANDLERS.get(type(stimulus))
    if handler is None:
        raise EngineError(f"the engine does not know {type(stimulus).__name__}")
    handler(run, stimulus, now)
    _work_off(run, now)
    if not run.open and clear.rerun(run, now):
        _work_off(run, now)
    if not run.open:
        check_end(run, now)


def _work_off(run: Run, now: float) -> None:
    """What follows from what was decided."""
    if run.settled:
        settle(run, now)
    if run.failed is not None:
        fail_fast(run, now)


def dispatch(run: Run, executor: str | None, room: int, now: float) -> list[TaskRun]:
    """Hand out at most `room` ready task runs of one executor, highest priority first, then oldest.

    What the run's own limits hold back stays ready. Each gets an attempt number and a token, and leaves an `Execute`.
    """
    heap = run.ready.get(executor)
    if not heap or run.state not in _DISPATCHING:
        return []
    most = run.plan.graph.policy.max_active_tasks
    handed: list[TaskRun] = []
    while heap and len(handed) < room and (most is None or run.active < most):
        entry = heapq.heappop(heap)
        task = run.tasks.get(entry[1])
        if task is None or task.state is not TaskState.READY or task.lost:
            continue
        cap = task.node.max_active
        if cap is not None and run.active_of.get(task.key, 0) >= cap:
            heapq.heappush(run.parked.setdefault(task.key, []), entry)
            continue
        _hand_out(run, task)
        handed.append(task)
    return handed


_DISPATCHING = frozenset({RunState.RUNNING, RunState.CANCELLING})
"""In which states a run hands out what is ready; while it is being cancelled, that is only hooks."""


def _hand_out(run: Run, task: TaskRun) -> None:
    task.attempt += 1
    task.executions += 1
    task.token = run.next_token()
    task.started_at = task.finished_at = None
    task.blocked = False
    children.expect_replay(task)
    run.move(task, TaskState.DISPATCHED)
    run.events.append(
        TaskDispatched(
            no=task.no,
            key=task.key,
            path=task.path,
            generation=task.generation,
            attempt=task.attempt,
            token=task.token,
        )
    )
    spec = task.node.spec
    if spec.runner == "run":
        run.commands.append(StartRun(no=task.no, token=task.token, workflow=spec.workflow))
        return
    run.commands.append(
        Execute(
            no=task.no,
            key=task.key,
            path=task.path,
            attempt=task.attempt,
            token=task.token,
            executor=spec.executor,
            resume=task.resume,
        )
    )


class Decision(msgspec.Struct):
    """What a run's decisions since the last `take` leave to record and to do."""

    changed: bool
    events: list[Event]
    touched: list[TaskRun]
    attempts: list[tuple[TaskNo, AttemptRow]]
    scopes: list[ScopeRow]
    assets: list[AssetRow]
    asset_events: list[AssetEventRow]
    released: list[int]
    commands: list[Command]


def take(run: Run) -> Decision:
    """Empty the run's lists."""
    decision = Decision(
        run.changed,
        run.events,
        run.touched,
        run.attempts,
        run.scopes_out,
        run.assets,
        run.asset_events,
        run.released,
        run.commands,
    )
    run.changed = False
    run.events, run.touched, run.attempts, run.scopes_out = [], [], [], []
    run.assets, run.asset_events, run.released, run.commands = [], [], [], []
    for task in decision.touched:
        task.touched = False
    return decision
