"""Results and logs."""

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any, Protocol

from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import LogSpan, Stored


class ResultStore(Protocol):
    """Keeps values that tasks pass on. Small ones travel inline, large ones lie at a URL."""

    def put(self, value: Any, name: str) -> Stored:
        """Store a value. `name` is a path unique to the execution and output (`run/no/token/output`). Durable on
        return.

        A value that cannot be stored raises TypeError that names the type and what to do.
        """
        ...

    def get(self, stored: Stored) -> Any:
        """The value. A missing file raises FileNotFoundError that names the URL."""
        ...

    def read_record(self, name: str) -> bytes | None:
        """A small named record (the cache's), none when it is not there."""
        ...

    def write_record(self, name: str, data: bytes) -> None:
        """Write a small named record atomically."""
        ...

    def old_records(self, folder: str, older_than: float, limit: int) -> list[str]:
        """The names of records in a folder that were written before then (epoch seconds), at most `limit`."""
        ...

    def delete(self, names: Iterable[str]) -> None:
        """Delete everything under these path prefixes; what is not there is fine."""
        ...


class LogReader(Protocol):
    """Reads what executions printed, also while they run and after a kill -9."""

    def read(self, span: LogSpan) -> bytes: ...

    def find(self, run_id: RunId, no: TaskNo, token: Token) -> LogSpan | None:
        """Where the output of an execution lies that has not reported its span (it is live, or was killed)."""
        ...


class Captured(Protocol):
    """What one execution has printed in this process so far."""

    @property
    def span(self) -> LogSpan | None:
        """Where it lies; none when nothing was printed."""
        ...


class Capturing(Protocol):
    """Keeps what executions print in this process (Python streams)."""

    def capture(self, run_id: str, no: int, token: int) -> AbstractContextManager[Captured]:
        """What is printed inside, in this context, belongs to this execution."""
        ...

    def close(self) -> None: ...
