"""What one transaction writes (the port `Transaction`), statement by statement.

Task rows and events of all its batches, which nobody reads in between, are gathered and written when it ends, with a
statement each: a call into SQLite lets go of the interpreter's lock, and others may take it.
"""

import sqlite3
from collections.abc import Callable, Iterable, Sequence

import msgspec

from plait.adapters.stores import encoding
from plait.adapters.stores.encoding import Columns, as_json
from plait.adapters.stores.sqlite import definition_queries, partition_queries, queries
from plait.model.errors import RunExists, StaleToken
from plait.model.ids import RunId
from plait.model.rows import (
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


class SqliteTransaction:
    """Writes on a connection that has begun. `graph_of` gives the stored form of a graph that was saved lately."""

    def __init__(self, connection: sqlite3.Connection, graph_of: Callable[[str], bytes | None]):
        self._connection = connection
        self._graph_of = graph_of
        self._used: dict[str, int] = {}
        self._made: dict[RunId, tuple[int, int]] = {}
        """The runs that it has made: their own numbers, and their epochs."""
        self._batches: list[tuple[int, RunBatch]] = []
        """What was gathered, by the number of its run."""

    def create_run(self, row: RunRow) -> bool:
        """Insert a run, with its graph in case retention has just deleted that."""
        try:
            try:
                made = self._insert_run(row)
            except UnicodeEncodeError:
                made = self._insert_run(encoding.printable(row))
        except sqlite3.IntegrityError as error:
            raise RunExists(f"there is a run {row.run_id} already") from error
        if made:
            self._keep_graph(row.graph_hash)
        return made

    def _insert_run(self, row: RunRow) -> bool:
        if row.owner is not None and self._one(queries.IS_SWEPT, (row.owner,)):
            raise StaleToken(f"{row.owner} was declared dead, and cannot make run {row.run_id}")
        if row.occurrence is not None and self._one(queries.HAS_OCCURRENCE, (row.occurrence,)):
            return False
        number = self._connection.execute(queries.INSERT_RUN, encoding.run_values(row)).lastrowid
        assert number is not None  # it was inserted
        self._made[row.run_id] = (number, row.epoch)
        return True

    def _keep_graph(self, graph_hash: str) -> None:
        graph = self._graph_of(graph_hash)
        if graph is not None:
            self._connection.execute(queries.INSERT_GRAPH, (graph_hash, graph))

    def is_leased(self, run_id: RunId, epoch: int) -> bool:
        """Whether a run is leased under this epoch."""
        found = self._connection.execute(queries.FENCE, (run_id,)).fetchone()
        return found is not None and found[1] == epoch

    def write(self, batch: RunBatch) -> None:
        """Write what changed of one run, if it is still leased under that epoch."""
        found = self._made.get(batch.run_id)
        found = found or self._connection.execute(queries.FENCE, (batch.run_id,)).fetchone()
        if found is None:
            raise StaleToken(f"run {batch.run_id} is not in the database any more")
        run, epoch = found
        if epoch != batch.epoch:
            raise StaleToken(f"run {batch.run_id} was taken over: its lease has epoch {epoch}, not {batch.epoch}")
        try:
            self._write(run, batch)
        except UnicodeEncodeError:  # rare; what went before can be repeated
            batch = encoding.printable(batch)
            self._write(run, batch)
        if batch.tasks or batch.events:
            self._batches.append((run, batch))
        if batch.partitions or batch.assets or batch.asset_events:
            self.flush()  # signals of assets name the tasks that made them
            try:
                self._write_assets(batch)
            except UnicodeEncodeError:  # likewise
                self._write_assets(encoding.printable(batch))

    def flush(self) -> None:
        """Write what was gathered."""
        if not self._batches:
            return
        try:
            self._write_tasks()
        except UnicodeEncodeError:  # likewise
            self._batches = [(run, encoding.printable(batch)) for run, batch in self._batches]
            self._write_tasks()
        events = [chunk for run, batch in self._batches for chunk in encoding.event_chunks(run, batch.events)]
        self._connection.executemany(queries.INSERT_EVENTS, events)
        self._batches.clear()

    def _write_tasks(self) -> None:
        values = [row for run, batch in self._batches for row in encoding.task_values(run, batch.tasks)]
        bare, full = encoding.bare_and_full(values)
        if bare:
            self._connection.executemany(queries.UPSERT_BARE_TASK, bare)
        if full:
            self._connection.executemany(queries.UPSERT_TASK, full)

    def _write(self, run: int, batch: RunBatch) -> None:
        many = self._connection.executemany
        if batch.run is not None:
            self._connection.execute(queries.UPDATE_RUN, (*encoding.run_values(batch.run)[1:], run))
        if batch.attempts:
            many(queries.UPSERT_ATTEMPT, [encoding.attempt_values(run, row) for row in batch.attempts])
        if batch.scopes:
            many(queries.UPSERT_SCOPE, [encoding.scope_values(run, row) for row in batch.scopes])
        if batch.release:
            self._used.clear()
            many(queries.RELEASE_SLOTS, [(batch.run_id, no) for no in batch.release])
        if batch.inbox:
            many(queries.DECIDED, [(number,) for number in batch.inbox])

    def _write_assets(self, batch: RunBatch) -> None:
        many = self._connection.executemany
        marks = [encoding.mark_values(row) for row in batch.partitions]
        many(partition_queries.NEW_SPACE, {(mark[0], mark[1], mark[0]) for mark in marks})
        many(partition_queries.INSERT_MARK, marks)
        many(queries.UPSERT_ASSET, [encoding.asset_values(row) for row in batch.assets])
        events = [encoding.asset_event_values(row) for row in batch.asset_events]
        if self._one(definition_queries.AWAITED, ()) is None:
            many(queries.INSERT_ASSET_EVENT, events)
            return
        for values in events:  # one by one: what is repeated is a signal once
            named = dict(zip(encoding.ASSET_EVENT_COLUMNS, values, strict=True))
            self._connection.execute(definition_queries.SIGNAL_ASSET, named)
            self._connection.execute(queries.INSERT_ASSET_EVENT, values)

    def expect(self, keys: Iterable[str]) -> None:
        """Nobody else writes while this transaction is open."""

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all of these slots, or none. What a limit has in use is summed once a transaction."""
        wanted: dict[tuple[str, str, int], int] = {}
        for request in requests:
            place = (request.key, request.run_id, request.no)
            wanted[place] = wanted.get(place, 0) + request.slots
        more: dict[str, int] = {}
        for (key, run_id, no), slots in sorted(wanted.items()):
            held = self._one(queries.SLOTS_HELD, (run_id, no, key)) or 0
            more[key] = more.get(key, 0) + slots - held
            size = self._one(queries.LIMIT_SIZE, (key,))
            if size is not None and more[key] > 0 and self._in_use(key) + more[key] > size:
                return False
        self._connection.executemany(
            queries.TAKE_SLOTS, [(run_id, no, key, slots) for (key, run_id, no), slots in wanted.items()]
        )
        for key, change in more.items():
            if key in self._used:
                self._used[key] += change
        return True

    def save_workflow(self, row: WorkflowRow) -> None:
        """Insert or replace what is remembered of a workflow."""
        self._connection.execute(queries.UPSERT_WORKFLOW, encoding.workflow_values(row))

    # --- definitions --------------------------------------------------------------------------------------------------

    def save_files(self, rows: Sequence[FileRow], *, gone: Sequence[str] = ()) -> None:
        """Insert or replace files; drop those that are gone."""
        values = [encoding.file_values(encoding.printable(row)) for row in rows]
        self._connection.executemany(definition_queries.UPSERT_FILE, values)
        self._connection.executemany(definition_queries.FORGET_FILE, [(encoding.printable(path),) for path in gone])

    def deploy(self, row: DeploymentRow, triggers: Sequence[TriggerRow]) -> None:
        """Insert or replace a deployment, with its graph; triggers that are as they were keep where they are."""
        row, triggers = encoding.printable(row), encoding.printable(list(triggers))
        self._connection.execute(definition_queries.UPSERT_DEPLOYMENT, encoding.deployment_values(row))
        self._connection.executemany(
            definition_queries.UPSERT_TRIGGER, [encoding.trigger_values(each) for each in triggers]
        )
        self._connection.execute(definition_queries.DROP_TRIGGERS, (row.workflow, len(triggers)))
        self._connection.execute(definition_queries.FORGET_AWAITED, (row.workflow,))
        awaited = [(subject, row.workflow, each.no) for each in triggers for subject in each.awaits]
        self._connection.executemany(definition_queries.INSERT_AWAITED, awaited)
        if not awaited:
            self._connection.execute(definition_queries.DROP_UNAWAITED)
        self._keep_graph(row.graph_hash)

    def undeploy(self, workflows: Sequence[str]) -> None:
        """These workflows are not defined any more."""
        names = [(encoding.printable(name),) for name in workflows]
        for statement in definition_queries.UNDEPLOY:
            self._connection.executemany(statement, names)
        self._connection.execute(definition_queries.DROP_UNAWAITED)

    def triggers(self, workflow: str) -> list[TriggerRow]:
        """A workflow's triggers. Nobody else writes while this transaction is open."""
        found = self._connection.execute(definition_queries.TRIGGERS_OF, (encoding.printable(workflow),))
        return [encoding.trigger_of(columns) for columns in found]

    def due_triggers(self, now: float, limit: int = 200, held: Sequence[tuple[str, int]] = ()) -> list[TriggerRow]:
        """Triggers whose time has come. Nobody else writes while this transaction is open."""
        found = self._connection.execute(definition_queries.DUE_TRIGGERS, (now, as_json(list(held)), limit))
        return [encoding.trigger_of(columns) for columns in found]

    def advance_trigger(self, row: TriggerRow) -> None:
        """A trigger has fired."""
        self._connection.execute(
            definition_queries.ADVANCE_TRIGGER, (row.cursor, row.next_at, row.state, row.workflow, row.no)
        )

    def publish(self, row: PublishedRow) -> None:
        """Keep an event, and a signal if somebody waits for it."""
        row = encoding.printable(row)
        self._connection.execute(definition_queries.INSERT_PUBLISHED, msgspec.structs.astuple(row))
        self._connection.execute(definition_queries.SIGNAL_EVENT, msgspec.structs.asdict(row))

    def last_signal(self) -> int:
        """The last one that is not counted. Nobody else writes while this transaction is open."""
        return self._one(definition_queries.LAST_SIGNAL, ()) or 0

    def take_signals(self, limit: int = 200) -> list[SignalRow]:
        """Take out what is not counted. Nobody else writes while this transaction is open."""
        found = [
            encoding.signal_of(columns)
            for columns in self._connection.execute(definition_queries.FIRST_SIGNALS, (limit,))
        ]
        if found:
            self._connection.execute(definition_queries.DROP_SIGNALS, (found[-1].id,))
        return found

    def awaiting(self, subjects: Sequence[str]) -> list[TriggerRow]:
        """The triggers that wait for these. Nobody else writes while this transaction is open."""
        found = self._connection.execute(definition_queries.AWAITING, (as_json(encoding.printable(list(subjects))),))
        return [encoding.trigger_of(columns) for columns in found]

    def automation(self, key: str) -> AutomationRow | None:
        """Where an automation stands. Nobody else writes while this transaction is open."""
        found = self._connection.execute(definition_queries.AUTOMATION, (encoding.printable(key),)).fetchone()
        return encoding.automation_of(found) if found is not None else None

    def save_automations(self, rows: Sequence[AutomationRow]) -> None:
        """Insert or replace where automations stand."""
        values = [encoding.automation_values(encoding.printable(row)) for row in rows]
        self._connection.executemany(definition_queries.UPSERT_AUTOMATION, values)

    def delete_automations(self, keys: Sequence[str]) -> None:
        """Forget where these stand."""
        self._connection.execute(definition_queries.DELETE_AUTOMATIONS, (as_json(encoding.printable(list(keys))),))

    def backfill(self, id: str) -> BackfillRow | None:
        """A backfill. Nobody else writes while this transaction is open."""
        found = self._connection.execute(partition_queries.BACKFILL, (id,)).fetchone()
        return encoding.backfill_of(found) if found is not None else None

    def save_backfill(self, row: BackfillRow) -> None:
        """Insert a backfill, or move one on."""
        self._connection.execute(partition_queries.UPSERT_BACKFILL, encoding.backfill_values(encoding.printable(row)))

    def _in_use(self, key: str) -> int:
        used = self._used.get(key)
        if used is None:
            used = self._used[key] = self._one(queries.SLOTS_USED, (key,)) or 0
        return used

    def _one(self, statement: str, values: Columns) -> int | None:
        found = self._connection.execute(statement, values).fetchone()
        return found[0] if found is not None else None
