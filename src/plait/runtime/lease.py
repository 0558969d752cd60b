"""This process as an owner of runs: its row in the store, and who of the others is dead (C6).

An owner whose process is gone (same host) or whose lease has run out is swept by whoever sees it: its session-owned
runs are marked crashed and can be resumed, its service-owned ones are free for any scheduler. An owner that finds
itself swept stops: its epoch is no longer the runs'.

That a lease has run out says that its owner is dead only where the owner could have prolonged it. So a process that
could not prolong its own (the database was away, the machine slept), and one that has just begun, gives the others one
lease's time to do so before it takes any for dead by that.
"""

import logging
import os
import socket
import threading
import uuid
from collections.abc import Callable

from plait.model.errors import StoreError
from plait.model.ids import RunId
from plait.model.rows import OwnerRow
from plait.ports import Clock, EventBus, RunStore
from plait.runtime.scheduler import Scheduler

LEASE_SECONDS = 20.0
RENEW_SECONDS = 5.0
OUT_OF_TOUCH = LEASE_SECONDS - 2 * RENEW_SECONDS
"""Seconds without a prolongation, after which a process may have missed that of another as well, whose lease ends
earlier than its own by what lies between two prolongations."""
log = logging.getLogger("plait.lease")
Alive = Callable[[int], bool]
"""Whether the process of that number lives on this host."""


def is_alive(pid: int) -> bool:
    """Whether the process of that number lives on this host."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class Lease:
    """The owner row of one process. `address`: where workers connect to it."""

    def __init__(
        self, store: RunStore, clock: Clock, *, name: str = "", host: str = "", pid: int = 0, alive: Alive = is_alive
    ):
        self._store = store
        self._clock = clock
        self._alive = alive
        self._started = clock.now()
        self._trust_from = self._started + LEASE_SECONDS
        """From when on a lease that has run out says something: until then, others may not have come to prolong it."""
        self._renewed = self._started
        self._host = host or socket.gethostname()
        self._pid = pid or os.getpid()
        self.owner = name or f"{self._host}:{self._pid}:{uuid.uuid4().hex[:8]}"
        self.address = ""

    def renew(self) -> bool:
        """Register, or prolong. False when others have declared this process dead: it must stop."""
        now = self._clock.now()
        known = self._store.renew(
            OwnerRow(
                owner=self.owner,
                host=self._host,
                pid=self._pid,
                started=self._started,
                lease_until=now + LEASE_SECONDS,
                address=self.address,
            )
        )
        answered = self._clock.now()
        if answered >= self._renewed + OUT_OF_TOUCH:
            self._trust_from = answered + LEASE_SECONDS
        self._renewed = now
        return known

    def sweep(self) -> list[str]:
        """Sweep the owners that are dead; returns the runs that were theirs."""
        now = self._clock.now()
        trusted = self._trust_from <= now <= self._renewed + OUT_OF_TOUCH
        return sweep_dead(self._store, now, host=self._host, alive=self._alive, leases=trusted)

    def release(self, reason: str, *, forget: bool = True) -> None:
        """End in order: the owner's row goes; open runs of a session count as crashed for that reason, those of a
        service are free. Unless `forget`, it is remembered as dead: what a thread of it still leases is refused."""
        self._store.sweep([self.owner], reason, self._clock.now())
        if forget:
            self._store.release_owner(self.owner)


def sweep_dead(
    store: RunStore, now: float, *, host: str = "", alive: Alive = is_alive, leases: bool = False
) -> list[str]:
    """Sweep the owners whose processes on this host are gone and, with `leases`, those whose leases have run out;
    returns the runs that were theirs."""
    here = host or socket.gethostname()
    dead = [
        row.owner
        for row in store.owners()
        if (row.host == here and not alive(row.pid))
        or (leases and row.lease_until < (now - LEASE_SECONDS if row.host == here else now))
    ]
    if not dead:
        return []
    return [str(run_id) for run_id in store.sweep(dead, "its process died", now)]


class Returns:
    """Runs that this process gives back to whoever goes on with them: until the store has taken them."""

    def __init__(self, store: RunStore, clock: Clock, owner: str, publish: Callable[[str], None]):
        self._store = store
        self._clock = clock
        self._owner = owner
        self._publish = publish
        self._owed: dict[RunId, None] = {}
        self.lock = threading.Lock()
        """Held while runs are being given back: none of them is taken over again meanwhile."""

    def give_back(self, run_id: RunId) -> None:
        """It is not this process's any more: now, or as soon as the store answers."""
        with self.lock:
            self._owed[run_id] = None
        self.settle()

    def keep(self, run_id: RunId) -> None:
        """It is about to be this process's again."""
        with self.lock:
            self._owed.pop(run_id, None)

    def settle(self) -> None:
        """Give back what is owed."""
        with self.lock:
            if not self._owed:
                return
            try:
                self._store.let_go(list(self._owed), self._owner, self._clock.now())
            except StoreError as error:
                log.warning("%d runs could not be given back, it is tried again: %s", len(self._owed), error)
                return
            self._owed.clear()
        self._publish("runs")


class Heartbeat:
    """Prolongs a lease by a thread of its own, which does nothing else, whatever the process is at (F26); after each
    time, another thread calls `look`, which may take long. `lost` is called once, when others have declared this
    process dead."""

    def __init__(self, lease: Lease, *, look: Callable[[], object], lost: Callable[[], object]):
        self._lease = lease
        self._look = look
        self._lost = lost
        self._stop = threading.Event()
        self._renewed = threading.Event()
        self._threads = [
            threading.Thread(target=self._beat, name="plait-lease", daemon=True),
            threading.Thread(target=self._follow, name="plait-look", daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _beat(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                known = self._lease.renew()
            except Exception as error:  # noqa: BLE001  whatever it is, a heartbeat goes on
                log.warning("the lease could not be renewed, it is tried again: %s: %s", type(error).__name__, error)
                continue
            if not known:
                log.error("others took this process for dead, because it had been silent for too long")
                self._lost()
                self._stop.set()
            self._renewed.set()

    def _follow(self) -> None:
        while self._renewed.wait() and not self._stop.is_set():
            self._renewed.clear()
            try:
                self._look()
            except StoreError as error:
                log.warning("%s; it is tried again", error)
            except Exception:  # a defect of plait: the next look may find what this one did not
                log.exception("not all could be looked at, it is tried again")

    def stop(self) -> None:
        """End the threads."""
        self._stop.set()
        self._renewed.set()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(timeout=5)


class SessionLease:
    """Keeps a session's lease, and takes what others leave for its runs. `lost` is set when others have declared this
    process dead."""

    def __init__(self, lease: Lease, store: RunStore, clock: Clock, bus: EventBus):
        self._lease = lease
        self._bus = bus
        self.lost = False
        self.returns = Returns(store, clock, lease.owner, bus.publish)
        self._heartbeat: Heartbeat | None = None
        self._scheduler: Scheduler | None = None
        lease.renew()
        lease.sweep()

    def start(self, scheduler: Scheduler) -> None:
        """Keep the lease, and listen to what other processes say."""
        self._scheduler = scheduler
        self._bus.subscribe(self._heard)
        self._heartbeat = Heartbeat(self._lease, look=self._see_to_all, lost=self._on_lost)

    def _see_to_all(self) -> None:
        """See who is dead, and what is there, as if what others said had not been heard."""
        self._lease.sweep()
        self.returns.settle()
        self._look()

    def _on_lost(self) -> None:
        self.lost = True

    def _heard(self, topic: str) -> None:
        self._look()

    def _look(self) -> None:
        """Take what lies in the inbox; other processes may have freed slots or changed what is watched."""
        if self._scheduler is not None:
            look_around(self._scheduler)

    def stop(self) -> None:
        """End in order: the owner's row goes, its open runs count as crashed."""
        if self._heartbeat is not None:
            self._heartbeat.stop()
        self._lease.release("its session ended before the run did")


def look_around(scheduler: Scheduler, *, until: threading.Event | None = None) -> None:
    """Another process has said that something changed: requests for runs here, slots, what runs here wait for. `until`:
    see `Scheduler.pump`."""
    with scheduler.lock:
        for row in scheduler.store.read_inbox(scheduler.owner):
            scheduler.deliver(row)
    for recheck in scheduler.carrier.rechecks:
        recheck()
    scheduler.recheck_limits()
    scheduler.pump(until=until)
