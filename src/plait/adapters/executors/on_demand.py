"""An executor that is made when the first execution comes to it. A script whose tasks run in threads pays nothing for
worker processes, not even the import of what they need."""

import threading
from collections.abc import Callable, Sequence

from plait.model.ids import RunId, Token
from plait.model.wire import Execution, Returned
from plait.ports import Capabilities, Executor, ReportSink


class OnDemand:
    """Stands for the executor that `make` makes, and that declares `capabilities`. Until it is made, there is room for
    `room` executions."""

    def __init__(self, make: Callable[[], Executor], capabilities: Capabilities, room: int):
        self.capabilities = capabilities
        self._make = make
        self._room = room
        self._lock = threading.Lock()
        self._sink: ReportSink | None = None
        self._made: Executor | None = None
        self._stopped = False

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = sink

    def capacity(self) -> int:
        """What it has room for."""
        return self._room if self._made is None else self._made.capacity()

    def submit(self, executions: Sequence[Execution]) -> None:
        """Make the executor if it is not there yet, and let it take these."""
        made = self._get()
        if made is not None:
            made.submit(executions)
        elif executions and self._sink is not None:
            self._sink.report([Returned(each.run.run_id, each.no, each.token) for each in executions])

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """End this execution if it is here."""
        if self._made is not None:
            self._made.cancel(run_id, token, reason)

    def adopt(self, run_id: RunId) -> Sequence[Token]:
        """What is here of a run."""
        return self._made.adopt(run_id) if self._made is not None else ()

    def stop(self, grace: float = 5.0) -> None:
        """End the executor, if it was made."""
        with self._lock:
            self._stopped = True
        if self._made is not None:
            self._made.stop(grace)

    def _get(self) -> Executor | None:
        """The executor; none when this was stopped before it was made."""
        with self._lock:
            if self._made is None and not self._stopped and self._sink is not None:
                made = self._make()
                assert made.capabilities == self.capabilities  # the composition root knows what it makes
                made.start(self._sink)
                self._made = made
            return self._made
