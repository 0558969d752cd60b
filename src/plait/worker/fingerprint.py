"""Fingerprints of values: equal inputs, whatever process and hash seed, give equal text."""

import hashlib
import inspect
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import msgspec


class Unhashable(Exception):
    """A value has no fingerprint: it can neither be encoded nor pickled."""


def _pickled(value: Any) -> Any:
    by_name = getattr(value, "__plait_fingerprint__", None)
    if by_name is not None:
        return by_name()
    try:
        return pickle.dumps(value, protocol=5)
    except Exception as error:  # whatever a user's __reduce__ raises: there is no fingerprint
        raise Unhashable(f"a {type(value).__name__} has no fingerprint: {error}") from error


_encoder = msgspec.msgpack.Encoder(enc_hook=_pickled, order="deterministic")


def fingerprint(value: Any) -> str:
    """16 hex digits for a value. Raises Unhashable when it cannot be encoded."""
    try:
        encoded = _encoder.encode(value)
    except Unhashable:
        raise
    except Exception:  # noqa: BLE001  what MessagePack does not know (huge integers, keys that are no text) goes whole by pickle
        encoded = _pickled(value)
    return hashlib.blake2b(encoded, digest_size=8).hexdigest()


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
