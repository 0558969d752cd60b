"""The threads of a scheduler service: one keeps its lease, one fires what is due; bus and executors have their own.

The lease has a thread of its own, whatever the others are at, so that a service under load is not taken for dead (F26).
"""

import logging
import threading
from collections.abc import Callable

from plait.model.errors import StoreError
from plait.ports import Clock, EventBus
from plait.runtime.lease import RENEW_SECONDS
from plait.runtime.service import Service
from plait.runtime.ticker import Ticker

log = logging.getLogger("plait.service")


class ServiceThreads:
    """Drives a service. `lost` is called once, when others took it for dead: the process has to begin anew."""

    def __init__(self, service: Service, bus: EventBus, clock: Clock, *, lost: Callable[[], None]):
        self._service = service
        self._bus = bus
        self._lost = lost
        self._stop = threading.Event()
        self._started = threading.Event()
        for executor in service.scheduler.executors.values():
            executor.start(service.scheduler)
        service.start()
        bus.subscribe(self._heard)
        self._ticker = Ticker(service.scheduler, clock, service)
        self._thread = threading.Thread(target=self._beat, name="plait-lease", daemon=True)
        self._thread.start()

    def begin(self) -> None:
        """Take runs: workers had a moment to say what they are at."""
        self._started.set()
        self._guarded(self._service.look)

    def heard(self, topic: str) -> None:
        """As if another process had said so."""
        self._heard(topic)

    def _heard(self, topic: str) -> None:
        if self._started.is_set():
            self._guarded(lambda: self._service.heard(topic))

    def _beat(self) -> None:
        while not self._stop.wait(RENEW_SECONDS):
            self._guarded(self._one_beat)

    def _one_beat(self) -> None:
        if not self._service.beat():
            log.error("others took this scheduler for dead, because it had been silent for too long; it begins anew")
            self._stop.set()
            self._lost()

    def _guarded(self, action: Callable[[], object]) -> None:
        """What the store raises is said, and tried again with the next beat: a service outlives its database's
        absence."""
        try:
            action()
            self._service.tell()
        except StoreError as error:
            log.warning("%s; it is tried again", error)

    def stop(self) -> None:
        """End in order: what is hosted is free for other schedulers."""
        self._stop.set()
        self._ticker.stop()
        self._thread.join(timeout=5)
        for executor in self._service.scheduler.executors.values():
            executor.stop(1.0)
        self._guarded(self._service.stop)
