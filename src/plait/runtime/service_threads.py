"""The threads of a scheduler service: one keeps its lease, one looks around, one fires what is due; bus and executors
have their own.
"""

import logging
import threading
from collections.abc import Callable

from plait.model.errors import StoreError
from plait.ports import Clock, EventBus
from plait.runtime.lease import Heartbeat
from plait.runtime.service import Service
from plait.runtime.ticker import Ticker

log = logging.getLogger("plait.service")


class ServiceThreads:
    """Drives a service. `lost` is called once, when others took it for dead: the process has to begin anew."""

    def __init__(self, service: Service, bus: EventBus, clock: Clock, *, lost: Callable[[], None]):
        self._service = service
        self._bus = bus
        self._started = threading.Event()
        for executor in service.scheduler.executors.values():
            executor.start(service.scheduler)
        service.start()
        bus.subscribe(self._heard)
        self._ticker = Ticker(service.scheduler, clock, service)
        self._heartbeat = Heartbeat(service.lease, look=self._look, lost=lost)

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

    def _look(self) -> None:
        if self._started.is_set():
            self._guarded(self._service.after_beat)

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
        self._heartbeat.stop()
        self._ticker.stop()
        for executor in self._service.scheduler.executors.values():
            executor.stop(1.0)
        self._guarded(self._service.stop)
