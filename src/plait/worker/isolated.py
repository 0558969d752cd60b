"""Loading files of definitions in isolation: what a file does while it is loaded happens to a child process, never to
the caller.

Theory of operation. The caller has plait's authoring imported and no threads, so a fork costs milliseconds and is safe;
a caller with threads is served by a helper process (`python -m plait.worker.isolated`). Each file gets a child of its
own, at most two at once. A child leads its own process group, has no standard input, and three pipes to the caller: one
for what it prints, of which the caller keeps the end, one for faulthandler, and one for its report, a frame of
MessagePack. A child that is done is killed with its group, so that nothing that a file started stays behind. A child
that hangs ends itself: faulthandler writes where it stands, and exits; one that has switched that off is killed a
second later. Whoever ends without a report is described by what is known: its exit code or signal, and the place that
faulthandler or the guarded `os._exit` told.

An asset may be made from one that another file defines. So assets that do not fit together within one file are looked
at once more, in one more child that loads all the files that hold assets.
"""

import contextlib
import faulthandler
import gc
import importlib.util
import os
import selectors
import signal
import struct
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any, NoReturn

import msgspec

from plait.authoring.dag import dag
from plait.authoring.markers import logical_date
from plait.authoring.schedules import cron
from plait.authoring.task import task
from plait.authoring.where import here
from plait.engine.partitions.answers import MappingUnknown, Said
from plait.model.errors import PlaitError, UsageError
from plait.worker.asking import ASK_TIMEOUT, Question, answer
from plait.worker.found import OWN_FOLDER, Found, Problem, look_at, look_up, merge
from plait.worker.loading import files_of, put_on_path

LOAD_TIMEOUT = 30.0
"""Seconds that one file may take."""
AT_ONCE = 2
KEPT_OUTPUT = 32 << 10
"""Bytes of a child's output that are kept: the last ones (C8)."""
_GRACE = 1.0
_LOOK_UP = 0.1
"""Seconds after which a caller with threads asks whether the answer is still wanted."""
_MANY = 8
_LENGTH = struct.Struct("!Q")


class Request(msgspec.Struct, kw_only=True, frozen=True):
    """What is to be loaded: see `load_isolated`."""

    target: str
    timeout: float = LOAD_TIMEOUT
    graphs: bool = False
    select: str | None = None
    files: tuple[str, ...] | None = None
    """Only these files of the target."""
    fit: bool = True
    """Whether assets that do not fit together are errors; else whoever asks has more assets beside them."""
    question: Question | None = None
    """Ask this of one process that loads all of these files, instead of looking at what they define."""


class Unwanted(PlaitError):
    """Nobody wants to know any more what files define: loading them was stopped."""


Wanted = Callable[[], bool]


def _always() -> bool:
    return True


def load_isolated(request: Request, *, told: Callable[[Found], None] | None = None, wanted: Wanted = _always) -> Found:
    """Load every file of a target, each in a process of its own that may take `timeout` seconds.

    Never raises for what a file does: that is in `errors`. `told` is called with what each file defines, as they are
    done. With `graphs` the graphs come along, and `asset_graph` holds the plan of the assets that `select` selects
    (all, if it is none). A target that does not exist raises UsageError. Once `wanted`, which is asked now and then,
    says no, what is being loaded is stopped, and Unwanted is raised.
    """
    if threading.active_count() > 1:
        return _by_helper(request, wanted)
    return _load_here(request, told, wanted)


def _load_here(request: Request, told: Callable[[Found], None] | None, wanted: Wanted) -> Found:
    gc.collect()
    gc.freeze()  # children share these pages as long as nobody collects them
    try:
        return _load(request, told, wanted)
    finally:
        gc.unfreeze()


def ask_isolated(
    question: Question, target: str, files: Sequence[str] | None, wanted: Wanted = _always, timeout: float = ASK_TIMEOUT
) -> Said:
    """What a function of a target's code says, asked in a process of its own. Raises MappingUnknown, with file and
    line, when it raises, ends its process, or has not answered after `timeout` seconds."""
    names = tuple(files) if files is not None else None
    found = load_isolated(Request(target=target, files=names, timeout=timeout, question=question), wanted=wanted)
    if found.said is None:
        raise MappingUnknown(found.errors[0].error)
    return found.said


def _ask(request: Request, question: Question, wanted: Wanted) -> Found:
    files = [Path(file) for file in request.files] if request.files is not None else None
    job = _Job(files[0] if files else Path(request.target), lambda: answer(question, request.target, files))
    job = replace(job, doing=f"was asked for what {question.ref} says")
    return next(_in_children([job], request.timeout, wanted))


def _load(request: Request, told: Callable[[Found], None] | None, wanted: Wanted) -> Found:
    if request.question is not None:
        return _ask(request, request.question, wanted)
    module = None if Path(request.target).exists() else request.target
    if module is None or module.endswith(".py") or "/" in module:
        files = files_of(request.target)  # raises when it does not exist
    else:
        resolved = next(_in_children([_Job(Path(module), lambda: look_up(module))], request.timeout, wanted))
        if resolved.errors:
            raise UsageError(resolved.errors[0].error)
        files = [Path(file) for file in resolved.files]
    if request.files is not None:
        chosen = set(request.files)
        files = [file for file in files if str(file) in chosen]
    if len(files) >= _MANY:
        _warm_up()
    parts: list[Found] = []
    jobs = (_Job(file, _look([file], module, request)) for file in files)
    for part in _in_children(jobs, request.timeout, wanted):
        parts.append(part)
        if told is not None:
            told(part)
    order = {str(file): at for at, file in enumerate(files)}
    parts.sort(key=lambda part: order[part.files[0]])
    return _fit_assets(merge(parts), parts, request, wanted)


def _look(files: Sequence[Path], module: str | None, request: Request) -> Callable[[], Found]:
    def look() -> Found:
        if Path(request.target).is_dir():  # as if all files of the folder were loaded together
            put_on_path(Path(request.target).resolve())
        return look_at(files, module=module, graphs=request.graphs, select=request.select)

    return look


def _warm_up() -> None:
    """Do once here what each of many files would do again: import what tracing a dag needs, and look at what lies
    where."""

    @task
    def step(day: date, count: int | None) -> None: ...

    @dag(schedule=cron("@daily", tz="America/New_York"))
    def sample(day: date = logical_date(), count: int | None = None) -> None:  # noqa: B008  a marker, as users write it
        step(day, count)

    _ = sample.graph
    importlib.util.find_spec("plait_has_no_such_module_but_looks_everywhere")


def _fit_assets(whole: Found, parts: Sequence[Found], request: Request, wanted: Wanted) -> Found:
    """Assets are looked at together when one file alone is not the whole story."""
    if not request.fit:
        return whole
    files = [Path(part.files[0]) for part in parts if part.assets or part.asset_problems]
    if len(files) > 1 and (whole.asset_problems or request.graphs):
        job = _Job(files[0], _look(files, None, request))
        together = next(_in_children([job], request.timeout * len(files), wanted))
        whole.asset_problems, whole.asset_graph = together.asset_problems, together.asset_graph
        if not together.assets:  # it ended without a report
            whole.asset_problems += together.errors
    whole.errors += whole.asset_problems
    return whole


# --- the caller's side ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Job:
    file: Path
    work: Callable[[], Found]
    doing: str = "was loaded"


class _Child:
    """One child, from its fork to its report or its end."""

    def __init__(self, job: _Job, timeout: float):
        self.job, self.timeout = job, timeout
        self.report, self.output = b"", b""
        self.report_fd, report_in = os.pipe()
        self.output_fd, output_in = os.pipe()
        self.trace_fd, trace_in = os.pipe()
        self.began = time.monotonic()
        self.pid = os.fork()
        if self.pid == 0:
            _become(job, timeout, report_in, output_in, trace_in)
        for fd in (report_in, output_in, trace_in):
            os.close(fd)
        for fd in (self.report_fd, self.output_fd, self.trace_fd):
            os.set_blocking(fd, False)
        self.closed = False
        """Whether its end of the report's pipe is closed: it is dead, or about to be."""

    @property
    def fds(self) -> tuple[int, int]:
        return self.report_fd, self.output_fd

    def read(self, fd: int) -> None:
        """Take what is there on one of its pipes."""
        data = self._some(fd)
        if fd == self.output_fd:
            self.output = (self.output + (data or b""))[-KEPT_OUTPUT:]
        elif data is not None:
            self.report += data
            self.closed = self.closed or not data

    @staticmethod
    def _some(fd: int) -> bytes | None:
        """Bytes; empty at the end; none when there is nothing now."""
        try:
            return os.read(fd, 1 << 16)
        except BlockingIOError:
            return None

    def result(self) -> Found | None:
        """What it found, or what became of it; none as long as it is at work."""
        if self._is_whole():
            self.end()
            return self._decoded()
        if time.monotonic() - self.began > self.timeout + _GRACE:
            return self._lost(self.end(), late=True)
        done, status = os.waitpid(self.pid, os.WNOHANG)
        if not done:
            return None
        while data := self._some(self.report_fd):  # it may have reported since the pipes were read
            self.report += data
        return self._decoded() if self._is_whole() else self._lost(status)

    def _is_whole(self) -> bool:
        known = len(self.report) >= _LENGTH.size
        return known and len(self.report) - _LENGTH.size >= _LENGTH.unpack_from(self.report)[0]

    def _decoded(self) -> Found:
        return msgspec.msgpack.decode(self.report[_LENGTH.size :], type=Found)

    def end(self) -> int:
        """Kill its process group and reap it; its wait status."""
        for kill in (os.killpg, os.kill):
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or it is not a group's leader yet
                kill(self.pid, signal.SIGKILL)
        return os.waitpid(self.pid, 0)[1]

    def _lost(self, status: int, *, late: bool = False) -> Found:
        """It ended without a report."""
        while data := self._some(self.output_fd):
            self.output = (self.output + data)[-KEPT_OUTPUT:]
        file, trace = self.job.file, (self._some(self.trace_fd) or b"").decode(errors="replace")
        if late or trace.startswith("Timeout ("):
            what = f"{file.name} was still loading after {self.timeout:g} s and was stopped"
            if self.job.doing != _Job.doing:
                what = f"{file.name} {self.job.doing}, and was stopped after {self.timeout:g} s"
        else:
            what = f"{file.name} {_describe_end(os.waitstatus_to_exitcode(status), self.job.doing)}"
        place = _place_in(trace, str(file)) or str(file)
        told = _own_frames(trace) + _last_lines(self.output.decode(errors="replace"))
        problem = Problem(file=str(file), error=f"{what}\n  at {place}", traceback=told)
        return Found(files=[str(file)], errors=[problem])

    def close(self) -> None:
        """Close the pipes; kill what a child that ended by itself left in its group."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        for fd in (self.report_fd, self.output_fd, self.trace_fd):
            os.close(fd)


def _in_children(jobs: Iterable[_Job], timeout: float, wanted: Wanted) -> Iterator[Found]:
    """Each job in a child; what they find, as they end. Children that are left are killed when the caller stops."""
    waiting = iter(jobs)
    live: list[_Child] = []
    try:
        while True:
            while len(live) < AT_ONCE and (job := next(waiting, None)) is not None:
                _flush()
                live.append(_Child(job, timeout))
            if not live:
                return
            if not wanted():
                raise Unwanted("nobody waits for what the files define any more")
            _listen(live)
            for child in list(live):
                found = child.result()
                if found is not None:
                    live.remove(child)
                    child.close()
                    yield found
    finally:
        for child in live:
            child.end()
            child.close()


def _listen(live: Sequence[_Child]) -> None:
    """Wait until a child says something, and at most a moment: a child's own child may hold its pipes after its
    death."""
    with selectors.DefaultSelector() as selector:
        for child in live:
            for fd in child.fds:
                if fd != child.report_fd or not child.closed:
                    selector.register(fd, selectors.EVENT_READ, child)
        for key, _ in selector.select(0.002 if any(child.closed for child in live) else 0.05):
            key.data.read(key.fd)


def _describe_end(code: int, doing: str) -> str:
    if code >= 0:
        return f"ended its process while it {doing}, with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:  # a real-time signal has no name
        name = str(-code)
    told = signal.strsignal(-code) or "unknown"
    hint = "; out of memory?" if -code == signal.SIGKILL else ""
    return f"crashed its process while it {doing}: {name} ({told}{hint})"


def _place_in(trace: str, file: str) -> str:
    """`file:line` from a traceback of faulthandler (innermost first): the file's own frame, else the innermost one."""
    places = [line.strip() for line in trace.splitlines() if line.startswith('  File "')]
    own = [line for line in places if line.startswith(f'File "{file}"')]
    for line in own or places:
        path, _, rest = line.removeprefix('File "').partition('", line ')
        return f"{path}:{rest.partition(' ')[0]}"
    return ""


def _own_frames(trace: str) -> str:
    """A traceback of faulthandler up to plait's frames, of each thread, and without the import system's."""
    shown: list[str] = []
    inside = True
    for line in trace.splitlines(keepends=True):
        inside = inside if line.startswith("  File ") else True
        inside = inside and not line.startswith(f'  File "{OWN_FOLDER}')
        if inside and line.strip() and not line.startswith(('  File "<frozen', "Timeout (", "Extension modules")):
            shown.append(line)
    return "".join(shown)


def _last_lines(printed: str, most: int = 10) -> str:
    lines = [line[:500] for line in printed.strip().splitlines()[-most:]]
    return "".join(["it printed last:\n", *(f"  {line}\n" for line in lines)]) if lines else ""


def _flush() -> None:
    """What is buffered here is not printed by a child as well."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):  # closed, or there is none
            stream.flush()


# --- the child's side -------------------------------------------------------------------------------------------------


def _become(job: _Job, timeout: float, report: int, output: int, trace: int) -> NoReturn:
    """In the child: look, report, and be gone. Nothing of the caller's runs here, also not its exit handlers."""
    really_exit = os._exit
    try:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        _redirect(output)
        faulthandler.enable(file=trace)
        faulthandler.dump_traceback_later(timeout, exit=True, file=trace)
        _guard_exit(job, report, really_exit)
        sys.argv = [str(job.file)]
        _send(report, job.work())
    except BaseException:  # noqa: BLE001  there is nobody above to see it; the caller reads it in the output
        traceback.print_exc()
        _flush()
        really_exit(1)
    really_exit(0)


def _redirect(output: int) -> None:
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115  it lives as long as the process
    for name, fd in (("stdout", 1), ("stderr", 2)):
        setattr(sys, name, open(fd, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False))  # noqa: SIM115  likewise


def _guard_exit(job: _Job, report: int, really_exit: Callable[[int], NoReturn]) -> None:
    """`os._exit` leaves no trace of who called it, so that one tells its place first."""
    own = os.getpid()

    def tell_and_exit(status: int = 0) -> NoReturn:
        if os.getpid() == own:
            where, line = here()
            error = f"{job.file.name} {_describe_end(status, job.doing)}\n  at {where}"
            wrong = f"\n  you wrote:\n    {line}" if line else ""
            problem = Problem(file=str(job.file), error=error + wrong)
            _send(report, Found(files=[str(job.file)], errors=[problem]))
        really_exit(status)

    os._exit = tell_and_exit


def _send(report: int, found: Found) -> None:
    data = msgspec.msgpack.encode(found)
    data = _LENGTH.pack(len(data)) + data
    while data:
        data = data[os.write(report, data) :]


# --- a helper for callers with threads --------------------------------------------------------------------------------


def _by_helper(request: Request, wanted: Wanted) -> Found:
    """Let a fresh process without threads do it. It stops by itself when this process dies."""
    helper = subprocess.Popen(
        [sys.executable, "-m", "plait.worker.isolated"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    with helper:
        out, told = _converse(helper, msgspec.json.encode({"request": request, "path": sys.path}), wanted)
    if helper.returncode == 2:
        raise UsageError(told.decode())
    if helper.returncode != 0:
        raise PlaitError(f"the helper that loads files ended with code {helper.returncode}: {told.decode()[-2000:]}")
    return msgspec.msgpack.decode(out, type=Found)


def _converse(helper: subprocess.Popen[bytes], said: bytes, wanted: Wanted) -> tuple[bytes, bytes]:
    """What it answers, and what it complains of."""
    left: bytes | None = said
    while True:
        try:
            return helper.communicate(left, timeout=_LOOK_UP)
        except subprocess.TimeoutExpired:
            left = None  # Popen keeps what it has not sent yet
            if not wanted():
                helper.terminate()
                helper.communicate()
                raise Unwanted("nobody waits for what the files define any more") from None


class _Ask(msgspec.Struct):
    request: Request
    path: list[str]


def main() -> None:
    """The helper: a request comes on standard input, what was found goes to standard output."""
    parent = os.getppid()
    stopped = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopped.set())
    ask = msgspec.json.decode(sys.stdin.buffer.read(), type=_Ask)
    known: set[Any] = set(sys.path)
    sys.path += [entry for entry in ask.path if entry not in known]
    try:
        # Not `load_isolated`: what is started in every Python here (a profiler, tracing) may have a thread in this one
        # as well, and a helper that asks a helper would never end.
        found = _load_here(ask.request, None, lambda: not stopped.is_set() and os.getppid() == parent)
    except UsageError as error:
        sys.stderr.write(str(error))
        sys.exit(2)
    except Unwanted:
        sys.exit(3)
    sys.stdout.buffer.write(msgspec.msgpack.encode(found))


if __name__ == "__main__":
    main()
