"""Waits of user code, and who looks after them: what keeps the event loop is stopped, the rest begins again.

Theory of operation. One thread has it all: it makes the host (a process or a thread with an event loop), hands it the
waits, passes on what they come to, and looks at the host's marks. `start` and `drop` only leave a note and wake it, so
they are quick enough for a scheduler that holds its lock. If the loop has not turned for `stall` seconds, the host is
killed; the wait whose turn it was fails with an error that says so (quarantine), and all others begin again in the next
host. A host that dies by itself is treated likewise. Nobody is known to blame, and it happens again and again: then
all waits fail, because nothing else would ever end them.
"""

import contextlib
import itertools
import logging
import selectors
import socket
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Any, Protocol

import msgspec

from plait.model.ids import RunId, TaskNo
from plait.ports import TriggerEvent, TriggerSink
from plait.worker.wait_loop import Marks

log = logging.getLogger("plait.triggerer")
STALL = 10.0
"""Seconds for which a trigger may keep the event loop."""
IDLE = 60.0
"""Seconds without a wait after which the host ends."""
_LOOK = 0.5
_LOOKS = 4
"""So many looks at least, before a loop counts as stalled: our own process may have been stopped as well."""
_BLAMELESS = 4
"""So many deaths in a row for which nobody is known to blame fail everything."""
_WITHIN, _STARTS = 60.0, 5
"""A host is started so often within so many seconds; after that, waits have to wait a little longer."""
_STRIKES = 3
"""So many waits of one function that had to be stopped within a minute, and all waits of it fail."""


class Gone(msgspec.Struct, frozen=True):
    """How a host ended. `blame`: whether it may be the fault of the wait whose turn it was; `fatal`: there is no point
    in another one, the code does not load."""

    what: str
    blame: bool = True
    fatal: bool = False


class Host(Protocol):
    """An event loop that awaits triggers. Only the supervisor's thread uses it."""

    marks: Marks
    loaded: bool
    """Whether the loop turns: the code is loaded."""

    def fileno(self) -> int:
        """Readable when there is something to `receive`."""
        ...

    def writes(self) -> bool:
        """Whether it wants to be told when it can send."""
        ...

    def start(self, number: int, trigger: dict[str, Any]) -> None:
        """Begin a wait."""
        ...

    def drop(self, number: int) -> None:
        """End one."""
        ...

    def receive(self) -> tuple[list[tuple[int, Any, str | None]], Gone | None]:
        """What is over since the last call (number, event, error), and whether the host is gone. Sends what waits to be
        sent."""
        ...

    def where(self) -> str:
        """What the loop is doing now: `file:line`, empty when that cannot be told."""
        ...

    def kill(self) -> None:
        """End it now, whatever it is doing."""
        ...

    def end(self) -> None:
        """Let it end."""
        ...


class _Wait:
    __slots__ = ("no", "run_id", "trigger")

    def __init__(self, run_id: RunId, no: TaskNo, trigger: dict[str, Any]):
        self.run_id, self.no, self.trigger = run_id, no, trigger

    @property
    def name(self) -> str:
        return str(self.trigger.get("name"))


class Supervisor:
    """A triggerer over hosts that `make` makes. Implements the port `Triggerer`."""

    def __init__(
        self, make: Callable[[], Host], sink: TriggerSink, *, stall: float = STALL, idle: float = IDLE, name: str = ""
    ):
        self._make, self._sink, self._stall, self._idle = make, sink, stall, idle
        self._look_every = min(_LOOK, stall / _LOOKS)
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waits: dict[int, _Wait] = {}
        self._number_of: dict[tuple[RunId, TaskNo], int] = {}
        self._notes: deque[tuple[int, dict[str, Any] | None]] = deque()
        """What the host is to be told: a number with its trigger, or with none to drop it."""
        self._thread: threading.Thread | None = None
        self._name = name or "plait-triggerer"
        self._wake_out, self._wake_in = socket.socketpair()
        for end in (self._wake_out, self._wake_in):
            end.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._stopped = False
        # of the thread
        self._host: Host | None = None
        self._starts: deque[float] = deque()
        self._beat, self._beat_at, self._looks = -1, 0.0, 0
        self._idle_since = 0.0
        self._blameless = 0
        self._strikes: deque[tuple[float, str]] = deque()
        self._events: list[TriggerEvent] = []

    # --- the port -----------------------------------------------------------------------------------------------------

    def start(self, run_id: RunId, no: TaskNo, trigger: dict[str, Any]) -> None:
        """Begin a wait."""
        with self._lock:
            if self._stopped:
                return
            self._forget(run_id, no)
            number = next(self._numbers)
            self._waits[number] = _Wait(run_id, no, trigger)
            self._number_of[run_id, no] = number
            self._notes.append((number, trigger))
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name=self._name, daemon=True)
                self._thread.start()
        self._wake()

    def drop(self, run_id: RunId, no: TaskNo) -> None:
        """End a wait."""
        with self._lock:
            self._forget(run_id, no)
        self._wake()

    def stop(self) -> None:
        """End all."""
        with self._lock:
            self._stopped = True
            self._waits.clear()
            self._number_of.clear()
            thread = self._thread
        self._wake()
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        if thread is None:
            self._close()

    def _forget(self, run_id: RunId, no: TaskNo) -> None:
        number = self._number_of.pop((run_id, no), None)
        if number is not None:
            del self._waits[number]
            self._notes.append((number, None))

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it was stopped meanwhile; or it has so many calls that one more is no news
            self._wake_in.send(b"x")

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._stopped:
                self._selector.select(self._timeout(time.monotonic()))
                self._step(time.monotonic())
        finally:
            if self._host is not None:
                self._leave_host().end()
            self._close()

    def _close(self) -> None:
        self._selector.close()
        self._wake_out.close()
        self._wake_in.close()

    def _timeout(self, now: float) -> float | None:
        if self._waits:
            return self._look_every
        return max(0.0, self._idle_since + self._idle - now) if self._host is not None else None

    def _step(self, now: float) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_out.recv(1 << 16)
        self._hear(now)
        self._tell(now)
        self._look(now)
        events, self._events = self._events, []
        if events:
            try:
                self._sink.fired(events)
            except Exception:  # what a scheduler makes of it must not end those who wait
                log.exception("an event could not be passed on")

    def _tell(self, now: float) -> None:
        """Hand the notes to the host; make one if that is needed."""
        with self._lock:
            notes = list(self._notes)
            self._notes.clear()
            if self._host is None:  # a new one is told everything
                notes = [(number, wait.trigger) for number, wait in self._waits.items()]
            if self._waits:
                self._idle_since = now
        if self._host is None:
            if not notes or not self._may_start(now):
                return
            self._make_host(now)
        if self._host is None:
            return
        for number, trigger in notes:
            if trigger is not None:
                self._host.start(number, trigger)
            else:
                self._host.drop(number)
        self._ask_for_writes(self._host)
        if not self._waits and now >= self._idle_since + self._idle:
            self._leave_host().end()

    def _may_start(self, now: float) -> bool:
        while self._starts and now - self._starts[0] >= _WITHIN:
            self._starts.popleft()
        return len(self._starts) < _STARTS

    def _make_host(self, now: float) -> None:
        self._starts.append(now)
        try:
            self._host = self._make()
        except OSError as error:
            self._end_all(f"the triggers cannot be awaited: {error}")
            return
        self._selector.register(self._host, selectors.EVENT_READ)
        self._beat, self._beat_at, self._looks = -1, now, 0

    def _ask_for_writes(self, host: Host) -> None:
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if host.writes() else 0)
        if self._selector.get_key(host).events != events:
            self._selector.modify(host, events)

    def _leave_host(self) -> Host:
        host = self._host
        assert host is not None  # whoever leaves it has looked
        self._selector.unregister(host)
        self._host = None
        return host

    # --- what comes back ----------------------------------------------------------------------------------------------

    def _hear(self, now: float) -> None:
        if self._host is None:
            return
        over, gone = self._host.receive()
        for number, event, error in over:
            self._over(number, event, error)
            self._blameless = 0
        if gone is not None:
            host = self._leave_host()
            turn = host.marks.turn if gone.blame else 0
            host.kill()
            log.warning("%s", gone.what)
            if gone.fatal:
                self._end_all(gone.what)
            else:
                self._blame(turn, f"ended the process that it ran in: {gone.what}", gone.what, now)
        else:
            self._ask_for_writes(self._host)

    def _over(self, number: int, event: Any, error: str | None) -> None:
        """Tell what a wait came to, once."""
        with self._lock:
            wait = self._waits.pop(number, None)
            if wait is None:
                return
            del self._number_of[wait.run_id, wait.no]
        self._events.append(TriggerEvent(run_id=wait.run_id, no=wait.no, payload=event, error=error))

    def _end_all(self, why: str) -> None:
        for number in list(self._waits):
            self._over(number, None, why)

    # --- a loop that does not turn ------------------------------------------------------------------------------------

    def _look(self, now: float) -> None:
        """Whether the loop has turned since the last look."""
        host = self._host
        if host is None or not host.loaded:
            return
        beat = host.marks.beat
        self._looks += 1
        if beat != self._beat:
            self._beat, self._beat_at, self._looks = beat, now, 0
        elif now - self._beat_at > self._stall and self._looks >= _LOOKS:
            turn, where = host.marks.turn, host.where()
            self._leave_host().kill()
            place = f", at {where}" if where else ""
            what = f"blocked the event loop for more than {self._stall:g} s{place}, and was stopped"
            log.warning("a trigger %s", what)
            self._blame(turn, what, f"something {what}", now)

    def _blame(self, turn: int, what: str, unknown: str, now: float) -> None:
        """The wait whose turn it was fails; without one, everything fails if that happens again and again."""
        wait = self._waits.get(turn)
        if wait is None:
            self._blameless += 1
            if self._blameless >= _BLAMELESS:
                self._blameless = 0
                self._end_all(f"{_BLAMELESS} times in a row, and no single trigger is known to blame: {unknown}")
            return
        self._over(turn, None, f"{wait.name} {what}")
        self._strikes.append((now, wait.name))
        while now - self._strikes[0][0] > _WITHIN:
            self._strikes.popleft()
        if Counter(name for _, name in self._strikes)[wait.name] >= _STRIKES:
            for number, other in list(self._waits.items()):
                if other.name == wait.name:
                    self._over(number, None, f"{wait.name} had to be stopped {_STRIKES} times; the last one {what}")
