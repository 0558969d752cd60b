"""A bus between the processes on one SQLite file: Unix datagram sockets in a folder of that database. No polling (C5).

A process that listens binds a socket of its own in the folder; `publish` sends to every socket there and removes those
that nobody holds any more. The folder is private to the user: processes of another user on the same file hear nothing,
and look on their slow timers.

After a fork, the child's copy of a bus may publish; it neither listens nor takes the parent's socket away.
"""

import contextlib
import os
import selectors
import socket
import threading
from collections.abc import Callable
from pathlib import Path

from plait.adapters import sockets
from plait.adapters.bus.memory import tell
from plait.adapters.stores.urls import parse
from plait.model.errors import StoreError

LONGEST = 512
"""Bytes of a message, at most."""


class LocalBus:
    """The bus of the database at `url`. A socket and a thread are made with the first subscription."""

    def __init__(self, url: str):
        self._folder = sockets.private_folder("plait", _key(url))
        self._pid = os.getpid()
        self._path: Path | None = None
        self._callbacks: list[Callable[[str], None]] = []
        self._lock = threading.Lock()
        self._sender: socket.socket | None = None
        self._receiver: socket.socket | None = None
        self._stop: tuple[socket.socket, socket.socket] | None = None
        self._thread: threading.Thread | None = None

    def publish(self, topic: str) -> None:
        """Wake every other process that listens."""
        data = topic.encode("utf-8", "replace")[:LONGEST]
        own = self._path.name if self._path is not None and os.getpid() == self._pid else None
        with self._lock, contextlib.suppress(OSError):  # no folder: nobody listens
            if self._sender is None:
                self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
                self._sender.setblocking(False)
            for name in os.listdir(self._folder):
                if name != own:
                    _send(self._sender, data, self._folder / name)

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back for each message of another process."""
        if os.getpid() != self._pid:
            raise StoreError("a bus does not listen after a fork: open another one in the child")
        with self._lock:
            self._callbacks.append(callback)
            if self._thread is None:
                self._receiver = self._bind()
                self._stop = socket.socketpair()
                self._thread = threading.Thread(
                    target=self._listen, args=(self._receiver, self._stop[1]), name="plait-bus", daemon=True
                )
                self._thread.start()

    def _bind(self) -> socket.socket:
        """A socket of our own."""
        made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        path = self._folder / f"{os.getpid()}-{os.urandom(4).hex()}"
        try:
            sockets.bind(made, path)
        except OSError as error:
            made.close()
            raise StoreError(
                f"no socket can be made in {self._folder} ({error}); processes could not wake each other"
            ) from None
        self._path = path
        return made

    def _listen(self, receiver: socket.socket, stop: socket.socket) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(receiver, selectors.EVENT_READ)
            selector.register(stop, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if stop in ready:
                    return
                tell(tuple(self._callbacks), receiver.recv(LONGEST).decode("utf-8", "replace"))
                if self._receiver is not receiver:  # a subscriber has closed the bus
                    return

    def close(self) -> None:
        """Stop listening, and take the socket away."""
        with self._lock:
            thread, self._thread = self._thread, None
            path, self._path = self._path, None
            if thread is not None and os.getpid() == self._pid and self._stop is not None:
                self._stop[0].send(b"x")
                if thread is not threading.current_thread():
                    thread.join(timeout=5)
            for each in (self._sender, self._receiver, *(self._stop or ())):
                if each is not None:
                    each.close()
            self._sender = self._receiver = self._stop = None
        if path is not None and os.getpid() == self._pid:
            sockets.clear(self._folder, socket.SOCK_DGRAM)
            sockets.leave(path)


def _send(sender: socket.socket, data: bytes, path: Path) -> None:
    try:
        sender.sendto(data, str(path))
    except (ConnectionRefusedError, FileNotFoundError):  # its process is gone
        with contextlib.suppress(OSError):
            path.unlink()
    except OSError:  # its queue is full: it has been woken already
        return


def _key(url: str) -> str:
    address = parse(url)
    if address.path is None:  # nobody else can be there
        return f"{address.scheme}-{os.getpid()}"
    return os.path.realpath(address.path)
