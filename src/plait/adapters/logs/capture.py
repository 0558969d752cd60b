"""Keeping what executions print in this process, where file descriptors belong to everybody: Python streams only."""

import contextvars
import io
import logging
import os
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from plait.model.outcome import LogSpan
from plait.worker.segments import LOG_FORMAT, SegmentWriter

MOST_OPEN = 128
"""Segments of one process that are open at the same time; each takes two file descriptors."""


class Segments:
    """The segments of this process: one for each execution that prints at the same time, used again and again. Not
    thread-safe: the lock of the capture is held around every call.

    At most `MOST_OPEN` are open. Of more, the one that was not written for longest is closed, and opened again with its
    next line; meanwhile no lock keeps retention away from it, but nothing that was written lately is retention's.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._base = f"{time.time_ns() // 1_000_000:x}-{os.getpid()}-host"
        self._free: list[SegmentWriter] = []
        self._open: OrderedDict[SegmentWriter, None] = OrderedDict()
        self._made = 0
        self._closed = False

    def begin(self, run_id: str, no: int, token: int) -> tuple[SegmentWriter, int]:
        """A segment for an execution, and where its output begins there."""
        writer = self._free.pop() if self._free else self._new()
        self._opened(writer)
        return writer, writer.begin(run_id, no, token)

    def write(self, writer: SegmentWriter, data: bytes) -> None:
        """Append to a segment."""
        self._opened(writer)
        writer.write(data)

    def give_back(self, writer: SegmentWriter) -> None:
        """The execution is over: its segment is free for the next one."""
        self._free.append(writer)
        if self._closed:
            self._close(writer)

    def close(self) -> None:
        """Close them; one that is in use follows when its execution ends."""
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
    """The output of one execution: what is printed inside of its block, and in contexts below. A segment is taken with
    the first thing that it prints."""

    __slots__ = ("_before", "_capture", "_execution", "_length", "_over", "_span", "_writer")

    def __init__(self, capture: "StreamCapture", execution: tuple[str, int, int]):
        self._capture, self._execution = capture, execution
        self._writer: SegmentWriter | None = None
        self._span: LogSpan | None = None
        self._length = 0
        self._over = False

    def __enter__(self) -> "Captured":
        self._before = self._capture.begin(self)
        return self

    def __exit__(self, *exc: object) -> None:
        """The execution is over: a thread that it left behind prints to the real streams."""
        with self._capture.lock:
            self._over = True
            if self._writer is not None:
                self._capture.segments.give_back(self._writer)
                self._writer = None
        self._capture.end(self._before)

    def write(self, text: str) -> bool:
        """Keep this; False when the execution is over."""
        data = text.encode("utf-8", "backslashreplace")
        with self._capture.lock:
            if self._over:
                return False
            if self._writer is None:
                self._writer, offset = self._capture.segments.begin(*self._execution)
                self._span = LogSpan(segment=self._writer.name, offset=offset)
            self._capture.segments.write(self._writer, data)
            self._length += len(data)
            return True

    @property
    def tee(self) -> bool:
        """Whether the real stream gets it as well."""
        return self._capture.tee

    @property
    def span(self) -> LogSpan | None:
        """Where it lies, as long as it is now; none while nothing was printed."""
        span = self._span
        return LogSpan(segment=span.segment, offset=span.offset, length=self._length) if span is not None else None


class StreamCapture:
    """Sends what executions print to segments: writes to `sys.stdout` and `sys.stderr` made in the execution's context
    (its thread, its asyncio tasks, `asyncio.to_thread`), and what it logs.

    With `tee`, the real streams get it as well. Output of sub-processes and of native code is not seen.
    """

    def __init__(self, folder: str | Path, *, tee: bool = True):
        self.tee = tee
        self.lock = threading.RLock()
        """Held while anything is written: the order of what one execution prints is that of its calls."""
        self.segments = Segments(Path(folder).absolute())
        self._active = 0
        self._current: contextvars.ContextVar[Captured | None] = contextvars.ContextVar("plait_output", default=None)
        self._handler = _LogHandler(self._current)
        self._root_level: int | None = None

    def capture(self, run_id: str, no: int, token: int) -> Captured:
        """What is printed inside of its block belongs to this execution."""
        return Captured(self, (run_id, no, token))

    def begin(self, captured: Captured) -> "contextvars.Token[Captured | None]":
        """An execution begins in this context."""
        with self.lock:
            self._active += 1
            self._install()
        return self._current.set(captured)

    def end(self, before: "contextvars.Token[Captured | None]") -> None:
        """It is over."""
        self._current.reset(before)
        with self.lock:
            self._active -= 1
            if not self._active:
                self._uninstall()

    def close(self) -> None:
        """Close the segments; one that is in use follows when its execution ends."""
        with self.lock:
            self.segments.close()

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
