"""A bus between the processes on one SQLite file: Unix datagram sockets in a folder of that database. No polling
(C5)."""

import contextlib
import hashlib
import os
import socket
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path

LONGEST = 512


class LocalBus:
    """Each process binds a socket; `publish` sends to those of all others, and removes the ones whose process is gone.

    The folder's name is short (macOS allows 104 bytes for a socket's path), private to the user, and the same for all
    processes on one database.
    """

    def __init__(self, url: str):
        digest = hashlib.blake2b(url.encode(), digest_size=6).hexdigest()
        self._folder = Path(tempfile.gettempdir()) / f"plait-{os.getuid()}-{digest}"
        self._folder.mkdir(mode=0o700, exist_ok=True)
        if self._folder.stat().st_uid != os.getuid():
            raise PermissionError(f"{self._folder} belongs to another user")
        self._path = self._folder / f"{os.getpid()}-{os.urandom(3).hex()}"
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self._path))
        self._sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sender.setblocking(False)
        self._callbacks: list[Callable[[str], None]] = []
        self._thread: threading.Thread | None = None
        self._closed = False

    def publish(self, topic: str) -> None:
        """Wake every other process."""
        for path in self._folder.iterdir():
            if path == self._path:
                continue
            try:
                self._sender.sendto(topic.encode()[:LONGEST], str(path))
            except (ConnectionRefusedError, FileNotFoundError):
                with contextlib.suppress(FileNotFoundError):
                    path.unlink()
            except (BlockingIOError, OSError):
                continue  # its queue is full: it has been woken already

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back for each message, on a thread of the bus."""
        self._callbacks.append(callback)
        if self._thread is None:
            self._thread = threading.Thread(target=self._listen, name="plait-bus", daemon=True)
            self._thread.start()

    def _listen(self) -> None:
        while not self._closed:
            data = self._socket.recv(LONGEST)
            if self._closed:
                return
            for callback in self._callbacks:
                callback(data.decode())

    def close(self) -> None:
        """Stop listening, and take the socket away."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(OSError):
            self._sender.sendto(b"", str(self._path))
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join(timeout=5)
        self._socket.close()
        self._sender.close()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
