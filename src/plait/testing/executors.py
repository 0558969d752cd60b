"""An executor that runs nothing: it takes executions, and reports what a script (or the test itself) makes of them."""

from collections.abc import Callable, Iterable, Sequence

import msgspec

from plait.model.ids import RunId, Token
from plait.model.outcome import ErrorInfo, Outcome, Verdict
from plait.model.wire import Execution, Finished, Report, Returned, Started
from plait.ports import Capabilities, Capture, Clock, Kill, ReportSink

HOLD = None
"""A script's answer for an execution that goes on until the test answers it by hand."""

Script = Callable[[Execution], Outcome | None]
"""What an execution comes to, or `HOLD`."""


def succeed(_: Execution) -> Outcome:
    """The script of an executor without one: everything succeeds."""
    return Outcome()


class ScriptedExecutor:
    """Takes executions and keeps them until they are answered (the port `Executor`).

    `live` are those without an end, oldest first; `taken` are all that it ever got. `play` asks the script about the
    live ones; `answer`, `begin`, `give_back` and `die` do one by hand. Nothing is reported from within `submit`.
    """

    def __init__(self, script: Script = succeed, *, clock: Clock, room: int = 1 << 20):
        self.capabilities = Capabilities(kill=Kill.PROCESS, capture=Capture.NONE, placement="here")
        self.script = script
        self.room = room
        self.live: dict[tuple[RunId, Token], Execution] = {}
        self.taken: list[Execution] = []
        self._clock = clock
        self._began: dict[tuple[RunId, Token], float] = {}
        self._sink: ReportSink | None = None

    # --- the port -----------------------------------------------------------------------------------------------------

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = sink

    def capacity(self) -> int:
        """How many more it takes: `room` at once."""
        return max(0, self.room - len(self.live))

    def submit(self, executions: Sequence[Execution]) -> None:
        """Take these."""
        for execution in executions:
            self.live[_place(execution)] = execution
            self._began[_place(execution)] = self._clock.now()
            self.taken.append(execution)

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """End it, if it is here."""
        execution = self.live.get((run_id, token))
        if execution is not None:
            error = ErrorInfo(type="TaskCancelled", message=reason)
            self.answer(execution, Outcome(verdict=Verdict.CANCELLED, error=error))

    def adopt(self, run_id: RunId) -> list[Token]:
        """What is live."""
        return [token for run, token in list(self.live) if run == run_id]

    def stop(self, grace: float = 5.0) -> None:
        """Forget everything, as a process does that is killed."""
        self.live.clear()

    # --- what a test does ---------------------------------------------------------------------------------------------

    def play(self, among: Iterable[Execution] | None = None) -> int:
        """Ask the script about what is live (or about some of that, in that order); returns how many it answered.

        What is answered is reported at once, all together: workers are not one after the other either.
        """
        reports: list[Report] = []
        for execution in list(self.live.values() if among is None else among):
            outcome = self.script(execution)
            if outcome is not None and _place(execution) in self.live:
                reports.append(self._end(execution, outcome))
        self._report(reports)
        return len(reports)

    def answer(self, execution: Execution, outcome: Outcome | None = None) -> None:
        """It ends like that (well, if nothing is said). One that is not live any more is reported all the same: the
        engine has to refuse it."""
        self._report([self._end(execution, outcome if outcome is not None else Outcome())])

    def begin(self, execution: Execution) -> None:
        """Its worker begins with the user's code."""
        self._report([Started(execution.run.run_id, execution.no, execution.token, self._clock.now())])

    def give_back(self, execution: Execution) -> None:
        """It was never begun."""
        self.live.pop(_place(execution), None)
        self._report([Returned(execution.run.run_id, execution.no, execution.token)])

    def die(self, execution: Execution, reason: str = "killed by signal 9") -> None:
        """The process that ran it dies."""
        self.answer(execution, Outcome(verdict=Verdict.CRASHED, error=ErrorInfo(type="WorkerDied", message=reason)))

    def _end(self, execution: Execution, outcome: Outcome) -> Finished:
        now = self._clock.now()
        began = self._began.get(_place(execution), now)
        self.live.pop(_place(execution), None)
        timed = msgspec.structs.replace(
            outcome, started_at=outcome.started_at or began, finished_at=outcome.finished_at or now
        )
        return Finished(execution.run.run_id, execution.no, execution.token, timed)

    def _report(self, reports: list[Report]) -> None:
        if self._sink is None:
            raise RuntimeError("the executor was not started")
        if reports:
            self._sink.report(reports)


def _place(execution: Execution) -> tuple[RunId, Token]:
    return execution.run.run_id, execution.token
