"""The ports: what the shells need of the world, one Protocol per need. Adapters implement them, the shells never look
behind.

Everything is synchronous and thread-safe unless its docstring says otherwise. Times are epoch seconds (UTC).
"""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from enum import StrEnum
from math import inf
from typing import Any, Protocol

import msgspec

from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import LogSpan, Outcome, Stored
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AttemptRow,
    AutomationRow,
    BackfillRow,
    DeploymentRow,
    EventRow,
    FileRow,
    InboxRow,
    LimitRow,
    OwnerRow,
    PartitionChunk,
    PartitionMark,
    RunRow,
    ScopeRow,
    SlotRow,
    TaskRow,
    TriggerRow,
    WorkflowRow,
)
from plait.model.wire import Execution, Report

# --- time and ids ----------------------------------------------------------------------------------------------------


class Clock(Protocol):
    """Tells the time. Tests have one that jumps."""

    def now(self) -> float:
        """Epoch seconds, UTC."""
        ...


class IdSource(Protocol):
    """Makes the ids that come from outside the engine."""

    def run_id(self) -> RunId:
        """A new run id: a UUIDv7 as text, greater than every one made before by this source."""
        ...


# --- the store -------------------------------------------------------------------------------------------------------


class RunBatch(msgspec.Struct, kw_only=True):
    """What one run writes in a transaction: its row, the task rows that changed, and the events.

    A `TaskRow` is an upsert by (run, no), except that `outputs`, `control`, `spec`, `error` and `log` keep what is
    there when they are none. `epoch` fences: a batch whose epoch is not the run row's is refused whole (`StaleToken`).
    """

    run_id: RunId
    epoch: int
    run: RunRow | None = None
    tasks: Sequence[TaskRow] = ()
    attempts: Sequence[AttemptRow] = ()
    scopes: Sequence[ScopeRow] = ()
    events: Sequence[EventRow] = ()
    assets: Sequence[AssetRow] = ()
    asset_events: Sequence[AssetEventRow] = ()
    partitions: Sequence[PartitionMark] = ()
    """Partitions that were materialized, or failed to be."""
    release: Sequence[int] = ()
    """Task numbers whose slots are given back (-1: the run's own)."""
    inbox: Sequence[int] = ()
    """Inbox rows that were decided: they go with this transaction, so that none is lost and none decided twice."""


class RunSnapshot(msgspec.Struct, kw_only=True):
    """All rows of one run that recovery needs. `last_seq` is its last event's number, 0 when there is none; `slots` are
    those that it holds, which go on being its own when its owner changes."""

    run: RunRow
    tasks: list[TaskRow]
    scopes: list[ScopeRow]
    last_seq: int
    slots: list[SlotRow] = []


class Transaction(Protocol):
    """One durable transaction that writes. Leaving the context commits; an exception rolls back."""

    def create_run(self, row: RunRow) -> bool:
        """Insert a new run. False, and nothing is written, when a run of this occurrence exists, also if it has this id
        (F9). Otherwise an id that exists raises StoreError. StaleToken when the row's owner was swept."""
        ...

    def expect(self, keys: Iterable[str]) -> None:
        """Slots of these limits are going to be asked for. A store where several processes write at the same time gets
        hold of all of them at once, in the order of their keys: two transactions that need the same ones in different
        orders would be in each other's way. It changes no answer."""
        ...

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all of these slots, or none of them.

        False when any limit has too few free, or another transaction holds on to one that was not expected. A limit
        that has no row has no bound. Slots that this (run, no) already holds are not counted twice.
        """
        ...

    def is_leased(self, run_id: RunId, epoch: int) -> bool:
        """Whether a run is (still) leased under this epoch; it stays so until this transaction ends."""
        ...

    def write(self, batch: RunBatch) -> None:
        """Write a run's batch. Raises StaleToken if the run is leased under another epoch; a lease that is lost between
        this call and the commit is noticed there, and the commit fails with StaleToken."""
        ...

    def save_workflow(self, row: WorkflowRow) -> None:
        """Insert or replace what is remembered of a workflow."""
        ...

    def save_files(self, rows: Sequence[FileRow], *, gone: Sequence[str] = ()) -> None:
        """Insert or replace files of definitions; drop those whose paths are `gone`."""
        ...

    def deploy(self, row: DeploymentRow, triggers: Sequence[TriggerRow]) -> None:
        """Insert or replace a workflow's deployment and its triggers (their numbers: 0, 1, 2...). A trigger whose kind,
        spec and catchup are as they were keeps its cursor and its next time: a redeploy drops nothing that is due
        (F10). The deployment's graph was saved before, and stays as long as the deployment has it."""
        ...

    def undeploy(self, workflows: Sequence[str]) -> None:
        """These workflows are not defined any more: no new runs of them are triggered. Their runs stay."""
        ...

    def triggers(self, workflow: str) -> list[TriggerRow]:
        """A workflow's triggers, by number, as this transaction sees them; nobody else fires them until it ends."""
        ...

    def due_triggers(self, now: float, limit: int = 200, held: Sequence[tuple[str, int]] = ()) -> list[TriggerRow]:
        """Triggers whose time has come, of workflows that are not paused, longest due first, but for those that are
        `held` (workflow and number). They are this transaction's own: another that asks meanwhile gets none of them
        (or waits)."""
        ...

    def advance_trigger(self, row: TriggerRow) -> None:
        """Keep the cursor and the next time of a trigger that this transaction was given by `due_triggers`."""
        ...

    def automation(self, key: str) -> AutomationRow | None:
        """Where an automation stands, as this transaction sees it; nobody else changes it until this ends."""
        ...

    def save_automations(self, rows: Sequence[AutomationRow]) -> None:
        """Insert or replace where the automations of assets stand."""
        ...

    def backfill(self, id: str) -> BackfillRow | None:
        """A backfill; nobody else gets hold of it until this transaction ends."""
        ...

    def save_backfill(self, row: BackfillRow) -> None:
        """Insert a backfill, or keep the state, the time and the cursor of one that this transaction got hold of."""
        ...


class DefinitionStore(Protocol):
    """What of definitions is kept: files, deployments, triggers. Written through a `Transaction`."""

    def files(self, location: str | None = None) -> list[FileRow]:
        """The files of a location, or of all, by path."""
        ...

    def deployments(self) -> list[DeploymentRow]:
        """All deployed workflows, by name."""
        ...

    def deployment(self, workflow: str) -> DeploymentRow | None: ...

    def triggers(self, workflow: str | None = None) -> list[TriggerRow]:
        """All triggers, or a workflow's, by workflow and number."""
        ...

    def automations(self, keys: Sequence[str] = ()) -> list[AutomationRow]:
        """Where the automations of these assets, or of all, stand, by key."""
        ...

    def next_trigger(self, after: float = -inf) -> float | None:
        """When the next trigger of a workflow that is not paused is due (epoch seconds), none when there is none. Those
        that are due already at `after` do not count."""
        ...


class PartitionStore(Protocol):
    """Which partitions of assets are materialized or failed, the keys of dynamic partitions, and backfills.

    What a run says of partitions (`RunBatch.partitions`) lies there as marks, until `compact` has put them into
    chunks, which everything else reads: so a run writes a short row, and a count reads one row for 65,536 partitions.
    """

    def keys(self, name: str) -> dict[str, int]:
        """The keys of dynamic partitions with their numbers, in the order in which they were added first."""
        ...

    def names(self) -> dict[str, int]:
        """The names of all dynamic partitions, by name, and how many keys each has."""
        ...

    def add(self, name: str, keys: Sequence[str]) -> int:
        """Add keys; those that are there stay. A key that was there before gets the number that it had, others get new
        ones, which no key has had. Returns how many are new or there again."""
        ...

    def remove(self, name: str, keys: Sequence[str]) -> int:
        """Take keys out; returns how many were there."""
        ...

    def compact(self, limit: int = 5000) -> int:
        """Put at most `limit` marks, oldest first, into their chunks; returns how many there were. The later mark of an
        ordinal counts."""
        ...

    def sizes(self, assets: Sequence[str]) -> dict[tuple[str, str, bool], int]:
        """How many partitions the chunks of these assets have, by asset, space, and whether they failed."""
        ...

    def chunks(self, asset: str, space: str) -> list[PartitionChunk]:
        """The chunks of an asset in a space, by number."""
        ...

    def spaces(self, assets: Sequence[str]) -> dict[str, str]:
        """In which space each of these assets has all that is known of it. One that is missing has nothing, or what is
        known of it was written otherwise."""
        ...

    def settle(self, asset: str, marks: Sequence[PartitionMark], space: str) -> None:
        """Write marks, and that this space has all that is known of the asset."""
        ...

    def backfills(self, *, open_only: bool = False, limit: int = 50) -> list[BackfillRow]:
        """Newest first; with `open_only` those that are not over, oldest first."""
        ...

    def backfill(self, id: str) -> BackfillRow | None: ...

    def delete_backfills(self, over_before: float, limit: int = 1000) -> int:
        """Delete at most `limit` backfills that were over before then (epoch seconds); returns how many."""
        ...


class RunStore(Protocol):
    """Keeps runs, task runs, events, limits, slots, owners and the inbox, durably."""

    url: str
    """Where it lies, as people may see it: without a password."""

    @property
    def definitions(self) -> DefinitionStore:
        """What of definitions lies in the same database."""
        ...

    @property
    def partitions(self) -> PartitionStore:
        """What of partitions and backfills lies in the same database."""
        ...

    def close(self) -> None:
        """Close every connection. The store is not used afterwards."""
        ...

    def transaction(self) -> AbstractContextManager[Transaction]:
        """Begin a transaction that writes. Transactions of one store object run one after the other."""
        ...

    # runs
    def save_graph(self, hash: str, graph: Graph) -> None:
        """Keep a graph under its hash; one that is there already is left as it is."""
        ...

    def load_graph(self, hash: str) -> Graph | None: ...

    def load_run(self, run_id: RunId) -> RunSnapshot | None:
        """Everything that recovery needs of one run, with `outputs` left out of the task rows."""
        ...

    def get_run(self, run_id: RunId) -> RunRow | None: ...

    def find_runs(self, prefix: str, limit: int = 2) -> list[RunRow]:
        """Runs whose id begins (or ends) with `prefix`, so that people can shorten ids."""
        ...

    def list_runs(
        self,
        *,
        workflow: str | None = None,
        states: Sequence[str] = (),
        parent: str | None = None,
        before: RunId | None = None,
        limit: int = 50,
    ) -> list[RunRow]:
        """Newest first, at most `limit`, older than `before` if given."""
        ...

    def tasks(self, run_id: RunId, *, current: bool = True, after: int = -1, limit: int | None = None) -> list[TaskRow]:
        """Task rows by number, without outputs; `current` leaves older generations out."""
        ...

    def task(self, run_id: RunId, no: TaskNo) -> TaskRow | None:
        """One task row, with outputs."""
        ...

    def outputs(self, run_id: RunId, nos: Sequence[TaskNo]) -> dict[TaskNo, dict[str, Stored]]:
        """The stored results of task runs; one that has none is left out."""
        ...

    def attempts(self, run_id: RunId) -> list[AttemptRow]: ...

    def events(self, run_id: RunId, after: int = 0, limit: int = 1000) -> list[EventRow]: ...

    def previous_run(self, workflow: str, before: str) -> RunRow | None:
        """The run of a workflow with the greatest logical date below `before` (ISO 8601)."""
        ...

    def task_state(self, run_id: RunId, key: str, path: tuple[int | str, ...]) -> str | None:
        """The state of a task run's current generation, none when it has no row yet."""
        ...

    def delete_runs(self, finished_before: float, limit: int = 1000) -> int:
        """Make at most `limit` final runs vanish that ended before then, the earliest first; returns how many. A run
        stays as long as the one that it is a part of, whose results may lie with it; as long as it made what an asset's
        partition is now, whose value is among its results; and while something lies in the inbox that a service is to
        decide of it. Their many rows follow with `empty_trash`."""
        ...

    def empty_trash(self, most: int = 10_000) -> tuple[list[RunId], bool]:
        """Delete about `most` rows of runs that have vanished; returns the runs of which nothing is left here, and
        whether there are more rows to delete. What of these runs lies elsewhere is the caller's to delete, who then
        forgets them; until that, each call names them again."""
        ...

    def forget_trash(self, run_ids: Sequence[RunId]) -> None:
        """Nothing is left anywhere of these runs, which `empty_trash` has named."""
        ...

    # limits and workflows
    def save_limits(self, rows: Sequence[LimitRow]) -> None:
        """Insert or resize limits."""
        ...

    def limits(self) -> list[LimitRow]: ...

    def slots(self, key: str | None = None) -> list[SlotRow]:
        """Who holds slots, of one limit or of all."""
        ...

    def workflow(self, name: str) -> WorkflowRow | None: ...

    # assets
    def assets(self, keys: Sequence[str] = ()) -> list[AssetRow]:
        """The latest materializations, of these assets or of all."""
        ...

    def asset(self, key: str, partition: str) -> AssetRow | None:
        """The latest materialization of one asset's partition (empty text for an asset without partitions)."""
        ...

    def asset_history(
        self,
        key: str,
        *,
        partition: str | None = None,
        kinds: Sequence[str] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[AssetEventRow]:
        """What happened to an asset (or to one of its partitions), newest first, at most `limit`, earlier than `before`
        if given. What happened at the same time comes by its other columns, last first."""
        ...

    def asset_updates(self, since: float, limit: int = 10_000) -> list[AssetEventRow]:
        """What was materialized or observed of any asset at `since` or later, oldest first, at most `limit`."""
        ...

    # owners and leases
    def renew(self, owner: OwnerRow) -> bool:
        """Register a process, or prolong its lease. False when the owner was swept in the meantime: it must stop."""
        ...

    def owners(self) -> list[OwnerRow]: ...

    def release_owner(self, owner: str) -> None:
        """The process ends in order: drop its row."""
        ...

    def take_over(self, run_id: RunId, owner: str, now: float, *, epoch: int | None = None) -> int:
        """Lease a run that nobody live owns; returns the new epoch. Raises StoreError when a live owner has it.

        With `epoch` the run is handed over: its live owner leases it under this epoch and has asked for it (StaleToken
        when it is another by now); its slots stay taken. Without, they are freed. An owner that was swept gets nothing
        (StoreError).
        """
        ...

    def free_slots(self, run_id: RunId, keep: Sequence[int] = ()) -> None:
        """Give back what a run holds, but for these of its task numbers (-1: the run's own)."""
        ...

    def claim(self, owner: str, limit: int) -> list[RunId]:
        """Lease at most `limit` service-owned runs that nobody owns, oldest first: open ones, and those that are over
        for which something lies in the inbox and whose owner is not registered any more. Each gets a new epoch and
        keeps its slots; two that claim at once get different ones. An owner that was swept gets none."""
        ...

    def owned(self, owner: str) -> list[RunId]:
        """The open service-owned runs that an owner leases, oldest first."""
        ...

    def let_go(self, run_ids: Sequence[RunId], owner: str, now: float, *, crashed: str = "") -> None:
        """Give up runs of this owner (those of others are left alone): nobody owns them from now on. They keep their
        slots. With `crashed` (the reason) they are marked crashed, with their live task rows, and their slots are free;
        what is over stays as it is."""
        ...

    def sweep(self, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
        """These owners are dead: drop them; mark their session-owned open runs crashed with `reason`, and their live
        task rows, and free their slots; nobody owns their service-owned ones from now on, which keep their slots,
        because executions of theirs may go on in workers. Returns the runs. Atomic and idempotent."""
        ...

    # inbox
    def put_inbox(self, run_id: RunId, data: bytes) -> None:
        """Leave an encoded stimulus for whoever owns the run."""
        ...

    def read_inbox(self, owner: str, limit: int = 10_000) -> list[InboxRow]:
        """What lies there for the runs of an owner, oldest first. It stays until a batch names it (`RunBatch.inbox`),
        or it is forgotten."""
        ...

    def forget_inbox(self, ids: Sequence[int]) -> None:
        """Delete what nobody can decide."""
        ...


class EventBus(Protocol):
    """Tells other processes on the same store that there is something to look at (C5). It may lose a message; the
    receiver also looks on a slow timer."""

    def publish(self, topic: str) -> None:
        """Wake every other process. Never blocks, never raises for a receiver that is gone."""
        ...

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call `callback(topic)` on a thread of the bus for each message of another process."""
        ...

    def close(self) -> None: ...


# --- execution -------------------------------------------------------------------------------------------------------


class Kill(StrEnum):
    """What an executor can do to a running execution: kill its process, ask it to stop, nothing."""

    PROCESS = "process"
    COOPERATIVE = "cooperative"
    NONE = "none"


class Capture(StrEnum):
    """What of an execution's output an executor can keep: file descriptors (everything), Python streams, nothing."""

    DESCRIPTORS = "descriptors"
    STREAMS = "streams"
    NONE = "none"


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor declares. `placement`: where executions run (`here`, `thread`, `process`, `remote`).
    `takes_runs`: what it is given is a flow's body, and its process takes over the whole run."""

    kill: Kill
    capture: Capture
    placement: str
    takes_runs: bool = False


class Runner(Protocol):
    """Runs one execution where user code runs. Never raises: what the user's code raises is in the outcome."""

    def run(self, execution: Execution) -> Outcome: ...


class ReportSink(Protocol):
    """Takes reports, from any thread, quickly. An execution is reported finished or returned exactly once."""

    def report(self, reports: Sequence[Report]) -> None: ...


class Executor(Protocol):
    """Starts executions somewhere and reports on them. Knows nothing of stores, runs or graphs.

    A timeout ends as `Finished` with verdict failed and error type `TaskTimeout`; a cancel with verdict cancelled; a
    dead process with verdict crashed and an error that says what happened (signal, exit code).
    """

    capabilities: Capabilities

    def start(self, sink: ReportSink) -> None:
        """Get ready; called once, before anything is submitted. Cheap: processes may be started later, on demand."""
        ...

    def capacity(self) -> int:
        """How many more executions it would take now, prefetch included."""
        ...

    def submit(self, executions: Sequence[Execution]) -> None:
        """Take these, in this order. Never blocks for long and never refuses."""
        ...

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """End this execution if it is here. Whether it was running or only queued, it is reported finished,
        cancelled."""
        ...

    def adopt(self, run_id: RunId) -> Sequence[Token]:
        """The executions of a run that are here and not reported yet, whoever handed them out: a new owner of the run
        goes on with them, and from now on they are reported to this executor's sink."""
        ...

    def stop(self, grace: float = 5.0) -> None:
        """End all: what is live gets `grace` seconds, then is killed. Leaves no process, thread or file behind."""
        ...


# --- triggers --------------------------------------------------------------------------------------------------------


class TriggerEvent(msgspec.Struct, kw_only=True, frozen=True):
    """The event that a deferred task run waits for (plain data), or why it does not come."""

    run_id: RunId
    no: TaskNo
    payload: Any = None
    error: str | None = None


class TriggerSink(Protocol):
    """Takes events, from any thread, quickly."""

    def fired(self, events: Sequence[TriggerEvent]) -> None: ...


class Triggerer(Protocol):
    """Awaits the triggers of one code location's user code, thousands at a time. Knows nothing of stores, runs or
    graphs.

    Each wait that is started and not dropped is told exactly once to the sink that the triggerer was made with. One
    that keeps the event loop from turning fails alone: the others begin again.
    """

    def start(self, run_id: RunId, no: TaskNo, trigger: dict[str, Any]) -> None:
        """Begin a wait; one that this task run had before is dropped. Never blocks for long and never refuses."""
        ...

    def drop(self, run_id: RunId, no: TaskNo) -> None:
        """End this wait, if it is here: nothing is told of it any more."""
        ...

    def stop(self) -> None:
        """End all. Leaves no process, thread or file behind."""
        ...


# --- results and logs ------------------------------------------------------------------------------------------------


class ResultStore(Protocol):
    """Keeps values that tasks pass on. Small ones travel inline, large ones lie at a URL."""

    def put(self, value: Any, name: str) -> Stored:
        """Store a value. `name` is a path unique to the execution and output (`run/no/token/output`). Durable on
        return.

        A value that cannot be stored raises TypeError that names the type and what to do.
        """
        ...

    def get(self, stored: Stored) -> Any:
        """The value. A missing file raises FileNotFoundError that names the URL."""
        ...

    def read_record(self, name: str) -> bytes | None:
        """A small named record (the cache's), none when it is not there."""
        ...

    def write_record(self, name: str, data: bytes) -> None:
        """Write a small named record atomically."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete everything under these path prefixes; what is not there is fine."""
        ...


class LogReader(Protocol):
    """Reads what executions printed, also while they run and after a kill -9."""

    def read(self, span: LogSpan) -> bytes: ...

    def find(self, run_id: RunId, no: TaskNo, token: Token) -> LogSpan | None:
        """Where the output of an execution lies that has not reported its span (it is live, or was killed)."""
        ...


class Captured(Protocol):
    """What one execution has printed in this process so far."""

    @property
    def span(self) -> LogSpan | None:
        """Where it lies; none when nothing was printed."""
        ...


class Capturing(Protocol):
    """Keeps what executions print in this process (Python streams)."""

    def capture(self, run_id: str, no: int, token: int) -> AbstractContextManager[Captured]:
        """What is printed inside, in this context, belongs to this execution."""
        ...

    def close(self) -> None: ...
