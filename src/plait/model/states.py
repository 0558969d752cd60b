"""The states of runs, task runs and edges, as closed enums with the sets that rules ask about."""

from enum import StrEnum


class TaskState(StrEnum):
    """Where a task run stands.

    `pending` waits for its upstream; `ready` may start and waits for a slot; `dispatched` was handed to an executor;
    `retry_wait`, `rescheduled`, `deferred` and `paused` are waits between two executions; the rest are terminal.
    """

    PENDING = "pending"
    READY = "ready"
    DISPATCHED = "dispatched"
    RUNNING = "running"
    RETRY_WAIT = "retry_wait"
    RESCHEDULED = "rescheduled"
    DEFERRED = "deferred"
    PAUSED = "paused"
    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    UPSTREAM_FAILED = "upstream_failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    REMOVED = "removed"


class RunState(StrEnum):
    """Where a run stands. `queued` waits for its turn (max active runs), `paused` holds back new tasks."""

    QUEUED = "queued"
    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"
    CRASHED = "crashed"


class EdgeState(StrEnum):
    """What an edge tells the task below it. `not_chosen` skips that task whatever its trigger rule, `cut` all below it
    too."""

    PENDING = "pending"
    SATISFIED = "satisfied"
    FAILED = "failed"
    UPSTREAM_FAILED = "upstream_failed"
    SKIPPED = "skipped"
    REMOVED = "removed"
    NOT_CHOSEN = "not_chosen"
    CUT = "cut"


S = TaskState

TERMINAL = frozenset({S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.CANCELLED, S.CRASHED, S.REMOVED})
LIVE = frozenset({S.DISPATCHED, S.RUNNING})
WAITING = frozenset({S.RETRY_WAIT, S.RESCHEDULED, S.DEFERRED, S.PAUSED})
FAILURES = frozenset({S.FAILED, S.UPSTREAM_FAILED, S.CRASHED, S.CANCELLED})
RUN_TERMINAL = frozenset({RunState.SUCCESS, RunState.FAILED, RunState.CANCELLED, RunState.CRASHED})

_FROM_LIVE = frozenset(
    {
        S.RUNNING, S.PENDING, S.READY, S.RETRY_WAIT, S.RESCHEDULED, S.DEFERRED, S.PAUSED,
        S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.CANCELLED, S.CRASHED,
    }
)  # fmt: skip
_FROM_WAIT = frozenset({S.READY, S.SUCCESS, S.FAILED, S.SKIPPED, S.CANCELLED, S.CRASHED})

TASK_TRANSITIONS: dict[TaskState, frozenset[TaskState]] = {
    S.PENDING: frozenset({S.READY, S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.CANCELLED, S.REMOVED}),
    S.READY: frozenset({S.DISPATCHED, S.SUCCESS, S.FAILED, S.SKIPPED, S.UPSTREAM_FAILED, S.CANCELLED, S.REMOVED}),
    S.DISPATCHED: _FROM_LIVE,
    S.RUNNING: _FROM_LIVE - {S.RUNNING},
    S.RETRY_WAIT: _FROM_WAIT,
    S.RESCHEDULED: _FROM_WAIT,
    S.DEFERRED: _FROM_WAIT,
    S.PAUSED: _FROM_WAIT,
    **dict.fromkeys(TERMINAL, frozenset()),
}
"""Every transition that may happen (C4: nothing leaves a terminal state; a rerun is a new generation)."""
