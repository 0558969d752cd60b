"""What the process executor decides: who runs what, who is killed, what is reported. No thread and no waiting in here.

`ProcessExecutor` holds its lock around every call, waits on `selector`, and hands `reports` to the sink.

An entry is in exactly one place: `_pending`, or in flight on one worker. It leaves by exactly one report. What has
started can be told with certainty (see `plait.worker.process`), so a worker's end costs only what it was running:
what was queued behind goes back. A worker that makes no progress while others wait behind it has those recalled.
"""

import os
import selectors
import signal
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from plait.adapters.executors.estimates import Estimates
from plait.adapters.executors.worker_link import Doom, Entry, WorkerLink, depth, share
from plait.adapters.executors.zygote_link import RestartBudget, ZygoteLink
from plait.adapters.logs.segments import SegmentReader
from plait.model.ids import RunId, Token
from plait.model.outcome import LogSpan, Outcome, Verdict
from plait.model.wire import Execution, Finished, Report, Returned, Started
from plait.worker import endings, frames

RECALL_AFTER = 0.025
"""Seconds without progress after which what is queued behind a running execution is recalled."""
_IDLE_DEATHS = 5
_FORK_PAUSE = 1.0
_LAST_RESORT = 5.0


class Pool:
    """Workers of one code location, and the executions that wait for them or are there."""

    def __init__(self, factory: str, config: dict[str, Any], folder: Path, workers: int, load_timeout: float):
        self._factory, self._config, self._folder = factory, config, folder
        self._workers, self._load_timeout = workers, load_timeout
        self._prefix = f"{time.time_ns() // 1_000_000:x}-{os.getpid()}"
        self._names = 0
        self._reader = SegmentReader(folder)
        self.selector = selectors.DefaultSelector()
        self.reports: list[Report] = []
        self.estimates = Estimates()
        self.zygote: ZygoteLink | None = None
        self._budget = RestartBudget()
        self._failure: tuple[str, str] = ("", "")
        self._links: dict[str, WorkerLink] = {}
        self._pending: deque[Entry] = deque()
        self._entries: dict[tuple[str, int], Entry] = {}
        self._idle_deaths = 0
        self._fork_after = 0.0
        self.stop_at: float | None = None
        self._last_call = False

    # taking and handing out

    def room(self) -> int:
        """How many more executions are welcome."""
        return max(0, self._workers * depth(self._workers, self.estimates.overall) - len(self._entries))

    def submit(self, executions: Sequence[Execution], now: float) -> None:
        """Take these, hand out what can be handed out."""
        get = self.estimates.guess
        for execution in executions:
            run = execution.run
            entry = Entry(execution, get((run.workflow, execution.key)))
            self._entries[run.run_id, execution.token] = entry
            self._pending.append(entry)
        self.dispatch(now)

    def dispatch(self, now: float) -> None:
        """Give pending entries to workers that accept them; fork workers that would help."""
        if self.zygote is None or not self.zygote.loaded or self.stop_at is not None:
            return
        batches: dict[WorkerLink, list[Entry]] = {}
        pending = self._pending
        while pending:
            link = self._choose(pending[0])
            if link is None:
                break
            entry = pending.popleft()
            link.add(entry, now)
            batches.setdefault(link, []).append(entry)
        for link, entries in batches.items():
            link.push(entries)
            self._watch(link)
        self._grow(now)

    def _choose(self, entry: Entry) -> WorkerLink | None:
        best: WorkerLink | None = None
        for link in self._links.values():
            if link.pid is None or not link.accepts(entry):
                continue
            if link.idle:
                return link
            if best is None or link.load < best.load:
                best = link
        return best

    def _grow(self, now: float) -> None:
        """Fork a worker for each waiting entry that no worker about to start will take."""
        waiting, starting = len(self._pending), 0
        for link in self._links.values():
            waiting += max(0, len(link.queue) - 1)
            starting += link.pid is None or link.idle
        if waiting > starting and now >= self._fork_after:
            for _ in range(min(waiting - starting, self._workers - len(self._links))):
                self._fork(now)

    def _fork(self, now: float) -> None:
        assert self.zygote is not None  # dispatch has looked
        self._names += 1
        try:
            link = WorkerLink(f"{self._prefix}-{self._names}", share(self._workers))
        except OSError as error:  # no more file descriptors
            self._fork_after = now + _FORK_PAUSE
            self._count_idle_death(f"no worker process can be started: {error}")
            return
        try:
            self.zygote.fork(link.name, link.far_ends())
        except OSError:  # it is gone; its socket's end is being read next
            link.close()
            return
        link.handed_over()
        self._links[link.name] = link
        self.selector.register(link.sock, selectors.EVENT_READ, link)

    def _watch(self, link: WorkerLink) -> None:
        """Ask for the socket's readiness to take more, while something is unsent."""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if link.unsent else 0)
        if self.selector.get_key(link.sock).events != events:
            self.selector.modify(link.sock, events, link)

    def adopt(self, run_id: RunId) -> list[Token]:
        """The executions of a run that have not left by a report."""
        return [entry.execution.token for (run, _), entry in self._entries.items() if run == run_id]

    # what workers say

    def on_worker(self, link: WorkerLink, events: int, now: float) -> None:
        """A worker's socket is ready."""
        if events & selectors.EVENT_WRITE:
            link.flush()
            self._watch(link)
        if events & selectors.EVENT_READ and self._hear(link, now):
            # Its end is closed: the zygote tells how it ended. Until then it takes nothing.
            self.selector.unregister(link.sock)
            link.dismiss()

    def _hear(self, link: WorkerLink, now: float) -> bool:
        try:
            messages, closed = link.receive()
        except msgspec.DecodeError:  # user code wrote to a file descriptor that is not its own
            if link.queue:
                link.doom = link.doom or Doom(link.queue[0], Verdict.CRASHED, "its worker sent what is no message")
            self._kill(link)
            return False
        for message in messages:
            if isinstance(message, frames.Ended):
                self._on_ended(link, message, now)
            else:
                self._on_began(link, message, now)
        return closed

    def _on_began(self, link: WorkerLink, began: frames.Began, now: float) -> None:
        entry = link.find(began.seq)
        if entry is None:
            return
        execution = entry.execution
        entry.began, entry.log = began.at, (began.segment, began.offset)
        if execution.timeout is not None:
            late = min(max(0.0, time.time() - began.at), execution.timeout)
            link.deadline, link.deadline_of = now + execution.timeout - late, entry
        self.reports.append(
            Started(execution.run.run_id, execution.no, execution.token, began.at, began.segment, began.offset)
        )

    def _on_ended(self, link: WorkerLink, ended: frames.Ended, now: float) -> None:
        entry = link.ended(ended.seq, now)
        if entry is not None:
            self._idle_deaths = 0
            self.estimates.learn((entry.execution.run.workflow, entry.execution.key), ended.took)
            self._finish(entry, ended.outcome)

    def _finish(self, entry: Entry, outcome: Outcome) -> None:
        execution = entry.execution
        del self._entries[execution.run.run_id, execution.token]
        self.reports.append(Finished(execution.run.run_id, execution.no, execution.token, outcome))

    def _give_back(self, entries: Sequence[Entry]) -> None:
        for entry in entries:
            execution = entry.execution
            del self._entries[execution.run.run_id, execution.token]
            self.reports.append(Returned(execution.run.run_id, execution.no, execution.token))

    # ending executions

    def cancel(self, run_id: str, token: int, reason: str, now: float) -> None:
        """End one execution, running or queued."""
        entry = self._entries.get((run_id, token))
        if entry is None:
            return
        if entry.link is not None:
            self._doom(entry.link, Doom(entry, Verdict.CANCELLED, reason), now)
        else:
            self._pending.remove(entry)
            self._finish(entry, endings.cancelled(reason))
        self.dispatch(now)

    def _doom(self, link: WorkerLink, doom: Doom, now: float) -> None:
        """Kill a worker for one of its entries; not if that one turns out to have ended, or not to have begun.

        Nothing else can be hit: with the permits taken back, the worker can begin nothing more; and if it had gone on
        to another execution before, the end of this one is in the socket by now, and is read here.
        """
        if link.doom is not None:
            return
        back = link.recall()
        self._hear(link, now)
        if doom.entry in back:
            back.remove(doom.entry)
            self._finish(doom.entry, endings.cancelled(doom.reason))
        elif doom.entry in link.queue:
            self._give_back(back)
            link.doom = doom
            self._kill(link)
            return
        self._pending.extendleft(reversed(back))

    def _kill(self, link: WorkerLink) -> None:
        link.killed = True
        link.deadline = None
        if self.zygote is not None:
            try:
                self.zygote.kill(link.name)
            except OSError:  # it is gone; its end is being read next, and takes all workers along
                return

    # what the zygote says

    def on_zygote(self, now: float) -> None:
        """The zygote's socket is ready."""
        assert self.zygote is not None  # its socket was registered
        messages, closed = self.zygote.receive()
        for message in messages:
            match message:
                case frames.Loaded():
                    self.zygote.loaded = True
                case frames.LoadFailed():
                    self._drop_zygote(message.message, message.traceback)
                    return
                case frames.Forked():
                    if message.worker in self._links:
                        self._links[message.worker].pid = message.pid
                case frames.ForkFailed():
                    self._fork_after = now + _FORK_PAUSE
                    self._on_exit(message.worker, f"no worker process can be started: {message.reason}", now)
                case frames.Exited():
                    self._on_exit(message.worker, endings.describe_exit(message.code), now)
        if closed:
            self._on_zygote_death(now)

    def _on_exit(self, worker: str, what: str, now: float) -> None:
        link = self._links.pop(worker, None)
        if link is None:
            return
        self._hear(link, now)
        back = link.recall()
        began = list(link.queue)
        for entry in began:
            self._finish(entry, self._verdict(link, entry, what))
        if link.sock in self.selector.get_map():
            self.selector.unregister(link.sock)
        expected = self.stop_at is not None or link.killed
        link.close()
        if began or link.killed:
            self._give_back(back)
        else:
            self._pending.extendleft(reversed(back))
        if not began and not expected:
            self._count_idle_death(f"{what}; see {worker}.log")

    def _verdict(self, link: WorkerLink, entry: Entry, what: str) -> Outcome:
        log, doom = self._span(link, entry), link.doom
        if doom is None or doom.entry is not entry:
            return endings.crashed(what, entry.began, log)
        if doom.verdict is Verdict.FAILED:
            return endings.timed_out(entry.execution.timeout or 0.0, entry.began, log)
        if doom.verdict is Verdict.CANCELLED:
            return endings.cancelled(doom.reason, entry.began, log)
        return endings.crashed(doom.reason, entry.began, log)

    def _span(self, link: WorkerLink, entry: Entry) -> LogSpan | None:
        """Where the output of an entry lies whose worker is gone, with its final length."""
        execution = entry.execution
        if entry.log is not None:
            span = LogSpan(segment=entry.log[0], offset=entry.log[1])
        else:
            found = self._reader.find(execution.run.run_id, execution.no, execution.token, base=link.name)
            if found is None:
                return None
            span = found
        size = self._reader.size(span.segment)
        return LogSpan(segment=span.segment, offset=span.offset, length=max(0, size - span.offset))

    def _count_idle_death(self, what: str) -> None:
        """Workers that die before they begin anything are replaced, but not for ever."""
        self._idle_deaths += 1
        if self._idle_deaths >= _IDLE_DEATHS:
            self._idle_deaths = 0
            self._crash_pending(f"{_IDLE_DEATHS} times in a row, before anything began: {what}")

    def _crash_pending(self, what: str, trace: str = "") -> None:
        while self._pending:
            self._finish(self._pending.popleft(), endings.crashed(what, trace=trace))

    # the zygote's life

    def start_zygote(self, now: float) -> None:
        """Start one, if the budget allows; else what is pending crashes with the last failure."""
        if not self._budget.take(now):
            what, trace = self._failure
            self._crash_pending(f"{what} (failed too often, not tried again for a while)", trace)
            return
        try:
            name = f"{self._prefix}-zygote"
            self._folder.mkdir(parents=True, exist_ok=True)
            self.zygote = ZygoteLink(self._factory, self._config, self._folder, name, self._load_timeout, now)
        except OSError as error:
            self._failure = (f"the process of the code location cannot be started: {error}", "")
            self._crash_pending(*self._failure)
            return
        self.selector.register(self.zygote.sock, selectors.EVENT_READ, self.zygote)

    def _drop_zygote(self, what: str, trace: str = "", wait: float = 1.0) -> None:
        """It is of no more use: everything that waits crashes, for this reason."""
        self._failure = (what, trace)
        if self.zygote is not None:
            self.selector.unregister(self.zygote.sock)
            self.zygote.end(wait)
            self.zygote = None
        self._crash_pending(what, trace)

    def _on_zygote_death(self, now: float) -> None:
        assert self.zygote is not None  # its socket was registered
        loaded = self.zygote.loaded
        self.selector.unregister(self.zygote.sock)
        what = self.zygote.died()
        self.zygote = None
        self._failure = (what, "")
        for link in list(self._links.values()):
            if link.pid is not None:
                kill_group(link.pid)
            self._on_exit(link.name, f"its workers ended because {what}", now)
        if not loaded:
            self._crash_pending(what)

    # time

    def next_at(self) -> float | None:
        """Monotonic time at which `tick` has something to do, none when there is nothing to wait for."""
        if self.reports or self.ended() or (self._pending and self.zygote is None):
            return 0.0
        times = [link.deadline for link in self._links.values() if link.deadline is not None]
        times += [link.progress + RECALL_AFTER for link in self._links.values() if self._stuck(link)]
        if self.zygote is not None and not self.zygote.loaded:
            times.append(self.zygote.load_deadline)
        if self._pending and self._fork_after:
            times.append(self._fork_after)
        if self.stop_at is not None:
            times.append(self.stop_at)
        return min(times, default=None)

    @staticmethod
    def _stuck(link: WorkerLink) -> bool:
        return len(link.queue) > 1 and link.doom is None

    def tick(self, now: float) -> None:
        """Do what is due."""
        if self.zygote is None and self._pending and self.stop_at is None:
            self.start_zygote(now)
        if self.zygote is not None and not self.zygote.loaded and now >= self.zygote.load_deadline:
            self._drop_zygote(self.zygote.hung(), wait=0.0)
        for link in list(self._links.values()):
            if link.deadline is not None and now >= link.deadline and link.deadline_of is not None:
                entry = link.deadline_of
                self._doom(link, Doom(entry, Verdict.FAILED), now)
            if self._stuck(link) and now >= link.progress + RECALL_AFTER:
                self._pending.extendleft(reversed(link.recall()))
                link.progress = now
                link.hold()
        if self._fork_after and now >= self._fork_after:
            self._fork_after = 0.0
        if self.stop_at is not None and now >= self.stop_at:
            self._kill_all(now)
        self.dispatch(now)

    # the end

    def stop(self, grace: float, now: float) -> None:
        """Take back what has not started, let the workers end, kill them after the grace."""
        self.stop_at = now + grace
        self._give_back(self._pending)
        self._pending.clear()
        for link in self._links.values():
            self._give_back(link.recall())
            link.dismiss()

    def _kill_all(self, now: float) -> None:
        for link in list(self._links.values()):
            if link.killed and self._last_call:  # it did not even die of a SIGKILL in time
                self._on_exit(link.name, "the worker process did not end when it was killed", now)
                continue
            if link.queue:
                reason = "the executor was stopped, and its grace was over"
                link.doom = link.doom or Doom(link.queue[0], Verdict.CRASHED, reason)
            self._kill(link)
        self._last_call = True
        self.stop_at = now + _LAST_RESORT

    def abandon(self) -> list[Execution]:
        """Kill everything at once; what had not been reported."""
        left = [entry.execution for entry in self._entries.values()]
        for link in self._links.values():
            if link.pid is not None:
                kill_group(link.pid)
            link.close()
        self._links.clear()
        self._entries.clear()
        self._pending.clear()
        return left

    def let_go(self) -> None:
        """In a child of this process that was forked by others: close the handles, which would keep workers alive."""
        for link in self._links.values():
            link.close()
        if self.zygote is not None:
            self.zygote.sock.close()

    def ended(self) -> bool:
        """Whether a stop has come to its end."""
        return self.stop_at is not None and not self._links

    def close(self) -> None:
        """After `ended`: the zygote goes too."""
        if self.zygote is not None:
            self.zygote.end(2.0 if self.zygote.loaded else 0.0)
            self.zygote.remove_empty_log()
            self.zygote = None
        self.selector.close()


def kill_group(pid: int) -> None:
    """SIGKILL a worker whose zygote is gone, and what it started."""
    try:
        os.killpg(pid, signal.SIGKILL)
    except (ProcessLookupError, PermissionError):  # it went with its zygote; (macOS) only zombies are left
        return
