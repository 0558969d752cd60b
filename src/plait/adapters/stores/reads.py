"""What both SQL stores read in the same way. Their statements differ, and how a list of values is passed."""

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from plait.adapters.stores import encoding
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo
from plait.model.outcome import Stored
from plait.model.rows import (
    AssetEventRow,
    AssetRow,
    AttemptRow,
    InboxRow,
    LimitRow,
    OwnerRow,
    RunRow,
    SlotRow,
    TaskRow,
    WorkflowRow,
)
from plait.ports import RunSnapshot

Query = Callable[..., list[tuple[Any, ...]]]
"""Carries out a statement with values."""


class SqlReads(ABC):
    """The part of a store that reads. `_queries` has its statements by their names, `_listed` makes one parameter of
    several values, `_all` carries a statement out on a reading connection."""

    _queries: ModuleType

    @abstractmethod
    def _listed(self, values: Sequence[object]) -> object: ...

    @abstractmethod
    def _all(self, statement: str, *values: object) -> list[tuple[Any, ...]]: ...

    def _one(self, statement: str, *values: object) -> tuple[Any, ...] | None:
        found = self._all(statement, *values)
        return found[0] if found else None

    # --- runs and their tasks -----------------------------------------------------------------------------------------

    def load_graph(self, hash: str) -> Graph | None:
        """The graph of that hash."""
        found = self._one(self._queries.GET_GRAPH, hash)
        return encoding.graph_of(hash, found[0]) if found is not None else None

    def get_run(self, run_id: RunId) -> RunRow | None:
        """One run's row."""
        found = self._one(self._queries.GET_RUN, run_id)
        return encoding.run_of(found) if found is not None else None

    def find_runs(self, prefix: str, limit: int = 2) -> list[RunRow]:
        """Runs whose id begins with `prefix`, newest first; then those whose id ends with it."""
        found = self._all(self._queries.RUNS_BEGINNING, prefix, prefix + "\U0010ffff", limit)
        if len(found) < limit and prefix:
            seen = {columns[0] for columns in found}
            ending = self._all(self._queries.RUNS_ENDING, len(prefix), prefix, limit)
            found += [columns for columns in ending if columns[0] not in seen]
        return [encoding.run_of(columns) for columns in found[:limit]]

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
        conditions: list[str] = ["true"]
        values: list[object] = []
        for condition, value in (
            (self._queries.OF_WORKFLOW, workflow),
            (self._queries.OF_PARENT, parent),
            (self._queries.BEFORE_RUN, before),
        ):
            if value is not None:
                conditions.append(condition)
                values.append(value)
        if states:
            conditions.append(self._queries.IN_STATES)
            values.append(self._listed(states))
            if set(states) <= set(encoding.OPEN_RUN_STATES):
                conditions.append(self._queries.OPEN)
        statement = self._queries.LIST_RUNS.format(" AND ".join(conditions))
        return [encoding.run_of(columns) for columns in self._all(statement, *values, limit)]

    def previous_run(self, workflow: str, before: str) -> RunRow | None:
        """The run of a workflow with the greatest logical date below `before`, compared as moments."""
        found = self._one(self._queries.PREVIOUS_RUN, workflow, encoding.epoch_of(before))
        return encoding.run_of(found) if found is not None else None

    def tasks(self, run_id: RunId, *, current: bool = True, after: int = -1, limit: int | None = None) -> list[TaskRow]:
        """Task rows by number, without outputs."""
        found = self._all(self._queries.PAGE_OF_TASKS, run_id, after, current, limit)
        return [encoding.task_of(columns) for columns in found]

    def task(self, run_id: RunId, no: TaskNo) -> TaskRow | None:
        """One task row, with outputs."""
        found = self._one(self._queries.ONE_TASK, run_id, no)
        return encoding.task_of(found) if found is not None else None

    def outputs(self, run_id: RunId, nos: Sequence[TaskNo]) -> dict[TaskNo, dict[str, Stored]]:
        """The stored results of these task runs."""
        found = self._all(self._queries.OUTPUTS, run_id, self._listed(nos))
        return {no: encoding.outputs_of(data) for no, data in found}

    def attempts(self, run_id: RunId) -> list[AttemptRow]:
        """The attempts before the last ones, by task number and attempt."""
        return [encoding.attempt_of(columns) for columns in self._all(self._queries.ATTEMPTS, run_id)]

    def task_state(self, run_id: RunId, key: str, path: tuple[int | str, ...]) -> str | None:
        """The state of a task run's current generation."""
        found = self._one(self._queries.TASK_STATE, run_id, key, encoding.path_text(path))
        return found[0] if found is not None else None

    # --- what runs share -------------------------------------------------------------------------------------------

    def limits(self) -> list[LimitRow]:
        """All limits, by key."""
        return [encoding.limit_of(columns) for columns in self._all(self._queries.LIMITS)]

    def slots(self, key: str | None = None) -> list[SlotRow]:
        """Who holds slots, of one limit or of all."""
        found = self._all(self._queries.SLOTS) if key is None else self._all(self._queries.SLOTS_OF_LIMIT, key)
        return [encoding.slot_of(columns) for columns in found]

    def workflow(self, name: str) -> WorkflowRow | None:
        """What is remembered of a workflow."""
        found = self._one(self._queries.GET_WORKFLOW, name)
        return encoding.workflow_of(found) if found is not None else None

    def assets(self, keys: Sequence[str] = ()) -> list[AssetRow]:
        """The latest materializations, of these assets or of all."""
        found = self._all(self._queries.SOME_ASSETS, self._listed(keys)) if keys else self._all(self._queries.ASSETS)
        return [encoding.asset_of(columns) for columns in found]

    def asset(self, key: str, partition: str) -> AssetRow | None:
        """The latest materialization of one asset's partition."""
        found = self._one(self._queries.ASSET, key, partition)
        return encoding.asset_of(found) if found is not None else None

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
        rest = (before if before is not None else math.inf, not kinds, self._listed(kinds), limit)
        if partition is None:
            found = self._all(self._queries.ASSET_HISTORY, key, *rest)
        else:
            found = self._all(self._queries.PARTITION_HISTORY, key, partition, *rest)
        return [encoding.asset_event_of(columns) for columns in found]

    def asset_updates(self, since: float, limit: int = 10_000) -> list[AssetEventRow]:
        """What was made or observed since a moment, oldest first."""
        return [encoding.asset_event_of(columns) for columns in self._all(self._queries.ASSET_UPDATES, since, limit)]

    def owners(self) -> list[OwnerRow]:
        """Who is registered."""
        return [encoding.owner_of(columns) for columns in self._all(self._queries.OWNERS)]

    def owned(self, owner: str) -> list[RunId]:
        """The open service-owned runs of an owner, oldest first."""
        return [RunId(columns[0]) for columns in self._all(self._queries.OWNED, owner)]

    def read_inbox(self, owner: str, limit: int = 10_000) -> list[InboxRow]:
        """What lies there for the runs of an owner, oldest first."""
        return [encoding.inbox_of(columns) for columns in self._all(self._queries.READ_INBOX, owner, limit)]


def snapshot_of(run_id: RunId, queries: ModuleType, ask: Query) -> RunSnapshot | None:
    """Everything that recovery needs of one run. `ask` reads as of one moment."""
    found = ask(queries.GET_RUN, run_id)
    if not found:
        return None
    ((number,),) = ask(queries.RUN_NUMBER, run_id)
    ((last,),) = ask(queries.LAST_EVENT, number)
    return RunSnapshot(
        run=encoding.run_of(found[0]),
        tasks=[encoding.task_of(row) for row in ask(queries.ALL_TASKS, number)],
        scopes=[encoding.scope_of(row) for row in ask(queries.ALL_SCOPES, number)],
        last_seq=last or 0,
        slots=[encoding.slot_of(row) for row in ask(queries.SLOTS_OF_RUN, run_id)],
    )
