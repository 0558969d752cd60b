"""What one transaction writes (the port `Transaction`).

Theory of operation. What is written is gathered, and goes to the server when the transaction ends: BEGIN, the fence,
every row, COMMIT, in one message. So locks are held for moments, they are taken in one order whatever the order of the
calls was, and a transaction that was not committed for a reason that passes is simply sent again. Only what has to be
answered is asked at once: whether a run is there already (`create_run`), whether slots are free (`acquire`); from then
on the transaction is open on the server.

The fence works twice. `write` compares the epoch with the one that the store saw last (`Known`), and asks when they
differ; the statement `FENCE` locks the runs and compares again, so that a lease that was lost meanwhile is noticed at
the commit, which then fails as a whole.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec
import psycopg

from plait.adapters.stores import encoding
from plait.adapters.stores.encoding import Columns
from plait.adapters.stores.postgres import batches, definition_queries, partition_queries
from plait.adapters.stores.postgres.connections import TRIES, Writer, pause
from plait.adapters.stores.postgres.failures import GONE, RETRIED
from plait.adapters.stores.postgres.pipeline import Broken, Call, Pipeline, Refused, Rows, Statement, call, call_rows
from plait.adapters.stores.postgres.server import execute
from plait.adapters.stores.postgres.slots import Slots
from plait.model.errors import RunExists, StaleToken
from plait.model.ids import RunId
from plait.model.rows import (
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

Lease = tuple[int, int]
"""A run's own number, and the epoch of its lease."""


class Known:
    """The leases of runs, as the database had them when they were looked at last; those of the runs used last."""

    MOST = 20_000

    def __init__(self) -> None:
        self._leases: OrderedDict[RunId, Lease] = OrderedDict()

    def get(self, run_id: RunId) -> Lease | None:
        """A run's lease, if it is known."""
        return self._leases.get(run_id)

    def put(self, run_id: RunId, lease: Lease) -> None:
        """A run's lease is this one."""
        self._leases[run_id] = lease
        self._leases.move_to_end(run_id)
        if len(self._leases) > self.MOST:
            self._leases.popitem(last=False)

    def forget(self, run_ids: Iterable[RunId]) -> None:
        """These leases are to be looked at again."""
        for run_id in run_ids:
            self._leases.pop(run_id, None)


class PostgresTransaction:
    """Gathers rows. `graph_of` gives the stored form of a graph that was saved lately."""

    def __init__(self, writer: Writer, known: Known, graph_of: Callable[[str], bytes | None]):
        self._writer = writer
        self._known = known
        self._graph_of = graph_of
        self.open: Pipeline | None = None
        """Where the server knows of it; then it cannot be sent again."""
        self._leases: dict[RunId, Lease] = {}
        """Of the runs that it makes or writes, as they will be."""
        self._fence: dict[RunId, Lease] = {}
        """Of the runs that it writes, as they have to be."""
        self._slots = Slots(self._ask)
        self._runs: dict[int, Columns] = {}
        self._tasks: list[Columns] = []
        self._attempts: dict[Columns, Columns] = {}
        self._scopes: dict[Columns, Columns] = {}
        self._events: list[Columns] = []
        self._assets: dict[Columns, AssetRow] = {}
        self._asset_events: dict[Columns, Columns] = {}
        self._marks: list[Columns] = []
        self._workflows: dict[str, WorkflowRow] = {}
        self._graphs: dict[str, bytes] = {}
        self._fired: dict[tuple[str, int], Columns] = {}
        self._decided: list[int] = []
        self._owners: set[str] = set()
        """Who is known not to have been declared dead."""

    # --- what is asked ------------------------------------------------------------------------------------------------

    def _ask(self, calls: Sequence[Call]) -> list[Rows]:
        """Carry out statements in this transaction."""
        if self.open is None:
            self.open, (_, *answers) = self._writer.ask([call(batches.BEGIN), *calls])
            return answers
        try:
            return self.open.run(calls)
        except (Broken, Refused) as error:
            raise self._writer.told(error) from error

    def create_run(self, row: RunRow) -> bool:
        """Insert a run, with its graph in case retention has just deleted that."""
        values = encoding.run_values(_encodable(row))
        if row.owner is not None:
            self._check_owner(row.owner, row.run_id)
        *_, made = self._ask([call(batches.SHARE_GRAPHS), call_rows(batches.INSERT_RUNS, [values])])
        if made:
            self._leases[row.run_id] = (int(made[0][0]), row.epoch)
            self._keep_graph(row.graph_hash)
            return True
        if row.occurrence is not None and self._ask([call(batches.HAS_OCCURRENCE, [row.occurrence])])[0]:
            return False
        raise RunExists(f"there is a run {row.run_id} already")

    def _check_owner(self, owner: str, run_id: RunId) -> None:
        """Raise StaleToken for one that was declared dead; from now on nobody does so before this transaction ends."""
        if owner in self._owners:
            return
        [rows] = self._ask([call(batches.IS_SWEPT, [owner])])
        if rows == [("t",)]:
            raise StaleToken(f"{owner} was declared dead, and cannot make run {run_id}")
        self._owners.add(owner)

    def _keep_graph(self, graph_hash: str) -> None:
        graph = self._graph_of(graph_hash)
        if graph is not None:
            self._graphs[graph_hash] = graph

    def expect(self, keys: Iterable[str]) -> None:
        """Lock these limits, in order."""
        self._slots.expect(keys)

    def acquire(self, requests: Sequence[SlotRow]) -> bool:
        """Take all of these slots, or none."""
        return self._slots.acquire(requests)

    # --- definitions --------------------------------------------------------------------------------------------------

    def _execute(self, statement: str, *values: object) -> list[tuple[Any, ...]]:
        """Carry out one of the rare statements in this transaction, with a cursor of psycopg."""
        if self.open is None:
            self._ask([])
        try:
            cursor = execute(self._writer.current(), statement, values)
            return cursor.fetchall() if cursor.description is not None else []
        except psycopg.Error as error:
            raise self._writer.told(error) from error

    def _define(self) -> None:
        """Get the turn to change definitions, and have no graph deleted meanwhile."""
        self._ask([call(batches.SHARE_GRAPHS)])
        self._execute(definition_queries.TURN_TO_DEFINE)
        self._show_triggers()

    def save_files(self, rows: Sequence[FileRow], *, gone: Sequence[str] = ()) -> None:
        """Insert or replace files; drop those that are gone."""
        self._define()
        for row in rows:
            self._execute(definition_queries.UPSERT_FILE, *encoding.file_values(encoding.printable(row)))
        self._execute(definition_queries.FORGET_FILES, encoding.printable(list(gone)))

    def deploy(self, row: DeploymentRow, triggers: Sequence[TriggerRow]) -> None:
        """Insert or replace a deployment, with its graph; triggers that are as they were keep where they are."""
        row, triggers = encoding.printable(row), encoding.printable(list(triggers))
        self._define()
        self._execute(definition_queries.UPSERT_DEPLOYMENT, *encoding.deployment_values(row))
        for trigger in triggers:
            self._execute(definition_queries.UPSERT_TRIGGER, *encoding.trigger_values(trigger))
        self._execute(definition_queries.DROP_TRIGGERS, row.workflow, len(triggers))
        self._execute(definition_queries.FORGET_AWAITED, row.workflow)
        for trigger in triggers:
            for subject in trigger.awaits:
                self._execute(definition_queries.INSERT_AWAITED, subject, row.workflow, trigger.no)
        if not any(trigger.awaits for trigger in triggers):
            self._execute(definition_queries.DROP_UNAWAITED)
        self._keep_graph(row.graph_hash)

    def undeploy(self, workflows: Sequence[str]) -> None:
        """These workflows are not defined any more."""
        self._define()
        for statement in definition_queries.UNDEPLOY:
            self._execute(statement, encoding.printable(list(workflows)))
        self._execute(definition_queries.DROP_UNAWAITED)

    def triggers(self, workflow: str) -> list[TriggerRow]:
        """A workflow's triggers. Who fires one of them just now is waited for; who wants to, waits."""
        self._define()
        found = self._execute(definition_queries.LOCK_TRIGGERS_OF, encoding.printable(workflow))
        return [encoding.trigger_of(columns) for columns in found]

    def due_triggers(self, now: float, limit: int = 200, held: Sequence[tuple[str, int]] = ()) -> list[TriggerRow]:
        """Triggers whose time has come; another transaction that asks meanwhile gets none of them."""
        self._ask([call(batches.SHARE_GRAPHS), *self._upserts_of_workflows()])
        self._workflows.clear()
        self._show_triggers()
        names, numbers = [name for name, _ in held], [no for _, no in held]
        found = self._execute(definition_queries.DUE_TRIGGERS, now, names, numbers, limit)
        return [encoding.trigger_of(columns) for columns in found]

    def advance_trigger(self, row: TriggerRow) -> None:
        """A trigger has fired."""
        self._fired[row.workflow, row.no] = (row.workflow, row.no, row.cursor, row.next_at, row.state)

    def publish(self, row: PublishedRow) -> None:
        """Keep an event, and a signal if somebody waits for it."""
        values = msgspec.structs.astuple(encoding.printable(row))
        self._execute(definition_queries.INSERT_PUBLISHED, *values)
        self._execute(definition_queries.SIGNAL_EVENT, *values)

    def last_signal(self) -> int:
        """The last one that is not counted."""
        self._define()
        return self._execute(definition_queries.LAST_SIGNAL)[0][0]

    def take_signals(self, limit: int = 200) -> list[SignalRow]:
        """Take out what is not counted."""
        self._define()
        return [encoding.signal_of(columns) for columns in self._execute(definition_queries.TAKE_SIGNALS, limit)]

    def awaiting(self, subjects: Sequence[str]) -> list[TriggerRow]:
        """The triggers that wait for these, locked."""
        self._ask(self._upserts_of_workflows())
        self._workflows.clear()
        self._show_triggers()
        found = self._execute(definition_queries.AWAITING, encoding.printable(list(subjects)))
        return [encoding.trigger_of(columns) for columns in found]

    def automation(self, key: str) -> AutomationRow | None:
        """Where an automation stands. Who else wants to change it, waits."""
        found = self._execute(definition_queries.LOCK_AUTOMATION, encoding.printable(key))
        return encoding.automation_of(found[0]) if found else None

    def save_automations(self, rows: Sequence[AutomationRow]) -> None:
        """Insert or replace where automations stand."""
        for row in sorted(rows, key=lambda row: row.key):
            self._execute(definition_queries.UPSERT_AUTOMATION, *encoding.automation_values(encoding.printable(row)))

    def delete_automations(self, keys: Sequence[str]) -> None:
        """Forget where these stand."""
        self._execute(definition_queries.DELETE_AUTOMATIONS, encoding.printable(sorted(keys)))

    def backfill(self, id: str) -> BackfillRow | None:
        """A backfill, locked."""
        found = self._execute(partition_queries.LOCK_BACKFILL, id)
        return encoding.backfill_of(found[0]) if found else None

    def save_backfill(self, row: BackfillRow) -> None:
        """Insert a backfill, or move one on."""
        self._execute(partition_queries.UPSERT_BACKFILL, *encoding.backfill_values(encoding.printable(row)))

    def _show_triggers(self) -> None:
        """Write what has fired, before anybody looks at triggers again."""
        if self._fired:
            self._ask(self._advances())
            self._fired.clear()

    def _upserts_of_workflows(self) -> list[Call]:
        rows = [encoding.workflow_values(row) for _, row in sorted(self._workflows.items())]
        return [call_rows(batches.UPSERT_WORKFLOWS, rows)] if rows else []

    def _advances(self) -> list[Call]:
        fired = sorted(self._fired.values())
        return [call_rows(batches.ADVANCE_TRIGGERS, fired)] if fired else []

    # --- what is gathered ---------------------------------------------------------------------------------------------

    def is_leased(self, run_id: RunId, epoch: int) -> bool:
        """Whether a run is leased under this epoch; the fence sees to it that it is so at the commit."""
        lease = self._lease_of(run_id, epoch)
        if lease is None or lease[1] != epoch:
            return False
        self._fence.setdefault(run_id, lease)
        self._leases.setdefault(run_id, lease)
        return True

    def write(self, batch: RunBatch) -> None:
        """Write what changed of one run, if it is still leased under that epoch."""
        lease = self._lease_of(batch.run_id, batch.epoch)
        if lease is None:
            raise StaleToken(f"run {batch.run_id} is not in the database any more")
        run, epoch = lease
        if epoch != batch.epoch:
            raise StaleToken(f"run {batch.run_id} was taken over: its lease has epoch {epoch}, not {batch.epoch}")
        try:
            self._gather(run, batch)
        except UnicodeEncodeError:  # rare; nothing was gathered yet
            self._gather(run, encoding.printable(batch))
        self._fence.setdefault(batch.run_id, lease)
        self._leases[batch.run_id] = (run, batch.run.epoch if batch.run is not None else epoch)

    def _lease_of(self, run_id: RunId, epoch: int) -> Lease | None:
        """The run's lease as it is known, if it has this epoch; else as the database has it."""
        lease = self._leases.get(run_id) or self._known.get(run_id)
        if lease is not None and lease[1] == epoch:
            return lease
        return self._leases.get(run_id) or self._look([run_id]).get(run_id)

    def _look(self, run_ids: Sequence[RunId]) -> dict[RunId, Lease]:
        """The leases as the database has them, outside of this transaction if that is not open yet."""
        asked = [call(batches.RUN_NUMBERS, run_ids)]
        [rows] = self._ask(asked) if self.open is not None else self._writer.ask(asked)[1]
        return {RunId(run_id): (int(run), int(epoch)) for run_id, run, epoch in rows}

    def _gather(self, run: int, batch: RunBatch) -> None:
        tasks = encoding.task_values(run, batch.tasks)
        attempts = [encoding.attempt_values(run, row) for row in batch.attempts]
        scopes = [encoding.scope_values(run, row) for row in batch.scopes]
        events = encoding.event_chunks(run, batch.events)
        asset_events = [encoding.asset_event_values(row) for row in batch.asset_events]
        marks = [encoding.mark_values(row) for row in batch.partitions]
        if batch.run is not None:
            self._runs[run] = (run, *encoding.run_values(batch.run)[1:])
        self._tasks += tasks
        self._attempts.update((values[:3], values) for values in attempts)
        self._scopes.update((values[:3], values) for values in scopes)
        self._events += events
        for asset in batch.assets:
            place = (asset.key, asset.partition)
            known = self._assets.get(place)
            if known is None or asset.at >= known.at:
                self._assets[place] = asset
        self._asset_events.update((values[:-1], values) for values in asset_events)
        self._marks += marks
        self._decided += batch.inbox
        if batch.release:
            self._slots.release(batch.run_id, batch.release)

    def save_workflow(self, row: WorkflowRow) -> None:
        """Insert or replace what is remembered of a workflow."""
        self._workflows[row.name] = row

    # --- what is sent -------------------------------------------------------------------------------------------------

    def commit(self, hook: Callable[[str], None] | None) -> None:
        """Carry out what is left, and commit. Raises StoreError; where the connection broke, it says whether anybody
        knows what became of it. `hook` is told before and after the commit."""
        for left in reversed(range(TRIES)):
            lane = self.open or self._writer.pipeline()
            try:
                self._send(lane, hook)
            except Refused as error:
                if error.statement is batches.FENCE and error.sqlstate == batches.STALE:
                    raise self._stale() from error
                if not left or self.open is not None or error.sqlstate not in RETRIED | GONE:
                    raise self._writer.told(error) from error
            except Broken as error:
                if not left or self.open is not None or error.unknown:
                    raise self._writer.told(error) from error
            else:
                break
            self._writer.leave()
            pause(left)
        for run_id, lease in self._leases.items():
            self._known.put(run_id, lease)
        if hook is not None:
            hook("after_commit")

    def _send(self, lane: Pipeline, hook: Callable[[str], None] | None) -> None:
        commit = call(batches.COMMIT)
        if hook is None:
            lane.run([*self._calls(), commit])
            return
        calls = self._calls()
        if calls:
            lane.run(calls)
        hook("before_commit")
        lane.run([commit])

    def _stale(self) -> StaleToken:
        """Which run it was."""
        self._writer.leave()
        self.open = None
        self._known.forget(self._leases)
        found = self._look(list(self._fence))
        for run_id, lease in found.items():
            self._known.put(run_id, lease)
        for run_id, lease in self._fence.items():
            if run_id not in found:
                return StaleToken(f"run {run_id} is not in the database any more")
            if found[run_id] != lease:
                now, then = found[run_id][1], lease[1]
                return StaleToken(f"run {run_id} was taken over: its lease has epoch {now}, not {then}")
        return StaleToken("a run of this transaction was being taken over")

    def leave(self) -> None:
        """Forget it all."""
        self._writer.leave()

    def _calls(self) -> list[Call]:
        """Everything that is left to be carried out, but for COMMIT."""
        bare, full = _bare_and_full(self._tasks)
        released, taken = self._slots.rows()
        tables: tuple[tuple[Statement, Sequence[Columns]], ...] = (
            (batches.FENCE, sorted(self._fence.values())),
            (batches.UPDATE_RUNS, list(self._runs.values())),
            (batches.UPSERT_BARE_TASKS, bare),
            (batches.UPSERT_TASKS, full),
            (batches.UPSERT_ATTEMPTS, list(self._attempts.values())),
            (batches.UPSERT_SCOPES, list(self._scopes.values())),
            (batches.RELEASE_SLOTS, released),
            (batches.TAKE_SLOTS, taken),
            (batches.INSERT_EVENTS, self._events),
            (batches.NEW_SPACES, [mark[:2] for mark in self._marks]),
            (batches.INSERT_MARKS, self._marks),
            (batches.UPSERT_ASSETS, [encoding.asset_values(row) for _, row in sorted(self._assets.items())]),
            (batches.SIGNAL_ASSETS, list(self._asset_events.values())),
            (batches.INSERT_ASSET_EVENTS, [values for _, values in sorted(self._asset_events.items())]),
            (batches.INSERT_GRAPHS, sorted(self._graphs.items())),
            (batches.DECIDED, [(number,) for number in sorted(self._decided)]),
        )
        found = [call(batches.BEGIN)] if self.open is None else []
        found += [call_rows(statement, rows) for statement, rows in tables if rows]
        return found + self._upserts_of_workflows() + self._advances()


def _encodable(row: RunRow) -> RunRow:
    try:
        encoding.run_values(row)
    except UnicodeEncodeError:
        return encoding.printable(row)
    return row


_CUT = -len(encoding.KEPT_COLUMNS)


def _bare_and_full(rows: list[Columns]) -> tuple[list[Columns], list[Columns]]:
    """Part task rows into those without any of the columns that keep what is there (cut off), and the others. Several
    rows of one task run, which one statement cannot write, are made one."""
    if len({row[:2] for row in rows}) < len(rows):
        return [], encoding.merged(rows)
    bare = [row[:_CUT] for row in rows if row[_CUT:] == encoding.NOTHING_KEPT]
    return bare, [row for row in rows if row[_CUT:] != encoding.NOTHING_KEPT] if len(bare) < len(rows) else []
