"""This process as an owner of runs: its row in the store, and who of the others is dead (C6).

An owner whose process is gone (same host) or whose lease has run out is swept by whoever sees it: its session-owned
runs are marked crashed and can be resumed, its service-owned ones are free for any scheduler. An owner that finds
itself swept stops: its epoch is no longer the runs'.
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
        self._host = host or socket.gethostname()
        self._pid = pid or os.getpid()
        self.owner = name or f"{self._host}:{self._pid}:{uuid.uuid4().hex[:8]}"
        self.address = ""

    def renew(self) -> bool:
        """Register, or prolong. False when others have declared this process dead: it must stop."""
        return self._store.renew(
            OwnerRow(
                owner=self.owner,
                host=self._host,
                pid=self._pid,
                started=self._started,
                lease_until=self._clock.now() + LEASE_SECONDS,
                address=self.address,
            )
        )

    def sweep(self) -> list[str]:
        """Sweep the owners that are dead; returns the runs that were theirs."""
        return sweep_dead(self._store, self._clock.now(), host=self._host, alive=self._alive)

    def release(self, reason: str, *, forget: bool = True) -> None:
        """End in order: the owner's row goes; open runs of a session count as crashed for that reason, those of a
        service are free. Unless `forget`, it is remembered as dead: what a thread of it still leases is refused."""
        self._store.sweep([self.owner], reason, self._clock.now())
        if forget:
            self._store.release_owner(self.owner)


def sweep_dead(store: RunStore, now: float, *, host: str = "", alive: Alive = is_alive) -> list[str]:
    """Sweep the owners that are dead; returns the runs that were theirs."""
    here = host or socket.gethostname()
    dead = [
        row.owner
        for row in store.owners()
        if (row.host == here and not alive(row.pid))
        or (row.lease_until < now and row.host != here)
        or row.lease_until < now - LEASE_SECONDS
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


class SessionLease:
    """Keeps a session's lease by a thread of its own, and takes what others leave for its runs. `lost` is set when
    others have declared this process dead."""

    def __init__(self, lease: Lease, store: RunStore, clock: Clock, bus: EventBus):
        self._lease = lease
        self._bus = bus
        self.lost = False
        self.returns = Returns(store, clock, lease.owner, bus.publish)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._scheduler: Scheduler | None = None
        lease.renew()
        lease.sweep()

    def start(self, scheduler: Scheduler) -> None:
        """Keep the lease, and listen to what other processes say."""
        self._scheduler = scheduler
        self._bus.subscribe(self._heard)
        self._thread = threading.Thread(target=self._run, name="plait-lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                if not self.holds():
                    log.error("another process took over the runs of this one, which had been silent for too long")
                    return
                self.returns.settle()
                self._look()
                self._lease.sweep()
            except StoreError as error:
                log.warning("the lease could not be renewed, it is tried again: %s", error)

    def holds(self) -> bool:
        """Prolong the lease; whether this process is still taken for alive."""
        self.lost = not self._lease.renew()
        return not self.lost

    def _heard(self, topic: str) -> None:
        self._look()

    def _look(self) -> None:
        """Take what lies in the inbox; other processes may have freed slots or changed what is watched."""
        if self._scheduler is not None:
            look_around(self._scheduler)

    def stop(self) -> None:
        """End in order: the owner's row goes, its open runs count as crashed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._lease.release("its session ended before the run did")


def look_around(scheduler: Scheduler) -> None:
    """Another process has said that something changed: requests for runs here, slots, what runs here wait for."""
    with scheduler.lock:
        for row in scheduler.store.read_inbox(scheduler.owner):
            scheduler.deliver(row)
    for recheck in scheduler.carrier.rechecks:
        recheck()
    scheduler.recheck_limits()
    scheduler.pump()
