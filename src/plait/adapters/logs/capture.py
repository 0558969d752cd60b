"""Keeping what executions print in this process, where file descriptors belong to everybody: Python streams only."""

import contextlib
import contextvars
import io
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from plait.model.outcome import LogSpan
from plait.worker.segments import LOG_FORMAT, SegmentWriter

MOST_OPEN = 128
"""Segments of one process that are open at the same time; each takes two file descriptors."""


class _Segments:
    """The segments of this process: one for each execution that prints at the same time, used again and again.

    At most `MOST_OPEN` are open. Of more, the one that was not written for longest is closed, and opened again with its
    next line; meanwhile no lock keeps retention away from it, but nothing that was written lately is retention's.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._base = f"{time.time_ns() // 1_000_000:x}-{os.getpid()}-host"
        self._lock = threading.Lock()
        self._free: list[SegmentWriter] = []
        self._open: OrderedDict[SegmentWriter, None] = OrderedDict()
        self._made = 0
        self._closed = False

    def begin(self, run_id: str, no: int, token: int) -> tuple[SegmentWriter, int]:
        """A segment for an execution, and where its output begins there."""
        with self._lock:
            writer = self._free.pop() if self._free else self._new()
            self._opened(writer)
            return writer, writer.begin(run_id, no, token)

    def write(self, writer: SegmentWriter, data: bytes) -> None:
        """Append to a segment."""
        with self._lock:
            self._opened(writer)
            writer.write(data)

    def give_back(self, writer: SegmentWriter) -> None:
        """The execution is over: its segment is free for the next one."""
        with self._lock:
            self._free.append(writer)
            if self._closed:
                self._close(writer)

    def close(self) -> None:
        """Close them; one that is in use follows when its execution ends."""
        with self._lock:
            self._closed = True
            for writer in self._free:
                self._close(writer)

    def _new(self) -> SegmentWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._made += 1
        return SegmentWriter(self._folder, f"{self._base}-{self._made}")

    def _opened(self, writer: SegmentWriter) -> None:
        """It is about to be written."""
        if writer in self._open:
            self._open.move_to_end(writer)
            return
        writer.reopen()
        self._open[writer] = None
        if len(self._open) > MOST_OPEN:
            self._close(next(iter(self._open)))

    def _close(self, writer: SegmentWriter) -> None:
        if writer in self._open:
            del self._open[writer]
            writer.close()


class Captured:
    """The output of one execution, while it runs and after. Its segment is taken when it prints first."""

    def __init__(self, segments: _Segments, execution: tuple[str, int, int], tee: bool):
        self._segments, self._execution, self.tee = segments, execution, tee
        self._writer: SegmentWriter | None = None
        self._span: LogSpan | None = None
        self._length = 0
        self._over = False
        self._lock = threading.Lock()

    def write(self, text: str) -> bool:
        """Keep this; False when the execution is over (a thread that it left behind still prints)."""
        with self._lock:
            if self._over:
                return False
            data = text.encode("utf-8", "backslashreplace")
            if self._writer is None:
                self._writer, offset = self._segments.begin(*self._execution)
                self._span = LogSpan(segment=self._writer.name, offset=offset)
            self._segments.write(self._writer, data)
            self._length += len(data)
            return True

    @property
    def span(self) -> LogSpan | None:
        """Where it lies, as long as it is now; none while nothing was printed."""
        span = self._span
        return LogSpan(segment=span.segment, offset=span.offset, length=self._length) if span is not None else None

    def close(self) -> None:
        """The execution is over."""
        with self._lock:
            self._over = True
            if self._writer is not None:
                self._segments.give_back(self._writer)
                self._writer = None


class StreamCapture:
    """Sends what executions print to segments: writes to `sys.stdout` and `sys.stderr` made in the execution's context
    (its thread, its asyncio tasks, `asyncio.to_thread`), and what it logs.

    With `tee`, the real streams get it as well. Output of sub-processes and of native code is not seen.
    """

    def __init__(self, folder: str | Path, *, tee: bool = True):
        self._segments, self._tee = _Segments(Path(folder).absolute()), tee
        self._lock = threading.Lock()
        self._active = 0
        self._current: contextvars.ContextVar[Captured | None] = contextvars.ContextVar("plait_output", default=None)
        self._handler = _LogHandler(self._current)
        self._root_level: int | None = None

    @contextlib.contextmanager
    def capture(self, run_id: str, no: int, token: int) -> Iterator[Captured]:
        """What is printed inside belongs to this execution."""
        captured = Captured(self._segments, (run_id, no, token), self._tee)
        with self._lock:
            self._active += 1
            self._install()
        before = self._current.set(captured)
        try:
            yield captured
        finally:
            self._current.reset(before)
            captured.close()
            with self._lock:
                self._active -= 1
                if not self._active:
                    self._uninstall()

    def close(self) -> None:
        """Close the segments; one that is in use follows when its execution ends."""
        self._segments.close()

    def _install(self) -> None:
        """Stand before whatever the streams are now: a notebook, pytest, or user code may have replaced them since."""
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if stream is not None and not (isinstance(stream, _Router) and stream.serves(self._current)):
                setattr(sys, name, _Router(stream, self._current))
        root = logging.getLogger()
        if self._handler not in root.handlers:
            if not root.handlers and root.level == logging.WARNING:
                # Nobody has configured logging: what tasks say at INFO belongs into their log.
                self._root_level = root.level
                root.setLevel(logging.INFO)
                self._handler.alone = True
            root.addHandler(self._handler)

    def _uninstall(self) -> None:
        for name in ("stdout", "stderr"):
            stream = getattr(sys, name)
            if isinstance(stream, _Router) and stream.serves(self._current):
                setattr(sys, name, stream.real)
        root = logging.getLogger()
        root.removeHandler(self._handler)
        self._handler.alone = False
        if self._root_level is not None:
            root.setLevel(self._root_level)
            self._root_level = None


class _Router(io.TextIOBase):
    """A stream that goes to the output of the execution in whose context it is written, else to the real one."""

    def __init__(self, real: Any, current: "contextvars.ContextVar[Captured | None]"):
        self.real, self._current = real, current

    def serves(self, current: "contextvars.ContextVar[Captured | None]") -> bool:
        return self._current is current

    def write(self, text: str, /) -> int:
        captured = self._current.get()
        if captured is None or not captured.write(text) or captured.tee:
            self.real.write(text)
        return len(text)

    def writelines(self, lines: Iterable[str], /) -> None:
        self.write("".join(lines))

    def flush(self) -> None:
        self.real.flush()

    def writable(self) -> bool:
        return True

    def isatty(self) -> bool:
        return self.real.isatty()

    def fileno(self) -> int:
        return self.real.fileno()

    @property
    def encoding(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  a property in CPython too
        return self.real.encoding

    @property
    def buffer(self) -> Any:
        """Bytes go to the real stream as they are; text is what an execution's output is made of."""
        return _Bytes(self)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.real, name)


class _Bytes:
    """`sys.stdout.buffer` of a router."""

    def __init__(self, router: _Router):
        self._router = router

    def write(self, data: bytes) -> int:
        self._router.write(bytes(data).decode("utf-8", "backslashreplace"))
        return len(data)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._router.real.buffer, name)


class _LogHandler(logging.Handler):
    """Log records of an execution. Where nobody else shows them (`alone`), the real stderr gets them as well."""

    def __init__(self, current: "contextvars.ContextVar[Captured | None]"):
        super().__init__()
        self._current = current
        self.alone = False
        self.setFormatter(logging.Formatter(LOG_FORMAT))

    def emit(self, record: logging.LogRecord) -> None:
        captured = self._current.get()
        try:
            line = self.format(record) + "\n"
            kept = captured is not None and captured.write(line)
            if self.alone and (not kept or (captured is not None and captured.tee)):
                stream = sys.stderr.real if isinstance(sys.stderr, _Router) else sys.stderr
                stream.write(line)
        except Exception:  # noqa: BLE001  the logging module's own way with a record that cannot be formatted
            self.handleError(record)
