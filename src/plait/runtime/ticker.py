"""The thread that fires timers, and commits what flows decided in the background."""

import threading

from plait.ports import Clock
from plait.runtime.scheduler import Scheduler


class Ticker:
    """Sleeps until the next timer is due or somebody nudges it; then lets the scheduler look (C5: it never polls)."""

    def __init__(self, scheduler: Scheduler, clock: Clock):
        self._scheduler = scheduler
        self._clock = clock
        self._woken = threading.Event()
        self._stopped = False
        scheduler.nudge = self._woken.set
        self._thread = threading.Thread(target=self._run, name="plait-ticker", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        while not self._stopped:
            at = self._scheduler.next_timer()
            delay = None if at is None else max(0.0, at - self._clock.now())
            self._woken.wait(delay)
            self._woken.clear()
            if not self._stopped:
                self._scheduler.on_time()

    def stop(self) -> None:
        """End the thread."""
        self._stopped = True
        self._woken.set()
        self._thread.join(timeout=5)
