"""What hubs and agents need of the system: sockets, a selector, a thread, the time. A simulation has its own."""

import os
import selectors
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from plait.adapters import sockets


class Thread(Protocol):
    """A thread that was started."""

    def join(self) -> None:
        """Wait for its end; from within itself there is nothing to wait for."""
        ...


class Wires(Protocol):
    """The surroundings of one hub or agent."""

    def selector(self) -> selectors.BaseSelector:
        """Waits for sockets."""
        ...

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """Two non-blocking sockets, each connected to the other: by one a thread is woken that waits for the other."""
        ...

    def listen(self, path: str) -> socket.socket:
        """A socket to which the processes of this user can connect; `accept` never waits."""
        ...

    def connect(self, path: str) -> socket.socket:
        """A connection to who listens there. Raises OSError when nobody does."""
        ...

    def spawn(self, name: str, serve: Callable[[], None]) -> Thread:
        """Start a thread."""
        ...

    def now(self) -> float:
        """Seconds; only their differences mean something."""
        ...


class _Thread(threading.Thread):
    def join(self, timeout: float | None = None) -> None:
        if self is not threading.current_thread():
            super().join(timeout)


class UnixWires:
    """Unix sockets and threads."""

    def selector(self) -> selectors.BaseSelector:
        """The best one that there is."""
        return selectors.DefaultSelector()

    def pair(self) -> tuple[socket.socket, socket.socket]:
        """A socket pair."""
        ends = socket.socketpair()
        for end in ends:
            end.setblocking(False)
        return ends

    def listen(self, path: str) -> socket.socket:
        """Listen at a path, private to the user."""
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sockets.clear(Path(path).parent, socket.SOCK_STREAM)
        sockets.bind(listener, Path(path))
        os.chmod(path, 0o600)
        listener.listen(64)
        listener.setblocking(False)
        return listener

    def connect(self, path: str) -> socket.socket:
        """Connect to a path."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.connect(path)
        except OSError:
            sock.close()
            raise
        return sock

    def spawn(self, name: str, serve: Callable[[], None]) -> Thread:
        """A daemon thread."""
        thread = _Thread(target=serve, name=name, daemon=True)
        thread.start()
        return thread

    def now(self) -> float:
        """The monotonic clock."""
        return time.monotonic()


UNIX: Wires = UnixWires()
