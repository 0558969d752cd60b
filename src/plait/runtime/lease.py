"""This process as an owner of runs: its lease, kept alive by a thread of its own, and what others leave in the inbox
(C6).

An owner whose process is gone (same host) or whose lease has run out is swept by whoever sees it: its session-owned
runs are marked crashed and can be resumed, its slots are free. An owner that finds itself swept stops: its epoch is
no longer the runs'.
"""

import logging
import os
import socket
import threading
import uuid

from plait.model.errors import StoreError
from plait.model.rows import OwnerRow
from plait.ports import Clock, EventBus, RunStore
from plait.runtime.scheduler import Scheduler

LEASE_SECONDS = 20.0
RENEW_SECONDS = 5.0
log = logging.getLogger("plait.lease")


class Lease:
    """The owner row of this process."""

    def __init__(self, store: RunStore, clock: Clock, bus: EventBus):
        self._store = store
        self._clock = clock
        self._bus = bus
        self._started = clock.now()
        self.owner = f"{socket.gethostname()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._scheduler: Scheduler | None = None
        self._store.renew(self._row())
        sweep_dead(store, clock.now())

    def _row(self) -> OwnerRow:
        return OwnerRow(
            owner=self.owner,
            host=socket.gethostname(),
            pid=os.getpid(),
            started=self._started,
            lease_until=self._clock.now() + LEASE_SECONDS,
        )

    def start(self, scheduler: Scheduler) -> None:
        """Keep the lease, and listen to what other processes say."""
        self._scheduler = scheduler
        self._bus.subscribe(self._heard)
        self._thread = threading.Thread(target=self._run, name="plait-lease", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            try:
                if not self._store.renew(self._row()):
                    log.error("another process took over the runs of this one, which had been silent for too long")
                    return
                self._look()
                sweep_dead(self._store, self._clock.now())
            except StoreError as error:
                log.warning("the lease could not be renewed, it is tried again: %s", error)

    def _heard(self, topic: str) -> None:
        self._look()

    def _look(self) -> None:
        """Take what lies in the inbox; other processes may have freed slots or changed what is watched."""
        scheduler = self._scheduler
        if scheduler is None:
            return
        with scheduler.lock:
            for row in self._store.read_inbox(self.owner):
                scheduler.deliver(row)
        scheduler.carrier.watching.recheck()
        scheduler.recheck_limits()
        scheduler.pump()

    def stop(self) -> None:
        """End in order: the owner's row goes, its open runs count as crashed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=5)
        self._store.sweep([self.owner], "its session ended before the run did", self._clock.now())
        self._store.release_owner(self.owner)


def sweep_dead(store: RunStore, now: float) -> list[str]:
    """Sweep the owners that are dead; returns the runs that they had: crashed now, or without an owner."""
    here = socket.gethostname()
    dead = [
        row.owner
        for row in store.owners()
        if (row.host == here and not _alive(row.pid))
        or (row.lease_until < now and row.host != here)
        or row.lease_until < now - LEASE_SECONDS
    ]
    if not dead:
        return []
    return [str(run_id) for run_id in store.sweep(dead, "its process died", now)]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
