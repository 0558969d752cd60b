"""What reaches a run from outside: reports of executions, timers, people, other aggregates. The engine decides on each.

A stimulus says what happened and carries the time at which the shell saw it as an argument of `decide`, never inside.
Everything about an execution carries its token; a token that is not the task run's current one changes nothing (C3).
"""

import functools
from typing import Any

import msgspec

from plait.model.graph import TaskSpec
from plait.model.ids import TaskNo, Token
from plait.model.outcome import Outcome
from plait.model.policies import Value


class Said(Value, tag=True):
    """Base of all stimuli; on the wire each carries its name."""


class RunAdmitted(Said):
    """The run may start: nothing holds it back (max active runs, a paused workflow). `lengths`: of mapped
    parameters."""

    lengths: dict[str, int | list[str]] = {}


class ExecutionStarted(Said):
    """A worker began to run user code."""

    no: TaskNo
    token: Token


class ExecutionFinished(Said):
    """A worker reports how an execution ended."""

    no: TaskNo
    token: Token
    outcome: Outcome


class ExecutionLost(Said):
    """The worker died, or its lease ended: `reason` says what is known (signal, exit code, no heartbeat)."""

    no: TaskNo
    token: Token
    reason: str


class ExecutionReturned(Said):
    """An executor gives back an execution that was never started: it is offered again and costs no attempt."""

    no: TaskNo
    token: Token


class ExecutionBlocked(Said):
    """A body waits for its children: it gives its slots back until `ExecutionUnblocked`."""

    no: TaskNo
    token: Token


class ExecutionUnblocked(Said):
    """The body goes on as soon as it has its slots again (`SlotsGranted` tells)."""

    no: TaskNo
    token: Token


class TimerFired(Said):
    """The time has come for a task run's wait (`kind`: retry, reschedule, trigger, defer_timeout, pause_timeout,
    wait_timeout) or for the run (`timeout`)."""

    kind: str
    no: TaskNo | None = None
    generation: int = 0


class SlotsGranted(Said):
    """The limits that a task run asked for are its own from now on."""

    no: TaskNo


class SlotsRefused(Said):
    """The limits that a task run asked for can never be its own: `reason` says why."""

    no: TaskNo
    reason: str


class WatchFired(Said):
    """Something that a task run waited for came true (`ok`), or can no longer come true; or it is to be skipped."""

    no: TaskNo
    index: int
    ok: bool = True
    skip: bool = False


class TriggerFired(Said):
    """The event that a deferred execution waits for arrived; `payload` is handed to its resume. `error`: it failed.

    `token` is that of the execution that was deferred: an event that comes late ends no later wait.
    """

    no: TaskNo
    payload: Any = None
    error: str | None = None
    token: Token | None = None


class InputReceived(Said):
    """A person (or an API) answered a pause with valid `data`.

    `token` is that of the execution that paused: an answer to one question is never taken for one to the next.
    """

    no: TaskNo
    data: Any = None
    token: Token | None = None


class ChildSubmitted(Said):
    """A flow body calls a task: `spec` is the child's node, `key` its replay key below the parent, `upstream` the task
    runs it waits for; `allow_failure` names those that may fail. `transaction` is the open one, if any."""

    parent: TaskNo
    spec: TaskSpec
    key: str
    upstream: tuple[TaskNo, ...] = ()
    allow_failure: tuple[TaskNo, ...] = ()
    transaction: str | None = None


class TransactionEnded(Said):
    """A body's transaction `name` committed (`ok`) or rolled back; staged results become final, or are undone."""

    name: str
    ok: bool


class ClearRequested(Said):
    """Run again, as a new generation: the task runs `tasks` (keys; all their map paths, or `path` only), with what is
    `downstream` and `upstream` of them; `only_failed` leaves the successes alone. No tasks means all."""

    tasks: tuple[str, ...] = ()
    path: tuple[int | str, ...] | None = None
    downstream: bool = True
    upstream: bool = False
    only_failed: bool = False


class MarkRequested(Said):
    """A person sets the state of a task run by hand (`success`, `failed` or `skipped`)."""

    no: TaskNo
    state: str


class CancelRequested(Said):
    """End the run: nothing new starts, live executions are cancelled. `state` is what the run ends as."""

    reason: str = "cancelled by request"
    state: str = "cancelled"


class PauseRequested(Said):
    """Hold back new task runs; what is live goes on."""


class ResumeRequested(Said):
    """Go on after a pause."""


class OwnerChanged(Said):
    """The run was taken over under a new lease epoch: in-flight executions are offered again under new tokens, but for
    those whose tokens are `kept`: they go on in workers that the new owner knows."""

    epoch: int
    kept: tuple[Token, ...] = ()


class OwnerLost(Said):
    """The session that owned the run died: the run is crashed and resumable."""

    reason: str


Stimulus = (
    RunAdmitted
    | ExecutionStarted
    | ExecutionFinished
    | ExecutionLost
    | ExecutionReturned
    | ExecutionBlocked
    | ExecutionUnblocked
    | TimerFired
    | SlotsGranted
    | SlotsRefused
    | WatchFired
    | TriggerFired
    | InputReceived
    | ChildSubmitted
    | TransactionEnded
    | ClearRequested
    | MarkRequested
    | CancelRequested
    | PauseRequested
    | ResumeRequested
    | OwnerChanged
    | OwnerLost
)


@functools.cache
def _decoder() -> "msgspec.json.Decoder[Stimulus]":
    """Made when something comes from an inbox: it costs 2 ms, which a script never needs."""
    return msgspec.json.Decoder(Stimulus)


def encode_stimulus(stimulus: Stimulus) -> bytes:
    """A stimulus as it lies in the store's inbox: JSON with the name of its type."""
    return msgspec.json.encode(stimulus)


def decode_stimulus(data: bytes) -> Stimulus:
    """The stimulus that lies in the inbox. Raises msgspec.DecodeError for what this version does not know."""
    return _decoder().decode(data)
