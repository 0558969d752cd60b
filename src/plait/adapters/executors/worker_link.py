"""The parent's end of one worker process: what is in flight there, and how to send, receive and recall."""

import contextlib
import os
import socket
from collections import OrderedDict, deque
from collections.abc import Sequence

from plait.model.outcome import Verdict
from plait.model.wire import Execution, RunInfo
from plait.worker import frames
from plait.worker.process import PERMIT

PREFETCH = 40
"""Short executions that may be in flight on all workers of an executor: a kill has no more than these repeated."""
PREFETCH_SECONDS = 0.020
"""Estimated work that may be in flight on one worker."""
TELL_ABOVE = 0.005
"""An execution that is expected to be shorter is not worth a message when it starts."""

_SOCKET_BUFFER = 1 << 18


def share(workers: int) -> int:
    """How many executions may be in flight on one of so many workers."""
    return max(1, PREFETCH // workers)


def depth(workers: int, mean: float | None) -> int:
    """How many are welcome there, when they take `mean` seconds (none: nothing is known)."""
    return 1 if mean is None else min(share(workers), max(1, int(PREFETCH_SECONDS / max(mean, 1e-9))))


class Entry:
    """One execution that the executor has taken and not reported yet."""

    __slots__ = ("began", "estimate", "execution", "link", "log", "seq")

    def __init__(self, execution: Execution, estimate: float | None):
        self.execution, self.estimate = execution, estimate
        self.link: WorkerLink | None = None
        self.seq = -1
        self.began: float = 0.0
        """Epoch seconds; 0 when the worker has not told."""
        self.log: tuple[str, int] | None = None

    @property
    def tell(self) -> bool:
        """Whether its start is worth a message: it may take long, or its timeout counts from there."""
        return self.estimate is None or self.estimate > TELL_ABOVE or self.execution.timeout is not None


class Doom:
    """Why a worker is being killed: for which entry, and how that one ends (failed means out of time)."""

    __slots__ = ("entry", "reason", "verdict")

    def __init__(self, entry: Entry, verdict: Verdict, reason: str = ""):
        self.entry, self.verdict, self.reason = entry, verdict, reason


class WorkerLink:
    """A worker as the parent sees it. Not thread-safe: the executor's lock is held around every call.

    `queue` has what is in flight, in order; the head is running, or about to. The parent holds the reading end of the
    permits too, see `plait.worker.process` for why. At most `most` short executions are in flight.
    """

    def __init__(self, name: str, most: int):
        self.name = name
        self._most = most
        self.pid: int | None = None
        self.sock, self._far_sock = socket.socketpair()
        for end in (self.sock, self._far_sock):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER)
        self.sock.setblocking(False)
        self._permits_out, self._permits_in = os.pipe()
        os.set_blocking(self._permits_out, False)
        self.queue: deque[Entry] = deque()
        self.doom: Doom | None = None
        self.closing = False
        self.open = True
        self.killed = False
        self.progress = 0.0
        """Monotonic time at which it last got something to do while idle, or ended an execution."""
        self.deadline: float | None = None
        """Monotonic time at which the running execution has used up its timeout."""
        self.deadline_of: Entry | None = None
        self.unsent = bytearray()
        self._load = 0.0
        self._open_ended = False
        self._seq = 0
        self._runs: OrderedDict[str, tuple[int, RunInfo]] = OrderedDict()
        self._reader = frames.Reader(list[frames.Began | frames.Ended])

    def far_ends(self) -> tuple[int, int]:
        """What the worker gets: its socket and the reading end of its permits."""
        return self._far_sock.fileno(), self._permits_out

    def handed_over(self) -> None:
        """The worker's socket is on its way; keep no copy, so that its end can be seen."""
        self._far_sock.close()

    # sending

    @property
    def idle(self) -> bool:
        """Nothing in flight, and more is welcome."""
        return not self.queue and self.doom is None and not self.closing

    def accepts(self, entry: Entry) -> bool:
        """Whether this entry may be put in flight here: at once when idle, else if all of it is short work."""
        if self.doom is not None or self.closing:
            return False
        if not self.queue:
            return True
        estimate = entry.estimate
        if estimate is None or self._open_ended or len(self.queue) >= self._most:
            return False
        return self._load + estimate <= PREFETCH_SECONDS

    @property
    def load(self) -> float:
        """Estimated seconds of what is in flight."""
        return self._load

    def add(self, entry: Entry, now: float) -> None:
        """Put an entry in flight; `push` sends it."""
        if not self.queue:
            self.progress = now
            self._load, self._open_ended = 0.0, False
        if entry.estimate is None:
            self._open_ended = True
        else:
            self._load += entry.estimate
        self._seq += 1
        entry.seq, entry.link = self._seq, self
        self.queue.append(entry)

    def push(self, entries: Sequence[Entry]) -> None:
        """Send these entries, then the permits to start them."""
        runs: list[tuple[int, RunInfo]] = []
        items: list[frames.Item] = []
        for entry in entries:
            execution = entry.execution
            slot = self._slot(execution.run, runs)
            items.append(frames.Item(entry.seq, slot, entry.tell, frames.without_run(execution)))
        self.unsent += frames.encode(frames.Work(runs, items))
        self.flush()
        with contextlib.suppress(BrokenPipeError):  # it died; the report of its exit follows
            os.write(self._permits_in, b"".join(PERMIT.pack(entry.seq & 0xFFFFFFFF) for entry in entries))

    def flush(self) -> None:
        """Send what the socket takes now."""
        if self.unsent:
            try:
                sent = self.sock.send(self.unsent)
            except BlockingIOError:
                return
            except ConnectionError:  # it died; the report of its exit follows
                sent = len(self.unsent)
            del self.unsent[:sent]

    def _slot(self, run: RunInfo, runs: list[tuple[int, RunInfo]]) -> int:
        known = self._runs.get(run.run_id)
        if known is not None and (known[1] is run or known[1] == run):
            self._runs.move_to_end(run.run_id)
            return known[0]
        if known is not None:
            slot = known[0]
        elif len(self._runs) < frames.RUN_SLOTS:
            slot = len(self._runs)
        else:
            slot = self._runs.popitem(last=False)[1][0]
        self._runs[run.run_id] = (slot, run)
        self._runs.move_to_end(run.run_id)
        runs.append((slot, run))
        return slot

    # receiving

    def receive(self) -> tuple[list[frames.Began | frames.Ended], bool]:
        """What the worker has said, and whether its end is closed."""
        batches, closed = self._reader.receive(self.sock)
        return [message for batch in batches for message in batch], closed

    def ended(self, seq: int, now: float) -> Entry | None:
        """The entry with this number has ended: take it out."""
        entry = self._take(seq)
        if entry is not None:
            self.progress = now
            if self.deadline_of is entry:
                self.deadline = self.deadline_of = None
            if entry.estimate is not None:
                self._load -= entry.estimate
            if not self.queue:
                self._load, self._open_ended = 0.0, False
        return entry

    def _take(self, seq: int) -> Entry | None:
        queue = self.queue
        if queue and queue[0].seq == seq:
            return queue.popleft()
        for entry in queue:
            if entry.seq == seq:
                queue.remove(entry)
                return entry
        return None

    def find(self, seq: int) -> Entry | None:
        """The entry in flight with this number."""
        return next((entry for entry in self.queue if entry.seq == seq), None)

    def recall(self) -> list[Entry]:
        """Take back what has not started: whatever permit is read here was not read there. In order."""
        numbers: set[int] = set()
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._permits_out, 4096):
                numbers.update(number for (number,) in PERMIT.iter_unpack(data))
        if not numbers:
            return []
        back = [entry for entry in self.queue if entry.seq & 0xFFFFFFFF in numbers]
        self.queue = deque(entry for entry in self.queue if entry.seq & 0xFFFFFFFF not in numbers)
        for entry in back:
            entry.link = None
            if entry.estimate is not None:
                self._load -= entry.estimate
        return back

    def hold(self) -> None:
        """Accept nothing more until the running execution has ended: it takes longer than it should."""
        self._open_ended = True

    # the end

    def dismiss(self) -> None:
        """Let the worker end after what it is running: no more permits will come."""
        if not self.closing:
            self.closing = True
            os.close(self._permits_in)

    def close(self) -> None:
        """Give up all handles."""
        self.dismiss()
        self.open = False
        os.close(self._permits_out)
        self.sock.close()
        self._far_sock.close()
