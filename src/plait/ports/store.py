"""The store: runs, and the transaction that writes all there is; the bus on which processes hear of it."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from typing import Protocol

import msgspec

from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo
from plait.model.outcome import Stored
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
    PartitionMark,
    PublishedRow,
    RunRow,
    ScopeRow,
    SignalRow,
    SlotRow,
    TaskRow,
    TriggerRow,
    WorkflowRow,
)
from plait.ports.definition_store import DefinitionStore
from plait.ports.partition_store import PartitionStore
from plait.ports.signal_store import SignalStore


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
        (F9). Otherwise an id that exists raises RunExists. StaleToken when the row's owner was swept. After each of
        these the transaction goes on without the run."""
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
        """These workflows are not defined any more: no new runs of them are triggered. Their runs stay. When no trigger
        waits for any signal then, those that are not counted go (also with `deploy`)."""
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
        """Keep the cursor, the next time and the state of a trigger that this transaction was given by `due_triggers`
        or `awaiting`."""
        ...

    def publish(self, row: PublishedRow) -> None:
        """Keep an event that somebody has published; it is a signal if a trigger waits for it."""
        ...

    def last_signal(self) -> int:
        """The number of the last signal that nobody has counted, 0 when there is none. Nobody changes definitions until
        this transaction ends."""
        ...

    def take_signals(self, limit: int = 200) -> list[SignalRow]:
        """Take out what triggers wait for and nobody has counted, oldest first. Who asks meanwhile waits, and gets none
        of these; nobody changes definitions until this transaction ends."""
        ...

    def awaiting(self, subjects: Sequence[str]) -> list[TriggerRow]:
        """The triggers that wait for signals of these subjects, of workflows that are not paused, by workflow and
        number. They are this transaction's own until it ends."""
        ...

    def automation(self, key: str) -> AutomationRow | None:
        """Where an automation stands, as this transaction sees it; nobody else changes it until this ends."""
        ...

    def save_automations(self, rows: Sequence[AutomationRow]) -> None:
        """Insert or replace where the automations of assets stand."""
        ...

    def delete_automations(self, keys: Sequence[str]) -> None:
        """Forget where the automations of these assets stand."""
        ...

    def backfill(self, id: str) -> BackfillRow | None:
        """A backfill; nobody else gets hold of it until this transaction ends."""
        ...

    def save_backfill(self, row: BackfillRow) -> None:
        """Insert a backfill, or keep the state, the time and the cursor of one that this transaction got hold of."""
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

    @property
    def signals(self) -> SignalStore:
        """What of signals and published events lies in the same database."""
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
