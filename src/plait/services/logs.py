"""What task runs printed: found by task and attempt, read in pieces, followed while they run."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from plait.model.errors import UsageError
from plait.model.ids import RunId
from plait.model.outcome import LogSpan
from plait.model.rows import AttemptRow, TaskRow
from plait.model.states import LIVE
from plait.ports import LogReader, RunStore
from plait.services.queries import RunQueries
from plait.services.views import is_over, label, map_index

PIECE = 1 << 20
_spans = msgspec.json.Decoder(LogSpan)
_SELECTOR = re.compile(r"^(?P<key>.+?)(?:\[(?P<path>[^\[\]]*)\])?$")


@dataclass
class LogSource:
    """The log of one attempt of a task run. `span` is none where nothing was printed, or nothing is known of it
    (yet)."""

    row: TaskRow
    attempt: int
    state: str
    span: LogSpan | None
    live: bool = False

    @property
    def title(self) -> str:
        """`extract[3], attempt 2, failed`."""
        return f"{label(self.row.key, map_index(self.row.path))}, attempt {self.attempt}, {self.state}"


class RunLogs:
    """Reads the logs of runs."""

    def __init__(self, store: RunStore, reader: LogReader):
        self._store = store
        self._reader = reader
        self._queries = RunQueries(store)

    def sources(self, run_id: RunId, task: str | None = None, attempt: int | None = None) -> Iterator[LogSource]:
        """The logs of a run in the order in which its task runs began: of all, of a task (`extract`), of one of its
        elements (`extract[3]`); the last attempt, or attempt number `attempt`. Raises UsageError for a task that is not
        there."""
        matches = _matcher(task)
        before = {(row.no, row.attempt): row for row in self._store.attempts(run_id)} if attempt is not None else {}
        found: list[TaskRow] = []
        for page in self._queries.pages(run_id):
            found += [row for row in page if matches(row)]
        if task is not None and not found:
            raise UsageError(
                f"run {run_id} has no task {task!r}", right=f"plait runs show {run_id}   # lists its tasks"
            )
        for row in sorted(found, key=lambda row: (row.first_started_at or row.started_at or float("inf"), row.no)):
            source = self._source(row, before.get((row.no, attempt or 0)), attempt)
            if source is not None:
                yield source

    def source_of(self, run_id: RunId, row: TaskRow) -> LogSource:
        """The log of a task run's last attempt."""
        return LogSource(row, row.attempt, row.state, self._span(run_id, row), row.state in LIVE)

    def _source(self, row: TaskRow, earlier: AttemptRow | None, attempt: int | None) -> LogSource | None:
        if attempt is None or attempt == row.attempt:
            return LogSource(row, row.attempt, row.state, None, row.state in LIVE)
        if earlier is None:
            return None
        return LogSource(row, earlier.attempt, earlier.state, _spans.decode(earlier.log) if earlier.log else None)

    def read(self, run_id: RunId, source: LogSource) -> Iterator[bytes]:
        """A log, in pieces. One that retention has deleted is an empty one."""
        span = source.span or (self._span(run_id, source.row) if source.attempt == source.row.attempt else None)
        if span is None:
            return
        try:
            if span.length is None:
                yield self._reader.read(span)
                return
            for at in range(0, span.length, PIECE):
                piece = LogSpan(segment=span.segment, offset=span.offset + at, length=min(PIECE, span.length - at))
                yield self._reader.read(piece)
        except FileNotFoundError:
            return

    def tail(self, run_id: RunId, row: TaskRow, lines: int = 20, most: int = 16 << 10) -> str:
        """The last lines that a task run printed."""
        span = self._span(run_id, row)
        if span is None:
            return ""
        if span.length is not None and span.length > most:
            span = LogSpan(segment=span.segment, offset=span.offset + span.length - most, length=most)
        try:
            text = self._reader.read(span)[-most:].decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.rstrip().splitlines()[-lines:])

    def _span(self, run_id: RunId, row: TaskRow) -> LogSpan | None:
        if row.attempt == 0:
            return None
        if row.log is not None and row.state not in LIVE:  # a live one's row still has the span of the attempt before
            return _spans.decode(row.log)
        return self._reader.find(run_id, row.no, row.token)

    # --- while it runs ------------------------------------------------------------------------------------------------

    def follow(self, run_id: RunId, task: str | None, pause: Callable[[], None]) -> Iterator[tuple[LogSource, bytes]]:
        """What matching task runs print, as they print it, until the run is over. `pause` waits a moment."""
        seen: dict[tuple[int, int], int] = {}
        finished: set[tuple[int, int]] = set()
        matches = _matcher(task)
        while True:
            run = self._store.get_run(run_id)
            over = run is None or is_over(run.state)
            for page in self._queries.pages(run_id):
                for row in page:
                    key = (row.no, int(row.token))
                    if key in finished or not row.attempt or not matches(row):
                        continue
                    ended = row.state not in LIVE
                    while data := self._news(run_id, row, seen.get(key, 0)):
                        seen[key] = seen.get(key, 0) + len(data)
                        yield LogSource(row, row.attempt, row.state, None, not ended), data
                        if len(data) < PIECE:
                            break
                    if ended:
                        finished.add(key)
            if over:
                return
            pause()

    def _news(self, run_id: RunId, row: TaskRow, seen: int) -> bytes:
        """What was printed after the first `seen` bytes. It is read before its end is looked up: by then the worker may
        be at its next execution, whose output follows in the same segment."""
        span = self._span(run_id, row)
        if span is None:
            return b""
        rest = LogSpan(segment=span.segment, offset=span.offset + seen, length=PIECE)
        try:
            data = self._reader.read(rest)
        except FileNotFoundError:
            return b""
        end = span if span.length is not None else self._span(run_id, row)
        if end is not None and end.length is not None:
            data = data[: max(0, end.length - seen)]
        return data


def _matcher(task: str | None) -> Callable[[TaskRow], bool]:
    if task is None:
        return lambda row: True
    match = _SELECTOR.match(task)
    if match is None:
        raise UsageError(f"{task!r} does not name a task", right="a key like extract, or an element like extract[3]")
    key, path = match["key"], match["path"]
    wanted = [part.strip() for part in path.split(",")] if path else None
    return lambda row: row.key == key and (wanted is None or [str(step) for step in row.path] == wanted)
