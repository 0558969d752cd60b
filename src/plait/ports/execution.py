"""Executors, and whom they report to."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from plait.model.ids import RunId, Token
from plait.model.outcome import Outcome
from plait.model.wire import Execution, Report


class Kill(StrEnum):
    """What an executor can do to a running execution: kill its process, ask it to stop, nothing."""

    PROCESS = "process"
    COOPERATIVE = "cooperative"
    NONE = "none"


class Capture(StrEnum):
    """What of an execution's output an executor can keep: file descriptors (everything), Python streams, nothing."""

    DESCRIPTORS = "descriptors"
    STREAMS = "streams"
    NONE = "none"


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What an executor declares. `placement`: where executions run (`here`, `thread`, `process`, `remote`).
    `takes_runs`: what it is given is a flow's body, and its process takes over the whole run."""

    kill: Kill
    capture: Capture
    placement: str
    takes_runs: bool = False


class Runner(Protocol):
    """Runs one execution where user code runs. Never raises: what the user's code raises is in the outcome."""

    def run(self, execution: Execution) -> Outcome: ...


class ReportSink(Protocol):
    """Takes reports, from any thread, quickly. An execution is reported finished or returned exactly once."""

    def report(self, reports: Sequence[Report]) -> None: ...


class Executor(Protocol):
    """Starts executions somewhere and reports on them. Knows nothing of stores, runs or graphs.

    A timeout ends as `Finished` with verdict failed and error type `TaskTimeout`; a cancel with verdict cancelled; a
    dead process with verdict crashed and an error that says what happened (signal, exit code).
    """

    capabilities: Capabilities

    def start(self, sink: ReportSink) -> None:
        """Get ready; called once, before anything is submitted. Cheap: processes may be started later, on demand."""
        ...

    def capacity(self) -> int:
        """How many more executions it would take now, prefetch included."""
        ...

    def submit(self, executions: Sequence[Execution]) -> None:
        """Take these, in this order. Never blocks for long and never refuses."""
        ...

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """End this execution if it is here. Whether it was running or only queued, it is reported finished,
        cancelled."""
        ...

    def adopt(self, run_id: RunId) -> Sequence[Token]:
        """The executions of a run that are here and not reported yet, whoever handed them out: a new owner of the run
        goes on with them, and from now on they are reported to this executor's sink."""
        ...

    def stop(self, grace: float = 5.0) -> None:
        """End all: what is live gets `grace` seconds, then is killed. Leaves no process, thread or file behind."""
        ...
