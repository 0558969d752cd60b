"""The rows of runs, and all the other tables, as the store in memory keeps them."""

import copy
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Container

import msgspec

from plait.adapters.stores.memory_definitions import DefinitionRows
from plait.adapters.stores.memory_partitions import PartitionTables
from plait.adapters.stores.memory_signals import SignalTables
from plait.model.ids import MapPath, RunId, TaskNo
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AttemptRow,
    EventRow,
    InboxRow,
    OwnerRow,
    RunRow,
    ScopeRow,
    TaskRow,
    WorkflowRow,
)
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState

_KEPT = ("control", "error", "log", "spec", "outputs")


def copy_run(row: RunRow) -> RunRow:
    """A copy that shares nothing that can be changed. `extra` comes back as it does from a database: as plain data."""
    made = copy.copy(row)
    if row.extra:
        made.extra = msgspec.msgpack.decode(msgspec.msgpack.encode(row.extra))
    return made


def copy_task(row: TaskRow) -> TaskRow:
    """A copy that shares nothing that can be changed."""
    made = copy.copy(row)
    if row.outputs is not None:
        made.outputs = dict(row.outputs)
    return made


def without_outputs(row: TaskRow) -> TaskRow:
    """A copy without the stored results."""
    made = copy.copy(row)
    made.outputs = None
    return made


class RunRows:
    """Everything of one run. Whoever calls holds the store's lock; rows that come in are its own from then on."""

    def __init__(self, run: RunRow):
        self.run = run
        self.tasks: dict[TaskNo, TaskRow] = {}
        self.by_node: dict[tuple[str, MapPath], list[TaskNo]] = {}
        self.attempts: dict[tuple[TaskNo, int], AttemptRow] = {}
        self.scopes: dict[tuple[str, MapPath], ScopeRow] = {}
        self.events: list[EventRow] = []

    def put_run(self, row: RunRow) -> None:
        """Replace the run's row."""
        self.run = row

    def put_task(self, row: TaskRow) -> None:
        """Insert or update a task row; what is none keeps what is there."""
        known = self.tasks.get(row.no)
        if known is None:
            self.by_node.setdefault((row.key, row.path), []).append(row.no)
        else:
            for name in _KEPT:
                if getattr(row, name) is None:
                    setattr(row, name, getattr(known, name))
        self.tasks[row.no] = row

    def put_attempt(self, row: AttemptRow) -> None:
        """Insert or replace an attempt."""
        self.attempts[row.no, row.attempt] = row

    def put_scope(self, row: ScopeRow) -> None:
        """Insert or replace an expanded scope."""
        self.scopes[row.scope, row.path] = row

    def put_event(self, row: EventRow) -> None:
        """Append an event; their numbers grow."""
        self.events.append(row)

    def events_after(self, after: int, limit: int) -> list[EventRow]:
        """At most `limit` events after number `after`."""
        first = bisect_right(self.events, after, key=lambda row: row.seq)
        return self.events[first : first + limit]

    def lose_owner(self, reason: str, now: float, *, crash: bool) -> None:
        """The owner is gone: the run is crashed (for that reason), or waits for a new owner."""
        if not crash:
            self.run = msgspec.structs.replace(self.run, owner=None, epoch=self.run.epoch + 1)
            return
        self.run = msgspec.structs.replace(
            self.run,
            owner=None,
            epoch=self.run.epoch + 1,
            state=RunState.CRASHED.value,
            reason=reason,
            finished_at=now,
        )
        for row in self.tasks.values():
            if row.state in LIVE:
                row.state, row.reason, row.finished_at = TaskState.CRASHED.value, reason, now


Place = tuple[str, RunId, int]
"""Who holds slots of what: a limit's key, a run and a task number."""


class Tables:
    """Everything that the store in memory keeps. Whoever calls holds the store's lock."""

    def __init__(self) -> None:
        self.runs: dict[RunId, RunRows] = {}
        self.occurrences: set[str] = set()
        """Those of the runs that are there."""
        self.graphs: dict[str, bytes] = {}
        self.graphs_held: OrderedDict[str, bytes] = OrderedDict()
        """What was saved lately, for who comes to need it when retention has just deleted it."""
        self.limits: dict[str, int] = {}
        self.slots: dict[Place, int] = {}
        self.workflows: dict[str, WorkflowRow] = {}
        self.assets: dict[tuple[str, str], AssetRow] = {}
        self.asset_events: dict[str, dict[tuple[object, ...], AssetEventRow]] = {}
        """By asset; then by what tells one from another."""
        self.owners: dict[str, OwnerRow] = {}
        self.swept: set[str] = set()
        self.inbox: dict[int, InboxRow] = {}
        self.inbox_ids = 0
        self.trash: dict[RunId, None] = {}
        """Runs that have vanished, whose files are still to go."""
        self.definitions = DefinitionRows()
        self.partitions = PartitionTables()
        self.signals = SignalTables()

    def add_run(self, rows: RunRows) -> None:
        """A new run."""
        self.runs[rows.run.run_id] = rows
        if rows.run.occurrence is not None:
            self.occurrences.add(rows.run.occurrence)

    def old_runs(self, finished_before: float) -> list[RunId]:
        """Final runs that ended before then, are no part of another one, have not made what an asset is now, and of
        which a service has nothing to decide; the earliest first."""
        makers = {row.run_id for row in self.assets.values() if not row.observed}
        asked = {row.run_id for row in self.inbox.values()}
        found: list[tuple[float, RunId]] = []
        for run_id, rows in self.runs.items():
            run = rows.run
            if run.state in RUN_TERMINAL and run.finished_at is not None and run.finished_at < finished_before:
                whole = run.parent.partition("/")[0] if run.parent is not None else None
                if whole not in self.runs and run_id not in makers and (run.session or run_id not in asked):
                    found.append((run.finished_at, run_id))
        return [run_id for _, run_id in sorted(found)]

    def drop_runs(self, run_ids: set[RunId]) -> None:
        """These runs vanish, with what belongs to them; so do stimuli for runs that are not there, and graphs that
        nobody else needs."""
        self.trash.update(dict.fromkeys(sorted(run_ids)))
        gone = [self.runs.pop(run_id).run for run_id in run_ids]
        self.occurrences.difference_update(run.occurrence for run in gone if run.occurrence is not None)
        self.free_slots(run_ids)
        for key, events in list(self.asset_events.items()):
            self.asset_events[key] = {place: row for place, row in events.items() if row.run_id not in run_ids}
        self.inbox = {number: row for number, row in self.inbox.items() if row.run_id in self.runs}
        used = {rows.run.graph_hash for rows in self.runs.values()} | self.definitions.graphs()
        for graph_hash in {run.graph_hash for run in gone} - used:
            self.graphs.pop(graph_hash, None)

    def free_slots(self, run_ids: Container[RunId], keep: Container[int] = ()) -> None:
        """Give back what these runs hold, but for these task numbers."""
        self.slots = {
            place: slots for place, slots in self.slots.items() if place[1] not in run_ids or place[2] in keep
        }

    def keep_graph(self, graph_hash: str) -> None:
        """Put a graph back that was saved lately, if retention has taken it."""
        data = self.graphs_held.get(graph_hash)
        if data is not None:
            self.graphs.setdefault(graph_hash, data)

    def owner_of(self, run_id: RunId) -> str | None:
        """Who owns a run."""
        rows = self.runs.get(run_id)
        return rows.run.owner if rows is not None else None
