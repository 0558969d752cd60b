"""A sink that remembers, executions on demand, and executors of each kind."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from plait.adapters.executors.inline import InlineExecutor
from plait.adapters.executors.processes import ProcessExecutor
from plait.adapters.executors.threads import ThreadExecutor
from plait.adapters.logs.capture import StreamCapture
from plait.adapters.logs.segments import SegmentReader
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import Outcome
from plait.model.wire import Execution, Finished, Report, Returned, RunInfo, Started
from plait.ports import Executor
from tests.conformance.executors.programs import Programs
from tests.waiting import PATIENCE

RUN = RunInfo(run_id=RunId("0190aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa"), workflow="w", target="t")


def execution(no: int, key: str = "ok", *, run: RunInfo = RUN, **more: Any) -> Execution:
    return Execution(run=run, no=TaskNo(no), token=Token(1000 + no), key=key, **more)


class Sink:
    """Keeps every report; `then(report)` is called for each, in the reporting thread."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.reports: list[Report] = []
        self.then: Callable[[Report], None] = lambda report: None

    def report(self, reports: Sequence[Report]) -> None:
        with self.changed:
            self.reports += reports
            self.changed.notify_all()
        for report in reports:
            self.then(report)

    def of(self, kind: type) -> list[Any]:
        return [report for report in list(self.reports) if isinstance(report, kind)]

    @property
    def outcomes(self) -> dict[int, Outcome]:
        return {report.no: report.outcome for report in self.of(Finished)}

    @property
    def returned(self) -> list[int]:
        return [report.no for report in self.of(Returned)]

    @property
    def started(self) -> list[int]:
        return [report.no for report in self.of(Started)]

    def wait(self, condition: Callable[[], Any], what: str = "") -> None:
        with self.changed:
            if not self.changed.wait_for(condition, PATIENCE):
                raise AssertionError(f"it did not come to {what or 'that'}; reports: {self.reports}")

    def wait_finished(self, *nos: int) -> list[Outcome]:
        self.wait(lambda: set(nos) <= set(self.outcomes), f"the end of {nos}")
        return [self.outcomes[no] for no in nos]

    def wait_started(self, no: int) -> None:
        self.wait(lambda: no in self.started, f"the start of {no}")

    def check_once(self) -> None:
        """Each execution was finished or returned at most once."""
        ends = [(report.run_id, report.token) for report in self.reports if isinstance(report, Finished | Returned)]
        assert len(ends) == len(set(ends)), f"reported twice: {self.reports}"


class World:
    """An executor of one kind, started, with what belongs to it."""

    def __init__(self, kind: str, folder: Path, workers: int, **options: Any):
        self.kind, self.folder = kind, folder
        self.sink = Sink()
        self.logs = SegmentReader(folder)
        self.capture = StreamCapture(folder, tee=False)
        self.executor = self._make(workers, options)
        self._submitter: threading.Thread | None = None

    def _make(self, workers: int, options: dict[str, Any]) -> Executor:
        if self.kind == "inline":
            return InlineExecutor(Programs(), capture=self.capture)
        if self.kind == "threads":
            return ThreadExecutor(Programs(), workers, capture=self.capture, **options)
        factory = options.pop("factory", "make")
        return ProcessExecutor(
            f"tests.conformance.executors.programs:{factory}",
            options.pop("config", {}),
            workers=workers,
            segments=self.folder,
            **options,
        )

    def submit(self, *executions: Execution) -> None:
        self.executor.submit(executions)

    def submit_aside(self, *executions: Execution) -> None:
        """As `submit`, which for the inline executor blocks: then in another thread."""
        if self.kind == "inline":
            self._submitter = threading.Thread(target=self.submit, args=executions)
            self._submitter.start()
        else:
            self.submit(*executions)

    def run(self, *executions: Execution) -> list[Outcome]:
        self.submit(*executions)
        return self.sink.wait_finished(*(each.no for each in executions))

    def cancel(self, each: Execution, reason: str = "because") -> None:
        self.executor.cancel(each.run.run_id, each.token, reason)

    def text(self, outcome: Outcome) -> str:
        return self.logs.read(outcome.log).decode() if outcome.log is not None else ""


@contextmanager
def world(kind: str, folder: Path, workers: int = 2, **options: Any) -> Iterator[World]:
    """A started executor; at the end it is stopped, and nothing may have been reported twice."""
    made = World(kind, folder, workers, **options)
    made.executor.start(made.sink)
    try:
        yield made
    finally:
        made.executor.stop(0.2)
        made.capture.close()
        if made._submitter is not None:
            made._submitter.join(PATIENCE)
        made.sink.check_once()
