"""One end of a connection between a hub and an agent: frames in, frames out, never waiting. A lock is the caller's."""

import contextlib
import selectors
import socket
from typing import Any

from plait.worker import frames

MOST_UNSENT = 64 << 20
"""Bytes that wait for the other end at most; one that takes nothing for so long is given up."""


class Stream:
    """A non-blocking stream socket with frames of one type coming in."""

    def __init__(self, sock: socket.socket, kind: Any):
        sock.setblocking(False)
        self.sock = sock
        self.open = True
        self._reader = frames.Reader(kind)
        self._unsent = bytearray()

    @property
    def wants(self) -> int:
        """The events to wait for."""
        return selectors.EVENT_READ | (selectors.EVENT_WRITE if self._unsent else 0)

    def send(self, message: Any) -> None:
        """Send a message, or keep what the other end does not take yet."""
        if not self.open:
            return
        data = frames.encode(message)
        if self._unsent:
            self._unsent += data
            if len(self._unsent) > MOST_UNSENT:
                self.fail()
        else:
            self._push(data)

    def flush(self) -> None:
        """Send what is left."""
        if self._unsent and self.open:
            data, self._unsent = self._unsent, bytearray()
            self._push(data)

    def _push(self, data: bytearray) -> None:
        try:
            sent = self.sock.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:  # the other end is gone: reading tells
            return
        if sent < len(data):
            self._unsent += data[sent:]

    def receive(self) -> tuple[list[Any], bool]:
        """What has come, and whether the other end is gone."""
        return self._reader.receive(self.sock)

    def finish(self) -> None:
        """Say nothing more: the other end reads that, and hangs up when it has said what it has to say."""
        self._half_close(socket.SHUT_WR)

    def fail(self) -> None:
        """Give the connection up: whoever waits for it reads its end."""
        self._half_close(socket.SHUT_RDWR)

    def _half_close(self, how: int) -> None:
        self._unsent.clear()
        with contextlib.suppress(OSError):  # it is gone already
            self.sock.shutdown(how)

    def close(self) -> None:
        """Close the socket."""
        self.open = False
        self._unsent.clear()
        self.sock.close()
