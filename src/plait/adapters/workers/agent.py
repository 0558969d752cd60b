"""The worker's end: connects to every scheduler of a database and runs what they hand out, in warm processes.

Theory of operation. One thread waits for the schedulers; reports come from the pools' threads and go out at once. When
a scheduler dies, its executions go on: the agent tells the others what it is at, and sends every hub their outcomes;
the scheduler that has taken the run over takes them. What it told the dead one last it tells again: that may have died
before it was recorded. So a restart of a scheduler kills no work, and repeats none.
"""

import contextlib
import logging
import os
import selectors
import socket
import threading
from collections import deque
from collections.abc import Iterable, Sequence

from plait.adapters.executors.worker_link import PREFETCH
from plait.adapters.workers import messages as m
from plait.adapters.workers.pools import MakePool, Pools
from plait.adapters.workers.stream import Stream
from plait.adapters.workers.wires import UNIX, Thread, Wires
from plait.model.wire import Finished, Report, Returned, Started
from plait.worker import endings

LOOK_AFTER = 1.0
"""Seconds after which what is idle is looked for."""
TOLD_AGAIN = 10
"""Reports that are kept for the case that their scheduler dies, in times of what may be under way in this worker: while
it records what was under way, or its database is away, as much again may end, and more than once."""
KEEP_ORPHANS = 600.0
"""Seconds for which the outcomes of a dead scheduler's executions are kept while no scheduler is there."""
_log = logging.getLogger("plait.workers")


class _Hub(Stream):
    """A connected scheduler."""

    def __init__(self, address: str, sock: socket.socket, last: int):
        super().__init__(sock, m.ToAgent)
        self.address = address
        self.last: deque[Report] = deque(maxlen=last)
        """What it was told last."""
        self.taken = {m.TASKS: 0, m.FLOWS: 0}
        self.told: dict[str, m.Room] = {}
        """The room that it knows of."""


class _Entry:
    __slots__ = ("began", "hub", "kind", "no")

    def __init__(self, hub: _Hub, kind: str, no: int):
        self.hub: _Hub | None = hub
        """None once its scheduler is gone."""
        self.kind = kind
        self.no = no
        self.began = False
        """Whether its start was told; that of one that is short never is."""


class Agent:
    """Runs executions for schedulers. `workers` and `flows`: how many processes of each kind at once."""

    def __init__(
        self,
        name: str,
        *,
        make_tasks: MakePool,
        make_flows: MakePool,
        workers: int,
        flows: int,
        wires: Wires = UNIX,
    ):
        self._name = name
        self._lock = threading.RLock()
        self._pools = {m.TASKS: Pools(make_tasks, workers, self), m.FLOWS: Pools(make_flows, flows, self)}
        self._last = TOLD_AGAIN * max(workers, PREFETCH)
        self._hubs: dict[str, _Hub] = {}
        self._entries: dict[m.Key, _Entry] = {}
        self._kept: list[tuple[float, Report]] = []
        """Reports for which there was no scheduler."""
        self._wires = wires
        self._selector = wires.selector()
        self._wake_out, self._wake_in = wires.pair()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._stopping = False
        self._stopped = False
        self._thread: Thread | None = None

    def start(self) -> None:
        """Begin to serve."""
        self._thread = self._wires.spawn("plait-agent", self._serve)

    @property
    def connected(self) -> set[str]:
        """The addresses of the schedulers that are connected."""
        with self._lock:
            return set(self._hubs)

    def connect(self, addresses: Iterable[str]) -> None:
        """Connect to the schedulers at these addresses, where that has not happened yet."""
        for address in addresses:
            with self._lock:
                if address in self._hubs or self._stopping:
                    continue
            try:
                sock = self._wires.connect(address)
            except OSError:  # it is gone, or not there yet: it is tried again
                continue
            self._join(_Hub(address, sock, self._last))

    def _join(self, hub: _Hub) -> None:
        with self._lock:
            self._hubs[hub.address] = hub
            self._selector.register(hub.sock, selectors.EVENT_READ, hub)
            hub.send(m.Hello(self._name, os.getpid()))
            self._tell_held([hub])
            kept, self._kept = self._kept, []
            self._say([hub], [report for _, report in kept], [])
            self._wake()

    def _tell_held(self, hubs: Sequence[_Hub]) -> None:
        held = [m.Held(key[0], entry.no, key[1], entry.began) for key, entry in self._entries.items()  # type: ignore[arg-type]  # numbers as they came
                if entry.hub is None and entry.kind == m.TASKS]  # fmt: skip
        held += [m.Held(report.run_id, report.no, report.token, began=True) for _, report in self._kept]
        for hub in hubs:
            if held:
                hub.send(m.Holding(held))

    # --- reports (the port `ReportSink`) ------------------------------------------------------------------------------

    def report(self, reports: Sequence[Report]) -> None:
        """From the pools' threads: to the scheduler that an execution is from, or to all when that is gone."""
        by_hub: dict[str, tuple[list[Report], list[Report]]] = {}
        with self._lock:
            for report in reports:
                self._sort(report, by_hub)
            for address, (tasks, flows) in by_hub.items():
                hub = self._hubs.get(address)
                if hub is not None:
                    self._say([hub], tasks, flows)
            self._say([hub for hub in self._hubs.values() if self._is_hungry(hub)], [], [])

    def _sort(self, report: Report, by_hub: dict[str, tuple[list[Report], list[Report]]]) -> None:
        key = (report.run_id, report.token)
        entry = self._entries.get(key)
        if entry is None:
            return
        if isinstance(report, Started):
            entry.began = True
        else:
            del self._entries[key]
            self._pools[entry.kind].reported(report)
        addresses = [entry.hub.address] if entry.hub is not None else list(self._hubs)
        if not addresses and entry.kind == m.TASKS and isinstance(report, Finished):
            self._kept.append((self._wires.now(), report))
        for address in addresses:
            by_hub.setdefault(address, ([], []))[entry.kind == m.FLOWS].append(report)

    def _say(self, hubs: Iterable[_Hub], tasks: list[Report], flows: list[Report]) -> None:
        for hub in hubs:
            hub.told = self._room(hub)
            hub.last.extend(report for report in tasks if isinstance(report, Finished))
            hub.send(m.Said(tasks, flows, hub.told))
            self._watch(hub)

    def _is_hungry(self, hub: _Hub) -> bool:
        """Whether a scheduler thinks that there is no room, and there is: others had taken it, and nothing of its own
        ends that would tell it."""
        now = self._room(hub)
        return any(now[kind].free > 0 and told.free <= now[kind].taken - told.taken for kind, told in hub.told.items())

    def _room(self, hub: _Hub) -> dict[str, m.Room]:
        """What this scheduler may send: its share of what is free."""
        share = max(1, len(self._hubs))
        return {
            kind: m.Room(0 if self._stopping else -(-pools.free() // share), hub.taken[kind])
            for kind, pools in self._pools.items()
        }

    def _watch(self, hub: _Hub) -> None:
        if hub.open and self._selector.get_key(hub.sock).events != hub.wants:
            self._selector.modify(hub.sock, hub.wants, hub)
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is full, the thread is being woken; or closed, it has ended
            self._wake_in.send(b"x")

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._stopped:
                self.turn()
        except Exception:  # noqa: BLE001  a defect of plait: the process ends, and its work is offered to others
            _log.exception("the worker failed")
            os._exit(70)
        self._close()

    def turn(self) -> None:
        """Wait until something has come, and deal with it."""
        ready = self._selector.select(LOOK_AFTER)
        with self._lock:
            for key, events in ready:
                if isinstance(key.data, _Hub):
                    self._on_hub(key.data, events)
                else:
                    self._wake_out.recv(4096)
            idle = [executor for pools in self._pools.values() for executor in pools.idle()]
            old = self._wires.now() - KEEP_ORPHANS
            self._kept = [(at, report) for at, report in self._kept if at > old]
        for executor in idle:
            executor.stop(0.0)

    def _on_hub(self, hub: _Hub, events: int) -> None:
        if not hub.open:
            return
        if events & selectors.EVENT_WRITE:
            hub.flush()
            self._watch(hub)
        if not events & selectors.EVENT_READ:
            return
        messages, closed = hub.receive()
        for message in messages:
            if isinstance(message, m.Batch):
                self._take(hub, message)
            else:
                self._cancel(message)
        if closed:
            self._lost(hub)

    def _take(self, hub: _Hub, batch: m.Batch) -> None:
        executions = m.executions_of(batch)
        hub.taken[batch.kind] += len(executions)
        if self._stopping:
            self._say([hub], [Returned(each.run.run_id, each.no, each.token) for each in executions], [])
            return
        for execution in executions:
            self._entries[execution.run.run_id, execution.token] = _Entry(hub, batch.kind, execution.no)
        try:
            self._pools[batch.kind].submit(executions)
        except OSError as error:  # no more processes or file descriptors: told as what it is, the retry policies count
            outcome = endings.crashed(f"the worker {self._name} cannot start processes: {error}")
            self.report([Finished(each.run.run_id, each.no, each.token, outcome) for each in executions])

    def _cancel(self, cancel: m.Cancel) -> None:
        for pools in self._pools.values():
            executor = pools.executor_of(cancel.run_id, cancel.token)
            if executor is not None:
                executor.cancel(cancel.run_id, cancel.token, cancel.reason)

    def _lost(self, hub: _Hub) -> None:
        """A scheduler is gone: the others hear what is here of it."""
        del self._hubs[hub.address]
        self._selector.unregister(hub.sock)
        for entry in self._entries.values():
            if entry.hub is hub:
                entry.hub = None
        others = list(self._hubs.values())
        self._kept += [(self._wires.now(), report) for report in hub.last]
        self._tell_held(others)
        self._say(others, [report for _, report in self._kept], [])
        if others:
            self._kept = []
        hub.close()  # last: one that stops in order gives its runs to the others as soon as it sees this

    # --- the end ------------------------------------------------------------------------------------------------------

    def stop(self, grace: float = 5.0) -> None:
        """Take nothing more, give back what has not begun, give the rest `grace` seconds; then end it."""
        with self._lock:
            self._stopping = True
            self._say(self._hubs.values(), [], [])
            executors = [executor for pools in self._pools.values() for executor in pools.all()]
        for executor in executors:
            executor.stop(grace)
        self._stopped = True
        self._wake()
        if self._thread is not None:
            self._thread.join()

    def _close(self) -> None:
        for hub in self._hubs.values():
            hub.flush()
            hub.close()
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()
