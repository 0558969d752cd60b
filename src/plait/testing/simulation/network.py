"""Sockets and a bus between the processes of a simulation.

Bytes of one connection arrive in order, after a while; when an end is gone, what it had sent before still arrives. A
connection that is cut loses what is under way, and both ends notice.
"""

import selectors
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, cast

from plait.testing.simulation.loop import IO, Loop, Party

BUS = "bus"
Turn = Callable[[], object]


class Network:
    """Who listens where, and who is on the bus."""

    def __init__(self, loop: Loop):
        self.loop = loop
        self.listeners: dict[str, Listener] = {}
        self.on_bus: dict[Party, Callable[[str], None]] = {}

    def latency(self) -> float:
        """Seconds until something arrives: mostly next to nothing."""
        return self.loop.rng.choice((0.0005, 0.001, 0.005, 0.05))


class Socket:
    """One end of a connection."""

    def __init__(self, wires: "SimulatedWires"):
        self._wires = wires
        self.peer: Socket | None = None
        self.closed = False
        self._arriving: deque[tuple[float, bytes]] = deque()
        """What the other end has sent, and when it is here; nothing is its end."""
        self._last = 0.0

    def setblocking(self, flag: bool) -> None:
        """It never waits."""

    def fileno(self) -> int:
        """It has no number."""
        return -1

    @property
    def ready(self) -> bool:
        """Whether there is something to read."""
        return bool(self._arriving) and self._arriving[0][0] <= self._wires.loop.now

    def send(self, data: bytes) -> int:
        """Send all of it."""
        if self.closed or self.peer is None or self.peer.closed:
            raise BrokenPipeError("the other end is gone")
        loop = self._wires.loop
        if self._wires is not self.peer._wires and loop.strikes(loop.faults.cut):
            loop.note(self._wires.party.name, f"is cut off from {self.peer._wires.party.name}")
            self.shutdown(0)
            self._wires.party.on_cut()
            self.peer._wires.party.on_cut()
            return len(data)
        self.peer.arrive(bytes(data), self._wires is self.peer._wires)
        return len(data)

    def arrive(self, data: bytes, at_once: bool = False) -> None:
        """Something was sent here."""
        if self.closed:
            return
        loop = self._wires.loop
        delay = 0.0 if at_once else self._wires.network.latency()
        self._last = max(self._last, loop.now + delay)
        self._arriving.append((self._last, data))
        self._wires.wake(self._last - loop.now)

    def recv(self, size: int) -> bytes:
        """The next piece; raises BlockingIOError when there is none."""
        if not self.ready:
            raise BlockingIOError
        data = self._arriving[0][1]
        if data:
            self._arriving.popleft()
        return data

    def shutdown(self, how: int) -> None:
        """Cut the connection: both ends read its end, and nothing else any more."""
        for end in (self, self.peer):
            if end is not None:
                end._arriving.clear()
                end.arrive(b"")

    def close(self) -> None:
        """Close this end."""
        if not self.closed:
            self.closed = True
            self._wires.sockets.pop(self, None)
            if self.peer is not None and self.peer._wires is not self._wires:
                self.peer.arrive(b"")


class Listener:
    """Takes connections."""

    def __init__(self, wires: "SimulatedWires", path: str):
        self._wires = wires
        self._path = path
        self.waiting: deque[Socket] = deque()
        wires.network.listeners[path] = self

    @property
    def ready(self) -> bool:
        """Whether somebody wants to connect."""
        return bool(self.waiting)

    def connect(self, wires: "SimulatedWires") -> Socket:
        """Somebody connects."""
        ours, theirs = self._wires.socket(), wires.socket()
        ours.peer, theirs.peer = theirs, ours
        self.waiting.append(ours)
        self._wires.wake(0.0)
        return theirs

    def accept(self) -> tuple[Socket, None]:
        """The next one that wants to connect."""
        if not self.waiting:
            raise BlockingIOError
        return self.waiting.popleft(), None

    def close(self) -> None:
        """Nobody can connect any more."""
        self._wires.network.listeners.pop(self._path, None)
        for sock in self.waiting:
            sock.close()


class Selector:
    """Says which of its sockets are ready, and never waits."""

    def __init__(self) -> None:
        self._keys: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Begin to look at a socket."""
        key = self._keys[fileobj] = selectors.SelectorKey(fileobj, -1, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """Look at it for something else."""
        return self.register(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """Look at it no more."""
        return self._keys.pop(fileobj)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """How it is looked at."""
        return self._keys[fileobj]

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Those that can be read. Everything can always be written to."""
        found: list[tuple[selectors.SelectorKey, int]] = []
        for key in self._keys.values():
            events = key.events & selectors.EVENT_WRITE
            if key.fileobj.ready:  # type: ignore[union-attr]  # only our own sockets are registered
                events |= selectors.EVENT_READ
            if events:
                found.append((key, events))
        return found

    def close(self) -> None:
        """Forget all."""
        self._keys.clear()


class _Thread:
    def __init__(self, serve: Callable[[], None]):
        self._serve = serve

    def join(self) -> None:
        """Its end: nothing but that is left to do for `serve`."""
        self._serve()


class SimulatedWires:
    """The surroundings of one hub or agent (`plait.adapters.workers.wires`). `turn` is called whenever something may
    have come."""

    def __init__(self, network: Network, party: Party, turn: Turn):
        self.network = network
        self.loop = network.loop
        self.party = party
        self.sockets: dict[Socket, None] = {}
        self._turn = turn

    def wake(self, delay: float) -> None:
        """The thread looks up."""
        self.party.do(IO, self._turn, delay)

    def socket(self) -> Socket:
        """A new socket."""
        made = Socket(self)
        self.sockets[made] = None
        return made

    def selector(self) -> selectors.BaseSelector:
        """A selector for our sockets."""
        return cast(selectors.BaseSelector, Selector())

    def pair(self) -> tuple[Any, Any]:
        """Two ends within the process."""
        ends = self.socket(), self.socket()
        ends[0].peer, ends[1].peer = ends[1], ends[0]
        return ends

    def listen(self, path: str) -> Any:
        """Listen."""
        return Listener(self, path)

    def connect(self, path: str) -> Any:
        """Connect to who listens there."""
        listener = self.network.listeners.get(path)
        if listener is None:
            raise ConnectionRefusedError(path)
        return listener.connect(self)

    def spawn(self, name: str, serve: Callable[[], None]) -> _Thread:
        """There are no threads: the loop takes the turns."""
        return _Thread(serve)

    def now(self) -> float:
        """The true time."""
        return self.loop.now

    def die(self) -> None:
        """The process has died: its sockets are closed for it."""
        for path in [path for path, each in self.network.listeners.items() if each._wires is self]:
            self.network.listeners[path].close()
        for sock in list(self.sockets):
            sock.close()


class Bus:
    """A process on the bus (the port `EventBus`): messages get lost, come late, come twice."""

    def __init__(self, network: Network, party: Party):
        self._network = network
        self._party = party

    def publish(self, topic: str) -> None:
        """Wake every other process."""
        loop = self._network.loop
        loop.point(self._party, f"publishing {topic!r}")
        for party, callback in list(self._network.on_bus.items()):
            if party is self._party or not party.alive:
                continue
            times = 2 if loop.strikes(loop.faults.twice) else 1
            for _ in range(0 if loop.strikes(loop.faults.lost) else times):
                late = loop.rng.expovariate(0.2) if loop.strikes(loop.faults.late) else 0.0
                party.do(BUS, partial(callback, topic), self._network.latency() + late, f"hears {topic!r}")

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Hear what others say."""
        self._network.on_bus[self._party] = callback

    def close(self) -> None:
        """Hear nothing any more."""
        self._network.on_bus.pop(self._party, None)
