"""What a worker reports about an execution: control values as plain data, and references to results.

The engine reads the control values (state, emitted outputs, lengths, branch, retry verdict, ...) and never the results.
"""

from enum import StrEnum
from typing import Any

from plait.model.policies import Value

TOO_LATE = "the event did not come in time"
"""The error with which a deferred (or paused) execution that waited for too long resumes: it raises what its authors
expect, and the retry policy decides (Airflow, "Deferrable operators", the timeout of `defer`)."""


class Verdict(StrEnum):
    """How an execution ended, as its worker sees it."""

    SUCCESS = "success"
    FAILED = "failed"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    CRASHED = "crashed"
    RESCHEDULE = "reschedule"
    DEFER = "defer"
    PAUSE = "pause"


class RetryVerdict(StrEnum):
    """What the worker says of a failure: by the static `policy`, `never` (condition said no, fail without retry), or
    `always` (asked for explicitly, `Outcome.retry_limit` bounds it)."""

    POLICY = "policy"
    NEVER = "never"
    ALWAYS = "always"


class Stored(Value):
    """A result, inline (`data`) or at `url` in the result store. `format` is json or pickle; `size` is in bytes."""

    format: str
    data: bytes | None = None
    url: str | None = None
    size: int = 0


class ErrorInfo(Value):
    """A failure as text: `type` is the exception's class name, `message` its text, `where` file:line of user code.

    `pickled` is the exception itself where it can be pickled, so that a caller gets the original back.
    """

    type: str
    message: str = ""
    traceback: str = ""
    where: str = ""
    pickled: bytes | None = None

    @property
    def text(self) -> str:
        """One line that begins with the exception's type."""
        return f"{self.type}: {self.message}" if self.message else self.type


class LogSpan(Value):
    """Where an execution's output lies: `length` bytes from `offset` in the segment file `segment`."""

    segment: str
    offset: int
    length: int | None = None


class CheckResult(Value):
    """The result of one check on an asset: `severity` is error or warn; a blocking error stops what is downstream."""

    name: str
    passed: bool
    severity: str = "error"
    blocking: bool = False
    asset: str | None = None
    partition: str | None = None
    description: str = ""
    metadata: dict[str, Any] = {}


class AssetEvent(Value):
    """An asset was materialized or, with `observed`, observed: by which partition, with which data version and
    metadata. `inputs`: the data versions of what it was made from, by key; `data_time`: up to when that is in it (epoch
    seconds, none for now). `keys`: the partitions of a range, where each has a value of its own."""

    key: str
    partition: str | None = None
    keys: tuple[str, ...] = ()
    data_version: str | None = None
    metadata: dict[str, Any] = {}
    code_version: str | None = None
    inputs: dict[str, str] = {}
    data_time: float | None = None
    observed: bool = False


class Outcome(Value):
    """What one execution came to.

    `emitted`: the outputs that were emitted; none means all required ones. `lengths`: of each output that a scope
    maps over, its length or its keys. `branch`: the keys of the directly downstream tasks (or groups) that were
    chosen; none means no branching. `short_circuit`: skip what is downstream: `direct` leaves trigger rules in force
    further down, `all` skips every task below whatever its rule. `retry` and `retry_delay` (seconds): the worker's
    say on the retry policy. `until`: epoch seconds, when a rescheduled wait looks again. `trigger`: what a deferred
    execution waits for; `timeout` seconds bounds that wait or a pause. `schema`: the JSON Schema of the input a pause
    asks for, `prompt`: what people are told. `wait`: the name of the wait in code that begins again when the wait is
    over: what ended it is kept under that name for all further executions of the attempt. `cached`: the result was
    found in the cache; `persisted`: it is kept beyond the run; `unstored`: it could not be stored, so a replay runs the
    task again. Times are epoch seconds.
    """

    verdict: Verdict = Verdict.SUCCESS
    emitted: tuple[str, ...] | None = None
    outputs: dict[str, Stored] = {}
    lengths: dict[str, int | list[str]] = {}
    branch: tuple[str, ...] | None = None
    short_circuit: str | None = None
    retry: RetryVerdict = RetryVerdict.POLICY
    retry_limit: int | None = None
    retry_delay: float | None = None
    until: float | None = None
    trigger: dict[str, Any] | None = None
    timeout: float | None = None
    schema: dict[str, Any] | None = None
    prompt: str = ""
    wait: str | None = None
    error: ErrorInfo | None = None
    name: str | None = None
    cached: bool = False
    persisted: bool = False
    unstored: bool = False
    started_at: float = 0.0
    finished_at: float = 0.0
    log: LogSpan | None = None
    checks: tuple[CheckResult, ...] = ()
    assets: tuple[AssetEvent, ...] = ()
    rendered: dict[str, str] | None = None
