"""Futures of a flow's children, in the process that hosts its body."""

import threading
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from plait.authoring.where import here
from plait.model.errors import UsageError
from plait.model.ids import TaskNo, Token
from plait.worker.loops import running_loop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

_settling = threading.Lock()
"""Held, by all futures, for as long as it takes to look whether one is over."""
_PLAIN = frozenset({int, str, float, bool, bytes, type(None)})


class Host(Protocol):
    """What a future asks of the host of its body."""

    def waiting(self) -> AbstractContextManager[None]:
        """Be in this while the body waits."""
        ...

    async def until_over(self, future: "HostFuture") -> None:
        """Wait without blocking the event loop."""
        ...

    def value_of(self, future: "HostFuture", *, raise_on_failure: bool) -> Any:
        """What a child that is over came to: its value; or its exception, raised or returned."""
        ...

    def state_of(self, no: TaskNo) -> str:
        """A child's state now."""
        ...

    def is_over(self, future: "HostFuture") -> None:
        """A child is over, and that is committed."""
        ...


class HostFuture:
    """The future of one child (see `plait.authoring.futures.Future`).

    It keeps what its child came to in this process as a live object, the value or the exception, as long as somebody
    keeps the future.
    """

    __plait_future__ = True
    __slots__ = ("_callbacks", "_came", "_child", "_event", "_host", "_input", "_key", "_loop", "_no", "_over")

    def __init__(self, host: Host, key: str, child: str, loop: "AbstractEventLoop | None" = None):
        self._host = host
        self._key = key
        self._child = child
        self._loop = loop
        """The event loop that runs the child, if one does."""
        self._no: TaskNo | None = None
        self._over = False
        self._input = False
        self._event: threading.Event | None = None
        """Made when somebody waits: of 10,000 futures, few are waited for before they are over."""
        self._callbacks: list[Callable[[], None]] = []
        self._came: tuple[Token, Any, BaseException | None] | None = None

    @property
    def key(self) -> str:
        """The task's key."""
        return self._key

    @property
    def no(self) -> TaskNo:
        """The task run's number in its run."""
        assert self._no is not None  # `is_of` is called before the future is handed out
        return self._no

    def is_of(self, no: TaskNo) -> None:
        """Say which task run it stands for."""
        self._no = no

    def result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> Any:
        """Wait, and return the value; see the protocol."""
        if not self.wait(timeout):
            raise TimeoutError(f"{self._key} did not end within {timeout:g} s")
        return self._host.value_of(self, raise_on_failure=raise_on_failure)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over."""
        if self._over:
            return True
        self._check_blocking()
        with _settling:
            if self._event is None:
                self._event = threading.Event()
            if self._over:
                self._event.set()
        with self._host.waiting():
            return self._event.wait(timeout)

    def _check_blocking(self) -> None:
        """A wait that blocks the event loop which runs the child would never end."""
        if self._loop is not None and running_loop() is self._loop:
            where, wrong = here()
            raise UsageError(
                f"waiting for {self._key!r} here blocks the event loop that runs it, for ever",
                where=where,
                wrong=wrong,
                right="value = await future      # several: await asyncio.gather(*futures)",
            )

    def is_input(self) -> None:
        """Another child takes its value."""
        self._input = True

    @property
    def wanted(self) -> bool:
        """Whether somebody waits for it."""
        return self._input or self._event is not None or bool(self._callbacks)

    def done(self) -> bool:
        """Whether it is over."""
        return self._over

    @property
    def on_loop(self) -> bool:
        """Whether its child runs on an event loop."""
        return self._loop is not None

    @property
    def state(self) -> str:
        """Its state now."""
        return self._host.state_of(self.no)

    # --- what happens to it -------------------------------------------------------------------------------------------

    def came_to(self, token: Token, value: Any, error: BaseException | None = None) -> None:
        """Keep what the execution with this token came to; whether that counts is not known before it is committed."""
        self._came = (token, value, error)

    def live(self, token: Token) -> tuple[Any, BaseException | None] | None:
        """What that execution came to, none when it was not in this process."""
        came = self._came
        return came[1:] if came is not None and came[0] == token else None

    def settled(self) -> None:
        """The task run is over, and that is committed."""
        with _settling:
            self._over = True
            callbacks, self._callbacks = self._callbacks, []
        if self._event is not None:
            self._event.set()
        if self._no is not None:
            self._host.is_over(self)
        for callback in callbacks:
            callback()

    def on_settled(self, callback: Callable[[], None]) -> None:
        """Call back when it is over, on the thread that finds out; at once if it is."""
        with _settling:
            if not self._over:
                self._callbacks.append(callback)
                return
        callback()

    def __await__(self) -> Generator[Any, None, Any]:
        """`await future` in an async flow: the value, without blocking the event loop."""
        if not self._over:
            yield from self._host.until_over(self).__await__()
        return self._host.value_of(self, raise_on_failure=True)

    def __plait_fingerprint__(self) -> str:
        return f"future:{self._child}"

    def __repr__(self) -> str:
        return f"<future of {self._key!r}: {self.state if self._no is not None else 'new'}>"


def futures_in(value: Any) -> list[HostFuture]:
    """The futures in a value: itself, or in lists, tuples, sets and dicts, at any depth."""
    if type(value) in _PLAIN:
        return []
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
    if isinstance(value, (set, frozenset)):
        return type(value)(replaced(item, by) for item in value)
    if isinstance(value, tuple):
        items = (replaced(item, by) for item in value)
        return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
    if isinstance(value, list):
        return [replaced(item, by) for item in value]
    return {key: replaced(item, by) for key, item in value.items()}


def resolved(future: HostFuture) -> Any:
    """The value of a future, for `replaced`: waits, and raises what its child raised."""
    return future.result()
