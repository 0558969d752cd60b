"""Futures of a flow's children, in the process that hosts its body."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any

from plait.model.ids import TaskNo

if TYPE_CHECKING:
    from plait.runtime.flow_host import FlowHost


class HostFuture:
    """The future of one child (see `plait.authoring.futures.Future`)."""

    __plait_future__ = True

    def __init__(self, host: FlowHost, key: str, child: str):
        self._host = host
        self._key = key
        self._child = child
        self._no: TaskNo | None = None
        self._over = threading.Event()
        self._callbacks: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def key(self) -> str:
        """The task's key."""
        return self._key

    @property
    def no(self) -> TaskNo:
        """The task run's number in its run."""
        assert self._no is not None  # set before the future is handed out
        return self._no

    def result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Any:
        """Wait, and return the value; see the protocol."""
        if not self.wait(timeout):
            raise TimeoutError(f"{self._key} did not end within {timeout:g} s")
        return self._host.value_of(self.no, raise_on_failure=raise_on_failure)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over."""
        if self._over.is_set():
            return True
        with self._host.waiting():
            return self._over.wait(timeout)

    def done(self) -> bool:
        """Whether it is over."""
        return self._over.is_set()

    @property
    def state(self) -> str:
        """Its state now."""
        return self._host.state_of(self.no)

    def settled(self) -> None:
        """The task run is over, and that is committed."""
        with self._lock:
            self._over.set()
            callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()

    def on_settled(self, callback: Callable[[], None]) -> None:
        """Call back when it is over, on the thread that finds out; at once if it is."""
        with self._lock:
            if not self._over.is_set():
                self._callbacks.append(callback)
                return
        callback()

    def __await__(self) -> Generator[Any, None, Any]:
        """`await future` in an async flow: the value, without blocking the event loop."""
        import asyncio

        loop = asyncio.get_running_loop()
        ready = loop.create_future()

        def wake() -> None:
            loop.call_soon_threadsafe(lambda: None if ready.done() else ready.set_result(None))

        self.on_settled(wake)
        yield from ready.__await__()
        return self._host.value_of(self.no, raise_on_failure=True)

    def __plait_fingerprint__(self) -> str:
        return f"future:{self._child}"

    def __repr__(self) -> str:
        return f"<future of {self._key!r}: {self.state if self._no is not None else 'new'}>"


def futures_in(value: Any) -> list[HostFuture]:
    """The futures in a value: itself, or in lists, tuples, sets and dicts, at any depth."""
    if isinstance(value, HostFuture):
        return [value]
    if isinstance(value, (list, tuple, set, frozenset)):
        return [future for item in value for future in futures_in(item)]
    if isinstance(value, dict):
        return [future for item in value.values() for future in futures_in(item)]
    return []


def replaced(value: Any, by: Callable[[HostFuture], Any]) -> Any:
    """A value with each future in it replaced; one without futures stays the same object."""
    if not futures_in(value):
        return value
    if isinstance(value, HostFuture):
        return by(value)
    if isinstance(value, list):
        return [replaced(item, by) for item in value]
    if type(value) is tuple:
        return tuple(replaced(item, by) for item in value)
    if isinstance(value, (set, frozenset)):
        return type(value)(replaced(item, by) for item in value)
    if type(value) is dict:
        return {key: replaced(item, by) for key, item in value.items()}
    return value
