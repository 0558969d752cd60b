"""Processes that run user code, simulated: an executor for a worker's pools, and what executions come to."""

from collections.abc import Sequence
from random import Random

import msgspec

from plait.model.ids import RunId, Token
from plait.model.outcome import AssetEvent, Outcome, Stored, Verdict
from plait.model.wire import Execution, Finished, Report, Returned, Started
from plait.ports import Capabilities, Capture, Kill, ReportSink
from plait.testing.outcomes import failure
from plait.testing.simulation.loop import POOL, Event, Loop, Party
from plait.testing.simulation.shapes import MAKES
from plait.testing.simulation.witness import Ledger
from plait.worker import endings

Place = tuple[RunId, Token]


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """What user code does: `seconds` on average; how often it fails, and does something else than succeed."""

    seconds: float = 2.0
    fails: float = 0.15
    skips: float = 0.03
    reschedules: float = 0.03
    defers: float = 0.03
    pauses: float = 0.0


class UserCode:
    """What executions come to."""

    def __init__(self, rng: Random, habits: Habits):
        self._rng = rng
        self._habits = habits

    def seconds(self) -> float:
        """How long an execution takes."""
        return min(60.0, self._rng.expovariate(1.0 / self._habits.seconds))

    def outcome(self, execution: Execution, now: float) -> Outcome:
        """What it reports in the end. Its result names its token."""
        habits, draw = self._habits, self._rng.random()
        if draw < habits.fails:
            return failure("ValueError: boom")
        draw -= habits.fails
        if draw < habits.skips:
            return Outcome(verdict=Verdict.SKIPPED)
        draw -= habits.skips
        if draw < habits.reschedules:
            return Outcome(verdict=Verdict.RESCHEDULE, until=now + self._rng.uniform(0.0, 20.0))
        draw -= habits.reschedules
        if draw < habits.defers:
            at = now + self._rng.uniform(0.0, 20.0)
            return Outcome(verdict=Verdict.DEFER, trigger={"kind": "time", "at": at})
        if draw - habits.defers < habits.pauses:
            return Outcome(verdict=Verdict.PAUSE)
        return self.success(execution)

    def success(self, execution: Execution) -> Outcome:
        """It succeeds; what is mapped over it gets a few elements."""
        data = str(execution.token).encode()
        made = [AssetEvent(key=execution.key.removeprefix(MAKES))] if execution.key.startswith(MAKES) else []
        return Outcome(
            assets=tuple(made),
            outputs={"result": Stored(format="json", data=data, size=len(data))},
            lengths={"result": self._rng.randint(0, 3)},
        )


class _Job:
    __slots__ = ("began", "event", "execution")

    def __init__(self, execution: Execution):
        self.execution = execution
        self.event: Event | None = None
        self.began = 0.0


class SimulatedProcesses:
    """An executor whose executions take time, and end as their user code wants (the port `Executor`). What waits for a
    process may be given back, a process may die; reports come from a thread of their own."""

    def __init__(self, party: Party, code: UserCode, ledger: Ledger, workers: int):
        self.capabilities = Capabilities(kill=Kill.PROCESS, capture=Capture.NONE, placement="process")
        self._party = party
        self._loop: Loop = party.loop
        self._code = code
        self._ledger = ledger
        self._workers = workers
        self._waiting: dict[Place, _Job] = {}
        self._running: dict[Place, _Job] = {}
        self._begun: list[Place] = []
        self._sink: ReportSink | None = None
        self._stopped = False

    # --- the port -----------------------------------------------------------------------------------------------------

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = sink

    def capacity(self) -> int:
        """What is idle, and one to wait."""
        return max(0, self._workers + 1 - len(self._running) - len(self._waiting))

    def submit(self, executions: Sequence[Execution]) -> None:
        """Take these."""
        for execution in executions:
            place = execution.run.run_id, execution.token
            if self._stopped:
                self._give_back(execution)
            elif place not in self._running:
                self._waiting[place] = _Job(execution)
        self._begin_some()

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """End it."""
        job = self._waiting.pop((run_id, token), None) or self._running.get((run_id, token))
        if job is not None:
            self._end(job, endings.cancelled(reason), 0.01)

    def adopt(self, run_id: RunId) -> list[Token]:
        """What is here."""
        return [token for run, token in (*self._running, *self._waiting) if run == run_id]

    def stop(self, grace: float = 5.0) -> None:
        """Give back what has not begun, end the rest."""
        self._stopped = True
        for job in list(self._waiting.values()):
            self._give_back(job.execution)
        for job in list(self._running.values()):
            self._end(job, endings.crashed("the worker was stopped"), 0.0)

    # --- what happens -------------------------------------------------------------------------------------------------

    def _begin_some(self) -> None:
        while self._waiting and len(self._running) < self._workers:
            place = next(iter(self._waiting))
            self._begin(place, self._waiting.pop(place))

    def _begin(self, place: Place, job: _Job) -> None:
        loop, execution = self._loop, job.execution
        if loop.strikes(loop.faults.given_back):
            self._give_back(execution)
            return
        self._ledger.begins(execution)
        self._begun.append(place)
        self._running[place] = job
        job.began = self._party.clock.now()
        seconds = self._code.seconds()
        if loop.rng.random() < 0.5:
            started = Started(execution.run.run_id, execution.no, execution.token, job.began)
            self._party.do(POOL, lambda: self._report(started), 0.001, f"says that {execution.key} has begun")
        if execution.timeout is not None and seconds > execution.timeout:
            self._end(job, endings.timed_out(execution.timeout, job.began), execution.timeout)
        elif loop.strikes(loop.faults.dies):
            self._end(job, endings.crashed("the worker process was killed by SIGKILL"), seconds)
        else:
            self._end(job, self._code.outcome(execution, self._party.clock.now() + seconds), seconds)

    def _end(self, job: _Job, outcome: Outcome, delay: float) -> None:
        """It ends like this in a while, if nothing comes in between."""
        if job.event is not None:
            job.event.cancelled = True
        execution = job.execution
        what = f"{execution.key} of {execution.run.run_id} under {execution.token} ends: {outcome.verdict.value}"
        job.event = self._party.do(POOL, lambda: self._ended(job, outcome), delay, what)

    def _ended(self, job: _Job, outcome: Outcome) -> None:
        execution = job.execution
        place = execution.run.run_id, execution.token
        self._running.pop(place, None)
        self._waiting.pop(place, None)
        self._ledger.comes_to(*place, outcome.verdict.value)
        now = self._party.clock.now()
        timed = msgspec.structs.replace(outcome, started_at=job.began or now, finished_at=now)
        self._begin_some()
        self._report(Finished(execution.run.run_id, execution.no, execution.token, timed))

    def _give_back(self, execution: Execution) -> None:
        self._waiting.pop((execution.run.run_id, execution.token), None)
        report = Returned(execution.run.run_id, execution.no, execution.token)
        self._party.do(POOL, lambda: self._report(report), 0.001, f"gives {execution.key} back")

    def _report(self, report: Report) -> None:
        assert self._sink is not None  # it is started before anything is submitted
        self._sink.report([report])

    def doubt(self) -> None:
        """What they report may not come through: whatever has begun may be taken for crashed."""
        for place in self._begun:
            self._ledger.comes_to(*place, "crashed")

    def interrupt(self, run_id: RunId, token: Token) -> None:
        """Its process dies."""
        job = self._running.get((run_id, token))
        if job is not None:
            self._end(job, endings.crashed("the worker process was killed by SIGKILL"), 0.0)
