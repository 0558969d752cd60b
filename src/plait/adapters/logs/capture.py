"""Keeping what executions print in this process, where file descriptors belong to everybody: Python streams only."""

import contextlib
import contextvars
import io
import logging
import os
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from plait.model.outcome import LogSpan
from plait.worker.segments import LOG_FORMAT, SegmentWriter


class Captured:
    """The output of one execution, while it runs and after."""

    def __init__(self, writer: SegmentWriter, offset: int, tee: bool):
        self._writer: SegmentWriter | None = writer
        self.segment, self.offset, self.tee = writer.name, offset, tee
        self._length = 0
        self._lock = threading.Lock()

    def write(self, text: str) -> bool:
        """Keep this; False when the execution is over (a thread that it left behind still prints)."""
        with self._lock:
            if self._writer is None:
                return False
            data = text.encode("utf-8", "backslashreplace")
            self._writer.write(data)
            self._length += len(data)
            return True

    @property
    def span(self) -> LogSpan:
        """Where it lies, as long as it is now."""
        return LogSpan(segment=self.segment, offset=self.offset, length=self._length)

    def close(self) -> None:
        """The execution is over: its segment is free for the next one."""
        with self._lock:
            self._writer = None


class StreamCapture:
    """Sends what executions print to segments: writes to `sys.stdout` and `sys.stderr` made in the execution's context
    (its thread, its asyncio tasks, `asyncio.to_thread`), and what it logs.

    With `tee`, the real streams get it as well. One segment per execution that runs at the same time, used again and
    again, so the number of open files is that of the threads. Output of sub-processes and of native code is not seen.
    """

    def __init__(self, folder: str | Path, *, tee: bool = True):
        self._folder, self._tee = Path(folder).absolute(), tee
        self._base = f"{time.time_ns() // 1_000_000:x}-{os.getpid()}-host"
        self._lock = threading.Lock()
        self._free: list[SegmentWriter] = []
        self._made = 0
        self._closed = False
        self._active = 0
        self._current: contextvars.ContextVar[Captured | None] = contextvars.ContextVar("plait_output", default=None)
        self._handler = _LogHandler(self._current)
        self._root_level: int | None = None

    @contextlib.contextmanager
    def capture(self, run_id: str, no: int, token: int) -> Iterator[Captured]:
        """What is printed inside belongs to this execution."""
        with self._lock:
            writer = self._free.pop() if self._free else self._new_writer()
            offset = writer.begin(run_id, no, token)
            self._active += 1
            self._install()
        captured = Captured(writer, offset, self._tee)
        before = self._current.set(captured)
        try:
            yield captured
        finally:
            self._current.reset(before)
            with self._lock:
                captured.close()
                if self._closed:
                    writer.close()
                else:
                    self._free.append(writer)
                self._active -= 1
                if not self._active:
                    self._uninstall()

    def close(self) -> None:
        """Close the segments; one that is in use follows when its execution ends."""
        with self._lock:
            self._closed = True
            for writer in self._free:
                writer.close()
            self._free.clear()

    def _new_writer(self) -> SegmentWriter:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._made += 1
        return SegmentWriter(self._folder, f"{self._base}-{self._made}")

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
