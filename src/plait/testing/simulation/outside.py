"""What a simulated scheduler has around it: executors at whose doors it may be killed, and reports that come again."""

from collections.abc import Sequence

import msgspec

from plait.model.ids import RunId, Token
from plait.model.wire import Execution, Finished, Report
from plait.ports import Executor, ReportSink
from plait.testing.outcomes import failure
from plait.testing.simulation.loop import IO, Party
from plait.testing.simulation.witness import Witness


class Door:
    """An executor of a scheduler (the port `Executor`): each call is an await point, and what is handed out is seen."""

    def __init__(self, party: Party, inner: Executor, witness: Witness):
        self.capabilities = inner.capabilities
        self._party = party
        self._inner = inner
        self._witness = witness

    def start(self, sink: ReportSink) -> None:
        """Reports come through `Echo`."""
        self._inner.start(Echo(self._party, sink, self._witness))

    def capacity(self) -> int:
        """As it is."""
        return self._inner.capacity()

    def submit(self, executions: Sequence[Execution]) -> None:
        """Hand these out: all, or some if the scheduler is killed in the middle."""
        for execution in executions:
            self._party.loop.note(
                self._party.name, f"hands out {execution.key} of {execution.run.run_id} under {execution.token}"
            )
        self._party.loop.point(self._party, "submit")
        self._witness.submitted(self._party, executions)
        self._inner.submit(executions)
        self._party.loop.point(self._party, "after submit")

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """End one."""
        self._party.loop.point(self._party, "cancel")
        self._inner.cancel(run_id, token, reason)

    def adopt(self, run_id: RunId) -> Sequence[Token]:
        """What is there of a run."""
        self._party.loop.point(self._party, "adopt")
        found = self._inner.adopt(run_id)
        self._party.loop.point(self._party, "after adopt")
        return found

    def stop(self, grace: float = 5.0) -> None:
        """As it is."""
        self._inner.stop(grace)


class Echo:
    """Passes reports on to a scheduler (the port `ReportSink`). Some come again: later, or at once with another end."""

    def __init__(self, party: Party, sink: ReportSink, witness: Witness):
        self._party = party
        self._sink = sink
        self._witness = witness

    def report(self, reports: Sequence[Report]) -> None:
        """Pass them on."""
        loop = self._party.loop
        again = [report for report in reports if loop.strikes(loop.faults.repeated)]
        self._party.take(self._sink, reports)
        for report in again:
            if isinstance(report, Finished) and loop.rng.random() < 0.3:
                report = self._other(report)  # noqa: PLW2901  it is that which comes again
            delay = loop.rng.choice((0.0, 0.1, 5.0, 60.0))
            self._party.do(
                IO,
                lambda each=report: self._party.take(self._sink, [each]),
                delay,
                f"hears again: {type(report).__name__}",
            )

    def _other(self, report: Finished) -> Finished:
        """The same execution, with another end."""
        self._witness.ledger.comes_to(report.run_id, report.token, "failed")
        outcome = msgspec.structs.replace(
            failure("ValueError: again"), started_at=report.outcome.started_at, finished_at=report.outcome.finished_at
        )
        return Finished(report.run_id, report.no, report.token, outcome)
