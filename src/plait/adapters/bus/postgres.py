"""A bus between the processes on one PostgreSQL database: LISTEN and NOTIFY. No polling (C5).

Each end has one connection, and a thread that does nothing but wait on it: it sends what `publish` leaves in a queue,
and tells the subscribers what comes. When the connection breaks it opens another one, and then wakes the subscribers,
because it cannot know what it has missed; what was to be published meanwhile is lost.

After a fork, the child's copy may publish, on a connection of its own; it does not listen.
"""

import contextlib
import logging
import os
import select
import socket
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator

import psycopg

from plait.adapters.bus.memory import tell
from plait.adapters.stores.postgres.server import Connection, Server
from plait.adapters.stores.urls import parse
from plait.model.errors import StoreError

log = logging.getLogger("plait.bus")
LONGEST = 512
"""Bytes of a message, at most."""
MOST_WAITING = 1000
"""Messages that wait to be sent, at most; the others have been woken by then."""
RECONNECTED = "reconnected"
"""The topic that subscribers hear when the connection is there again."""
PATIENCE = 10.0
"""Seconds for which `subscribe` waits for the first connection, and `close` for what is still to be sent."""
_LONGEST_PAUSE = 5.0


class PostgresBus:
    """The bus of the database at `url`. The connection is made with the first subscription or message."""

    def __init__(self, url: str):
        self._server = Server(parse(url))
        self._end = _End(self._server)
        self._inherited: list[_End] = []

    def publish(self, topic: str) -> None:
        """Wake every other process that listens."""
        if self._end.pid != os.getpid():
            self._inherited.append(self._end)  # kept, so that nothing ends the connection, which is the parent's
            self._end = _End(self._server)
        self._end.publish(topic)

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Call back for each message of another process. Raises StoreError when the server is not there."""
        if self._end.pid != os.getpid() or self._inherited:
            raise StoreError("a bus does not listen after a fork: open another one in the child")
        self._end.subscribe(callback)

    def close(self) -> None:
        """Send what is waiting, and stop listening."""
        if self._end.pid == os.getpid():
            self._end.close()


class _End:
    """One end of the bus, in the process that made it."""

    def __init__(self, server: Server):
        self.pid = os.getpid()
        self._server = server
        self._channel = f"plait_{server.schema}"
        self._name = uuid.uuid4().hex[:12]
        self._lock = threading.Lock()
        self._callbacks: tuple[Callable[[str], None], ...] = ()
        self._waiting: list[str] = []
        self._heard: deque[str] = deque()
        self._thread: threading.Thread | None = None
        self._wake: socket.socket | None = None
        self._stopping = False
        self._looked = threading.Event()
        """Set when the first attempt to listen is over; `_failed` tells how."""
        self._failed: StoreError | None = None

    def publish(self, topic: str) -> None:
        """Leave a message for the thread."""
        text = topic.replace("\0", "").encode("utf-8", "replace")[:LONGEST].decode("utf-8", "ignore")
        with self._lock:
            if self._stopping or text in self._waiting or len(self._waiting) >= MOST_WAITING:
                return
            self._waiting.append(text)
            self._start()

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Listen, if nobody does yet, and wait until that has begun."""
        with self._lock:
            if not self._callbacks:
                self._looked.clear()
            self._callbacks = (*self._callbacks, callback)
            self._start()
        if not self._looked.wait(PATIENCE):
            raise StoreError(f"{self._server.shown} does not answer; processes could not wake each other")
        if self._failed is not None:
            raise self._failed

    def _start(self) -> None:
        """Wake the thread, or begin it. The lock is held."""
        if self._thread is None:
            self._wake, woken = socket.socketpair()
            self._wake.setblocking(False)
            self._thread = threading.Thread(target=self._run, args=(woken,), name="plait-bus", daemon=True)
            self._thread.start()
        elif self._wake is not None:
            with contextlib.suppress(BlockingIOError):  # it has been woken often enough
                self._wake.send(b"x")

    def close(self) -> None:
        """Stop; what is waiting is sent first."""
        with self._lock:
            self._stopping = True
            thread = self._thread
            if thread is not None:
                self._start()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout=PATIENCE)

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _run(self, woken: socket.socket) -> None:
        try:
            self._go_on(woken)
        finally:
            with self._lock:
                if self._wake is not None:
                    self._wake.close()
                    self._wake = None
            woken.close()

    def _go_on(self, woken: socket.socket) -> None:
        pause = 0.05
        again = False
        while not self._stopping or (self._waiting and not again):
            try:
                with self._connected() as connection:
                    if again:
                        self._heard.append(RECONNECTED)
                    pause = 0.05
                    again = True
                    self._serve(connection, woken)
            except (StoreError, psycopg.Error) as error:
                self._trouble(error)
                self._wait(woken, pause)
                pause = min(pause * 2, _LONGEST_PAUSE)

    @contextlib.contextmanager
    def _connected(self) -> Iterator[Connection]:
        connection = self._server.writer("off")
        try:
            connection.add_notify_handler(self._take)
            yield connection
        finally:
            connection.close()

    def _trouble(self, error: Exception) -> None:
        """What is waiting is lost; who subscribes for the first time is told."""
        with self._lock:
            self._waiting.clear()
        if not self._looked.is_set():
            self._failed = error if isinstance(error, StoreError) else StoreError(f"{self._server.shown}: {error}")
            self._looked.set()
        else:
            log.warning("processes cannot wake each other just now: %s", error)

    def _wait(self, woken: socket.socket, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not self._stopping and (left := end - time.monotonic()) > 0:
            if select.select([woken], [], [], left)[0]:
                woken.recv(4096)

    def _serve(self, connection: Connection, woken: socket.socket) -> None:
        """Send and listen, until the connection breaks or all is over."""
        poll = select.poll()
        poll.register(connection.fileno(), select.POLLIN)
        poll.register(woken, select.POLLIN)
        listening = False
        while True:
            if self._callbacks and not listening:
                connection.execute(f"LISTEN {self._channel}".encode())
                listening = True
                self._failed = None
                self._looked.set()
            self._send(connection)
            while self._heard:
                tell(self._callbacks, self._heard.popleft())
            if self._stopping and not self._waiting:
                return
            for descriptor, _ in poll.poll():
                if descriptor == woken.fileno():
                    woken.recv(4096)
                else:
                    self._receive(connection)

    def _send(self, connection: Connection) -> None:
        with self._lock:
            topics = [f"{self._name} {topic}" for topic in self._waiting]
            self._waiting.clear()
        if topics:
            connection.execute("SELECT pg_notify(%s, topic) FROM unnest(%s::text[]) AS topic", (self._channel, topics))

    def _receive(self, connection: Connection) -> None:
        connection.pgconn.consume_input()
        while (found := connection.pgconn.notifies()) is not None:
            self._put(found.extra.decode("utf-8", "replace"))

    def _take(self, notify: psycopg.Notify) -> None:
        self._put(notify.payload)

    def _put(self, payload: str) -> None:
        sender, _, topic = payload.partition(" ")
        if sender != self._name and len(self._heard) < MOST_WAITING:
            self._heard.append(topic)
