"""Firing the triggers that time fires: the runs of what is due, and where each trigger stands now, in one transaction.

Every scheduler on a database does this; the transaction gives each due trigger to one of them, and no two runs have the
same occurrence, so a time fires once whatever happens (F9).
"""

import logging

import msgspec

from plait.engine import schedules
from plait.engine.schedule_specs import timed
from plait.model.errors import DefinitionError
from plait.model.graph import Graph
from plait.model.rows import DeploymentRow, RunRow, TriggerRow
from plait.ports import Transaction
from plait.runtime.run_request import RunRequest, first_row
from plait.runtime.scheduler import Scheduler

AT_ONCE = 200
"""Triggers that one transaction fires at most (C8)."""
TRY_AGAIN = 3600.0
"""Seconds until a trigger that cannot be read is looked at again."""
log = logging.getLogger("plait.schedules")


class Firing:
    """Fires due triggers for one scheduler."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._deployed: dict[str, tuple[DeploymentRow, Graph] | None] = {}
        self.next_at: float | None = None
        """When a trigger is due next, as far as is known."""

    def look(self) -> None:
        """Something may have been deployed, paused or fired elsewhere: look when the next trigger is due."""
        self._deployed.clear()
        self.next_at = self._scheduler.store.definitions.next_trigger()

    def fire(self, now: float) -> int:
        """Make the runs of everything that is due, and begin with them; returns how many."""
        count = 0
        due = AT_ONCE
        while due == AT_ONCE:
            made: list[tuple[RunRow, Graph]] = []
            with self._scheduler.lock:  # nobody takes stock between the making of a run and its hosting
                with self._scheduler.store.transaction() as tx:
                    rows = tx.due_triggers(now, AT_ONCE)
                    for row in rows:
                        made += self._fire(tx, row, now)
                for run, graph in made:
                    self._scheduler.host(run, graph)
            self._scheduler.pump()  # workers begin with these while the next ones are made
            due = len(rows)
            count += len(made)
        self.next_at = self._scheduler.store.definitions.next_trigger()
        return count

    def _fire(self, tx: Transaction, row: TriggerRow, now: float) -> list[tuple[RunRow, Graph]]:
        deployed = self._find(row.workflow)
        try:
            when, (times, moved) = timed(row.kind, row.spec), schedules.fire(row, now)
        except DefinitionError as error:  # deployed by another version; the other triggers must not wait for it
            log.error("%s is due, but its schedule cannot be read: %s", row.workflow, error)
            tx.advance_trigger(msgspec.structs.replace(row, next_at=now + TRY_AGAIN))
            return []
        tx.advance_trigger(moved)
        if deployed is None:
            log.error("%s is due, but its graph is not in the database; deploy it again", row.workflow)
            return []
        made: list[tuple[RunRow, Graph]] = []
        for at in times:
            run = self._row(*deployed, schedules.about(when, at), schedules.name_of(row, at))
            if tx.create_run(run):
                made.append((run, deployed[1]))
        return made

    def _find(self, workflow: str) -> tuple[DeploymentRow, Graph] | None:
        if workflow not in self._deployed:
            found = self._scheduler.store.definitions.deployment(workflow)
            graph = self._scheduler.store.load_graph(found.graph_hash) if found is not None else None
            self._deployed[workflow] = (found, graph) if found is not None and graph is not None else None
        return self._deployed[workflow]

    def _row(self, deployment: DeploymentRow, graph: Graph, about: schedules.About, occurrence: str) -> RunRow:
        request = RunRequest(
            graph=graph,
            lengths=deployment.lengths,
            logical_date=about.logical_date,
            target=deployment.target,
            tags=deployment.tags,
            session=False,
            triggered=True,
            occurrence=occurrence,
            interval=(about.start, about.end),
        )
        scheduler = self._scheduler
        return first_row(request, scheduler.ids.run_id(), deployment.graph_hash, scheduler.owner, scheduler.clock.now())
