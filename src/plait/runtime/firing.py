"""Firing triggers: the runs of what is due, and where each trigger stands now, in one transaction.

Every scheduler on a database does this; the transaction gives each due trigger to one of them, and no two runs have the
same occurrence, so a time fires once whatever happens (F9).

What triggers wait for but time comes as signals (`ports.SignalStore`). One transaction takes some of them, counts them
in the triggers that wait for them, and makes the runs that follow (`engine.conditions`): so each counts once, whatever
dies when, and whoever counts. A workflow that is paused when signals are counted gets none of them (as in Airflow).

A trigger that catches up on a long past makes runs as the earlier ones end: of a workflow, a scheduler has a bounded
number open (C8); so does one for which very much happens, which gathers it then into one run. Such a trigger stays due
in the store, where it stands is all that is kept of it; which ones this scheduler holds back, and for how many ends, it
only knows itself.
"""

import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from plait.engine import conditions, schedules
from plait.engine.schedule_specs import TIMED, timed
from plait.model.errors import DefinitionError, StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo
from plait.model.rows import AssetEventRow, DeploymentRow, RunRow, SignalRow, TriggerRow
from plait.model.schedules import Catchup
from plait.ports import Transaction
from plait.runtime.hosted import Hosted
from plait.runtime.observations import is_news
from plait.runtime.run_request import RunRequest, first_row
from plait.runtime.scheduler import Scheduler

AT_ONCE = 200
"""Triggers that one transaction fires at most (C8)."""
MOST_MADE = 500
"""Runs that one transaction makes, about."""
SIGNALS_AT_ONCE = 200
"""Signals that one transaction counts at most (C8)."""
MOST_OPEN = 100
"""Runs of a workflow whose trigger catches up, or counts signals, that one scheduler has open at once, unless
`max_active_runs` is more."""
MOST_RUNS = 10_000
"""Runs that one scheduler hosts at once; more wait in the database (C8)."""
TRY_AGAIN = 3600.0
"""Seconds until a trigger that cannot be read is looked at again."""
log = logging.getLogger("plait.schedules")
Runs = list[tuple[RunRow, Graph]]
"""Runs that a transaction makes."""
Opened = Counter[str]
"""How many runs of triggers are open here, by workflow."""


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
        self._awaited = False
        """Whether any trigger waited for signals when it was looked."""
        self._told = False
        """Whether there may be signals."""
        self._due_at: float | None = None
        """When a trigger is due next, as far as is known."""
        self.next_at: float | None = None
        """When there is something to do next: that, or signals are to be counted."""
        scheduler.carrier.on_end.append(self._ended)

    def look(self) -> None:
        """Something may have been deployed, paused or fired elsewhere: look when the next trigger is due."""
        self._deployed.clear()
        store = self._scheduler.store
        self._awaited = store.signals.any_awaited()
        if self._awaited and store.signals.waiting():
            self._told = True
        self._set_timer(store.definitions.next_trigger())

    def wake(self) -> bool:
        """Something may have happened for which a trigger waits; false when none waits for anything but time."""
        if self._awaited:
            self._told = True
            self.next_at = self._scheduler.clock.now()
        return self._awaited

    def _set_timer(self, at: float | None) -> None:
        self.next_at = self._due_at = at
        if self._told:  # since then, or in the meantime
            self.next_at = self._scheduler.clock.now()

    def fire(self, now: float) -> int:
        """Make the runs of everything that is due, as far as it has room, and begin with them; returns how many."""
        count, more = 0, True
        while self._told:
            count += self._count_some(now)
        if self._due_at is None or self._due_at > now:
            self._set_timer(self._due_at)
            return count
        self._held.clear()
        self._ends.clear()
        while more:
            made, more = self._some(now)
            self._scheduler.pump()  # workers begin with these while the next ones are made
            count += made
        definitions = self._scheduler.store.definitions
        self._set_timer(definitions.next_trigger(now) if self._held else definitions.next_trigger())
        return count

    # --- times --------------------------------------------------------------------------------------------------------

    def _some(self, now: float) -> tuple[int, bool]:
        """One transaction of it: how many runs it made, and whether there is more to fire."""
        made: Runs = []
        more = False
        with self._scheduler.lock:  # nobody takes stock between the making of a run and its hosting
            opened = self._opened()
            with self._scheduler.store.transaction() as tx:
                rows = tx.due_triggers(now, AT_ONCE, list(self._held))
                for row in rows:
                    if len(made) >= MOST_MADE:
                        more = True
                        break
                    more |= self._fire(tx, row, now, made, opened)
            self._host(made)
        return len(made), more or len(rows) == AT_ONCE

    def _fire(self, tx: Transaction, row: TriggerRow, now: float, made: Runs, opened: Opened) -> bool:
        """Fire one trigger; whether it is due again, and has room."""
        if row.kind not in TIMED:
            return self._advance(tx, row, (), now, made, opened)
        deployed = self._find(row.workflow)
        room = schedules.MOST
        if deployed is not None and row.catchup is Catchup.ALL:
            room = min(room, self._room(deployed[1], opened))
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
            about = schedules.about(when, at)
            interval = (about.start, about.end)
            self._make(tx, deployed, schedules.name_of(row, at), about.logical_date, made, opened, interval=interval)
        return moved.next_at is not None and moved.next_at <= now

    # --- signals ------------------------------------------------------------------------------------------------------

    def _count_some(self, now: float) -> int:
        """Count some signals, in one transaction; how many runs it made."""
        self._told = False
        if not self._scheduler.store.signals.waiting():
            return 0
        made: Runs = []
        try:
            with self._scheduler.lock:  # as above
                opened = self._opened()
                with self._scheduler.store.transaction() as tx:
                    signals = tx.take_signals(SIGNALS_AT_ONCE)
                    counting = [each for each in signals if _readable(each) and self._counts(each)]
                    for row in tx.awaiting(sorted({each.subject for each in counting})):
                        mine = [each for each in counting if each.subject in row.awaits]
                        self._advance(tx, row, mine, now, made, opened)
                self._host(made)
        except StoreError:
            self._told = True
            raise
        self._told |= len(signals) == SIGNALS_AT_ONCE
        self._due_at = now  # where triggers stand has changed: look when they are due
        self._scheduler.pump()
        return len(made)

    def _counts(self, signal: SignalRow) -> bool:
        """Whether a signal counts: an observation does if it found something new."""
        if signal.kind != "observed":
            return True
        key = signal.subject.removeprefix(conditions.ASSET)
        row = AssetEventRow(
            key=key,
            partition=signal.partition,
            kind=signal.kind,
            at=signal.at,
            run_id=RunId(signal.source),
            no=TaskNo(signal.no),
            data=signal.data,
        )
        return is_news(self._scheduler.store, row)

    def _advance(
        self, tx: Transaction, row: TriggerRow, signals: Sequence[SignalRow], now: float, made: Runs, opened: Opened
    ) -> bool:
        """Count signals in a trigger, or see that its time has come; whether it is due as well, for lack of room."""
        deployed = self._find(row.workflow)
        room = self._room(deployed[1], opened) if deployed is not None and len(made) < MOST_MADE else 0
        if deployed is None:  # it counts, and stays due
            log.error("%s waits for what has happened, but its graph is not there; deploy it again", row.workflow)
        if room <= 0 and not signals:
            self._hold(row, opened)
            return False
        try:
            fired, moved = _counted(row, signals, now, room)
        except DefinitionError as error:  # as above
            log.error("%s cannot count what has happened, because its trigger cannot be read: %s", row.workflow, error)
            tx.advance_trigger(msgspec.structs.replace(row, next_at=now + TRY_AGAIN))
            return False
        tx.advance_trigger(moved)
        if deployed is None:
            return False
        for each in fired:
            self._make(tx, deployed, each.occurrence, schedules.moment(each.at), made, opened, extra=each.extra)
        return moved.next_at is not None and moved.next_at <= now

    # --- runs ---------------------------------------------------------------------------------------------------------

    def _opened(self) -> Opened:
        hosted = list(self._scheduler.runs.values())
        return Counter(each.row.workflow for each in hosted if each.row.occurrence is not None)

    def _room(self, graph: Graph, opened: Opened) -> int:
        return max(MOST_OPEN, graph.policy.max_active_runs or 0) - opened[graph.name]

    def _host(self, made: Runs) -> None:
        for run, graph in made:
            if run.owner is not None:
                self._scheduler.host(run, graph)

    def _hold(self, row: TriggerRow, opened: Opened) -> None:
        """It is looked at again when half of the open runs have ended, and whenever the service looks around."""
        self._held[row.workflow, row.no] = None
        self._ends[row.workflow] = max(1, opened[row.workflow] // 2)

    def _ended(self, hosted: Hosted) -> None:
        left = self._ends.get(hosted.row.workflow)
        if left is None or hosted.row.occurrence is None:
            return
        self._ends[hosted.row.workflow] = left - 1
        if left <= 1:
            self.next_at = self._due_at = self._scheduler.clock.now()
            self._scheduler.nudge()

    def _find(self, workflow: str) -> tuple[DeploymentRow, Graph] | None:
        if workflow not in self._deployed:
            found = self._scheduler.store.definitions.deployment(workflow)
            graph = self._scheduler.store.load_graph(found.graph_hash) if found is not None else None
            self._deployed[workflow] = (found, graph) if found is not None and graph is not None else None
        return self._deployed[workflow]

    def _make(  # noqa: PLR0913  each is one thing of a run
        self,
        tx: Transaction,
        deployed: tuple[DeploymentRow, Graph],
        occurrence: str,
        logical_date: str,
        made: Runs,
        opened: Opened,
        *,
        interval: tuple[str, str] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Make the run of an occurrence; one that is not hosted here waits for a scheduler that has room for it."""
        deployment, graph = deployed
        scheduler = self._scheduler
        request = RunRequest(
            graph=graph,
            lengths=deployment.lengths,
            logical_date=logical_date,
            target=deployment.target,
            tags=deployment.tags,
            session=False,
            triggered=True,
            occurrence=occurrence,
            interval=interval,
            extra=extra or {},
        )
        owner = scheduler.owner if len(scheduler.runs) + len(made) < self._most_runs else None
        run = first_row(request, scheduler.ids.run_id(), deployment.graph_hash, owner, scheduler.clock.now())
        if tx.create_run(run):
            made.append((run, graph))
            opened[deployment.workflow] += 1


def _counted(
    row: TriggerRow, signals: Sequence[SignalRow], now: float, room: int
) -> tuple[list[conditions.Fired], TriggerRow]:
    """As `conditions.advance`; what another version has counted may be lost."""
    try:
        conditions.standing_of(row)
    except msgspec.MsgspecError as error:
        log.warning("what %s has counted cannot be read, it counts from nothing: %s", row.workflow, error)
        row = msgspec.structs.replace(row, state=b"")
    return conditions.advance(row, signals, now, room)


def _readable(signal: SignalRow) -> bool:
    """Whether a signal can be told; one that another version has written may not, and must not hold up the others."""
    try:
        conditions.told(signal)
    except msgspec.MsgspecError as error:
        log.error(
            "what happened to %s (%s) cannot be read, it counts for nobody: %s", signal.subject, signal.source, error
        )
        return False
    return True
