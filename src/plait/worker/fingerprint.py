"""Fingerprints of values: equal inputs, whatever process and hash seed, give equal text."""

import inspect
import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from plait.model.hashes import blake2b
from plait.worker.tables import NoTable, parts_of

SMALL = 16 << 10
"""Bytes of a pickle that is made a second time, more slowly."""


class Unhashable(Exception):
    """A value has no fingerprint: it can neither be encoded nor pickled."""


def _known(value: Any) -> Any:
    """What stands for a value that MessagePack does not know."""
    by_name = getattr(value, "__plait_fingerprint__", None)
    if by_name is not None:
        return by_name()
    try:
        return parts_of(value)
    except NoTable:
        return _pickled(value)


def _pickled(value: Any) -> bytes:
    """The value's pickle, with tables in it by their values. In a small one equal texts count as equal, be they one
    object or two: that changes on the way through a store."""
    try:
        data = _dumps(_Pickler, value)
        return _dumps(_ByValue, value) if len(data) <= SMALL else data
    except Exception as error:  # whatever a user's __reduce__ raises: there is no fingerprint
        raise Unhashable(f"a {type(value).__name__} has no fingerprint: {error}") from error


def _dumps(pickler: Callable[..., Any], value: Any) -> bytes:
    file = io.BytesIO()
    pickler(file, protocol=5).dump(value)
    return file.getvalue()


def _table(obj: Any) -> Any:
    """How a pickler writes an object: a table by its parts, others in their own way."""
    try:
        return fingerprint, (fingerprint(parts_of(obj)),)
    except NoTable:
        return NotImplemented


class _Pickler(pickle.Pickler):
    def reducer_override(self, obj: Any) -> Any:
        return _table(obj)


class _ByValue(pickle._Pickler):  # in Python: that of C cannot be told what to remember
    def memoize(self, obj: Any) -> None:
        if type(obj) not in (str, bytes):
            super().memoize(obj)  # pyright: ignore[reportAttributeAccessIssue]  its stubs are those of the one in C

    def reducer_override(self, obj: Any) -> Any:
        return _table(obj)


_encoder = msgspec.msgpack.Encoder(enc_hook=_known, order="deterministic")


def fingerprint(value: Any) -> str:
    """16 hex digits for a value. Raises Unhashable when it cannot be encoded."""
    try:
        encoded = _encoder.encode(value)
    except Unhashable:
        raise
    except Exception:  # noqa: BLE001  what MessagePack does not know (huge integers, keys that are no text) goes whole by pickle
        encoded = _pickled(value)
    return blake2b(encoded, digest_size=8).hexdigest()


def source_of(fn: Callable[..., Any]) -> str:
    """A function's source text, its bytecode where there is none."""
    try:
        return inspect.getsource(inspect.unwrap(fn))
    except (OSError, TypeError):
        code = getattr(fn, "__code__", None)
        return code.co_code.hex() if code is not None else repr(type(fn))


def cache_key(task: str, inputs: Mapping[str, Any], parts: Mapping[str, Any]) -> str:
    """The key of a cached result: the task, its inputs, and the other parts of its policy."""
    bare = {name: _said_by_itself(value) for name, value in inputs.items()}
    return fingerprint([task, bare, dict(parts)])


def _said_by_itself(value: Any) -> Any:
    """A run's context says itself what counts of it."""
    by_name = getattr(type(value), "__plait_fingerprint__", None)
    return by_name(value) if by_name is not None else value
