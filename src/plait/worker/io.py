"""IO managers at work: set up once in each process, asked for values, torn down at the process's end."""

import atexit
import os
import threading
from collections.abc import Mapping
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


def store(manager: IOManager, context: IOContext, value: Any) -> tuple[Stored, Mapping[str, Any]]:
    """Have a value kept; the reference to it, and the metadata that the manager gave."""
    metadata = set_up(manager).store(context, value)
    data = msgspec.json.encode(Kept(context.key, context.partition))
    return Stored(format=FORMAT, data=data), metadata or {}


def load(managers: Mapping[str, IOManager], stored: Stored) -> Any:
    """The value that a reference is to. Raises LookupError when its asset has no IO manager any more."""
    kept = msgspec.json.decode(stored.data or b"", type=Kept)
    manager = managers.get(kept.asset)
    if manager is None:
        raise LookupError(f"asset {kept.asset!r} was kept by an IO manager, and its definition names none now")
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
