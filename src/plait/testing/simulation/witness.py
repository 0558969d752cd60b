"""What must hold of the database after every write, whoever made it, and what workers really did.

Theory of operation. Each connection tells the witness what it has written. The witness looks at what is in the database
now, compares it with what was there, folds new events, and raises `Breach` at the first thing that may not be. It also
keeps the ledger of what workers did: which execution began, and what it came to. What is recorded has to be in there.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from plait.adapters.stores.memory_rows import RunRows
from plait.engine.limits import RUN
from plait.model import events as e
from plait.model.graph import Graph, TaskSpec
from plait.model.ids import RunId, TaskNo, Token
from plait.model.rows import PublishedRow, RunRow, TaskRow
from plait.model.states import LIVE, RUN_TERMINAL, WAITING, RunState, TaskState
from plait.model.stimuli import CancelRequested, ClearRequested, Stimulus, decode_stimulus
from plait.model.wire import Execution
from plait.ports import RunBatch
from plait.testing.simulation.counts import Counts
from plait.testing.simulation.history import History
from plait.testing.simulation.loop import Breach, Loop, Party
from plait.testing.simulation.shared import SharedStore

CRASHED = "crashed"
_LIVE = frozenset(state.value for state in LIVE)
_WAITS = frozenset(state.value for state in WAITING)
_OUTSIDE = ("WaitTimeout", "WatchFailed", "LimitError", "MappingError")
"""Errors of task runs that fail without an execution."""
_VERDICTS = {
    "success": {"success"},
    "failed": {"failed"},
    "crashed": {"crashed"},
    "skipped": {"skipped", "failed", "crashed"},
    "cancelled": {"cancelled", "reschedule", "defer", "pause"},
    "retry_wait": {"failed", "crashed"},
    "rescheduled": {"reschedule"},
    "deferred": {"defer"},
    "paused": {"pause"},
}
"""What an execution has to have come to, for a task run to be in a state because of it."""


class Ledger:
    """What workers did, outside of the database."""

    def __init__(self) -> None:
        self.submitted: set[tuple[RunId, Token]] = set()
        self.began: dict[tuple[RunId, Token], int] = {}
        self.verdicts: dict[tuple[RunId, Token], set[str]] = {}
        self.crashed_bodies: dict[RunId, int] = {}
        """How many processes died (or gave up) that had a run of a flow, as far as that is not recorded yet."""

    def begins(self, execution: Execution) -> None:
        """User code begins to run."""
        place = execution.run.run_id, execution.token
        self.began[place] = self.began.get(place, 0) + 1

    def comes_to(self, run_id: RunId, token: Token, verdict: str) -> None:
        """This is what it may be reported as."""
        self.verdicts.setdefault((run_id, token), set()).add(verdict)

    def lose_body(self, run_id: RunId) -> None:
        """The process ends that has a run of a flow: its body may be recorded as crashed, once."""
        self.crashed_bodies[run_id] = self.crashed_bodies.get(run_id, 0) + 1


class Known:
    """What was in the database of one run when the witness looked last."""

    def __init__(self, row: RunRow, graph: Graph):
        self.row = row
        self.graph = graph
        self.specs: dict[str, TaskSpec] = {node.key: node for node in graph.nodes}
        self.history = History()
        self.owners: dict[int, str] = {}
        self.cleared = 0


SILENT = ("stall", "freeze", "jump", "refused", "unknown", "conflict")
"""Faults that keep a process from prolonging its lease, or the others from seeing that it did."""


class Witness:
    """Looks at every write."""

    def __init__(self, loop: Loop, store: SharedStore):
        self._loop = loop
        self._faults = loop.faults
        self._store = store
        self.ledger = Ledger()
        self.runs: dict[RunId, Known] = {}
        self.requests: dict[int, tuple[RunId, Stimulus]] = {}
        """Everything that was put into the inbox."""
        self.decided: set[int] = set()
        self.occurrences: dict[str, RunId] = {}
        self.counts = Counts()
        self.errors = 0
        """How often a store failed."""

    def breach(self, what: str) -> Breach:
        """To be raised."""
        found = Breach(what)
        self._loop.breach = self._loop.breach or found
        return found

    # --- what connections tell ----------------------------------------------------------------------------------------

    def called(self, party: Party, name: str, args: Sequence[Any]) -> None:
        """Something was written outside of a transaction."""
        match name:
            case "put_inbox":
                for number, row in self._store.inbox_rows.items():
                    if number not in self.requests:
                        self.requests[number] = (row.run_id, decode_stimulus(row.data))
            case "forget_inbox":
                raise self.breach(f"requests {args[0]} were dropped undecided by {party.name}")
            case "claim" | "take_over" | "let_go" | "sweep" | "free_slots":
                if name == "sweep":
                    self._check_dead(party, args[0])
                self._look(())
            case _:
                pass

    def _check_dead(self, party: Party, dead: Sequence[str]) -> None:
        """F3: where nothing stops a process from prolonging its lease but an outage of the store, nobody takes it for
        dead."""
        if any(getattr(self._faults, kind) for kind in SILENT):
            return
        for each in self._loop.alive.values():
            if each.name in dead and each is not party:
                raise self.breach(f"F3: {party.name} takes {each.name} for dead, which lives")

    def committed(
        self,
        party: Party,
        written: Sequence[RunBatch],
        created: Sequence[RunRow],
        published: Sequence[PublishedRow] = (),
    ) -> None:
        """A transaction was committed."""
        self.counts.committed(self._store, written, published)
        for row in created:
            self._created(row)
        for batch in written:
            self._is_owner(party, batch)
            self._count_decided(batch)
        self._look({batch.run_id for batch in written})
        for batch in written:
            self._check_effects(batch)

    def _created(self, row: RunRow) -> None:
        if row.occurrence is not None:
            if row.occurrence in self.occurrences:
                raise self.breach(f"F9: {row.occurrence} has runs {self.occurrences[row.occurrence]} and {row.run_id}")
            self.occurrences[row.occurrence] = row.run_id

    def _is_owner(self, party: Party, batch: RunBatch) -> None:
        known = self.runs.get(batch.run_id)
        owner = getattr(party, "owner", None)
        if known is not None and known.row.owner not in (owner, None):
            raise self.breach(f"F6: {party.name} wrote run {batch.run_id}, which is {known.row.owner}'s")

    def _count_decided(self, batch: RunBatch) -> None:
        for number in batch.inbox:
            if number not in self.requests or number in self.decided:
                raise self.breach(f"request {number} for run {batch.run_id} was decided twice, or never made")
            self.decided.add(number)

    def _check_effects(self, batch: RunBatch) -> None:
        """A request that was decided has had its effect in the same transaction."""
        known = self.runs[batch.run_id]
        said = [self.requests[number][1] for number in batch.inbox]
        clears = sum(isinstance(each, ClearRequested) for each in said)
        if known.history.cleared - known.cleared > clears and not known.graph.policy.reruns and not self._flow(known):
            raise self.breach(f"run {batch.run_id} was cleared more often than anybody asked for")
        known.cleared = known.history.cleared
        hooked = bool(known.graph.hooks)  # a run that is calling its hooks has come to its end already
        cancel = any(isinstance(each, CancelRequested) for each in said) and not clears and not hooked
        if cancel and known.row.state not in (*RUN_TERMINAL, RunState.CANCELLING.value):
            raise self.breach(f"run {batch.run_id} is {known.row.state} after a request to cancel it was decided")

    def _flow(self, known: Known) -> bool:
        return known.graph.kind == "flow"

    # --- what is there now --------------------------------------------------------------------------------------------

    def _look(self, touched: Iterable[RunId]) -> None:
        dirty = set(touched)
        for run_id, rows in self._store.run_rows.items():
            known = self.runs.get(run_id)
            if known is None:
                graph = self._store.load_graph(rows.run.graph_hash)
                if graph is None:
                    raise self.breach(f"run {run_id} has no graph")
                known = self.runs[run_id] = Known(rows.run, graph)
                self._check_run(run_id, known, rows)
            elif run_id in dirty or rows.run is not known.row:
                self._check_run(run_id, known, rows)
        self._check_slots()

    def _check_run(self, run_id: RunId, known: Known, rows: RunRows) -> None:
        self._check_lease(known, rows.run)
        try:
            news = known.history.go_on(rows)
            for event, token in news:
                self._check_event(run_id, known, rows, event, token)
            known.row = rows.run
            if rows.run.state == CRASHED:
                return  # given up: that is written by the store, not decided
            said = known.history.compare(rows)
        except ValueError as error:
            raise self.breach(f"run {run_id}: {error}") from None
        if said is not None:
            raise self.breach(f"run {run_id}: {said}")

    def _check_lease(self, known: Known, row: RunRow) -> None:
        if row.epoch < known.row.epoch:
            raise self.breach(f"run {row.run_id}: its epoch went back from {known.row.epoch} to {row.epoch}")
        if row.owner is not None:
            owner = known.owners.setdefault(row.epoch, row.owner)
            if owner != row.owner:
                raise self.breach(f"run {row.run_id}: {owner} and {row.owner} own it under epoch {row.epoch}")

    def _check_event(self, run_id: RunId, known: Known, rows: RunRows, event: e.Event, token: Token) -> None:
        """What is recorded of an execution is what it came to."""
        if not isinstance(event, e.TaskFinished | e.TaskWaits) or event.state not in _VERDICTS:
            return
        row = rows.tasks.get(event.no)
        spec = known.specs.get(row.key) if row is not None else None
        if row is None or (spec is not None and spec.runner == "run"):
            return
        if event.error.startswith(_OUTSIDE):
            return
        came_to = self.ledger.verdicts.get((run_id, token), set[str]())
        if not came_to & _VERDICTS[event.state] and not self._crashed_body(run_id, spec, event.error):
            raise self.breach(
                f"run {run_id}: task run {event.no} ({row.key}) is {event.state} under token {token}, whose execution "
                f"came to {', '.join(sorted(came_to)) or 'nothing'}"
            )
        if spec is not None and event.attempt > spec.retry.limit + 1:
            raise self.breach(f"F2: run {run_id}: {row.key} has attempt {event.attempt} of {spec.retry.limit + 1}")
        if event.state == TaskState.SUCCESS.value:
            self._check_result(run_id, row, token)

    def _crashed_body(self, run_id: RunId, spec: TaskSpec | None, error: str) -> bool:
        """Whether this records that the process of a flow's body ended."""
        left = self.ledger.crashed_bodies.get(run_id, 0)
        if spec is None or spec.runner != "flow" or not error.startswith("WorkerDied") or not left:
            return False
        self.ledger.crashed_bodies[run_id] = left - 1
        return True

    def _check_result(self, run_id: RunId, row: TaskRow, token: Token) -> None:
        stored = (row.outputs or {}).get("result")
        if stored is not None and row.token == token and stored.data != str(token).encode():
            raise self.breach(f"C3: run {run_id}: {row.key} under token {token} has the result of {stored.data!r}")

    # --- slots --------------------------------------------------------------------------------------------------------

    def _check_slots(self) -> None:
        """F21: every slot has a holder that may hold it, and no limit is exceeded."""
        slots = self._store.slot_rows
        used: dict[str, int] = {}
        for (key, run_id, no), count in slots.items():
            used[key] = used.get(key, 0) + count
            said = self._no_holder(run_id, no)
            if said is not None:
                raise self.breach(f"F21: a slot of {key} is held by task run {no} of run {run_id}: {said}")
        for key, count in used.items():
            size = self._store.limit_sizes.get(key)
            if size is not None and count > size:
                raise self.breach(f"F21: {count} slots of {key} are held, it has {size}")

    def _no_holder(self, run_id: RunId, no: int) -> str | None:
        rows = self._store.run_rows.get(run_id)
        if rows is None:
            return "there is no such run"
        if rows.run.state in RUN_TERMINAL:
            return f"the run is {rows.run.state}"
        if no == RUN:
            return "the run is queued" if rows.run.state == RunState.QUEUED.value else None
        row = rows.tasks.get(TaskNo(no))
        if row is None or row.state in _LIVE or row.state in ("ready", "pending"):
            return None
        return f"it is {row.state}"

    # --- what executors tell ------------------------------------------------------------------------------------------

    def submitted(self, party: Party, executions: Sequence[Execution]) -> None:
        """A scheduler hands these out: they have to be recorded, and none goes out twice."""
        for execution in executions:
            run_id, token = execution.run.run_id, execution.token
            known = self.runs.get(run_id)
            if known is None or known.history.dispatched.get(token) != execution.no:
                raise self.breach(f"C1: {party.name} hands out token {token} of run {run_id} before it is recorded")
            if (run_id, token) in self.ledger.submitted:
                raise self.breach(f"F22: {party.name} hands out token {token} of run {run_id} a second time")
            self.ledger.submitted.add((run_id, token))
