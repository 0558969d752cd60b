"""IO managers at work: set up once in each process, asked for values, torn down at the process's end."""

import atexit
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from plait.authoring.io import IOContext, IOManager
from plait.model.outcome import Stored

FORMAT = "io"
"""The format of a `Stored` whose value an IO manager keeps: its data says of which asset and partition."""
_lock = threading.RLock()
_ready: list[IOManager] = []
_process: list[int] = []


class Kept(msgspec.Struct, frozen=True):
    """Which value an IO manager keeps."""

    asset: str
    partition: str | None = None
    keys: tuple[str, ...] | None = None
    """Of several partitions their keys: each has a value of its own."""


def reference(asset: str, partition: str | None, keys: tuple[str, ...] | None = None) -> Stored:
    """The reference to a value that is kept; with `keys` to those of several partitions."""
    return Stored(format=FORMAT, data=msgspec.json.encode(Kept(asset, partition, keys)))


def store(
    manager: IOManager, context: IOContext, value: Any, keys: Sequence[str] | None = None
) -> tuple[Stored, Mapping[str, Any]]:
    """Have a value kept, with `keys` those of several partitions; the reference to it, and the metadata that the
    manager gave."""
    if keys is not None:
        return _store_each(manager, context, value, keys)
    metadata = set_up(manager).store(context, value)
    return reference(context.key, context.partition), metadata or {}


def _store_each(
    manager: IOManager, context: IOContext, value: Any, keys: Sequence[str]
) -> tuple[Stored, Mapping[str, Any]]:
    """Have the values of several partitions kept, each for itself, and the metadata of the last one. Raises TypeError
    for a value that is not by their keys."""
    if not isinstance(value, dict) or set(value) != set(keys):
        raise TypeError(
            f"asset {context.key!r} is kept partition by partition, so what a run over several of them returns is a "
            f"dict by their keys, not {_shape(value)}: return {{key: ... for key in context.partition_keys}}"
        )
    metadata: Mapping[str, Any] | None = {}
    for key in keys:
        metadata = set_up(manager).store(IOContext(context.key, key, context.metadata), value[key])
    return reference(context.key, context.partition, tuple(keys)), metadata or {}


def _shape(value: Any) -> str:
    if not isinstance(value, dict):
        return type(value).__name__
    return f"one with the keys {', '.join(map(repr, list(value)[:3]))}{', ...' if len(value) > 3 else ''}"


def load(managers: Mapping[str, IOManager], stored: Stored) -> Any:
    """The value that a reference is to. Raises LookupError when its asset has no IO manager any more."""
    kept = msgspec.json.decode(stored.data or b"", type=Kept)
    manager = managers.get(kept.asset)
    if manager is None:
        raise LookupError(f"asset {kept.asset!r} was kept by an IO manager, and its definition names none now")
    if kept.keys is not None:
        return {key: set_up(manager).load(IOContext(kept.asset, key)) for key in kept.keys}
    return set_up(manager).load(IOContext(kept.asset, kept.partition))


def set_up(manager: IOManager) -> IOManager:
    """The manager, set up in this process."""
    with _lock:
        if _process != [os.getpid()]:  # what a parent process has set up is not ours to use, nor to tear down
            _ready.clear()
            _process[:] = [os.getpid()]
            atexit.register(tear_down)
        if not any(known is manager for known in _ready):
            manager.setup()
            _ready.append(manager)
    return manager


def tear_down() -> None:
    """Tear down what this process has set up, the last one first. The first exception is raised when all are down."""
    errors: list[Exception] = []
    with _lock:
        while _ready and _process == [os.getpid()]:
            try:
                _ready.pop().teardown()
            except Exception as error:  # noqa: BLE001  the others have to be torn down all the same
                errors.append(error)
    if errors:
        raise errors[0]
