"""The scheduler's end: a hub to which workers connect, and the two executors that hand executions to them.

Theory of operation. Each agent says how much room it has; `submit` sends to those with most. An execution is in the
books of exactly one link, and leaves them by one report. When a link ends, its agent is dead, and its processes with
it: what had begun is reported crashed (which uses an attempt, F4), what is not known to have begun goes back (F1, F5).

An agent outlives its schedulers. What it is at for one that died it tells every hub (`Holding`), and what it reported
last to that one; the scheduler that takes the run over adopts it (`adopt`), and its outcome counts as if nothing had
happened, where it is not recorded yet. What nobody adopts is forgotten a while after it ended.
"""

import contextlib
import logging
import selectors
import socket
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

from plait.adapters import sockets
from plait.adapters.executors.sinks import LoggedSink
from plait.adapters.workers import messages as m
from plait.adapters.workers.stream import Stream
from plait.adapters.workers.wires import UNIX, Thread, Wires
from plait.model.ids import RunId, TaskNo, Token
from plait.model.wire import PROTOCOL, Execution, Finished, Report, Returned, Started
from plait.ports import Capabilities, Capture, Kill, ReportSink
from plait.worker import endings

FORGET_AFTER = 60.0
"""Seconds for which the outcome of an execution that nobody adopted is kept."""
_log = logging.getLogger("plait.workers")


class _Entry:
    __slots__ = ("at", "began", "kind", "link", "no", "report")

    def __init__(self, link: "_Link", kind: str, no: TaskNo):
        self.link = link
        self.kind = kind
        self.no = no
        self.began = False
        self.report: Report | None = None
        """How it ended, while nobody has adopted it."""
        self.at = 0.0


class _Link(Stream):
    """A connected agent."""

    def __init__(self, sock: socket.socket):
        super().__init__(sock, m.ToHub)
        self.name = "a worker"
        self.pid = 0
        self.sent = {m.TASKS: 0, m.FLOWS: 0}
        self.room: dict[str, m.Room] = {}

    def free(self, kind: str) -> int:
        """How many more executions it would take now."""
        room = self.room.get(kind)
        return max(0, room.free - (self.sent[kind] - room.taken)) if room is not None else 0


class WorkerHub:
    """Listens at `path` (a Unix socket, private to the user). `on_holding` is called when workers of a scheduler that
    died say what they are at; `is_live` tells of a run that is being adopted whether it waits for this execution."""

    def __init__(self, path: str, *, on_holding: Callable[[], None] = lambda: None, wires: Wires = UNIX):
        self.path = path
        self.tasks = LinkedExecutor(self, m.TASKS)
        self.flows = LinkedExecutor(self, m.FLOWS)
        self.on_holding = on_holding
        self.is_live: Callable[[RunId, TaskNo, Token], bool] = lambda run_id, no, token: True
        self._lock = threading.Lock()
        self._links: list[_Link] = []
        self._entries: dict[m.Key, _Entry] = {}
        self._orphans: dict[m.Key, _Entry] = {}
        self._pending: list[Report] = []
        self._pending_flows: list[Report] = []
        """Apart, since nobody adopts them: they only say that a process is done with a body."""
        self._roomy = False
        """Whether an agent has said how much room it has: the scheduler may hand out more."""
        self._sink: LoggedSink | None = None
        self._wires = wires
        self._selector = wires.selector()
        self._wake_out, self._wake_in = wires.pair()
        self._selector.register(self._wake_out, selectors.EVENT_READ)
        self._listener: socket.socket | None = None
        self._thread: Thread | None = None
        self._parting = False
        self._parted = threading.Event()
        self._stopped = False

    def start(self, sink: ReportSink) -> None:
        """Listen. Called by the first of the two executors that is started."""
        if self._thread is not None:
            return
        self._sink = LoggedSink(sink)
        self._listener = self._wires.listen(self.path)
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._thread = self._wires.spawn("plait-hub", self._serve)

    @property
    def workers(self) -> int:
        """How many agents are connected."""
        return len(self._links)

    # --- what the executors ask ---------------------------------------------------------------------------------------

    def capacity(self, kind: str) -> int:
        """How much room the agents have together."""
        if self._parting:
            return 0
        return sum(link.free(kind) for link in self._links)

    def submit(self, kind: str, executions: Sequence[Execution]) -> None:
        """Send these to the agents that have most room."""
        with self._lock:
            left = list(executions)
            for link in sorted(self._links, key=lambda each: -each.free(kind)):
                share = left[: link.free(kind)]
                if share:
                    self._send(link, kind, share)
                    del left[: len(share)]
            if left and self._links:  # more than they asked for: one of them queues it
                self._send(max(self._links, key=lambda each: each.free(kind)), kind, left)
                left = []
            self._pending += [Returned(each.run.run_id, each.no, each.token) for each in left]
        if left:
            self._wake()

    def _send(self, link: _Link, kind: str, executions: list[Execution]) -> None:
        for execution in executions:
            self._entries[execution.run.run_id, execution.token] = _Entry(link, kind, execution.no)
        link.sent[kind] += len(executions)
        link.send(m.batch_of(kind, executions))
        self._watch(link)

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """Tell the agent that is at it."""
        with self._lock:
            entry = self._entries.get((run_id, token)) or self._orphans.get((run_id, token))
            if entry is not None:
                entry.link.send(m.Cancel(run_id, token, reason))
                self._watch(entry.link)

    def adopt(self, run_id: RunId) -> list[Token]:
        """The executions of a run that agents are at: from now on they are this scheduler's."""
        with self._lock:
            for link in list(self._links):  # what they said of the run's last scheduler may not have been read yet
                self._on_link(link, selectors.EVENT_READ)
            tokens = [each.token for each in self._pending if each.run_id == run_id and not isinstance(each, Started)]
            for key in [key for key in self._orphans if key[0] == run_id]:
                entry = self._orphans.pop(key)
                if entry.report is None:
                    self._entries[key] = entry
                elif self.is_live(run_id, entry.no, key[1]):  # it has ended: that is told once, and then it is not here
                    self._pending.append(entry.report)
                    tokens.append(key[1])
            tokens += [key[1] for key, entry in self._entries.items() if key[0] == run_id and entry.kind == m.TASKS]
        self._wake()
        return tokens

    def part(self, patience: float) -> None:
        """Before the runs are given to other schedulers: hand out nothing more, and have the agents hang up, which tell
        the others before what they are at. Waits for at most `patience` seconds."""
        with self._lock:
            self._parting = True
            for link in self._links:
                link.finish()
            if not self._links:
                self._parted.set()
        self._parted.wait(patience)

    def stop(self) -> None:
        """Let the agents go: they keep what they are at, for the next scheduler."""
        if self._stopped:
            return
        self._stopped = True
        self._wake()
        if self._thread is not None:
            self._thread.join()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # it is full, the thread is being woken; or closed, it has ended
            self._wake_in.send(b"x")

    def _watch(self, link: _Link) -> None:
        """Wait for the link's readiness to take more, while something is unsent."""
        if link.open and self._selector.get_key(link.sock).events != link.wants:
            self._selector.modify(link.sock, link.wants, link)
            self._wake()

    # --- the thread ---------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        try:
            while not self._stopped:
                self.turn()
        except Exception:  # noqa: BLE001  a defect of plait: said, and the workers connect to another scheduler
            _log.exception("the hub for workers failed")
        finally:
            self._close()

    def turn(self) -> None:
        """Wait until something has come, and deal with it."""
        ready = self._selector.select(FORGET_AFTER)
        held = False
        with self._lock:
            for key, events in ready:
                if isinstance(key.data, _Link):
                    held = self._on_link(key.data, events) or held
                elif key.fileobj is self._wake_out:
                    self._wake_out.recv(4096)
                else:
                    self._accept()
            self._forget_old()
            reports = [*self._pending, *self._pending_flows]
            self._pending, self._pending_flows = [], []
            roomy, self._roomy = self._roomy, False
        if (reports or roomy) and self._sink is not None:
            self._sink.report(reports)
        if held:
            self.on_holding()

    def _accept(self) -> None:
        assert self._listener is not None  # only what listens is connected to
        with contextlib.suppress(BlockingIOError):  # it went away again
            link = _Link(self._listener.accept()[0])
            if self._parting:
                link.close()
                return
            self._links.append(link)
            self._selector.register(link.sock, selectors.EVENT_READ, link)

    def _on_link(self, link: _Link, events: int) -> bool:
        """Returns whether it holds executions of a scheduler that is gone."""
        if not link.open:
            return False
        if events & selectors.EVENT_WRITE:
            link.flush()
            self._watch(link)
        if not events & selectors.EVENT_READ:
            return False
        messages, closed = link.receive()
        held = False
        for message in messages:
            match message:
                case m.Said():
                    self._on_said(link, message)
                case m.Holding():
                    self._on_holding(link, message)
                    held = True
                case _:
                    self._on_hello(link, message)
        if closed:
            self._lost(link)
        return held

    def _on_hello(self, link: _Link, hello: m.Hello) -> None:
        link.name, link.pid = hello.name, hello.pid
        if hello.protocol != PROTOCOL:
            _log.error(
                "%s speaks protocol %d, this scheduler %d: upgrade the older of the two",
                hello.name,
                hello.protocol,
                PROTOCOL,
            )
            link.fail()

    def _on_holding(self, link: _Link, holding: m.Holding) -> None:
        for each in holding.tasks:
            if (each.run_id, each.token) not in self._entries:
                entry = self._orphans[each.run_id, each.token] = _Entry(link, m.TASKS, each.no)
                entry.began = each.began

    def _on_said(self, link: _Link, said: m.Said) -> None:
        link.room.update(said.room)
        for report in said.reports:
            key = (report.run_id, report.token)
            entry = self._entries.get(key)
            if entry is None:
                self._of_orphan(key, report)
            elif isinstance(report, Started):
                entry.began = True
                self._pending.append(report)
            else:
                del self._entries[key]
                self._pending.append(report)
        for report in said.flows:
            if not isinstance(report, Started):
                self._entries.pop((report.run_id, report.token), None)
            self._pending_flows.append(report)
        self._roomy = True

    def _of_orphan(self, key: m.Key, report: Report) -> None:
        orphan = self._orphans.get(key)
        if orphan is not None and isinstance(report, Started):
            orphan.began = True
        elif orphan is not None:
            orphan.report, orphan.at = report, self._wires.now()

    def _forget_old(self) -> None:
        if self._orphans:
            old = self._wires.now() - FORGET_AFTER
            for key in [key for key, each in self._orphans.items() if each.report is not None and each.at < old]:
                del self._orphans[key]

    def _lost(self, link: _Link) -> None:
        """Its agent is dead, and so are its processes; or it hangs up because this scheduler ends, and goes on."""
        self._links.remove(link)
        self._selector.unregister(link.sock)
        link.close()
        if self._parting:
            if not self._links:
                self._parted.set()
            return
        for key in [key for key, entry in self._orphans.items() if entry.link is link and entry.report is None]:
            del self._orphans[key]
        for key in [key for key, entry in self._entries.items() if entry.link is link]:
            entry = self._entries.pop(key)
            if entry.began and entry.kind == m.TASKS:
                reason = f"the worker {link.name} (process {link.pid}) died while it ran this"
                self._pending.append(Finished(key[0], entry.no, key[1], endings.crashed(reason)))
            else:
                self._pending.append(Returned(key[0], entry.no, key[1]))

    def _close(self) -> None:
        with self._lock:
            for link in self._links:
                link.close()
            self._links.clear()
        if self._listener is not None:
            self._listener.close()
            sockets.leave(Path(self.path))
        self._selector.close()
        self._wake_in.close()
        self._wake_out.close()


class LinkedExecutor:
    """One kind of executions, in the processes of the hub's workers (the port `Executor`)."""

    def __init__(self, hub: WorkerHub, kind: str):
        self.capabilities = Capabilities(
            kill=Kill.PROCESS, capture=Capture.DESCRIPTORS, placement="process", takes_runs=kind == m.FLOWS
        )
        self._hub = hub
        self._kind = kind

    def start(self, sink: ReportSink) -> None:
        """Listen for workers."""
        self._hub.start(sink)

    def capacity(self) -> int:
        """How much room the workers have."""
        return self._hub.capacity(self._kind)

    def submit(self, executions: Sequence[Execution]) -> None:
        """Send these to workers."""
        self._hub.submit(self._kind, executions)

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """Tell the worker that is at it."""
        self._hub.cancel(run_id, token, reason)

    def adopt(self, run_id: RunId) -> Sequence[Token]:
        """What workers are at of this run, whoever handed it out."""
        return self._hub.adopt(run_id) if self._kind == m.TASKS else ()

    def stop(self, grace: float = 5.0) -> None:
        """Let the workers go. They keep what they are at: the grace is theirs."""
        self._hub.stop()
