"""The processes of a service, put together: the scheduler and its hub, the worker and its agent; asking for runs."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from plait.bootstrap import Settings, open_bus, open_session, open_store, open_triggerer, result_store, user_path
from plait.model.errors import PlaitError, StoreError
from plait.ports import Executor, Runner, RunStore

if TYPE_CHECKING:
    from plait.adapters.workers.hub import WorkerHub
    from plait.authoring.definitions import Definitions, Workflow
    from plait.engine.partitions.answers import Said
    from plait.model.ids import RunId
    from plait.model.rows import PublishedRow
    from plait.runtime.retention import RetentionThread
    from plait.services.deployments import Synced
    from plait.worker.asking import Question

FLOWS_AT_ONCE = 32
"""Bodies of flows that one worker runs at the same time: most of them wait for their tasks."""
LOOK_AT_FILES = 2.0
"""Seconds between two looks whether files of definitions have changed."""
WAIT_FOR_FILES = 3.0
"""Seconds that a scheduler waits at its start for the first look at its files, before it takes runs."""
WAIT_FOR_WORKERS = 0.5
"""Seconds that a scheduler waits at its start for workers that may be at its runs already."""
RECONNECT = 1.0
LOOK_AT_OWNERS = 15.0
LOOK_AT_LOGS = 3600.0
"""Seconds between two looks of a worker for logs that are too old."""
log = logging.getLogger("plait.service")


def _hub_path(settings: Settings) -> str:
    from plait.adapters.sockets import private_folder

    folder = private_folder("plait-hub", os.path.realpath(settings.home) + settings.db)
    return str(folder / f"{os.getpid()}-{os.urandom(4).hex()}")


class SchedulerProcess:
    """A scheduler service in this process. `targets`: the code locations that it deploys, and deploys again when they
    change. `done` is set when it has to end: it was stopped, or (`lost`) others took it for dead."""

    def __init__(self, settings: Settings, targets: Sequence[str] = (), *, load_timeout: float = 30.0):
        from plait.adapters.clock import SystemClock
        from plait.adapters.ids import Uuid7Source
        from plait.adapters.workers.hub import WorkerHub
        from plait.runtime.callees import HOST
        from plait.runtime.lease import Lease
        from plait.runtime.scheduler import Scheduler
        from plait.runtime.service import Service
        from plait.runtime.service_threads import ServiceThreads
        from plait.runtime.triggers import CodeTriggers
        from plait.runtime.wait_nodes import WaitNodes
        from plait.services.deployments import Deployments

        self.targets = [str(Path(target).resolve()) for target in targets]
        self.done = threading.Event()
        self.lost = False
        self._complaints: dict[str, str] = {}
        """What was said last of a code location that cannot be looked at."""
        self._store = open_store(settings)
        self._clock = SystemClock()
        self._bus = open_bus(settings)
        self._deployments = Deployments(self._store, self._clock, load_timeout=load_timeout)
        self._synced = threading.Event()
        self.hub: WorkerHub = WorkerHub(_hub_path(settings))
        lease = Lease(self._store, self._clock)
        lease.address = self.hub.path
        self._scheduler = Scheduler(
            store=self._store,
            clock=self._clock,
            ids=Uuid7Source(),
            executors={"workers": self.hub.tasks, "flows": self.hub.flows},
            default_executor="workers",
            owner=lease.owner,
        )
        self.hub.is_live = self._scheduler.adoption.is_live
        self._scheduler.aliases[HOST] = "flows"
        self._triggers = CodeTriggers(self._scheduler, lambda target, sink: open_triggerer(settings, target, sink))
        self._scheduler.carrier.start_trigger = self._triggers.start
        self._scheduler.carrier.wait_node = WaitNodes(self._scheduler.post, result_store(settings).put).execute
        service = Service(self._scheduler, lease, publish=self._bus.publish, host=self._ask)
        self._threads = ServiceThreads(service, self._bus, self._clock, lost=self._on_lost)
        self.hub.on_holding = lambda: self._threads.heard("runs")
        self._watcher = threading.Thread(target=self._watch, name="plait-files", daemon=True)
        self._retention: RetentionThread | None = None
        self._settings = settings

    def _on_lost(self) -> None:
        self.lost = True
        self.done.set()

    def begin(self) -> None:
        """Deploy, and take runs. Files that take long to load are not waited for."""
        self._watcher.start()
        deadline = time.monotonic() + WAIT_FOR_FILES
        while not (self._synced.wait(0.01) or self.done.is_set()) and time.monotonic() < deadline:
            pass
        deadline = time.monotonic() + WAIT_FOR_WORKERS
        while not self.hub.workers and time.monotonic() < deadline:
            self.done.wait(0.01)
        self._threads.begin()
        self._retention = _retention(self._settings, self._store, self._scheduler.owner)

    def sync(self, target: str) -> Synced | None:
        """Deploy what a code location defines now, if it has changed; none when it is not to be had."""
        try:
            synced = self._deployments.sync(target, wanted=lambda: not self.done.is_set())
        except Exception as error:  # noqa: BLE001  files may go while they are looked at: it is said, the next look tells
            self._complain(target, error)
            return None
        self._complaints.pop(target, None)
        if synced.changed:
            self._bus.publish("definitions")
            self._threads.heard("definitions")
        if synced.loaded or synced.gone:
            _tell(synced)
        return synced

    def _complain(self, target: str, error: Exception) -> None:
        """Say it once, not with every look."""
        if self._complaints.get(target) != str(error) and not self.done.is_set():
            self._complaints[target] = str(error)
            log.warning("%s is not deployed: %s", target, error, exc_info=not isinstance(error, PlaitError))

    def _ask(self, question: Question, target: str, files: Sequence[str] | None, /) -> Said:
        from plait.worker.isolated import ask_isolated

        return ask_isolated(question, target, files, lambda: not self.done.is_set())

    def _watch(self) -> None:
        while not self.done.is_set():
            for target in self.targets:
                self.sync(target)
            self._synced.set()
            self.done.wait(LOOK_AT_FILES)

    def close(self) -> None:
        """Stop everything; open runs are free for other schedulers, what workers are at goes on."""
        self.done.set()
        self.hub.part(1.0)
        self._triggers.stop()
        self._threads.stop()
        if self._watcher.is_alive():
            self._watcher.join(timeout=5)
        if self._retention is not None:
            self._retention.stop()
        self._bus.close()
        self._store.close()


def _retention(settings: Settings, store: RunStore, owner: str) -> RetentionThread:
    """What deletes old runs, at its work."""
    from plait.adapters.clock import SystemClock
    from plait.adapters.logs.segments import SegmentReader
    from plait.runtime.retention import Retention, RetentionThread
    from plait.worker import caching

    results = result_store(settings)
    return RetentionThread(
        Retention(
            store,
            SystemClock(),
            owner,
            settings.retention_days,
            delete_results=results.delete,
            prune_logs=SegmentReader(settings.logs).prune,
            prune_cache=lambda unused_since, limit: caching.prune(results, unused_since, limit),
        )
    )


def _tell(synced: Synced) -> None:
    counts = len(synced.loaded), len(synced.deployed), len(synced.gone), len(synced.assets)
    log.info("%d files loaded: %d workflows deployed, %d gone; %d assets", *counts)
    for row in synced.errors:
        log.error("%s", row.error)


class WorkerProcess:
    """A worker: connects to the schedulers on its database, and runs what they hand out."""

    def __init__(self, settings: Settings, *, workers: int | None = None, flows: int = FLOWS_AT_ONCE):
        import socket

        from plait.adapters.workers.agent import Agent

        count = workers or os.cpu_count() or 1
        self.done = threading.Event()
        self._settings = settings
        self._look = threading.Event()
        self._prune_at = 0.0
        self._store: RunStore = open_store(settings)
        self._bus = open_bus(settings)
        self._agent = Agent(
            f"{socket.gethostname()}:{os.getpid()}",
            make_tasks=lambda target: _pool(settings, target, "plait.bootstrap:build_runner", count),
            make_flows=lambda target: _pool(settings, target, "plait.bootstrap.service:build_flow_runner", flows),
            workers=count,
            flows=flows,
        )

    def serve(self) -> None:
        """Until `done` is set."""
        self._agent.start()
        self._bus.subscribe(lambda topic: self._look.set() if topic == "owner" else None)
        while not self.done.is_set():
            self._look.clear()
            try:
                self._agent.connect(row.address for row in self._store.owners() if row.address)
            except StoreError as error:
                log.warning("%s; it is tried again", error)
            self._prune_logs()
            self._look.wait(LOOK_AT_OWNERS if self._agent.connected else RECONNECT)

    def _prune_logs(self) -> None:
        """Delete old logs, every now and then: those of this host, on which no scheduler may be."""
        from plait.adapters.logs.segments import SegmentReader
        from plait.runtime.retention import DAY

        days, now = self._settings.retention_days, time.time()
        if not days or now < self._prune_at:
            return
        self._prune_at = now + LOOK_AT_LOGS
        try:
            SegmentReader(self._settings.logs).prune(now - days * DAY)
        except OSError as error:
            log.warning("old logs could not be deleted, it is tried again: %s", error)

    def stop(self) -> None:
        """From a signal handler: `serve` returns."""
        self.done.set()
        self._look.set()

    def close(self, grace: float = 5.0) -> None:
        """Give back what has not begun; what has, gets `grace` seconds."""
        self._agent.stop(grace)
        self._bus.close()
        self._store.close()


def _pool(settings: Settings, target: str, factory: str, workers: int) -> Executor:
    from plait.adapters.executors.processes import ProcessExecutor

    config = {"target": target, "path": user_path(), **_as_config(settings)}
    return ProcessExecutor(factory, config, segments=settings.logs, workers=workers)


def _as_config(settings: Settings) -> dict[str, Any]:
    return {"home": str(settings.home), "db": settings.db, "results": settings.results, "logs": str(settings.logs)}


def build_flow_runner(config: dict[str, Any]) -> Runner:
    """The runner of the processes in which bodies of flows run: everything is imported before they are forked."""
    import plait.adapters.executors.processes
    import plait.adapters.executors.threads
    import plait.runtime.loop_bodies
    import plait.runtime.loop_calls  # noqa: F401  what sessions import, or bodies with an async task, is imported once, here
    from plait.bootstrap import load_definitions
    from plait.runtime.flow_runner import FlowRunner

    settings = Settings(
        home=Path(config["home"]), db=config["db"], results=config["results"], logs=Path(config["logs"])
    )
    definitions = load_definitions(config)
    return FlowRunner(definitions, lambda: open_session(settings, target=config["target"], echo=False, eager=False))


# --- asking for runs --------------------------------------------------------------------------------------------------


def request_run(  # noqa: PLR0913  each is one option of who asks
    settings: Settings,
    store: RunStore,
    definitions: Definitions,
    workflow: Workflow | None,
    *,
    params: Mapping[str, Any],
    date: str | None = None,
    partition: str | None = None,
    select: str | None = None,
    target: str,
) -> RunId:
    """Ask for a service-owned run of a workflow, or (none) of assets: durably, for whatever scheduler comes first.
    Raises ParameterError for what does not fit."""
    from plait.adapters.clock import SystemClock
    from plait.adapters.ids import Uuid7Source
    from plait.authoring.limits import declared
    from plait.runtime.asset_requests import asset_job, assets_request
    from plait.runtime.run_params import request_of
    from plait.runtime.run_request import first_row

    now, run_id = SystemClock().now(), Uuid7Source().run_id()
    if workflow is None:
        live = asset_job(definitions, select, store, partition, now)
        request = assets_request(definitions, live, select, run_id, partition, now, store.partitions.keys)
    else:
        results = result_store(settings)
        request, _ = request_of(workflow, params, run_id, results, now, date=date, partition=partition)
        target = definitions.files.get(workflow.name, target)
    request = msgspec.structs.replace(request, target=str(Path(target).resolve()), session=False)
    graph_hash = request.graph.hash()
    store.save_graph(graph_hash, request.graph)
    store.save_limits([limit.row() for limit in declared.values()])
    with store.transaction() as tx:
        tx.create_run(first_row(request, run_id, graph_hash, None, now))
    bus = open_bus(settings)
    bus.publish("runs")
    bus.close()
    return run_id


def publish_event(settings: Settings, store: RunStore, name: str, data: Any) -> PublishedRow:
    """Publish an event, and wake the services. Raises ParameterError for one that cannot be published."""
    from plait.adapters.clock import SystemClock
    from plait.adapters.ids import Uuid7Source
    from plait.runtime.publishing import publish

    row = publish(store, SystemClock(), Uuid7Source(), name, data)
    bus = open_bus(settings)
    bus.publish("events")
    bus.close()
    return row
