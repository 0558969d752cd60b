"""Time, processes and their threads in a simulation: one heap of what happens when, and await points.

Theory of operation. A process of the simulated system is a `Party`; its threads are names. What a thread does next is
an event in the heap; the loop takes the earliest. One event runs to its end, on the one real thread; but whatever it
asks of the outside (store, executor, bus) is an await point, at which the process may be killed (`Killed` rises, and
nothing of it does anything any more), or at which others go on first: the loop takes events of other parties, and of
other threads of the same process as far as these could run, before the call returns. So what runs is interleaved as
threads and processes are, but for one thing: who was interrupted last goes on first.

Everything random comes from one seed, so each run of a seed is the same.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from random import Random

from plait.model.wire import Report
from plait.ports import ReportSink
from plait.testing.clock import START
from plait.testing.simulation.faults import NONE, Faults

DEEPEST = 4
"""Parties that stand at await points while others go on, at most."""
MOST_STEPS = 50_000
TRACED = 600
"""Steps that are remembered."""
LEASE, IO, POOL = "lease", "io", "pool"
"""Threads that go on while another one of their process holds the scheduler's lock: the one that keeps a lease, and
those that report what executions came to."""


class Killed(BaseException):
    """A simulated process is killed; raised in what it is at."""

    def __init__(self, party: "Party"):
        super().__init__(party.name)
        self.party = party


class Breach(BaseException):
    """An invariant does not hold, or an exception ended a thread: plait's own fault. No handler in plait stops it."""


class Host:
    """A machine: its clock may be ahead of the true time, or behind."""

    def __init__(self, name: str):
        self.name = name
        self.offset = 0.0


class HostClock:
    """The clock of a machine (the port `Clock`)."""

    def __init__(self, loop: "Loop", host: Host):
        self._loop = loop
        self._host = host

    def now(self) -> float:
        """Epoch seconds, as the machine sees it."""
        return self._loop.now + self._host.offset


class Party:
    """A process. `busy`: its threads that stand at await points (or run)."""

    def __init__(self, loop: "Loop", name: str, host: Host):
        self.loop = loop
        self.host = host
        self.pid = loop.next_pid()
        self.name = f"{name}.{self.pid}"
        self.alive = True
        self.frozen_until = 0.0
        self.in_transaction = False
        self.busy: set[str] = set()
        self.clock = HostClock(loop, host)
        loop.alive[host.name, self.pid] = self

    @property
    def locked(self) -> bool:
        """Whether a thread that stands still holds a lock that the others need."""
        return False

    def do(self, thread: str, action: Callable[[], object], delay: float = 0.0, what: str = "") -> "Event":
        """One of its threads does something, after `delay` seconds."""
        return self.loop.add(self, thread, action, delay, what or thread)

    def take(self, sink: ReportSink, reports: Sequence[Report]) -> None:
        """A thread of an executor reports to its scheduler."""
        sink.report(reports)

    def look_at_itself(self) -> None:
        """After each of its steps: check what must hold of it."""

    def on_death(self) -> None:
        """It was killed: what others see of that."""

    def on_cut(self) -> None:
        """A connection of it was cut: what it had sent is lost."""

    def exit(self) -> None:
        """It ends in order."""
        self.loop.bury(self)


class Event:
    """What a thread of a party does at some time."""

    __slots__ = ("action", "at", "cancelled", "party", "thread", "what")

    def __init__(self, at: float, party: Party, thread: str, action: Callable[[], object], what: str):
        self.at = at
        self.party = party
        self.thread = thread
        self.action = action
        self.what = what
        self.cancelled = False


class Loop:
    """The time, and everything that happens in it."""

    def __init__(self, seed: int, faults: Faults = NONE):
        self.rng = Random(seed)
        self.faults = faults
        self.now = START
        self.steps = 0
        self.alive: dict[tuple[str, int], Party] = {}
        self.outage_until = 0.0
        """Until when the store does not answer."""
        self.breach: BaseException | None = None
        self.trace: deque[tuple[float, int, str, str]] = deque(maxlen=TRACED)
        self._heap: list[tuple[float, int, Event]] = []
        self._count = 0
        self._pids = 100
        self._depth = 0
        self._stopped: set[Party] = set()

    def next_pid(self) -> int:
        """The number of a new process."""
        self._pids += 1
        return self._pids

    def note(self, who: str, text: str) -> None:
        """Remember a step."""
        self.trace.append((self.now, self._depth, who, text))

    # --- what happens -------------------------------------------------------------------------------------------------

    def add(self, party: Party, thread: str, action: Callable[[], object], delay: float, what: str) -> Event:
        """Something will happen."""
        event = Event(self.now + delay, party, thread, action, what)
        self._push(event)
        return event

    def _push(self, event: Event) -> None:
        self._count += 1
        heapq.heappush(self._heap, (event.at, self._count, event))

    def run(self, until: float) -> None:
        """Let everything happen up to a moment."""
        aside: list[Event] = []
        while self._heap and self._heap[0][0] <= until:
            self._one(aside)
        self.now = max(self.now, until)

    def _one(self, aside: list[Event]) -> None:
        """The next event; one whose thread cannot run is put `aside`."""
        event = heapq.heappop(self._heap)[2]
        party = event.party
        if event.cancelled or not party.alive:
            return
        if self._cannot_run(party, event.thread):
            aside.append(event)
            return
        self.now = max(self.now, event.at)
        if party.frozen_until > self.now:
            event.at = party.frozen_until
            self._push(event)
            return
        self._run(event)

    def _cannot_run(self, party: Party, thread: str) -> bool:
        if not party.busy:
            return False
        return thread in party.busy or party in self._stopped or (party.locked and thread not in (LEASE, IO, POOL))

    def _run(self, event: Event) -> None:
        party = event.party
        self.steps += 1
        if self.steps > MOST_STEPS:
            raise Breach(f"F25: it does not come to rest within {MOST_STEPS} steps")
        self.note(party.name, event.what)
        party.busy.add(event.thread)
        self._depth += 1
        try:
            event.action()
        except Killed as killed:
            if killed.party is not party:
                raise
        except Breach as breach:
            self.breach = self.breach or breach
            raise
        except Exception as error:
            self.breach = Breach(f"the thread {event.thread!r} of {party.name} ended: {type(error).__name__}: {error}")
            raise self.breach from error
        finally:
            party.busy.discard(event.thread)
            self._depth -= 1
        if self.breach is not None:
            raise self.breach
        if party.alive and not party.busy:
            party.look_at_itself()

    # --- await points -------------------------------------------------------------------------------------------------

    def point(self, party: Party, what: str, *, inside: bool = False) -> None:
        """A party is about to go on from an await point. `inside` of a transaction nobody else goes on."""
        faults = self.faults
        if not party.alive:
            raise Killed(party)
        if faults is NONE:
            return
        draw = self.rng.random()
        if draw < faults.crash:
            self.kill(party, what)
            raise Killed(party)
        draw -= faults.crash
        if inside or self._depth > DEEPEST or draw > faults.switch + faults.stall:
            return
        if draw < faults.switch:
            self._others(party, what, self.rng.expovariate(2.0), self.rng.randint(1, 4))
        else:
            self._stall(party, what)
        if not party.alive:
            raise Killed(party)

    def _stall(self, party: Party, what: str) -> None:
        if party in self._stopped:
            return
        self._stopped.add(party)
        self._others(party, what, self.rng.choice((1.0, 30.0, 90.0)), 10_000)
        self._stopped.discard(party)

    def _others(self, party: Party, what: str, seconds: float, most: int) -> None:
        self.note(party.name, f"waits at {what}")
        until = self.now + seconds
        aside: list[Event] = []
        while most > 0 and self._heap and self._heap[0][0] <= until:
            most -= 1
            self._one(aside)
        if most > 0:
            self.now = max(self.now, until)
        for event in aside:
            self._push(event)
        self.note(party.name, f"goes on at {what}")

    def strikes(self, probability: float) -> bool:
        """Whether something happens."""
        return probability > 0.0 and self.rng.random() < probability

    # --- ends ---------------------------------------------------------------------------------------------------------

    def kill(self, party: Party, what: str) -> None:
        """A process is killed, at once."""
        if party.alive:
            self.note(party.name, f"is killed at {what}")
            self.bury(party)

    def bury(self, party: Party) -> None:
        """A process has ended, somehow."""
        party.alive = False
        self.alive.pop((party.host.name, party.pid), None)
        party.on_death()

    def is_alive(self, host: str, pid: int) -> bool:
        """Whether a process lives."""
        return (host, pid) in self.alive

    def story(self, last: int = 60) -> str:
        """The last steps, as text."""
        lines = list(self.trace)[-last:]
        return "\n".join(f"{at - START:9.3f}  {'  ' * depth}{who}: {text}" for at, depth, who, text in lines)
