"""A scheduler as a service: it leases runs that belong to nobody's session, fires schedules, and survives the others.

Theory of operation. No thread and no waiting in here: whoever drives it (`service_threads`, or the simulation) calls
`beat` every few seconds, `heard` for what other processes say, `on_time` when `next_timer` is due; what executors
report goes to the scheduler. A run that is asked for is a row that nobody owns; a run whose scheduler died is one
again. `claim` leases such runs (the store gives each to one scheduler) and goes on with them from their rows: there is
no other way in, so what happens after a crash is what happens at the start (C6).

What is said to a run lies in the store's inbox, and goes with the transaction that decides it. A flow's body is handed
to a worker with its run: the worker's process leases it from then on, and hands it back when the body is suspended or
its process dies.
"""

import contextlib
import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import inf
from typing import TypeVar

from plait.engine.assets.index import Source
from plait.engine.decide import Decision
from plait.engine.run import Run
from plait.model.errors import PlaitError, StaleToken, StoreError
from plait.model.ids import TOKEN_BITS, RunId
from plait.model.outcome import Verdict
from plait.model.states import LIVE, RUN_TERMINAL, RunState
from plait.model.stimuli import CancelRequested, ExecutionLost, Stimulus, encode_stimulus
from plait.model.wire import Finished, Report, Returned, Started
from plait.runtime.asking import Asking, Host
from plait.runtime.automations import Automations
from plait.runtime.backfills import Backfills
from plait.runtime.firing import MOST_RUNS, Firing
from plait.runtime.gathering import BURST
from plait.runtime.hosted import Hosted
from plait.runtime.lease import Lease, look_around
from plait.runtime.node_runs import NodeRuns
from plait.runtime.own_triggers import OwnTriggers
from plait.runtime.recovery import Recovery
from plait.runtime.run_request import RunRequest
from plait.runtime.scheduler import HAPPENED, Scheduler, said
from plait.runtime.watchdog import Watchdog

MOST_DEATHS = 3
"""How often the process of a flow's body may die in a row, with no task finished in between, before the body itself is
to blame: that is a crashed attempt."""
CLAIM_AT_ONCE = 200
MOST_REMEMBERED = 1000
"""Runs of which it is remembered that the processes of their bodies died, until somebody goes on with them."""
DEFINITION_LOOKS = 20
"""On every so many-th look the assets that are deployed are read anew: it is large, and whoever deploys says so."""
TRY_AGAIN = 60.0
"""Seconds until assets are looked at again whose definitions do not fit together."""
SLOW_BEATS = 3
"""On every so many-th beat the service looks at everything, as if it had missed what others said."""
log = logging.getLogger("plait.service")
T = TypeVar("T")


class Service:
    """Owns service-owned runs through one scheduler. `publish(topic)` wakes the other processes on the database; `host`
    asks user code what only it knows (C10)."""

    def __init__(
        self,
        scheduler: Scheduler,
        lease: Lease,
        *,
        publish: Callable[[str], None],
        most_runs: int = MOST_RUNS,
        host: Host | None = None,
    ):
        asking = Asking(host, scheduler.clock, self._answered) if host is not None else None
        self.scheduler = scheduler
        self.lease = lease
        self.recovery = Recovery(scheduler)
        self.firing = Firing(scheduler, most_runs)
        self.automations = Automations(scheduler, self._begin, lambda source: asking and asking.of(source))
        self.watchdog = Watchdog(scheduler)
        self.backfills = Backfills(
            scheduler,
            self._cancel,
            publish,
            ask_for=lambda target, version: asking and asking.of(Source("", target, version)),
        )
        self._publish = publish
        self._most_runs = most_runs
        self._beats = 0
        self._claimed_at = -inf
        self._claim_at: float | None = None
        """When runs are taken that were asked for one after the other."""
        self._looks = 0
        self._freed = False
        self._marked = False
        """Whether runs of this service may have said something of partitions, which is not in chunks as yet."""
        self.claiming = threading.Lock()
        """Held while runs are this service's in the store, and are not hosted as yet."""
        self._crashes: OrderedDict[RunId, tuple[int, str]] = OrderedDict()
        """Why the processes ended that had taken these runs over, and under which epoch they were handed over."""
        self._deaths: OrderedDict[RunId, tuple[int, int]] = OrderedDict()
        """How often they did so in a row, and how many task runs were over when they did."""
        runs = NodeRuns(scheduler, self._deployed)
        OwnTriggers(scheduler, runs, scheduler.carrier.start_trigger)
        scheduler.strays = self._stray
        scheduler.observers.append(self._observe)
        scheduler.carrier.on_end.append(self._ended)
        scheduler.set_limits([])

    # --- what its driver calls ----------------------------------------------------------------------------------------

    def start(self) -> None:
        """Register, see who is dead, and take what is there."""
        self.lease.renew()
        self.lease.sweep()
        self.firing.look()
        self.automations.load()
        self._publish("owner")

    def beat(self) -> bool:
        """Prolong the lease and see who is dead. False when others took this service for dead: it has to begin anew."""
        if not self.lease.renew():
            return False
        self.after_beat()
        return True

    def after_beat(self) -> None:
        """The lease was prolonged: see who is dead, and every now and then look at everything."""
        self._beats += 1
        if self.lease.sweep():
            self.claim()
        elif self._beats % SLOW_BEATS == 0:
            self.look()

    def heard(self, topic: str) -> None:
        """Another process says that something has changed."""
        match topic:
            case "definitions":
                self.scheduler.set_limits([])
                self.firing.look()
                self.automations.load()
                self.scheduler.recheck_pauses()
                self.scheduler.nudge()
            case "runs":
                self._claim_soon()
                self._wake()
            case "inbox":  # also for a run that is over, which is nobody's
                look_around(self.scheduler)
                self.claim()
            case "backfills":
                self.backfills.look()
            case "owner":
                pass
            case _:
                look_around(self.scheduler)
                self._wake()

    def _begin(self) -> None:
        """There are new runs, for whatever scheduler has room."""
        self.claim()
        self._publish("runs")

    def _wake(self) -> None:
        """Assets may have changed, or events were published."""
        woken = self.firing.wake()
        self.automations.wake()
        if woken or self.automations.next_at is not None:
            self.scheduler.nudge()

    def _answered(self) -> None:
        """A custom mapping has answered, or failed."""
        self.backfills.answered()
        self._wake()

    def look(self) -> None:
        """Look at everything that others may have changed, and whether all is here that has to be."""
        self.firing.look()
        if self._looks % DEFINITION_LOOKS == 0:
            self.automations.load()
        else:
            self.automations.wake()
        self._looks += 1
        self.scheduler.recheck_pauses()
        self._take_stock()
        self.claim()
        self.watchdog.look()
        self.backfills.look()
        if self._marked:
            self._marked = self.scheduler.store.partitions.compact() > 0
        look_around(self.scheduler)
        self.scheduler.nudge()

    def next_timer(self) -> float | None:
        """When there is something to do next (epoch seconds)."""
        if self.backfills.due:
            return self.scheduler.clock.now()
        times = (
            self.scheduler.next_timer(),
            self.firing.next_at,
            self.automations.next_at,
            self.recovery.next_at,
            self._claim_at,
        )
        return min((at for at in times if at is not None), default=None)

    def on_time(self) -> None:
        """Do what is due."""
        now = self.scheduler.clock.now()
        if self._claim_at is not None and self._claim_at <= now:
            try:
                self._claim_at = None
                self.claim()
            except StoreError as error:
                log.warning("runs could not be taken, it is tried again: %s", error)
                self._claim_at = now + 1.0
        if self.firing.next_at is not None and self.firing.next_at <= now:
            try:
                self.firing.fire(now)
            except StoreError as error:
                log.warning("schedules could not be fired, it is tried again: %s", error)
                self.firing.next_at = now + 1.0
        if self.automations.next_at is not None and self.automations.next_at <= now:
            try:
                self.automations.run(now)
            except PlaitError as error:
                log.warning("assets could not be looked at, it is tried again: %s", error)
                self.automations.next_at = now + (1.0 if isinstance(error, StoreError) else TRY_AGAIN)
        if self.recovery.next_at is not None and self.recovery.next_at <= now:
            self.recovery.go_on(now)
            self.scheduler.pump()
        self.scheduler.on_time()
        self.backfills.on_time()
        self.tell()

    def tell(self) -> None:
        """Tell the other processes, once for all that happened, that slots are free or runs are over."""
        if self._freed:
            self._freed = False
            self._publish("freed")

    def _claim_soon(self) -> None:
        """Somebody has asked for a run: take it at once, or with those that are asked for right after it."""
        now = self.scheduler.clock.now()
        if self._claimed_at <= now < self._claimed_at + BURST:
            if self._claim_at is None:
                self._claim_at = now + BURST / 2
                self.scheduler.nudge()
        else:
            self._claimed_at = now
            self.claim()

    def claim(self) -> int:
        """Lease runs that nobody owns and go on with them; returns how many."""
        count = 0
        while (room := min(CLAIM_AT_ONCE, self._most_runs - len(self.scheduler.runs))) > 0:
            with self.claiming:
                claimed = self.scheduler.store.claim(self.scheduler.owner, room)
                if claimed:
                    with self.scheduler.gathering.starting():
                        self.scheduler.set_limits([])  # who asked for a run has declared what its tasks share
                        self._host(claimed)
                    self._claimed_at = self.scheduler.clock.now()
            count += len(claimed)
            if len(claimed) < room:
                break
        return count

    def stop(self) -> None:
        """End in order: what is hosted is free for other schedulers."""
        self.lease.release("its scheduler was stopped", forget=False)
        self._publish("runs")

    # --- taking and giving up -----------------------------------------------------------------------------------------

    def _host(self, run_ids: Sequence[RunId]) -> None:
        """Go on with runs that are this service's in the store."""
        for run_id in run_ids:
            self._adopt(run_id)
        look_around(self.scheduler, until=HAPPENED)
        self._let_go_of_ended(run_ids)

    def _adopt(self, run_id: RunId) -> None:
        """Go on with a run that was claimed, unless a report on it has already led to that."""
        with self._setting_back(run_id), self.scheduler.lock:
            if run_id not in self.scheduler.runs:
                self.scheduler.adoption.adopt(run_id, first=self._crashed_bodies)

    def _lease_anew(self, run_id: RunId) -> None:
        """Go on with a run that is this service's since some time: its tokens may have been used."""
        with self._setting_back(run_id):
            row = self.scheduler.store.get_run(run_id)
            if row is not None and row.owner == self.scheduler.owner:
                self.scheduler.adoption.resume(run_id, epoch=row.epoch, first=self._crashed_bodies)

    @contextlib.contextmanager
    def _setting_back(self, run_id: RunId) -> Iterator[None]:
        try:
            yield
        except StaleToken as error:
            log.info("%s", error)
        except Exception as error:  # noqa: BLE001  a run that cannot be read must not keep the others from starting
            self.recovery.set_back(run_id, error)

    def _take_stock(self) -> None:
        """Go on with what is this service's in the store, and not hosted: the store's answer to a claim was lost, or
        something failed between that and the hosting."""
        store, scheduler = self.scheduler.store, self.scheduler
        with self.claiming:
            with scheduler.lock:  # no run comes or goes in between
                ours = store.owned(scheduler.owner)
                ours += [row.run_id for row in store.read_inbox(scheduler.owner)]
                elsewhere = (scheduler.runs, scheduler.handed_over, self.recovery)
                missing = [each for each in dict.fromkeys(ours) if not any(each in place for place in elsewhere)]
                for run_id in missing:
                    log.warning("run %s is this scheduler's, and was not hosted: it goes on with it", run_id)
                    self._lease_anew(run_id)
            if missing:
                look_around(scheduler)
            self._let_go_of_ended(list(scheduler.runs))

    def _let_go_of_ended(self, run_ids: Sequence[RunId]) -> None:
        """Those of these runs that were over, and that nobody asked to go on, are nobody's again."""
        with self.scheduler.lock:
            hosted = [each for run_id in run_ids if (each := self.scheduler.runs.get(run_id)) is not None]
            ended = [each.run.run_id for each in hosted if each.run.state in RUN_TERMINAL]
            if ended:
                self.scheduler.store.let_go(ended, self.scheduler.owner, self.scheduler.clock.now())
                for run_id in ended:
                    self.scheduler.release(run_id)

    def _cancel(self, run_id: RunId) -> None:
        """Ask whoever has a run to cancel it."""
        said = CancelRequested(reason="its backfill is being cancelled")
        if run_id in self.scheduler.runs:
            self.scheduler.post(run_id, said)
            self.scheduler.pump()
        else:
            self.scheduler.store.put_inbox(run_id, encode_stimulus(said))
            self._publish("inbox")

    def _deployed(self, workflow: str) -> RunRequest | None:
        """A run of a deployed workflow that a task starts, as far as it is known before it."""
        found = self.scheduler.store.definitions.deployment(workflow)
        graph = self.scheduler.store.load_graph(found.graph_hash) if found is not None else None
        if found is None or graph is None:
            return None
        return RunRequest(graph=graph, target=found.target, lengths=found.lengths, tags=found.tags)

    # --- what the scheduler tells -------------------------------------------------------------------------------------

    def _observe(self, hosted: Hosted, decision: Decision) -> None:
        self._marked |= hosted.row.partition is not None
        if decision.released or decision.assets or hosted.run.state in RUN_TERMINAL:
            self._freed = True
            if decision.assets:
                self.firing.wake()
            self.automations.wake()
            self.scheduler.nudge()

    def _ended(self, hosted: Hosted) -> None:
        self.scheduler.release(hosted.run.run_id)

    # --- runs that workers have taken over ----------------------------------------------------------------------------

    def _stray(self, report: Report) -> None:
        """A report on a run that is not hosted here: a flow's body, with which the run was handed over."""
        if isinstance(report, Started):
            return
        try:
            self._handed_back(report)
        except StoreError as error:  # it is found when stock is taken; the reports that came with it count now
            log.warning("run %s: its worker has ended, but the store fails: %s", report.run_id, error)

    def _handed_back(self, report: Finished | Returned) -> None:
        row = self.scheduler.store.get_run(report.run_id)
        if row is None or row.session or RunState(row.state) in RUN_TERMINAL:
            self._deaths.pop(report.run_id, None)
            return
        if isinstance(report, Finished) and report.outcome.verdict is Verdict.CRASHED:
            error = report.outcome.error
            why = error.message if error is not None else "its process died"
            _keep(self._crashes, row.run_id, (report.token >> TOKEN_BITS, why))
        if row.owner == self.scheduler.owner:
            self._not_hosted(report)
            return
        self.lease.sweep()
        self.claim()

    def _not_hosted(self, report: Finished | Returned) -> None:
        """A report on a run of this service: its worker ended before it took the run over; or the run has failed here,
        or is just being claimed. It goes on at once, and the report counts."""
        scheduler, run_id = self.scheduler, report.run_id
        with scheduler.lock:
            if run_id in scheduler.runs:
                scheduler.post(run_id, said(report))
            elif run_id not in scheduler.handed_over:  # else it is on its way to a worker, and the report is an old one
                row = scheduler.store.get_run(run_id)
                if row is not None and row.owner == scheduler.owner:
                    crashed = run_id in self._crashes
                    first = self._crashed_bodies if crashed else lambda run: _as_reported(run, report)
                    scheduler.adoption.resume(run_id, epoch=row.epoch, first=first)

    def _crashed_bodies(self, run: Run) -> Iterable[Stimulus]:
        """The process of a flow's body crashed. The body is replayed, in the same attempt; if it dies again and again
        at the same place, that is a crashed attempt, for which its retry policy counts. A process that had lost the run
        to others before says nothing about what these are at."""
        epoch, reason = self._crashes.pop(run.run_id, (0, ""))
        bodies = [task for task in run.tasks.values() if task.node.body and task.state in LIVE]
        bodies = [body for body in bodies if body.token >> TOKEN_BITS in (epoch, epoch + 1)]
        if not bodies:
            return
        done = sum(task.terminal for task in run.tasks.values())
        deaths, before = self._deaths.get(run.run_id, (0, done))
        deaths = deaths + 1 if before == done else 1
        _keep(self._deaths, run.run_id, (deaths, done))
        if deaths < MOST_DEATHS:
            return
        del self._deaths[run.run_id]
        for body in bodies:
            yield ExecutionLost(no=body.no, token=body.token, reason=f"{reason}; {deaths} times in a row")


def _keep(kept: OrderedDict[RunId, tuple[int, T]], run_id: RunId, what: tuple[int, T]) -> None:
    """Remember something of a run; of too many, the oldest is forgotten."""
    kept[run_id] = what
    if len(kept) > MOST_REMEMBERED:
        kept.popitem(last=False)


def _as_reported(run: Run, report: Finished | Returned) -> Iterable[Stimulus]:
    """What is given back is offered again anyway; and that a process is done with a body says nothing of its value."""
    task = run.tasks.get(report.no)
    done_with_it = task is not None and task.node.body and isinstance(report, Finished) and not report.outcome.error
    if isinstance(report, Finished) and not done_with_it:
        yield said(report)
