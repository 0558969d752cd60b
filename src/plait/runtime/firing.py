"""Firing the triggers that time fires: the runs of what is due, and where each trigger stands now, in one transaction.

Every scheduler on a database does this; the transaction gives each due trigger to one of them, and no two runs have the
same occurrence, so a time fires once whatever happens (F9).

A trigger that catches up on a long past makes runs as the earlier ones end: of a workflow, a scheduler has a bounded
number open (C8). Such a trigger stays due in the store, where it stands is all that is kept of it; which ones this
scheduler holds back, and for how many ends, it only knows itself.
"""

import logging
from collections import Counter

import msgspec

from plait.engine import schedules
from plait.engine.schedule_specs import timed
from plait.model.errors import DefinitionError
from plait.model.graph import Graph
from plait.model.rows import DeploymentRow, RunRow, TriggerRow
from plait.model.schedules import Catchup
from plait.ports import Transaction
from plait.runtime.hosted import Hosted
from plait.runtime.run_request import RunRequest, first_row
from plait.runtime.scheduler import Scheduler

AT_ONCE = 200
"""Triggers that one transaction fires at most (C8)."""
MOST_MADE = 500
"""Runs that one transaction makes, about."""
MOST_OPEN = 100
"""Runs of a workflow whose trigger catches up that one scheduler has open at once, unless `max_active_runs` is more."""
MOST_RUNS = 10_000
"""Runs that one scheduler hosts at once; more wait in the database (C8)."""
TRY_AGAIN = 3600.0
"""Seconds until a trigger that cannot be read is looked at again."""
log = logging.getLogger("plait.schedules")


class Firing:
    """Fires due triggers for one scheduler."""

    def __init__(self, scheduler: Scheduler, most_runs: int = MOST_RUNS):
        self._scheduler = scheduler
        self._most_runs = most_runs
        self._deployed: dict[str, tuple[DeploymentRow, Graph] | None] = {}
        self._held: dict[tuple[str, int], None] = {}
        """Triggers that are due, and whose workflows have as many open runs as they may."""
        self._ends: dict[str, int] = {}
        """Of each workflow that has one of these: how many of its runs have to end before it is looked at again."""
        self.next_at: float | None = None
        """When a trigger is due next, as far as is known."""
        scheduler.carrier.on_end.append(self._ended)

    def look(self) -> None:
        """Something may have been deployed, paused or fired elsewhere: look when the next trigger is due."""
        self._deployed.clear()
        self.next_at = self._scheduler.store.definitions.next_trigger()

    def fire(self, now: float) -> int:
        """Make the runs of everything that is due, as far as it has room, and begin with them; returns how many."""
        self._held.clear()
        self._ends.clear()
        count, more = 0, True
        while more:
            made, more = self._some(now)
            self._scheduler.pump()  # workers begin with these while the next ones are made
            count += made
        definitions = self._scheduler.store.definitions
        self.next_at = definitions.next_trigger(now) if self._held else definitions.next_trigger()
        return count

    def _some(self, now: float) -> tuple[int, bool]:
        """One transaction of it: how many runs it made, and whether there is more to fire."""
        made: list[tuple[RunRow, Graph]] = []
        more = False
        with self._scheduler.lock:  # nobody takes stock between the making of a run and its hosting
            hosted = list(self._scheduler.runs.values())
            opened = Counter(each.row.workflow for each in hosted if each.row.occurrence is not None)
            with self._scheduler.store.transaction() as tx:
                rows = tx.due_triggers(now, AT_ONCE, list(self._held))
                for row in rows:
                    if len(made) >= MOST_MADE:
                        more = True
                        break
                    more |= self._fire(tx, row, now, made, opened)
            for run, graph in made:
                if run.owner is not None:
                    self._scheduler.host(run, graph)
        return len(made), more or len(rows) == AT_ONCE

    def _fire(
        self, tx: Transaction, row: TriggerRow, now: float, made: list[tuple[RunRow, Graph]], opened: Counter[str]
    ) -> bool:
        """Fire one trigger; whether it is due again, and has room."""
        deployed = self._find(row.workflow)
        room = schedules.MOST
        if deployed is not None and row.catchup is Catchup.ALL:
            most = max(MOST_OPEN, deployed[1].policy.max_active_runs or 0)
            room = min(room, most - opened[row.workflow])
            if room <= 0:
                self._hold(row, opened)
                return False
        try:
            when, (times, moved) = timed(row.kind, row.spec), schedules.fire(row, now, room)
        except DefinitionError as error:  # deployed by another version; the other triggers must not wait for it
            log.error("%s is due, but its schedule cannot be read: %s", row.workflow, error)
            tx.advance_trigger(msgspec.structs.replace(row, next_at=now + TRY_AGAIN))
            return False
        tx.advance_trigger(moved)
        if deployed is None:
            log.error("%s is due, but its graph is not in the database; deploy it again", row.workflow)
            return False
        for at in times:
            has_room = len(self._scheduler.runs) + len(made) < self._most_runs
            run = self._row(*deployed, schedules.about(when, at), schedules.name_of(row, at), hosted=has_room)
            if tx.create_run(run):
                made.append((run, deployed[1]))
                opened[row.workflow] += 1
        return moved.next_at is not None and moved.next_at <= now

    def _hold(self, row: TriggerRow, opened: Counter[str]) -> None:
        """It is looked at again when half of the open runs have ended, and whenever the service looks around."""
        self._held[row.workflow, row.no] = None
        self._ends[row.workflow] = max(1, opened[row.workflow] // 2)

    def _ended(self, hosted: Hosted) -> None:
        left = self._ends.get(hosted.row.workflow)
        if left is None or hosted.row.occurrence is None:
            return
        self._ends[hosted.row.workflow] = left - 1
        if left <= 1:
            self.next_at = self._scheduler.clock.now()
            self._scheduler.nudge()

    def _find(self, workflow: str) -> tuple[DeploymentRow, Graph] | None:
        if workflow not in self._deployed:
            found = self._scheduler.store.definitions.deployment(workflow)
            graph = self._scheduler.store.load_graph(found.graph_hash) if found is not None else None
            self._deployed[workflow] = (found, graph) if found is not None and graph is not None else None
        return self._deployed[workflow]

    def _row(
        self, deployment: DeploymentRow, graph: Graph, about: schedules.About, occurrence: str, *, hosted: bool
    ) -> RunRow:
        """The run of an occurrence; one that is not hosted here waits for a scheduler that has room for it."""
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
        owner = scheduler.owner if hosted else None
        return first_row(request, scheduler.ids.run_id(), deployment.graph_hash, owner, scheduler.clock.now())
