"""Moving backfills on: the runs that can begin now, made in the transaction that writes down that they have.

Every process that may drive a backfill does this, whenever one of its runs ends, somebody says something to it, or some
time has passed: who comes second finds that there is nothing to do. See `engine.backfill`.
"""

import logging
from collections.abc import Callable
from typing import Any

from plait.engine.backfill import Backfill, Start, decode, encode, occurrence_of
from plait.engine.partitions.answers import MappingUnknown, is_custom
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import AskCode
from plait.engine.partitions.spaces import has_dynamic, parse, space_of
from plait.engine.schedules import moment
from plait.model.backfills import OVER, BackfillPlan, BackfillState, Flight
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.rows import BackfillRow, RunRow
from plait.model.states import RUN_TERMINAL, RunState
from plait.model.wire import PARTITION_KEYS
from plait.ports import Transaction
from plait.runtime.hosted import Hosted
from plait.runtime.partitioned import ask_ahead, is_asked, mapped_extra
from plait.runtime.run_request import RunRequest, first_row
from plait.runtime.scheduler import Scheduler

BACKFILL = "backfill"
"""In the `extra` of a run: the backfill that it belongs to."""
MOST_OPEN = 1000
"""Backfills that one look moves on."""
log = logging.getLogger("plait.backfills")


class Backfills:
    """Moves backfills on for one scheduler: those that sessions drive or, for a service, those that services do.

    `cancel` asks a run to end; `publish` wakes other processes; `begins` is told of a run before it is hosted here,
    `begun` after that; `ask_for` gives who answers for the custom mappings of a target, in one version of it.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        cancel: Callable[[RunId], None],
        publish: Callable[[str], None],
        *,
        session: bool = False,
        begins: Callable[[RunRow, Graph], None] = lambda row, graph: None,
        begun: Callable[[RunRow, Graph], None] = lambda row, graph: None,
        ask_for: Callable[[str, str], AskCode | None] = lambda target, version: None,
    ):
        self._scheduler = scheduler
        self._cancel = cancel
        self._publish = publish
        self._session = session
        self._begins = begins
        self._begun = begun
        self._ask_for = ask_for
        self.due: set[str] = set()
        """Backfills of which a run has ended here."""
        self._waiting: set[str] = set()
        """Those that wait for what a custom mapping says."""
        self._answers: dict[str, AskCode | None] = {}
        """Who answers for the custom mappings of those that are open and have some."""
        self.on_due: Callable[[], None] = scheduler.nudge
        scheduler.carrier.on_end.append(self._ended)

    def _ended(self, hosted: Hosted) -> None:
        backfill = hosted.row.extra.get(BACKFILL)
        if backfill is not None:
            self.due.add(str(backfill))
            self.on_due()

    def answered(self) -> None:
        """A custom mapping has answered, or failed. From any thread."""
        if self._waiting:
            self.due |= self._waiting
            self.on_due()

    def look(self) -> None:
        """Move on all that are open."""
        rows = self._scheduler.store.partitions.backfills(open_only=True, limit=MOST_OPEN)
        if len(rows) < MOST_OPEN:
            there = {row.id for row in rows}
            self._answers = {id: answers for id, answers in self._answers.items() if id in there}
        for row in rows:
            self.move(row.id)

    def on_time(self) -> None:
        """Move on those of which runs have ended here."""
        while self.due:
            backfill = self.due.pop()
            try:
                self.move(backfill)
            except BaseException:
                self.due.add(backfill)
                raise

    def move(self, id: str) -> BackfillRow | None:
        """Move a backfill on, as far as it goes now. Returns its row, none for one that is not there."""
        scheduler = self._scheduler
        known = scheduler.store.partitions.backfill(id)
        if known is None:
            self._forget(id)
            return None
        plan, _ = decode(known.plan, known.cursor)
        if BackfillState(known.state) in OVER or plan.session != self._session:
            self._forget(id)
            return known
        for group in plan.groups:
            scheduler.store.save_graph(group.graph.hash(), group.graph)
        ask = self._ask(id, plan)
        held = self._ask_ahead(plan, ask)
        (self._waiting.add if held else self._waiting.discard)(id)
        made: list[tuple[RunRow, Graph]] = []
        with scheduler.lock:  # nobody takes stock between the making of a run and its hosting
            with scheduler.store.transaction() as tx:
                row = tx.backfill(id)
                if row is None or BackfillState(row.state) in OVER:
                    self._forget(id)
                    return row
                keys = scheduler.store.partitions.keys
                work = Backfill(*decode(row.plan, row.cursor), dynamic=keys, ask=ask, held=held)
                made = self._step(tx, row, work)
            for run, graph in made:
                self._begins(run, graph)
                scheduler.host(run, graph)
        scheduler.pump()
        for run, graph in made:
            self._begun(run, graph)
        if BackfillState(row.state) in OVER:
            self._forget(id)
            self._publish("backfills")  # whoever else drives it, or looks at it, may wait for its end
        if row.state == BackfillState.CANCELLING.value:
            for flight in work.cursor.flights:
                self._cancel(flight.run_id)
        return row

    def _ask(self, id: str, plan: BackfillPlan) -> AskCode | None:
        """Who answers for a backfill's custom mappings, the same one for as long as it is open; none if it has none."""
        if id not in self._answers:
            needs = (need.mapping for group in plan.groups for need in group.needs)
            if not any(is_asked(group.graph) for group in plan.groups) and not any(map(is_custom, needs)):
                return None
            self._answers[id] = self._ask_for(plan.target, f"backfill:{id}")
        return self._answers.get(id)

    def _forget(self, id: str) -> None:
        """A backfill is over, or is not there."""
        self._waiting.discard(id)
        self._answers.pop(id, None)

    def _ask_ahead(self, plan: BackfillPlan, ask: AskCode | None) -> dict[int, str]:
        """Ask what custom mappings say, before a transaction needs it. Why groups have no answer, by number."""
        held: dict[int, str] = {}
        for number, group in enumerate(plan.groups):
            keys = self._scheduler.store.partitions.keys
            try:
                ask_ahead(group.graph, group.slices, KeySet(group.targets), plan.now, keys, ask)
            except MappingUnknown as error:
                held[number] = str(error)
        return held

    def _step(self, tx: Transaction, row: BackfillRow, work: Backfill) -> list[tuple[RunRow, Graph]]:
        """Take in what has ended, begin what can begin, and write it down."""
        made: list[tuple[RunRow, Graph]] = []
        work.skip_again()
        for flight in list(work.cursor.flights):
            ok = self._came_to(flight)
            if ok is not None:
                work.ended(flight, ok=ok)
        if row.state == BackfillState.RUNNING.value:
            for start in work.starts():
                group = work.plan.groups[start.group]
                run = self._row(row.id, work, start)
                work.began(start, run.run_id)
                if tx.create_run(run):
                    made.append((run, group.graph))
                else:  # a copy of the database was put back: that run was made before, and what came of it is not known
                    log.warning("backfill %s: the run %s was made before", row.id, run.occurrence)
                    work.ended(work.cursor.flights[-1], ok=False)
        work.cursor.held = {group: why for group, why in work.held.items() if work.left(group)}
        state = work.state(BackfillState(row.state)).value
        cursor = encode(work.cursor)
        if state != row.state or cursor != row.cursor:
            row.state, row.cursor, row.updated_at = state, cursor, self._scheduler.clock.now()
            tx.save_backfill(row)
        return made

    def _came_to(self, flight: Flight) -> bool | None:
        """Whether a run that is over has succeeded; none while it goes on, or waits for who resumes it."""
        run = self._scheduler.store.get_run(flight.run_id)
        if run is None:  # deleted: it was over long ago
            return False
        state = RunState(run.state)
        if state not in RUN_TERMINAL or (state is RunState.CRASHED and run.session):
            return None
        return state is RunState.SUCCESS

    def _row(self, id: str, work: Backfill, start: Start) -> RunRow:
        plan, group = work.plan, work.plan.groups[start.group]
        extra: dict[str, Any] = {BACKFILL: id}
        logical: str | None = None
        if group.assets:
            extra["assets"] = list(group.assets)
        else:
            begin = work.begin_of(start)
            logical = moment(begin) if begin is not None else start.text
        if group.assets and group.slices is not None and has_dynamic(group.slices) and start.text is not None:
            space = space_of(group.slices, self._scheduler.store.partitions.keys)
            extra[PARTITION_KEYS] = [space.key(no) for no in parse(space, start.text)]
        scheduler = self._scheduler
        keys, now = scheduler.store.partitions.keys, scheduler.clock.now()
        if group.assets:
            ask = self._answers.get(id)
            extra |= mapped_extra(group.graph, start.text, now, keys, lambda asset: ask)
        request = RunRequest(
            graph=group.graph,
            params=plan.params,
            lengths=plan.lengths,
            logical_date=logical,
            partition=start.text if group.assets else None,
            target=plan.target,
            tags=group.graph.tags,
            session=plan.session,
            occurrence=occurrence_of(id, start),
            extra=extra,
        )
        return first_row(request, scheduler.ids.run_id(), group.graph.hash(), scheduler.owner, now)
