"""What one transaction on the store in memory would change (the port `Transaction`)."""

import copy
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from plait.adapters.stores.memory_definitions import DefinitionRows
from plait.adapters.stores.memory_rows import Place, RunRows, Tables, copy_run, copy_task
from plait.adapters.stores.memory_signals import SIGNALS, of_asset, of_event
from plait.model.errors import RunExists, StaleToken
from plait.model.ids import RunId
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AutomationRow,
    BackfillRow,
    DeploymentRow,
    FileRow,
    PublishedRow,
    RunRow,
    SignalRow,
    SlotRow,
    TriggerRow,
    WorkflowRow,
)
from plait.ports import RunBatch


class MemoryTransaction:
    """Stages changes, as calls that only set values and cannot fail. Nobody else changes the tables meanwhile."""

    def __init__(self, tables: Tables):
        self._tables = tables
        self._created: dict[RunId, RunRows] = {}
        self._slots: dict[Place, int] | None = None
        self._definitions: DefinitionRows | None = None
        self._workflows: dict[str, WorkflowRow] = {}
        self._backfills: dict[str, BackfillRow] = {}
        self._taken: list[int] = []
        self._changes: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []

    def apply(self) -> None:
        """Make all changes. The store's lock is held."""
        if self._definitions is not None:
            self._tables.definitions = self._definitions
        for change, arguments in self._changes:
            change(*arguments)
        for rows in self._created.values():
            self._tables.add_run(rows)
        self._tables.workflows.update(self._workflows)
        if self._slots is not None:
            self._tables.slots = self._slots
        self._tables.signals.drop(self._taken)
        if self._definitions is not None and not any(row.awaits for row in self._definitions.triggers.values()):
            self._tables.signals.signals.clear()  # nobody would ever count them

    def create_run(self, row: RunRow) -> bool:
        """Insert a run, with its graph in case retention has just deleted that."""
        if row.owner in self._tables.swept:
            raise StaleToken(f"{row.owner} was declared dead, and cannot make run {row.run_id}")
        if row.occurrence is not None and self._has_run(row.occurrence):
            return False
        if row.run_id in self._tables.runs or row.run_id in self._created:
            raise RunExists(f"there is a run {row.run_id} already")
        self._created[row.run_id] = RunRows(copy_run(row))
        self._changes.append((self._tables.keep_graph, (row.graph_hash,)))
        return True

    def _has_run(self, occurrence: str) -> bool:
        created = (rows.run.occurrence for rows in self._created.values())
        return occurrence in self._tables.occurrences or occurrence in created

    def is_leased(self, run_id: RunId, epoch: int) -> bool:
        """Whether a run is leased under this epoch."""
        rows = self._created.get(run_id) or self._tables.runs.get(run_id)
        return rows is not None and rows.run.epoch == epoch

    def write(self, batch: RunBatch) -> None:
        """Write what changed of one run, if it is still leased under that epoch."""
        rows = self._created.get(batch.run_id) or self._tables.runs.get(batch.run_id)
        if rows is None:
            raise StaleToken(f"run {batch.run_id} is not in the database any more")
        if rows.run.epoch != batch.epoch:
            raise StaleToken(
                f"run {batch.run_id} was taken over: its lease has epoch {rows.run.epoch}, not {batch.epoch}"
            )
        if batch.run is not None:
            self._changes.append((rows.put_run, (copy_run(batch.run),)))
        self._changes += [(rows.put_task, (copy_task(row),)) for row in batch.tasks]
        self._changes += [(rows.put_event, (copy.copy(row),)) for row in batch.events]
        self._changes += [(rows.put_attempt, (copy.copy(row),)) for row in batch.attempts]
        self._changes += [(rows.put_scope, (copy.copy(row),)) for row in batch.scopes]
        if batch.partitions:
            self._changes.append((self._tables.partitions.mark, (list(batch.partitions), self._is_known)))
        self._changes += [(self._put_asset, (copy.copy(row),)) for row in batch.assets]
        self._changes += [(self._put_asset_event, (copy.copy(row),)) for row in batch.asset_events]
        self._changes += [(self._forget, (number,)) for number in batch.inbox]
        if batch.release:
            slots = self._own_slots()
            nos = set(batch.release)
            for place in [place for place in slots if place[1] == batch.run_id and place[2] in nos]:
                del slots[place]

    def expect(self, keys: Iterable[str]) -> None:
        """Nobody else is at limits while this transaction is open."""

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all of these slots, or none."""
        slots = self._own_slots()
        wanted: dict[Place, int] = {}
        for request in requests:
            place = (request.key, request.run_id, request.no)
            wanted[place] = wanted.get(place, 0) + request.slots
        after = {**slots, **wanted}
        for key in {place[0] for place in wanted}:
            size = self._tables.limits.get(key)
            used, more = _sum(slots, key), _sum(after, key)
            if size is not None and more > used and more > size:
                return False
        self._slots = after
        return True

    def save_workflow(self, row: WorkflowRow) -> None:
        """Insert or replace what is remembered of a workflow."""
        self._workflows[row.name] = copy.copy(row)

    # --- definitions --------------------------------------------------------------------------------------------------

    def save_files(self, rows: Sequence[FileRow], *, gone: Sequence[str] = ()) -> None:
        """Insert or replace files; drop those that are gone."""
        self._own_definitions().put_files(rows, gone)

    def deploy(self, row: DeploymentRow, triggers: Sequence[TriggerRow]) -> None:
        """Insert or replace a deployment, with its graph; triggers that are as they were keep where they are."""
        self._own_definitions().deploy(row, triggers)
        self._changes.append((self._tables.keep_graph, (row.graph_hash,)))

    def undeploy(self, workflows: Sequence[str]) -> None:
        """These workflows are not defined any more."""
        self._own_definitions().undeploy(workflows)

    def triggers(self, workflow: str) -> list[TriggerRow]:
        """A workflow's triggers. Nobody else writes while this transaction is open."""
        return (self._definitions or self._tables.definitions).triggers_of(workflow)

    def due_triggers(self, now: float, limit: int = 200, held: Sequence[tuple[str, int]] = ()) -> list[TriggerRow]:
        """Triggers whose time has come. Nobody else writes while this transaction is open."""
        workflows = {**self._tables.workflows, **self._workflows}
        return (self._definitions or self._tables.definitions).due(now, limit, workflows, set(held))

    def advance_trigger(self, row: TriggerRow) -> None:
        """A trigger has fired, or counted something."""
        self._own_definitions().advance(row)

    def publish(self, row: PublishedRow) -> None:
        """Keep an event, and a signal if somebody waits for it."""
        self._changes.append((self._put_published, (row,)))

    def last_signal(self) -> int:
        """The last one that is not counted. Nobody else writes while this transaction is open."""
        return max(self._tables.signals.signals, default=0)

    def take_signals(self, limit: int = 200) -> list[SignalRow]:
        """Take out what is not counted. Nobody else writes while this transaction is open."""
        taken = set(self._taken)
        found = [row for id, row in self._tables.signals.signals.items() if id not in taken][:limit]
        self._taken += [row.id for row in found]
        return found

    def awaiting(self, subjects: Sequence[str]) -> list[TriggerRow]:
        """The triggers that wait for these. Nobody else writes while this transaction is open."""
        workflows = {**self._tables.workflows, **self._workflows}
        return (self._definitions or self._tables.definitions).awaiting(subjects, workflows)

    def automation(self, key: str) -> AutomationRow | None:
        """Where an automation stands. Nobody else writes while this transaction is open."""
        return copy.copy((self._definitions or self._tables.definitions).automations.get(key))

    def save_automations(self, rows: Sequence[AutomationRow]) -> None:
        """Insert or replace where automations stand."""
        self._own_definitions().automations.update((row.key, copy.copy(row)) for row in rows)

    def delete_automations(self, keys: Sequence[str]) -> None:
        """Forget where these stand."""
        for key in keys:
            self._own_definitions().automations.pop(key, None)

    def backfill(self, id: str) -> BackfillRow | None:
        """A backfill. Nobody else writes while this transaction is open."""
        row = self._backfills.get(id) or self._tables.partitions.backfills.get(id)
        return copy.copy(row) if row is not None else None

    def save_backfill(self, row: BackfillRow) -> None:
        """Insert a backfill, or move one on."""
        self._backfills[row.id] = copy.copy(row)
        self._changes.append((self._tables.partitions.put_backfill, (copy.copy(row),)))

    def _own_definitions(self) -> DefinitionRows:
        if self._definitions is None:
            self._definitions = self._tables.definitions.copied()
        return self._definitions

    def _own_slots(self) -> dict[Place, int]:
        if self._slots is None:
            self._slots = dict(self._tables.slots)
        return self._slots

    def _forget(self, number: int) -> None:
        self._tables.inbox.pop(number, None)

    def _is_known(self, asset: str) -> bool:
        return any(key == asset for key, _ in self._tables.assets)

    def _put_asset(self, row: AssetRow) -> None:
        place = (row.key, row.partition)
        known = self._tables.assets.get(place)
        if known is None or row.at >= known.at:
            self._tables.assets[place] = row

    def _put_asset_event(self, row: AssetEventRow) -> None:
        place = (row.at, row.partition, row.run_id, row.no, row.kind, row.name)
        known = self._tables.asset_events.setdefault(row.key, {})
        if row.kind in SIGNALS and place not in known and self._tables.definitions.awaits(f"asset:{row.key}"):
            rows = self._created.get(row.run_id) or self._tables.runs[row.run_id]
            task = rows.tasks.get(row.no)
            self._tables.signals.signal(of_asset(row, rows.run.workflow, task.key if task is not None else ""))
        known[place] = row

    def _put_published(self, row: PublishedRow) -> None:
        self._tables.signals.published[row.id] = row
        if self._tables.definitions.awaits(f"event:{row.name}"):
            self._tables.signals.signal(of_event(row))


def _sum(slots: dict[Place, int], key: str) -> int:
    return sum(count for place, count in slots.items() if place[0] == key)
