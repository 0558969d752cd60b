"""The scheduler shell: stimuli in, one durable transaction, then the commands. The one shell for sessions, services
and simulation.

Theory of operation. Whoever has something to say appends to the inbox (`post`) and calls `pump`. Whoever gets the
lock works the inbox off: decide each stimulus, fire due timers, grant slots, dispatch, write everything in ONE
transaction (C1, C2), carry out the commands, wake who waits. Whoever does not get the lock goes away: the holder
looks at the inbox again after it has let go, so nothing is left lying. So an executor's IO thread, a flow's calling
thread and the timer thread all are the scheduler, one at a time; there is no hop to a loop's thread, and while one
commits, the others' stimuli gather into the next transaction.

A decision that raises fails its run alone: the aggregate is dropped, the run can be resumed from its rows (F16). A
commit that fails drops what it touched, in the same way.
"""

import contextlib
import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from plait.engine.decide import Decision, decide, dispatch
from plait.engine.limits import LimitBook
from plait.engine.run import Run, TaskRun
from plait.model.commands import Command
from plait.model.errors import EngineError, RunExists, StoreError, UsageError
from plait.model.graph import Graph
from plait.model.ids import RunId, Token
from plait.model.rows import InboxRow, LimitRow, RunRow
from plait.model.states import RUN_TERMINAL
from plait.model.stimuli import (
    ChildSubmitted,
    ExecutionFinished,
    ExecutionReturned,
    ExecutionStarted,
    Stimulus,
    TimerFired,
)
from plait.model.wire import Finished, Report, Started
from plait.ports import Clock, Executor, IdSource, RunStore
from plait.runtime.admission import RunAdmission
from plait.runtime.adoption import Adoption, hosted_whole
from plait.runtime.carry_out import CommandCarrier
from plait.runtime.commit import UNLIMITED, Committer
from plait.runtime.deliveries import Deliveries
from plait.runtime.gathering import FLUSH_AFTER, Gathering
from plait.runtime.hosted import Hosted
from plait.runtime.plans import Plans
from plait.runtime.run_request import RunRequest, first_row
from plait.runtime.timers import Timers
from plait.runtime.unrecorded import Unrecorded

log = logging.getLogger("plait.scheduler")
MOST_STIMULI = 2000
"""Stimuli that one transaction takes at most (C8)."""
LOOK_AGAIN = 1.0
"""Seconds after which who waits for a step of another thread sees to it itself, if that is not at it any more."""
HAPPENED = threading.Event()
"""For `Scheduler.pump`, when what is waited for is there already."""
HAPPENED.set()
Observer = Callable[[Hosted, Decision], None]
Ticket = Callable[[], None]
"""Called once what a stimulus led to is committed."""


def said(report: Report) -> Stimulus:
    """What a report says to its run."""
    if isinstance(report, Finished):
        return ExecutionFinished(no=report.no, token=report.token, outcome=report.outcome)
    if isinstance(report, Started):
        return ExecutionStarted(no=report.no, token=report.token)
    return ExecutionReturned(no=report.no, token=report.token)


class Said(NamedTuple):
    """What lies in the scheduler's own inbox. `number` is that of the store's inbox row that it comes from, if any."""

    run_id: RunId
    stimulus: Stimulus
    ticket: Ticket | None = None
    number: int | None = None


class Scheduler:
    """Hosts runs: all that this process has leased."""

    def __init__(
        self,
        *,
        store: RunStore,
        clock: Clock,
        ids: IdSource,
        executors: Mapping[str, Executor],
        default_executor: str,
        owner: str,
    ):
        self.store = store
        self.clock = clock
        self.ids = ids
        self.executors = dict(executors)
        self.default_executor = default_executor
        self.aliases: dict[str, str] = {}
        """What executors that a graph names are called here."""
        self.owner = owner
        self.limits = LimitBook()
        self.timers = Timers()
        self.runs: dict[RunId, Hosted] = {}
        self.observers: list[Observer] = []
        self.nudge: Callable[[], None] = lambda: None
        """Makes the timer thread look at the time again."""
        self.gathering = Gathering(self)
        self.carrier = CommandCarrier(self)
        self.admission = RunAdmission(self)
        self.unrecorded = Unrecorded()
        self._plans = Plans()
        self.adoption = Adoption(self, self.admission, self._plans, self.unrecorded)
        self.committer = Committer(self, self.admission, self.carrier)
        self.observers.append(self.carrier.watching.observe)
        self.strays: Callable[[Report], None] = lambda report: None
        """Hears reports on runs that are not hosted here."""
        self.recover: Callable[[Hosted, BaseException], None] | None = None
        """Takes runs that failed in this process, to go on with them from their rows; nobody does that in a session."""
        self.handed_over: dict[RunId, Token] = {}
        """Runs that left with the execution of their body, of which no end was reported yet."""
        self.suspects: set[RunId] = set()
        """Runs of which one may be what made a commit fail: each is committed alone, until that has worked once."""
        self.lock = threading.RLock()
        self._inbox: deque[Said] = deque()
        self._deliveries = Deliveries(store)
        self._tickets: list[Ticket] = []
        self._pumping = threading.Lock()
        self._pumper: int | None = None
        """The thread that is at a step."""
        self._born: deque[Hosted] = deque()
        """Runs whose rows are to be made."""
        self._again = False
        self._room = False
        """Whether executors may have room that they had not when something was handed out last."""
        self._dirty: dict[RunId, Hosted] = {}
        self._carrying: deque[tuple[Hosted, Command]] = deque()

    # --- runs ---------------------------------------------------------------------------------------------------------

    def create(self, request: RunRequest) -> RunId:
        """Make a run, durably, and start it as soon as its workflow's limits allow: its row and the first tasks that it
        hands out go into one transaction, with whatever else there is. Raises what kept it from being made.

        Not to be called with the lock held, but by what is carried out, or observed, in a step.
        """
        graph = request.graph
        graph_hash = graph.hash()
        self._check_limits(graph)
        row = first_row(request, request.run_id or self.ids.run_id(), graph_hash, self.owner, self.clock.now())
        self.store.save_graph(graph_hash, graph)
        if self._pumper == threading.get_ident():  # in the middle of a step: it cannot be waited for
            with self.store.transaction() as tx:
                tx.create_run(row)
            self.host(row, graph)
        else:
            self._bear(Hosted(Run(row.run_id, self._plans.of(graph_hash, graph)), row, self.store, fresh=True))
        return row.run_id

    def _bear(self, hosted: Hosted) -> None:
        """Have a run made, here or by the thread that is at a step just now."""
        made = threading.Event()
        hosted.told = made.set
        with self.gathering.starting():
            self._born.append(hosted)
            try:
                self.pump(until=made)
                while not made.wait(LOOK_AGAIN):  # unless an interrupt has ended the step of the thread that was at it
                    self.pump(until=made)
            except BaseException:
                with contextlib.suppress(ValueError):  # it is being made, or is
                    self._born.remove(hosted)
                raise
        if hosted.fresh and hosted.error is not None:
            raise hosted.error

    def host(self, row: RunRow, graph: Graph) -> None:
        """Begin with a run whose row was just made; somebody has to `pump` afterwards."""
        with self.lock:
            hosted = Hosted(Run(row.run_id, self._plans.of(row.graph_hash, graph)), row, self.store)
            self.runs[row.run_id] = hosted
            with hosted_whole(self, row.run_id):
                self.admission.admit(hosted)

    def _host(self, hosted: Hosted) -> None:
        """Begin with a run whose row is going to be made by this step."""
        run_id = hosted.run.run_id
        if run_id in self.runs:
            hosted.error = RunExists(f"there is a run {run_id} already")
            hosted.tell()
            return
        self._dirty[run_id] = self.runs[run_id] = hosted
        try:
            self.admission.admit(hosted)
        except Exception as error:  # noqa: BLE001  it is raised to who makes the run
            self.fail([hosted], error)

    def _check_limits(self, graph: Graph) -> None:
        """Raise UsageError when a task asks for slots that it can never get."""
        for node in graph.nodes:
            self.carrier.declare(node.limits)
            said = self.limits.impossible(node.limits)
            if said is not None:
                raise UsageError(f"task {node.key!r} of {graph.name!r} cannot start: {said}")

    def executor_of(self, name: str | None) -> str:
        """The executor that a task run goes to: the one it names, or the default one."""
        return self.aliases.get(name, name) if name is not None else self.default_executor

    def pause_workflow(self, name: str, *, paused: bool) -> None:
        """Hold back what triggers start of a workflow, or let it go on."""
        with self.lock:
            self.admission.pause(name, paused=paused)
        self.pump()

    def recheck_pauses(self) -> None:
        """Another process may have let workflows go on."""
        with self.lock:
            self.admission.recheck()
        self.pump()

    def release(self, run_id: RunId) -> None:
        """Forget a run that is over, or that another process goes on with."""
        with self.lock:
            self.runs.pop(run_id, None)
            self._dirty.pop(run_id, None)
            self.suspects.discard(run_id)
            self.committer.forget(run_id)
            self.timers.forget_run(run_id)
            self.limits.forget_run(run_id)
            self.carrier.forget(run_id)

    # --- stimuli ------------------------------------------------------------------------------------------------------

    def post(self, run_id: RunId, stimulus: Stimulus, ticket: Ticket | None = None) -> None:
        """Say something to a run. Somebody has to `pump` (or to call `wake`) afterwards; `ticket` is called once all is
        committed, or the run has failed."""
        self._inbox.append(Said(run_id, stimulus, ticket))

    def deliver(self, row: InboxRow) -> None:
        """Say to a run what lies for it in the store's inbox; somebody has to `pump` afterwards. However often a row
        comes, it is decided once, and deleted with what it led to; what nobody here can decide is deleted at once.

        The lock has to be held since the row was read: so no run comes or goes, and nothing is decided, in between.
        """
        stimulus = self._deliveries.accept(self.runs.get(row.run_id), row)
        if stimulus is not None:
            self._inbox.append(Said(row.run_id, stimulus, None, row.id))

    def report(self, reports: Sequence[Report]) -> None:
        """What executors report (the port `ReportSink`); decided on the calling thread. That nothing is reported says
        that there is room for more. A start alone can wait for the next transaction, and ends that nobody waits for can
        wait for a moment."""
        self._room = True
        urgent, ends = not reports, False
        for report in reports:
            run_id = report.run_id
            if run_id in self.runs:
                # Asked after it is said: who begins to wait in between sees it, and pumps.
                self._inbox.append(Said(run_id, said(report)))
                ends = ends or isinstance(report, Finished)
                urgent = urgent or not (isinstance(report, Started) or self._holds(report))
                continue
            urgent = urgent or not isinstance(report, Started)
            if run_id not in self.handed_over and self.unrecorded.hear(run_id, said(report)):
                continue
            if not isinstance(report, Started) and self.handed_over.get(run_id) == report.token:
                del self.handed_over[run_id]
            self.strays(report)
        if urgent:
            self.pump()
        else:
            self.gathering.soon(self.gathering.moment if ends else FLUSH_AFTER)

    def _holds(self, report: Report) -> bool:
        return self.gathering.holds(report, hungry=bool(self.committer.hungry))

    def ask(self, run_id: RunId, stimulus: Stimulus) -> None:
        """Decide a stimulus now, on this thread, so that what is wrong with it is raised to who asked."""
        with self.lock:
            hosted = self.hosted(run_id)
            decide(hosted.run, stimulus, self.clock.now())
            self._dirty[run_id] = hosted
        self.pump()

    def add_child(self, run_id: RunId, child: ChildSubmitted) -> TaskRun:
        """Add a flow's child and return its task run (a recorded one, on a replay). Committed in the background."""
        with self.lock:
            hosted = self.hosted(run_id)
            decide(hosted.run, child, self.clock.now())
            self._dirty[run_id] = hosted
            return hosted.run.children[child.parent, child.key]

    def dispatch_inline(self, run_id: RunId, executor: str) -> None:
        """Hand out what is ready for an executor that is the calling thread itself. Committed in the background."""
        with self.lock:
            dispatch(self.hosted(run_id).run, executor, UNLIMITED, self.clock.now())
        self.gathering.soon()

    def flush(self) -> None:
        """Decide and commit what was left for the background."""
        if self._dirty or self._inbox:
            self.pump()

    def wake(self) -> None:
        """There is something to do that this thread leaves to the timer thread."""
        self._again = True
        self.nudge()

    def wake_soon(self) -> None:
        """The same for what comes one after the other: the first at once, what follows is gathered for a moment."""
        if self.gathering.is_first():
            self.wake()

    def on_time(self) -> None:
        """The timer thread has woken up: pump, if anything is due or was left to it."""
        now = self.clock.now()
        if self.gathering.is_due(now):
            self._room = True
            left = self._dirty or self._inbox or self.committer.hungry or self.limits.may_grant()
            self._again = self._again or bool(left)
        due = self.next_timer()
        if self._again or (due is not None and due <= now):
            self.pump()

    def hosted(self, run_id: RunId) -> Hosted:
        """The hosted run. Raises EngineError, or what made it fail, when it is not here."""
        hosted = self.runs.get(run_id)
        if hosted is None:
            raise EngineError(f"run {run_id} is not hosted by this process")
        if hosted.error is not None:
            raise hosted.error
        return hosted

    # --- the step -----------------------------------------------------------------------------------------------------

    def pump(self, *, until: threading.Event | None = None) -> None:
        """Work off what there is, on this thread, unless another thread is at it.

        Whoever does not get in has appended before it tried, and whoever is in looks again after it has let go. One of
        several that start runs leaves what others say to the next of them when its own has happened (`until`).
        """
        while self._pumping.acquire(blocking=False):
            try:
                self._again = False
                self._pumper = threading.get_ident()
                with self.lock:
                    self._step(until)
            finally:
                self._pumper = None
                self._pumping.release()
            if self._can_leave(until):
                self.gathering.leave(more=bool(self._inbox))
                return
            if not (self._inbox or self._has_own()):
                return

    def _has_own(self) -> bool:
        """Whether there is something to do besides what others say."""
        hungry = self._room and self.committer.hungry
        return bool(self._born or self._dirty or self._again or hungry)

    def _can_leave(self, until: threading.Event | None) -> bool:
        """Whether one that starts runs has nothing to do any more but what others say, and the next one comes soon."""
        if until is None or not until.is_set() or not self.gathering.is_busy():
            return False
        return not self._has_own() and not self.limits.may_grant()

    def _step(self, until: threading.Event | None) -> None:
        """Decide, commit, carry out, until nothing is left to do right now. The lock is held."""
        while True:
            now = self.clock.now()
            self._drain(now)
            if not self._dirty and not self.limits.may_grant() and not self._room:
                self._redeem()
                return
            self._room = False
            progress = self._commit(now)
            self._redeem()
            self._carry_out()
            self._room = self._room or (progress and self.committer.is_starving())
            if not progress and not self._inbox and not self._born:
                return
            if self._can_leave(until):
                return

    def _redeem(self) -> None:
        tickets, self._tickets = self._tickets, []
        for ticket in tickets:
            ticket()

    def _drain(self, now: float) -> None:
        for run_id, timer in self.timers.due(now):
            self.post(run_id, TimerFired(kind=timer.kind, no=timer.no, generation=timer.generation))
        while self._born:
            self._host(self._born.popleft())
        for _ in range(min(len(self._inbox), MOST_STIMULI)):
            said = self._inbox.popleft()
            if said.ticket is not None:
                self._tickets.append(said.ticket)
            hosted = self.runs.get(said.run_id)
            if hosted is None or hosted.error is not None:
                self.unrecorded.hear(said.run_id, said.stimulus)
                continue
            if said.number is None:
                self.decide(hosted, said.stimulus, now)
            elif said.number in hosted.delivered:  # else the run was taken over since then, and the row comes again
                self.decide(hosted, said.stimulus, now)
                self._deliveries.decided(hosted, said.number)

    def decide(self, hosted: Hosted, stimulus: Stimulus, now: float) -> None:
        """Decide a stimulus; somebody has to `pump` afterwards. A run that this makes fail fails alone."""
        if isinstance(stimulus, ExecutionFinished):
            hosted.heard.append(stimulus)
            task = hosted.run.tasks.get(stimulus.no) if stimulus.outcome.outputs else None
            if task is not None and task.token == stimulus.token:
                hosted.outputs.put(stimulus.no, stimulus.outcome.outputs)
        try:
            decide(hosted.run, stimulus, now)
        except UsageError as error:
            log.warning("run %s: %s", hosted.run.run_id, error)
        except Exception as error:  # noqa: BLE001  one bad run must not stop the others: it fails alone, and can be resumed
            self.fail([hosted], error)
            return
        except BaseException as error:  # an interrupt in the middle of a decision: the aggregate cannot be trusted
            self.fail([hosted], error)
            raise
        self._dirty[hosted.run.run_id] = hosted

    def _commit(self, now: float) -> bool:
        """Write what was decided: all in one transaction, but for runs that may be what makes a commit fail: each of
        these in one of its own. Returns whether anything was written."""
        dirty, self._dirty = self._dirty, {}
        progress = False
        for run_id in sorted(self.suspects):
            hosted = dirty.pop(run_id, None) or self.runs.get(run_id)
            if hosted is not None and hosted.error is None:
                progress = self._commit_together({run_id: hosted}, now, alone=True) or progress
        return self._commit_together(dirty, now) or progress

    def _commit_together(self, touched: dict[RunId, Hosted], now: float, *, alone: bool = False) -> bool:
        try:
            decisions, stale = self.committer.commit(touched, now, alone=alone)
        except Exception as error:  # noqa: BLE001  nothing was written: these runs go back to their rows
            self.fail(touched.values(), error)
            self.gathering.soon()  # others wait for slots, or for room
            return False
        except BaseException as error:  # likewise, in the middle of a commit
            self.fail(touched.values(), error)
            raise
        for hosted, _ in decisions:
            self.suspects.discard(hosted.run.run_id)
            hosted.committed()
        for hosted, error in stale:
            self.fail([hosted], error)
        for hosted, decision in decisions:
            for command in decision.commands:
                self._carrying.append((hosted, command))
            for observer in self.observers:
                observer(hosted, decision)
        return bool(decisions)

    # --- limits -------------------------------------------------------------------------------------------------------

    def set_limits(self, rows: Iterable[LimitRow]) -> None:
        """Declare limits and their sizes; those that other processes declared count too."""
        self.store.save_limits(list(rows))
        for row in self.store.limits():
            self.limits.resize(row.key, row.slots)

    def recheck_limits(self) -> None:
        """Another process may have given slots back."""
        with self.lock:
            waits = self.limits.recheck()
        if waits:
            self._again = True
            self.pump()

    # --- after the commit ---------------------------------------------------------------------------------------------

    def _carry_out(self) -> None:
        while self._carrying:
            batch = list(self._carrying)
            self._carrying.clear()
            self.carrier.carry_out(batch)

    def fail(self, hosted: Iterable[Hosted], error: BaseException) -> None:
        """These runs cannot go on as they are here: who waits for them is told; their rows allow a resume."""
        for each in hosted:
            each.error = error
            run_id = each.run.run_id
            if each.fresh:  # nobody but who makes it knows of it
                self.release(run_id)
                each.tell()
                continue
            self.committer.forget(run_id)
            self.timers.forget_run(run_id)
            self.limits.forget_run(run_id)
            if self.recover is not None and not each.row.session:
                # What made a decision raise is not told again: it would raise again.
                self.unrecorded.failed(run_id, each.heard if isinstance(error, (StoreError, OSError)) else ())
                self.recover(each, error)
            else:
                each.ended.set()
                self.carrier.run_failed(each, error)

    def next_timer(self) -> float | None:
        """When the next timer (or background commit) is due, none when there is none."""
        with self.lock:
            due = self.timers.next_at()
        return min((at for at in (due, self.gathering.at) if at is not None), default=None)

    def is_over(self, run_id: RunId) -> bool:
        """Whether a run has ended, as far as this process knows."""
        hosted = self.runs.get(run_id)
        return hosted is None or hosted.run.state in RUN_TERMINAL
