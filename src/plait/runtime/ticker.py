"""The thread that fires timers, and commits what flows decided in the background."""

import logging
import threading
from typing import Protocol

from plait.ports import Clock
from plait.runtime.scheduler import Scheduler

AGAIN_AFTER = 1.0
log = logging.getLogger("plait.scheduler")


class Timed(Protocol):
    """Has something to do at times."""

    def next_timer(self) -> float | None:
        """When, next (epoch seconds)."""
        ...

    def on_time(self) -> None:
        """Do what is due."""
        ...


class Ticker:
    """Sleeps until the next timer is due or somebody nudges the scheduler; then lets it, or the service around it,
    look. It never polls (C5)."""

    def __init__(self, scheduler: Scheduler, clock: Clock, timed: Timed | None = None):
        self._timed: Timed = timed if timed is not None else scheduler
        self._clock = clock
        self._woken = threading.Event()
        self._stopped = False
        scheduler.nudge = self._nudge
        self._thread = threading.Thread(target=self._run, name="plait-ticker", daemon=True)
        self._thread.start()

    def _nudge(self) -> None:
        """Look again. What is to be seen was there before this call, so one that is woken already sees it."""
        if not self._woken.is_set():
            self._woken.set()

    def _run(self) -> None:
        while not self._stopped:
            at = self._timed.next_timer()
            delay = None if at is None else max(0.0, at - self._clock.now())
            self._woken.wait(delay)
            self._woken.clear()
            if not self._stopped:
                self._look()

    def _look(self) -> None:
        try:
            self._timed.on_time()
        except Exception:  # a defect of plait, or a database that is away: what is due stays due, and is tried again
            log.exception("what is due could not be done; it is tried again")
            self._woken.wait(AGAIN_AFTER)

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._woken.set()
        self._thread.join(timeout=5)
