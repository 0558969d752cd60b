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
from plait.services.views import MapIndex, call_numbers, is_over, label, map_index

PIECE = 1 << 20
_spans = msgspec.json.Decoder(LogSpan)
_SELECTOR = re.compile(r"^(?P<key>.+?)(?:\[(?P<path>[^\[\]]*)\])?$")


@dataclass
class LogSource:
    """The log of one attempt of a task run. `span` is none where nothing was printed, or nothing is known of it
    (yet)."""

    row: TaskRow
    index: MapIndex
    attempt: int
    state: str
    span: LogSpan | None = None

    @property
    def title(self) -> str:
        """`extract[3], attempt 2, failed`."""
        return f"{label(self.row.key, self.index)}, attempt {self.attempt}, {self.state}"


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
        before = {(row.no, row.attempt): row for row in self._store.attempts(run_id)} if attempt is not None else {}
        found = list(self._select(run_id, task))
        if task is not None and not found:
            right = f"plait runs show {run_id}   # lists its tasks"
            raise UsageError(f"run {run_id} has no task {task!r}", right=right)
        found.sort(key=lambda item: (item[0].first_started_at or item[0].started_at or float("inf"), item[0].no))
        for row, index in found:
            source = self._source(row, index, before.get((row.no, attempt or 0)), attempt)
            if source is not None:
                yield source

    def _select(self, run_id: RunId, task: str | None) -> Iterator[tuple[TaskRow, MapIndex]]:
        """The task runs that a selector means, with their indexes."""
        key, wanted = _parsed(task)
        rows = [row for page in self._queries.pages(run_id) for row in page if key is None or row.key == key]
        numbers = call_numbers(rows)
        for row in rows:
            index = numbers.get(row.no, map_index(row.path))
            steps = index if isinstance(index, list) else [] if index is None else [index]
            if wanted is None or [str(step) for step in steps] == wanted:
                yield row, index

    def _source(
        self, row: TaskRow, index: MapIndex, earlier: AttemptRow | None, attempt: int | None
    ) -> LogSource | None:
        if attempt is None or attempt == row.attempt:
            return LogSource(row, index, row.attempt, row.state)
        if earlier is None:
            return None
        span = _spans.decode(earlier.log) if earlier.log else None
        return LogSource(row, index, earlier.attempt, earlier.state, span)

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
        while True:
            run = self._store.get_run(run_id)
            over = run is None or is_over(run.state)
            for row, index in self._select(run_id, task):
                key = (row.no, int(row.token))
                if key in finished or not row.attempt:
                    continue
                ended = row.state not in LIVE
                while data := self._news(run_id, row, seen.get(key, 0)):
                    seen[key] = seen.get(key, 0) + len(data)
                    yield LogSource(row, index, row.attempt, row.state), data
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


def _parsed(task: str | None) -> tuple[str | None, list[str] | None]:
    """`extract[2, eu]` as its key and its path; none for what it leaves open."""
    if task is None:
        return None, None
    match = _SELECTOR.match(task)
    if match is None:
        raise UsageError(f"{task!r} does not name a task", right="a key like extract, or an element like extract[3]")
    path = match["path"]
    return match["key"], [part.strip() for part in path.split(",")] if path else None
