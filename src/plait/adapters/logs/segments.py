"""Reading what executions printed, from the segments that workers write (`plait.worker.segments` has the format)."""

import fcntl
import mmap
import os
import re
from collections.abc import Iterator
from pathlib import Path

from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import LogSpan
from plait.worker.segments import INDEX_SUFFIX, SEGMENT_SUFFIX

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*")


class SegmentReader:
    """The LogReader of one folder of segments. Keeps no file open."""

    def __init__(self, folder: str | Path):
        self._folder = Path(folder)

    def read(self, span: LogSpan) -> bytes:
        """What the span holds. Without a length: up to where the next execution of the worker began, or to the end.

        A segment that retention has deleted raises FileNotFoundError that names it.
        """
        path = self._path(span.segment, SEGMENT_SUFFIX)
        stop = self._next_offset(span) if span.length is None else span.offset + span.length
        with path.open("rb") as file:
            file.seek(span.offset)
            return file.read() if stop is None else file.read(stop - span.offset)

    def find(self, run_id: RunId, no: TaskNo, token: Token, *, base: str | None = None) -> LogSpan | None:
        """Where an execution's output lies. Without a length it is the last one of its worker, and may be running.

        `base` is the worker's name, where it is known.
        """
        key = b"%s %d %d " % (run_id.encode(), no, token)
        for index in self._indexes(base):
            with _Mapped(index) as lines:
                at = 0 if lines[: len(key)] == key else lines.rfind(b"\n" + key) + 1
                if at == 0 and lines[: len(key)] != key:
                    continue
                end = lines.find(b"\n", at)
                if end < 0:  # it is being written
                    continue
                offset = int(lines[at + len(key) : end])
                following = _offset_in(lines, end + 1)
                length = None if following is None else following - offset
                return LogSpan(segment=index.name.removesuffix(INDEX_SUFFIX), offset=offset, length=length)
        return None

    def size(self, segment: str) -> int:
        """How many bytes a segment has, 0 if there is none."""
        try:
            return self._path(segment, SEGMENT_SUFFIX).stat().st_size
        except FileNotFoundError:
            return 0

    def prune(self, older_than: float, limit: int = 1000) -> int:
        """Delete at most `limit` segments that were last written before then (epoch seconds) and whose writer is gone;
        returns how many.

        Files of processes that are alive stay: they hold a lock on their index. The segment itself goes last: one that
        a process leaves which dies in between is found again.
        """
        count = 0
        for path in list(self._folder.glob(f"*{SEGMENT_SUFFIX}")):
            index = path.with_name(path.name.removesuffix(SEGMENT_SUFFIX) + INDEX_SUFFIX)
            if _written_at(path) < older_than and _written_at(index) < older_than and not _is_live(index):
                index.unlink(missing_ok=True)
                path.unlink(missing_ok=True)
                count += 1
                if count >= limit:
                    break
        return count

    def _indexes(self, base: str | None) -> Iterator[Path]:
        """Index files, the one that was written last first."""
        pattern = f"{base}*{INDEX_SUFFIX}" if base else f"*{INDEX_SUFFIX}"
        yield from sorted(self._folder.glob(pattern), key=_written_at, reverse=True)

    def _next_offset(self, span: LogSpan) -> int | None:
        """Where the execution after the one that begins at the span's offset begins, none when there is none yet."""
        index = self._path(span.segment, INDEX_SUFFIX)
        with _Mapped(index) as lines:
            # Of several that begin here, all but the last printed nothing.
            at = lines.rfind(b" %d\n" % span.offset)
            return None if at < 0 else _offset_in(lines, lines.find(b"\n", at) + 1)

    def _path(self, segment: str, suffix: str) -> Path:
        if not _NAME.fullmatch(segment):
            raise ValueError(f"{segment!r} is not the name of a log segment")
        return self._folder / (segment + suffix)


class _Mapped:
    """An index as bytes that can be searched without reading it whole; empty if it is missing."""

    def __init__(self, path: Path):
        self._path = path
        self._map: mmap.mmap | None = None

    def __enter__(self) -> "mmap.mmap | bytes":
        try:
            with self._path.open("rb") as file:
                if os.fstat(file.fileno()).st_size == 0:
                    return b""
                self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                return self._map
        except FileNotFoundError:
            return b""

    def __exit__(self, *_: object) -> None:
        if self._map is not None:
            self._map.close()


def _offset_in(lines: "mmap.mmap | bytes", at: int) -> int | None:
    """The offset in the record that begins there, none when no complete one does."""
    end = lines.find(b"\n", at)
    return int(lines[at:end].rsplit(b" ", 1)[1]) if end >= 0 else None


def _written_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0.0


def _is_live(index: Path) -> bool:
    try:
        with index.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False
