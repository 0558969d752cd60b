"""What the engine records: past tense, versioned, history for audit, the live view and automations.

Rows are the truth for recovery (`rows.py`); folding the events of a run gives its rows, which the simulator asserts. At
most two events a task in the common case (dispatched, finished), one for a whole expansion.
"""

from plait.model.ids import MapPath, TaskNo, Token
from plait.model.policies import Value


class RunChanged(Value, tag="run", array_like=True):
    """The run entered `state`; `reason` says why where that is not plain."""

    state: str
    reason: str = ""


class TaskDispatched(Value, tag="dispatched", array_like=True):
    """A task run was handed over: attempt `attempt` (from 1) under `token`."""

    no: TaskNo
    key: str
    path: MapPath
    generation: int
    attempt: int
    token: Token


class TaskFinished(Value, tag="finished", array_like=True):
    """An execution ended and with it the task run, in the terminal `state`."""

    no: TaskNo
    state: str
    attempt: int
    error: str = ""


class TaskWaits(Value, tag="waits", array_like=True):
    """An execution ended, the task run goes on later: `state` is one of the waits, `until` epoch seconds or none.

    `ready`: it was given back, or its owner died, and is offered again.
    """

    no: TaskNo
    state: str
    attempt: int
    until: float | None = None
    error: str = ""


class TaskResolved(Value, tag="resolved", array_like=True):
    """A task run ended without an execution of its own: skipped, upstream_failed, removed, cancelled, marked."""

    no: TaskNo
    key: str
    path: MapPath
    generation: int
    state: str
    reason: str = ""


class ScopeExpanded(Value, tag="expanded", array_like=True):
    """A mapped scope below `path` got its elements: `length` of them, named by `keys` where it has names."""

    scope: str
    path: MapPath
    length: int
    keys: tuple[str, ...] | None = None


class ChildRecorded(Value, tag="child", array_like=True):
    """A flow body added a child under the replay key `child`."""

    no: TaskNo
    parent: TaskNo
    key: str
    child: str


class ChildDiverged(Value, tag="diverged", array_like=True):
    """A replayed body asked for a child that was not recorded; it runs anew."""

    parent: TaskNo
    child: str


class TasksCleared(Value, tag="cleared", array_like=True):
    """These task runs (their old numbers) were replaced by a new generation."""

    nos: tuple[TaskNo, ...]


class TransactionClosed(Value, tag="transaction", array_like=True):
    """A transaction committed or rolled back; `nos` are its staged task runs, in the order of the undoing."""

    name: str
    ok: bool
    nos: tuple[TaskNo, ...]


class ReportRefused(Value, tag="refused", array_like=True):
    """A report came under a token that is no longer the task run's: nothing was written (C3)."""

    no: TaskNo
    token: Token


class AssetRecorded(Value, tag="asset", array_like=True):
    """A task run materialized (or observed) an asset."""

    no: TaskNo
    key: str
    partition: str | None = None
    data_version: str | None = None


class CheckRecorded(Value, tag="check", array_like=True):
    """A check of an asset was evaluated."""

    no: TaskNo
    name: str
    passed: bool
    severity: str
    asset: str | None = None


Event = (
    RunChanged
    | TaskDispatched
    | TaskFinished
    | TaskWaits
    | TaskResolved
    | ScopeExpanded
    | ChildRecorded
    | ChildDiverged
    | TasksCleared
    | TransactionClosed
    | ReportRefused
    | AssetRecorded
    | CheckRecorded
)
