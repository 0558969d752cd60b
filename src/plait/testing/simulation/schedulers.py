"""A scheduler process of a simulation: the real service, as `bootstrap.service` puts it together."""

from collections.abc import Callable, Sequence
from functools import partial

from plait.adapters.workers.hub import WorkerHub
from plait.engine.invariants import check_run
from plait.model.errors import EngineError, StoreError
from plait.model.ids import RunId
from plait.model.wire import Report
from plait.ports import IdSource, ReportSink
from plait.runtime.callees import HOST
from plait.runtime.hosted import Hosted
from plait.runtime.lease import RENEW_SECONDS, Lease
from plait.runtime.scheduler import Scheduler
from plait.runtime.service import Service
from plait.testing.simulation.locks import SeenLock
from plait.testing.simulation.loop import LEASE, Breach, Event, Host, Loop, Party
from plait.testing.simulation.network import Bus, Network, SimulatedWires
from plait.testing.simulation.outside import Door
from plait.testing.simulation.shared import SharedStore
from plait.testing.simulation.storage import Connection
from plait.testing.simulation.witness import Witness

MAIN = "main"
TICKER = "ticker"
WAITING = "io waits"
"""A thread of an executor that waits for the scheduler's lock."""
WAIT_FOR_WORKERS = 0.5


class Place:
    """What all processes of a simulation share."""

    def __init__(self, loop: Loop, store: SharedStore, witness: Witness, network: Network, ids: IdSource):
        self.loop = loop
        self.store = store
        self.witness = witness
        self.network = network
        self.ids = ids


class OwnerParty(Party):
    """A process that owns runs, through a scheduler."""

    def __init__(self, place: Place, name: str, host: Host):
        super().__init__(place.loop, name, host)
        self.place = place
        self.owner = self.name
        self.store = Connection(place.loop, self, place.store, place.witness).as_store()
        self.bus = Bus(place.network, self)
        self.lease = Lease(
            self.store,
            self.clock,
            name=self.owner,
            host=host.name,
            pid=self.pid,
            alive=lambda pid: place.loop.is_alive(host.name, pid),
        )
        self.scheduler: Scheduler
        self.lock = SeenLock()
        self._seen: dict[RunId, Hosted] = {}
        self._tick: Event | None = None

    def watch(self, scheduler: Scheduler) -> None:
        """This is the scheduler."""
        self.scheduler = scheduler
        scheduler.lock = self.lock  # type: ignore[assignment]  # it does what is asked of a lock here
        scheduler.observers.append(lambda hosted, decision: self._seen.update({hosted.run.run_id: hosted}))

    @property
    def locked(self) -> bool:
        """Whether a thread of it that stands still holds the scheduler's lock."""
        return self.lock.depth > 0

    # --- the threads of executors -------------------------------------------------------------------------------------

    def take(self, sink: ReportSink, reports: Sequence[Report]) -> None:
        """They report. While another thread holds the scheduler's lock, they get as far as they can without it."""
        pumping = self.scheduler._pumping
        if self.locked and pumping.acquire(blocking=False):
            try:
                sink.report(reports)
            finally:
                pumping.release()
            self.do(WAITING, self.scheduler.pump)
        else:
            sink.report(reports)

    # --- the timer thread (as `runtime.ticker`) -----------------------------------------------------------------------

    def begin_ticker(self) -> None:
        """The timer thread begins."""
        self.scheduler.nudge = self._nudged
        self._wait_for_timer()

    def next_timer(self) -> float | None:
        """When it has something to do next."""
        return self.scheduler.next_timer()

    def on_time(self) -> None:
        """Do what is due."""
        self.scheduler.on_time()

    def _nudged(self) -> None:
        if self._tick is None or self._tick.at > self.loop.now:
            self._tick_at(0.0)

    def _tick_at(self, delay: float) -> None:
        if self._tick is not None:
            self._tick.cancelled = True
        self._tick = self.do(TICKER, self._on_tick, delay)

    def _on_tick(self) -> None:
        self._tick = None
        self.on_time()
        if self._tick is None:
            self._wait_for_timer()

    def _wait_for_timer(self) -> None:
        at = self.next_timer()
        if at is not None:
            self._tick_at(max(0.0, at - self.clock.now()))

    # --- what must hold -----------------------------------------------------------------------------------------------

    def look_at_itself(self) -> None:
        """Every run that has moved is as it must be, and what is held of the limits is what the store says."""
        if not self._seen:
            return
        seen, self._seen = self._seen, {}
        for run_id in seen:
            hosted = self.scheduler.runs.get(run_id)
            if hosted is not None and hosted.error is None:
                self._check(hosted)

    def _check(self, hosted: Hosted) -> None:
        run = hosted.run
        try:
            check_run(run)
        except EngineError as error:
            raise Breach(f"{self.name}: {error}") from None
        row = self.place.store.run_rows[run.run_id].run
        if row.owner != self.owner or row.epoch != run.epoch or not self.settled(hosted):
            return
        held = {
            (use.key, run_id, no): use.slots
            for (run_id, no), uses in self.scheduler.limits.held.items()
            for use in uses
            if run_id == run.run_id
        }
        stored = {place: slots for place, slots in self.place.store.slot_rows.items() if place[1] == run.run_id}
        if held != stored:
            raise Breach(f"F21: {self.name} thinks that run {run.run_id} holds {held}, the store says {stored}")

    def settled(self, hosted: Hosted) -> bool:
        """Whether all that was decided is committed."""
        return True


class SchedulerParty(OwnerParty):
    """`plait scheduler`."""

    def __init__(self, place: Place, host: Host, *, on_end: Callable[["SchedulerParty"], None]):
        super().__init__(place, "scheduler", host)
        self._on_end = on_end
        self._started = False
        self.wires = SimulatedWires(place.network, self, lambda: self.hub.turn())  # noqa: PLW0108  there is no hub yet
        self.hub = WorkerHub(f"/simulated/{self.name}", wires=self.wires)
        self.lease.address = self.hub.path
        scheduler = Scheduler(
            store=self.store,
            clock=self.clock,
            ids=place.ids,
            executors={
                "workers": Door(self, self.hub.tasks, place.witness),
                "flows": Door(self, self.hub.flows, place.witness),
            },
            default_executor="workers",
            owner=self.owner,
        )
        self.hub.is_live = scheduler.adoption.is_live
        scheduler.aliases[HOST] = "flows"
        self.watch(scheduler)
        self.service: Service | None = None
        self.do(MAIN, self._start)

    # --- as `SchedulerProcess` and `ServiceThreads` -------------------------------------------------------------------

    def _start(self) -> None:
        try:
            service = Service(self.scheduler, self.lease, publish=self.bus.publish)
            self.scheduler.strays = partial(self._stray, self.scheduler.strays)
            service.claiming = self.lock  # type: ignore[assignment]  # likewise
            for executor in self.scheduler.executors.values():
                executor.start(self.scheduler)
            service.start()
        except StoreError:
            self.exit()  # whoever started it starts it again
            return
        self.service = service
        self.bus.subscribe(self.heard)
        self.begin_ticker()
        self.hub.on_holding = lambda: self.heard("runs")
        self.do(LEASE, self._beat, RENEW_SECONDS)
        self.do(MAIN, self._begin, WAIT_FOR_WORKERS)

    def _begin(self) -> None:
        self._started = True
        assert self.service is not None
        self._guarded(self.service.look)

    def _stray(self, strays: Callable[[Report], None], report: Report) -> None:
        """It takes the scheduler's lock."""
        if self.locked:
            self.do(WAITING, lambda: self._stray(strays, report))
        else:
            strays(report)

    def heard(self, topic: str) -> None:
        """From the bus, or the hub."""
        if self._started and self.service is not None:
            service = self.service
            self._guarded(lambda: service.heard(topic))

    def _beat(self) -> None:
        if self.locked:
            self._guarded(self._renew_only)
        else:
            self._guarded(self._one_beat)
        if self.alive:
            self.do(LEASE, self._beat, RENEW_SECONDS)

    def _renew_only(self) -> None:
        """Another thread holds the lock; this one gets as far as it can without."""
        if not self.lease.renew():
            self.exit()

    def _one_beat(self) -> None:
        assert self.service is not None
        if not self.service.beat():
            self.loop.note(self.name, "was taken for dead, and begins anew")
            self.stop()

    def _guarded(self, action: Callable[[], object]) -> None:
        try:
            action()
            if self.service is not None:
                self.service.tell()
        except StoreError as error:
            self.loop.note(self.name, f"goes on after: {error}")

    def next_timer(self) -> float | None:
        """When the service has something to do next."""
        assert self.service is not None  # the ticker begins when that has started
        return self.service.next_timer()

    def on_time(self) -> None:
        """Do what is due."""
        assert self.service is not None  # likewise
        self.service.on_time()

    # --- ends ---------------------------------------------------------------------------------------------------------

    def stop(self) -> None:
        """End in order."""
        for executor in self.scheduler.executors.values():
            executor.stop(1.0)
        if self.service is not None:
            self._guarded(self.service.stop)
        self.exit()

    def on_death(self) -> None:
        """Its sockets are closed; somebody starts another one."""
        self.bus.close()
        self.wires.die()
        self._on_end(self)
