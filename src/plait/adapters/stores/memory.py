"""The store in memory (the port `RunStore`): for tests, the simulator, and runs that nobody wants to keep.

Theory of operation. A transaction stages: it checks against what is committed plus what it staged itself, and holds
copies of the rows; its commit applies them under the lock, in one go. So a failed transaction leaves nothing behind,
and readers never see half of one. Rows are copied on the way in and on the way out: no caller can change what is
stored.
"""

import contextlib
import copy
import itertools
import threading
from collections.abc import Callable, Iterator, Sequence

import msgspec

from plait.adapters.stores import encoding
from plait.adapters.stores.memory_definitions import MemoryDefinitions
from plait.adapters.stores.memory_partitions import MemoryPartitions
from plait.adapters.stores.memory_rows import Tables, copy_run, copy_task, without_outputs
from plait.adapters.stores.memory_signals import MemorySignals
from plait.adapters.stores.memory_transaction import MemoryTransaction
from plait.model.errors import StaleToken, StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo
from plait.model.outcome import Stored
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AttemptRow,
    EventRow,
    InboxRow,
    LimitRow,
    OwnerRow,
    RunRow,
    SlotRow,
    TaskRow,
    WorkflowRow,
)
from plait.model.states import RUN_TERMINAL
from plait.ports import RunSnapshot, Transaction

GRAPHS_HELD = 8


class MemoryStore:
    """Keeps everything in this object. `on_commit` is called with `before_commit` and `after_commit`."""

    def __init__(self, *, on_commit: Callable[[str], None] | None = None):
        self.url = "memory://"
        self._on_commit = on_commit
        self._turn = threading.Lock()
        self._writing_thread: int | None = None
        self._closed = False
        self._tables = Tables()
        self._lock = threading.RLock()
        """Held for moments, by whoever reads or applies. `_turn` is held for a whole transaction, and taken first."""

        self.definitions = MemoryDefinitions(lambda: self._tables.definitions, self._tables.workflows, self._reading)
        self.partitions = MemoryPartitions(self._tables.partitions, self._reading, self._writing)
        self.signals = MemorySignals(
            self._tables.signals, lambda: self._tables.definitions, self._reading, self._writing
        )

    def close(self) -> None:
        """What was stored is gone."""
        self._closed = True

    @contextlib.contextmanager
    def _reading(self) -> Iterator[None]:
        with self._lock:
            if self._closed:
                raise StoreError("the store in memory is closed")
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        if self._writing_thread == threading.get_ident():
            raise StoreError("this thread has a transaction open already: write through that one")
        with self._turn:
            self._writing_thread = threading.get_ident()
            try:
                with self._reading():
                    pass
                yield
            finally:
                self._writing_thread = None

    @contextlib.contextmanager
    def transaction(self) -> Iterator[Transaction]:
        """Begin a transaction that writes. Reads of the store do not see it before it is committed."""
        with self._writing():
            staged = MemoryTransaction(self._tables)
            yield staged
            if self._on_commit is not None:
                self._on_commit("before_commit")
            with self._reading():
                staged.apply()
            if self._on_commit is not None:
                self._on_commit("after_commit")

    # --- graphs -------------------------------------------------------------------------------------------------------

    def save_graph(self, hash: str, graph: Graph) -> None:
        """Keep a graph. It is held for a while: `create_run` puts it back if retention took it just then."""
        data = self._tables.graphs_held.get(hash) or encoding.graph_bytes(graph)
        with self._writing(), self._reading():
            self._tables.graphs.setdefault(hash, data)
            self._tables.graphs_held[hash] = data
            self._tables.graphs_held.move_to_end(hash)
            while len(self._tables.graphs_held) > GRAPHS_HELD:
                self._tables.graphs_held.popitem(last=False)

    def load_graph(self, hash: str) -> Graph | None:
        """The graph of that hash."""
        with self._reading():
            data = self._tables.graphs.get(hash)
        return encoding.graph_of(hash, data) if data is not None else None

    # --- runs ---------------------------------------------------------------------------------------------------------

    def load_run(self, run_id: RunId) -> RunSnapshot | None:
        """Everything that recovery needs of one run, as of one moment."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            if rows is None:
                return None
            return RunSnapshot(
                run=copy_run(rows.run),
                tasks=[without_outputs(rows.tasks[no]) for no in sorted(rows.tasks)],
                scopes=[copy.copy(row) for row in rows.scopes.values()],
                last_seq=rows.events[-1].seq if rows.events else 0,
                slots=self._sorted_slots(lambda place: place[1] == run_id),
            )

    def get_run(self, run_id: RunId) -> RunRow | None:
        """One run's row."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            return copy_run(rows.run) if rows is not None else None

    def _newest(self, wanted: Callable[[RunRow], bool], limit: int) -> list[RunRow]:
        with self._reading():
            found = sorted((run_id for run_id, rows in self._tables.runs.items() if wanted(rows.run)), reverse=True)
            return [copy_run(self._tables.runs[run_id].run) for run_id in found[:limit]]

    def find_runs(self, prefix: str, limit: int = 2) -> list[RunRow]:
        """Runs whose id begins with `prefix`, newest first; then those whose id ends with it."""
        found = self._newest(lambda row: row.run_id.startswith(prefix), limit)
        found += self._newest(lambda row: row.run_id.endswith(prefix) and not row.run_id.startswith(prefix), limit)
        return found[:limit]

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

        def wanted(row: RunRow) -> bool:
            return (
                (workflow is None or row.workflow == workflow)
                and (not states or row.state in states)
                and (parent is None or row.parent == parent)
                and (before is None or row.run_id < before)
            )

        return self._newest(wanted, limit)

    def previous_run(self, workflow: str, before: str) -> RunRow | None:
        """The run of a workflow with the greatest logical date below `before`, compared as moments."""
        bound = encoding.epoch_of(before)
        best: tuple[float, RunId] | None = None
        with self._reading():
            for run_id, rows in self._tables.runs.items():
                at = encoding.epoch_of(rows.run.logical_date) if rows.run.workflow == workflow else None
                if at is not None and bound is not None and at < bound and (best is None or (at, run_id) > best):
                    best = (at, run_id)
            return copy_run(self._tables.runs[best[1]].run) if best is not None else None

    def delete_runs(self, finished_before: float, limit: int = 1000) -> int:
        """Make at most `limit` final runs vanish that ended before then, the earliest first."""
        with self._writing(), self._reading():
            count = 0
            self._tables.drop_runs(set())
            while count < limit and (found := self._tables.old_runs(finished_before)[: limit - count]):
                self._tables.drop_runs(set(found))
                count += len(found)
            return count

    def empty_trash(self, most: int = 10_000) -> tuple[list[RunId], bool]:
        """Their rows have gone with the runs."""
        with self._reading():
            return list(self._tables.trash)[:most], len(self._tables.trash) > most

    def forget_trash(self, run_ids: Sequence[RunId]) -> None:
        """Nothing is left anywhere of these runs."""
        with self._writing(), self._reading():
            for run_id in run_ids:
                self._tables.trash.pop(run_id, None)

    # --- task runs and events -----------------------------------------------------------------------------------------

    def tasks(self, run_id: RunId, *, current: bool = True, after: int = -1, limit: int | None = None) -> list[TaskRow]:
        """Task rows by number, without outputs."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            tasks = rows.tasks if rows is not None else {}
            found = sorted(no for no, row in tasks.items() if no > after and (row.current or not current))
            return [without_outputs(tasks[no]) for no in found[:limit]]

    def task(self, run_id: RunId, no: TaskNo) -> TaskRow | None:
        """One task row, with outputs."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            found = rows.tasks.get(no) if rows is not None else None
            return copy_task(found) if found is not None else None

    def outputs(self, run_id: RunId, nos: Sequence[TaskNo]) -> dict[TaskNo, dict[str, Stored]]:
        """The stored results of these task runs."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            found = [(no, rows.tasks.get(no)) for no in nos] if rows is not None else []
            return {no: dict(row.outputs) for no, row in found if row is not None and row.outputs is not None}

    def attempts(self, run_id: RunId) -> list[AttemptRow]:
        """The attempts before the last ones, by task number and attempt."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            found = rows.attempts if rows is not None else {}
            return [copy.copy(found[place]) for place in sorted(found)]

    def events(self, run_id: RunId, after: int = 0, limit: int = 1000) -> list[EventRow]:
        """At most `limit` events after number `after`."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            return [copy.copy(row) for row in rows.events_after(after, limit)] if rows is not None else []

    def task_state(self, run_id: RunId, key: str, path: tuple[int | str, ...]) -> str | None:
        """The state of a task run's current generation."""
        with self._reading():
            rows = self._tables.runs.get(run_id)
            nos = rows.by_node.get((key, path), ()) if rows is not None else ()
            for no in reversed(nos):
                if rows is not None and rows.tasks[no].current:
                    return rows.tasks[no].state
            return None

    # --- limits, workflows, assets ------------------------------------------------------------------------------------

    def save_limits(self, rows: Sequence[LimitRow]) -> None:
        """Insert or resize limits."""
        with self._writing(), self._reading():
            self._tables.limits.update((row.key, row.slots) for row in rows)

    def limits(self) -> list[LimitRow]:
        """All limits, by key."""
        with self._reading():
            return [LimitRow(key=key, slots=slots) for key, slots in sorted(self._tables.limits.items())]

    def slots(self, key: str | None = None) -> list[SlotRow]:
        """Who holds slots, of one limit or of all."""
        with self._reading():
            return self._sorted_slots(lambda place: key is None or place[0] == key)

    def _sorted_slots(self, wanted: Callable[[tuple[str, RunId, int]], bool]) -> list[SlotRow]:
        return [
            SlotRow(key=place[0], run_id=place[1], no=place[2], slots=slots)
            for place, slots in sorted(self._tables.slots.items())
            if wanted(place)
        ]

    def workflow(self, name: str) -> WorkflowRow | None:
        """What is remembered of a workflow."""
        with self._reading():
            return copy.copy(self._tables.workflows.get(name))

    def assets(self, keys: Sequence[str] = ()) -> list[AssetRow]:
        """The latest materializations, of these assets or of all."""
        with self._reading():
            return [
                copy.copy(row) for place, row in sorted(self._tables.assets.items()) if not keys or place[0] in keys
            ]

    def asset(self, key: str, partition: str) -> AssetRow | None:
        """The latest materialization of one asset's partition."""
        with self._reading():
            row = self._tables.assets.get((key, partition))
            return copy.copy(row) if row is not None else None

    def asset_history(
        self,
        key: str,
        *,
        partition: str | None = None,
        kinds: Sequence[str] = (),
        before: float | None = None,
        limit: int = 50,
    ) -> list[AssetEventRow]:
        """What happened to an asset, newest first."""
        with self._reading():
            events = sorted(self._tables.asset_events.get(key, {}).items(), reverse=True)
            found = [
                copy.copy(row)
                for _, row in events
                if partition in (None, row.partition)
                and (not kinds or row.kind in kinds)
                and (before is None or row.at < before)
            ]
            return found[:limit]

    def asset_updates(self, since: float, limit: int = 10_000) -> list[AssetEventRow]:
        """What was made or observed since a moment, oldest first."""
        with self._reading():
            found = [
                row
                for events in self._tables.asset_events.values()
                for row in events.values()
                if row.at >= since and row.kind != "check"
            ]
            found.sort(key=lambda row: (row.at, row.key, row.partition, row.run_id, row.no))
            return [copy.copy(row) for row in found[:limit]]

    # --- owners and leases --------------------------------------------------------------------------------------------

    def renew(self, owner: OwnerRow) -> bool:
        """Register a process, or prolong its lease; false for one that was swept. Waits for no transaction."""
        with self._reading():
            if owner.owner in self._tables.swept:
                return False
            self._tables.owners[owner.owner] = copy.copy(owner)
            return True

    def owners(self) -> list[OwnerRow]:
        """Who is registered."""
        with self._reading():
            return [copy.copy(row) for _, row in sorted(self._tables.owners.items())]

    def release_owner(self, owner: str) -> None:
        """The process ends in order: drop its row."""
        with self._writing(), self._reading():
            self._tables.owners.pop(owner, None)
            self._tables.swept.discard(owner)

    def take_over(self, run_id: RunId, owner: str, now: float, *, epoch: int | None = None) -> int:
        """Lease a run; a run that is over is held by nobody, whoever ended it. With `epoch` it is handed over."""
        with self._writing(), self._reading():
            rows = self._tables.runs.get(run_id)
            if rows is None:
                raise StoreError(f"there is no run {run_id}")
            if owner in self._tables.swept:
                raise StoreError(f"{owner} was declared dead, and cannot take over run {run_id}")
            run = rows.run
            if epoch is not None and epoch != run.epoch:
                raise StaleToken(f"run {run_id} is leased under epoch {run.epoch}, not {epoch}")
            holder = self._tables.owners.get(run.owner) if run.owner not in (None, owner) else None
            if epoch is None and holder is not None and run.state not in RUN_TERMINAL and holder.lease_until >= now:
                raise StoreError(f"run {run_id} belongs to {holder.owner}, which is alive")
            rows.run = msgspec.structs.replace(run, owner=owner, epoch=run.epoch + 1)
            if epoch is None:
                self._tables.free_slots({run_id})
            return rows.run.epoch

    def free_slots(self, run_id: RunId, keep: Sequence[int] = ()) -> None:
        """Give back what a run holds, but for these of its task numbers."""
        with self._writing(), self._reading():
            self._tables.free_slots({run_id}, keep)

    def claim(self, owner: str, limit: int) -> list[RunId]:
        """Lease service-owned runs that nobody owns, oldest first."""
        with self._writing(), self._reading():
            if owner in self._tables.swept:
                return []
            asked_for = {row.run_id for row in self._tables.inbox.values()}
            free = sorted(
                run_id
                for run_id, rows in self._tables.runs.items()
                if not rows.run.session and self._is_free(rows.run, asked_for=run_id in asked_for)
            )[:limit]
            for run_id in free:
                rows = self._tables.runs[run_id]
                rows.run = msgspec.structs.replace(rows.run, owner=owner, epoch=rows.run.epoch + 1)
            return free

    def _is_free(self, run: RunRow, *, asked_for: bool) -> bool:
        if run.state in RUN_TERMINAL:
            return asked_for and run.owner not in self._tables.owners
        return run.owner is None

    def owned(self, owner: str) -> list[RunId]:
        """The open service-owned runs of an owner, oldest first."""
        with self._reading():
            rows = (each.run for each in self._tables.runs.values())
            return sorted(
                run.run_id for run in rows if run.owner == owner and not run.session and run.state not in RUN_TERMINAL
            )

    def let_go(self, run_ids: Sequence[RunId], owner: str, now: float, *, crashed: str = "") -> None:
        """Give up runs of this owner; with `crashed` (the reason) they are marked so, unless they are over."""
        with self._writing(), self._reading():
            theirs = {run_id for run_id in run_ids if self._tables.owner_of(run_id) == owner}
            if crashed:
                self._tables.free_slots(theirs)
            for run_id in theirs:
                rows = self._tables.runs[run_id]
                rows.lose_owner(crashed, now, crash=bool(crashed) and rows.run.state not in RUN_TERMINAL)

    def sweep(self, dead: Sequence[str], reason: str, now: float) -> list[RunId]:
        """Declare owners dead; returns their open runs, which are crashed now or, of a service, without an owner."""
        with self._writing(), self._reading():
            theirs = {run_id for run_id, rows in self._tables.runs.items() if rows.run.owner in dead}
            self._tables.free_slots({run_id for run_id in theirs if self._tables.runs[run_id].run.session})
            lost = sorted(run_id for run_id in theirs if self._tables.runs[run_id].run.state not in RUN_TERMINAL)
            for run_id in lost:
                self._tables.runs[run_id].lose_owner(reason, now, crash=self._tables.runs[run_id].run.session)
            for owner in dead:
                self._tables.owners.pop(owner, None)
                self._tables.swept.add(owner)
        return lost

    # --- inbox --------------------------------------------------------------------------------------------------------

    def put_inbox(self, run_id: RunId, data: bytes) -> None:
        """Leave an encoded stimulus for whoever owns the run."""
        with self._writing(), self._reading():
            self._tables.inbox_ids += 1
            self._tables.inbox[self._tables.inbox_ids] = InboxRow(
                id=self._tables.inbox_ids, run_id=run_id, data=bytes(data)
            )

    def read_inbox(self, owner: str, limit: int = 10_000) -> list[InboxRow]:
        """What lies there for the runs of an owner, oldest first."""
        with self._reading():
            found = (row for row in self._tables.inbox.values() if self._tables.owner_of(row.run_id) == owner)
            return list(itertools.islice(found, limit))

    def forget_inbox(self, ids: Sequence[int]) -> None:
        """Delete what nobody can decide."""
        with self._writing(), self._reading():
            for number in ids:
                self._tables.inbox.pop(number, None)
