"""A worker process: takes executions one at a time, runs them, reports each before it begins the next.

Theory of operation. Two channels come from the parent: a socket with frames (what to run) and a pipe with permits (four
bytes each: the number of the execution that may start now). The worker takes one permit per execution; the parent holds
the reading end of the pipe as well, and recalls what has not started by reading the permits back itself. The kernel
gives each permit to exactly one of the two, so nothing runs twice and nothing is lost, whatever the worker is doing. An
outcome is in the kernel's hands before the next permit is taken: whoever finds a dead worker knows exactly which
execution had begun.

The end of the pipe (the parent closed it, or died) ends the worker.
"""

import contextlib
import faulthandler
import io
import logging
import os
import select
import signal
import socket
import struct
import sys
import time
from collections import deque
from pathlib import Path

import msgspec

from plait.model.outcome import LogSpan, Outcome
from plait.model.wire import Execution, RunInfo
from plait.ports import Runner
from plait.worker import endings, frames
from plait.worker import io as asset_io
from plait.worker.segments import LOG_FORMAT, SegmentWriter

PERMIT = struct.Struct("!I")


class _Intake:
    """The executions that the parent sent, in order, and the permits that let them start."""

    def __init__(self, sock: socket.socket, permits: int):
        self._sock, self._permits = sock, permits
        self._reader = frames.Reader(frames.Work)
        self._items: deque[tuple[int, bool, Execution]] = deque()
        self._runs: list[RunInfo | None] = [None] * frames.RUN_SLOTS
        self._poll = select.poll()
        self._poll.register(permits, select.POLLIN)

    def next(self) -> tuple[int, bool, Execution] | None:
        """Wait for a permit; the execution that it lets start. None when the parent has closed or is gone."""
        permit = self._permit()
        if permit is None:
            return None
        while True:
            while self._items:
                taken = self._items.popleft()
                if taken[0] == permit:
                    return taken
                # An earlier number whose permit was recalled: drop it.
            if not self._receive():
                return None

    def _permit(self) -> int | None:
        while True:
            try:
                data = os.read(self._permits, PERMIT.size)
            except BlockingIOError:  # the pipe cannot block: its two readers share one file description
                self._poll.poll()
                continue
            return PERMIT.unpack(data)[0] if data else None

    def _receive(self) -> bool:
        works, closed = self._reader.receive(self._sock)
        for work in works:
            for slot, run in work.runs:
                self._runs[slot] = run
            for item in work.items:
                run = self._runs[item.slot]
                if run is None:
                    raise RuntimeError(f"the parent named run slot {item.slot}, which it never filled")
                self._items.append((item.seq, item.tell, frames.with_run(item.execution, run)))
        return not closed


def serve(runner: Runner, sock: socket.socket, permits: int, log: SegmentWriter) -> None:
    """Run what comes until the parent closes. `log` is already on fd 1 and 2."""
    intake = _Intake(sock, permits)
    home, me = _here(), os.getpid()
    while (taken := intake.next()) is not None:
        seq, tell, execution = taken
        began = time.time()
        try:
            offset = log.begin(execution.run.run_id, execution.no, execution.token)
        except OSError as error:  # a full disk: not a word of what it prints would be kept
            outcome = endings.crashed(f"its log cannot be written: {error}", began)
            sock.sendall(_ended(seq, 0.0, outcome, None, began))
            continue
        if tell:
            sock.sendall(frames.encode([frames.Began(seq, began, log.name, offset)]))
        clock = time.perf_counter()
        outcome = _run(runner, execution, began)
        took = time.perf_counter() - clock
        if os.getpid() != me:
            os._exit(0)  # the task forked, and its child came back up to here
        _flush()
        if home is not None:
            os.fchdir(home)  # a task that changed the folder changed it for itself
        length = log.end() - offset
        # What was told to begin has an end even if nothing was printed; else an empty span only costs.
        span = LogSpan(segment=log.name, offset=offset, length=length) if length or tell else None
        sock.sendall(_ended(seq, took, outcome, span, began))


def _here() -> int | None:
    try:
        return os.open(".", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # a folder that may be entered but not read: then it is the tasks' own affair
        return None


def _run(runner: Runner, execution: Execution, began: float) -> Outcome:
    try:
        return runner.run(execution)
    except BaseException as error:  # noqa: BLE001  a runner never raises; one that does must not take its worker along
        return endings.runner_raised(error, began)


def _ended(seq: int, took: float, outcome: Outcome, span: LogSpan | None, began: float) -> bytearray:
    started, finished = outcome.started_at or began, outcome.finished_at or began + took
    try:
        whole = msgspec.structs.replace(outcome, log=span, started_at=started, finished_at=finished)
        return frames.encode([frames.Ended(seq, took, whole)])
    except Exception as error:  # noqa: BLE001  whatever cannot be encoded (any object may sit in `trigger`), say so
        return frames.encode([frames.Ended(seq, took, _unsendable(error, began, span))])


def _unsendable(error: Exception, began: float, span: LogSpan | None) -> Outcome:
    return msgspec.structs.replace(endings.runner_raised(error, began), log=span)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (AttributeError, OSError, ValueError) as error:  # user code closed or replaced it, or the disk is full
            with contextlib.suppress(OSError):  # there is no other place to say it
                os.write(2, f"plait: the output of this task may be incomplete: {error!r}\n".encode())


def main(runner: Runner, sock: socket.socket, permits: int, folder: Path, name: str) -> None:
    """Become worker `name` in a process that was just forked."""
    signal.signal(signal.SIGINT, _ignore)
    log = SegmentWriter(folder, name, attach=_attach)
    _prepare_streams()
    prepare_logging()
    _reseed()
    sock.setblocking(True)
    serve(runner, sock, permits, log)
    asset_io.tear_down()
    _flush()
    log.close()


def _ignore(_signal: int, _frame: object) -> None:
    """The parent decides what a Ctrl-C ends. A handler, not SIG_IGN, which the sub-processes of tasks would inherit."""


def _attach(fd: int) -> None:
    os.dup2(fd, 1)
    os.dup2(fd, 2)


def _prepare_streams() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # user code may have put something else there
            stream.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    faulthandler.enable(file=2)


def prepare_logging() -> None:
    """What user code logs goes to stderr, from INFO on, unless it has said where."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter(LOG_FORMAT))
    root.addHandler(handler)
    if root.level == logging.WARNING:  # the default: what tasks say at INFO belongs into their log
        root.setLevel(logging.INFO)


def _reseed() -> None:
    """Forked twins would draw the same numbers. `random` reseeds itself on fork, NumPy does not."""
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random is not None:
        numpy_random.seed()
