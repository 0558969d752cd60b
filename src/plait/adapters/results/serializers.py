"""Values as bytes: JSON where that gives back exactly what went in, else pickle with large buffers beside it.

A pickle file is laid out for streaming in both directions, so that a value never exists twice in memory:

    magic (8 bytes) | pickle | padding, buffer | padding, buffer | ... | table | trailer (20 bytes)

The buffers are the memory of arrays and frames, written as they lie there. The table has (offset, length) of the pickle
and of each buffer; the trailer tells where the table begins and how many entries it has.
"""

import os
import pickle
import struct
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

MAGIC = b"PLAITPK1"
JSON = "json"
PICKLE = "pickle"

_ENTRY = struct.Struct("!QQ")
_TRAILER = struct.Struct("!QI8s")
_ALIGN = 64
_OUT_OF_BAND = 1 << 16
_CHUNK = 8 << 20
_NODES = 10_000
_DEPTH = 32
_MAIN = b"__main__"


class Sink(Protocol):
    """What a file offers for writing."""

    def write(self, data: Any, /) -> Any: ...


class Source(Protocol):
    """What a file offers for reading."""

    def seek(self, offset: int, whence: int = 0, /) -> Any: ...
    def read(self, size: int = -1, /) -> bytes: ...
    def readline(self) -> bytes: ...
    def readinto(self, buffer: Any, /) -> int | None: ...


# --- JSON ------------------------------------------------------------------------------------------------------------


def to_json(value: Any) -> bytes | None:
    """The value as JSON, none where JSON would not give back exactly the same (or only after a long look)."""
    if not _is_plain(value):
        return None
    try:
        return msgspec.json.encode(value)
    except UnicodeEncodeError:  # half of a surrogate pair
        return None


def from_json(data: bytes) -> Any:
    """The value of `to_json`'s bytes."""
    return msgspec.json.decode(data)


def _is_plain(value: Any) -> bool:
    """None, bool, int of 64 bits, finite float, str, and lists and str-keyed dicts of those; no subclass of any."""
    level, left = [value], _NODES
    for _ in range(_DEPTH):
        below: list[Any] = []
        for each in level:
            kind = type(each)
            if kind is list:
                below += each
            elif kind is dict:
                if not all(type(key) is str for key in each):
                    return False
                below += each.values()
            elif kind is not str and not _is_plain_scalar(each, kind):
                return False
        if not below:
            return True
        left -= len(below)
        if left < 0:
            return False
        level = below
    return False  # too deep, or it contains itself


def _is_plain_scalar(value: Any, kind: type) -> bool:
    if kind is int:
        return -(1 << 63) <= value < 1 << 63
    if kind is float:
        return value - value == 0.0  # neither infinite nor not a number
    return kind is bool or value is None


# --- pickle ----------------------------------------------------------------------------------------------------------


class NotPicklable(TypeError):
    """A value that cannot be stored; the text names its type and says what to do."""


class ByValue(Exception):
    """The value refers to what no other process could import; it has to be pickled with `dump_by_value`."""


class Pickled:
    """A value's pickle on its way into `open_sink()`'s file, which is opened only when `inline_limit` is passed.

    `data` is the bare pickle if it stayed below the limit, else none; then the file has everything, `size` bytes.
    """

    def __init__(self, open_sink: Callable[[], Sink], inline_limit: int):
        self._open_sink, self._limit = open_sink, inline_limit
        self._out_of_band = max(_OUT_OF_BAND, inline_limit + 1)
        self._sink: Sink | None = None
        self._held = bytearray()
        self._buffers: list[memoryview] = []
        self._by_reference_to_main = False
        self.size = 0

    def dump(self, value: Any) -> None:
        """Pickle the value. Raises ByValue when that takes another way, which needs a new object."""
        try:
            pickle.Pickler(self, 5, buffer_callback=self._take).dump(value)
        except OSError:  # of the file
            raise
        except Exception as error:  # a lambda, a local class, a lock; the other way tells which
            raise ByValue from error
        if self._by_reference_to_main:
            raise ByValue
        self._finish()

    def dump_by_value(self, value: Any) -> None:
        """Pickle the value with the functions and classes that no other process could import. Raises NotPicklable."""
        import cloudpickle  # noqa: PLC0415  heavy, and few values need it

        try:
            cloudpickle.Pickler(self, 5, buffer_callback=self._take).dump(value)
        except OSError:  # of the file
            raise
        except Exception as error:
            raise NotPicklable(_advice(value, error)) from error
        self._finish()

    def write(self, data: Any) -> int:
        """Called by the pickler, with frames of up to 64 KB and with large bytes as they are."""
        if isinstance(data, pickle.PickleBuffer):  # a large one that was to stay in band
            data = data.raw()
        length = len(data)
        if length <= 2 * _OUT_OF_BAND and _MAIN in bytes(data):
            self._by_reference_to_main = True
        if self._sink is None and len(self._held) + length <= self._limit:
            self._held += data
        else:
            self._write(data)
        return length

    @property
    def data(self) -> bytes | None:
        """The pickle itself, if it is small."""
        return bytes(self._held) if self._sink is None else None

    def _take(self, buffer: pickle.PickleBuffer) -> bool:
        try:
            raw = buffer.raw()
        except BufferError:  # not contiguous: pickled like anything else
            return True
        if raw.nbytes < self._out_of_band:
            return True
        self._buffers.append(raw)
        return False

    def _write(self, data: Any) -> None:
        if self._sink is None:
            self._sink = self._open_sink()
            self._put(MAGIC)
            self._put(self._held)
        self._put(data)

    def _put(self, data: Any) -> None:
        assert self._sink is not None  # `_write` opens it
        with memoryview(data) as view:
            for at in range(0, view.nbytes, _CHUNK):  # some file systems copy what they are given
                self._sink.write(view[at : at + _CHUNK])
            self.size += view.nbytes

    def _finish(self) -> None:
        if self._buffers:
            self._write(b"")
        if self._sink is None:
            self.size = len(self._held)
            return
        table = [(len(MAGIC), self.size - len(MAGIC))]
        for buffer in self._buffers:
            self._put(bytes(-self.size % _ALIGN))
            table.append((self.size, buffer.nbytes))
            self._put(buffer)
        at = self.size
        self._put(b"".join(_ENTRY.pack(*entry) for entry in table))
        self._put(_TRAILER.pack(at, len(table), MAGIC))


def from_pickle(data: bytes) -> Any:
    """The value of an inline pickle."""
    return pickle.loads(data)  # noqa: S301  results are written by the user's own tasks, and read by them


def from_file(source: Source, name: str) -> Any:
    """The value of a pickle file; buffers are read straight into the memory that the value will use."""
    source.seek(-_TRAILER.size, os.SEEK_END)
    at, count, magic = _TRAILER.unpack(source.read(_TRAILER.size))
    if magic != MAGIC:
        raise ValueError(f"{name} is not a result of plait, or it is cut off")
    source.seek(at)
    table = list(_ENTRY.iter_unpack(source.read(count * _ENTRY.size)))
    buffers: list[bytearray] = []
    for offset, length in table[1:]:
        source.seek(offset)
        buffers.append(_read_exactly(source, length, name))
    source.seek(table[0][0])
    return pickle.Unpickler(source, buffers=buffers).load()  # noqa: S301  as above


def _read_exactly(source: Source, length: int, name: str) -> bytearray:
    buffer = bytearray(length)
    with memoryview(buffer) as view:
        done = 0
        while done < length:
            count = source.readinto(view[done : done + _CHUNK])
            if not count:
                raise ValueError(f"{name} is cut off")
            done += count
    return buffer


def _advice(value: Any, error: Exception) -> str:
    kind = type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return (
        f"a value of type {name} cannot be stored as a result: {error}. Return data (numbers, text, lists, frames, "
        "dataclasses), or a path, URL or id with which the next task can open it; open connections, locks, generators "
        "and handles stay where they are"
    )
