"""A backfill that this process drives: its runs are this session's; whoever comes after a crash goes on with it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from plait.authoring.live import LiveGraph
from plait.engine.backfill import decode
from plait.engine.partitions.answers import Answers, MappingUnknown
from plait.model.backfills import OVER, BackfillState
from plait.model.errors import UsageError
from plait.model.rows import BackfillRow, RunRow
from plait.model.states import RunState
from plait.runtime.backfills import Backfills
from plait.runtime.hosted import Hosted
from plait.worker.asking import ask_here

if TYPE_CHECKING:
    from plait.authoring.definitions import Definitions
    from plait.model.graph import Graph
    from plait.model.ids import RunId
    from plait.runtime.session import Session


class SessionBackfill:
    """Drives one backfill until it is over, paused, or this process is to leave it."""

    def __init__(self, session: Session, definitions: Definitions, id: str):
        self._session = session
        self._definitions = definitions
        self._id = id
        self._woken = threading.Event()
        self._live: dict[str, LiveGraph] = {}
        self._answers = Answers(ask_here)
        self._backfills = Backfills(
            session.scheduler,
            lambda run_id: session.cancel(run_id, "its backfill is being cancelled"),
            session.publish,
            session=True,
            begins=self._begins,
            begun=lambda row, graph: self._attend(row.run_id, graph),
            ask_for=lambda target, version: self._answers,
        )
        self._backfills.on_due = self._woken.set
        self._trouble: BaseException | None = None
        session.scheduler.carrier.on_end.append(self._ended)

    def _ended(self, hosted: Hosted) -> None:
        """What stops a run in this process, a full disk for instance, stops the backfill here."""
        if hosted.error is not None:
            self._trouble = hosted.error
            self._woken.set()

    def wake(self) -> None:
        """Something was said to the backfill: look at it. From any thread."""
        self._woken.set()

    def carry_out(self, tell: Callable[[BackfillRow], None]) -> BackfillRow:
        """Until it is over, or nothing of it is on its way any more while it is paused. `tell` hears how far it is.
        Raises MappingUnknown when nothing is left but what a custom mapping, which fails, holds back."""
        self._go_on_with_crashed()
        while True:
            self._woken.clear()
            row = self._backfills.move(self._id)
            if row is None:
                raise UsageError(f"there is no backfill {self._id}")
            tell(row)
            cursor = decode(row.plan, row.cursor)[1]
            if BackfillState(row.state) in OVER or (row.state == BackfillState.PAUSED.value and not cursor.flights):
                return row
            if cursor.held and not cursor.flights:  # nothing would wake it
                raise MappingUnknown(next(iter(cursor.held.values())))
            self._woken.wait()
            if self._trouble is not None:
                raise self._trouble

    def _go_on_with_crashed(self) -> None:
        """Resume the runs whose process died. Raises StoreError when a live process has them."""
        row = self._session.store.partitions.backfill(self._id)
        if row is None:
            raise UsageError(f"there is no backfill {self._id}")
        plan, cursor = decode(row.plan, row.cursor)
        for flight in cursor.flights:
            run = self._session.store.get_run(flight.run_id)
            if run is not None and RunState(run.state) is RunState.CRASHED:
                self._session.resume(flight.run_id, self._definitions)
                self._session.leave(flight.run_id)
                self._attend(flight.run_id, plan.groups[flight.group].graph)

    def _begins(self, row: RunRow, graph: Graph) -> None:
        self._session.take_in(row, self._live_of(row, graph))
        self._session.leave(row.run_id)

    def _attend(self, run_id: RunId, graph: Graph) -> None:
        """A flow's body runs on a thread of its own."""
        if graph.kind == "flow":
            threading.Thread(target=self._session.wait_here, args=(run_id,), name="plait-body", daemon=True).start()

    def _live_of(self, row: RunRow, graph: Graph) -> LiveGraph:
        if row.graph_hash not in self._live:
            if "assets" in row.extra:
                live = self._definitions.asset_job(list(row.extra["assets"]), "assets")
            else:
                live = self._definitions.workflow(row.workflow).live
            self._live[row.graph_hash] = live
        return self._live[row.graph_hash]
