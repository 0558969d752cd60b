"""The zygote: loads the user's definitions once, has no threads, and forks workers from that state.

Run as `python -m plait.worker.zygote FD`, with a socket to the parent at FD. It is the parent process of the workers:
it forks, kills and reaps them, and reports how each ended. It leads a session of its own, so that whatever kills the
parent (also a kill -9 of its whole process group) leaves it alive to see the end of the socket, and to end the workers
and their sub-processes before itself. On Linux, the death of the parent is signalled as well.
"""

import contextlib
import faulthandler
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import threading
import traceback
import warnings
from collections import deque
from pathlib import Path
from typing import NoReturn

from plait.ports import Runner
from plait.worker import frames, process
from plait.worker.parent import die_with_parent, exit_with

SHOW_YOURSELF = signal.SIGUSR1
"""While the zygote loads: write what every thread is doing to the log."""
_MAX_FDS = 32


def main() -> None:
    """Load, tell the parent, then serve it until it is gone."""
    control = socket.socket(fileno=int(sys.argv.pop()))
    hello = _hello(control)
    die_with_parent(signal.SIGTERM)
    runner = _load(hello, control)
    _warn_of_threads(hello.factory)
    gc.collect()
    gc.freeze()  # what is loaded stays shared between the workers
    Zygote(runner, control, Path(hello.folder)).serve()


def _hello(control: socket.socket) -> frames.Hello:
    reader = frames.Reader(frames.Hello)
    while True:
        messages, closed = reader.receive(control)
        if closed:
            sys.exit(0)
        if messages:
            hello: frames.Hello = messages[0]
            sys.path[:] = hello.path
            os.environ.pop("PYTHONPATH", None)
            if hello.pythonpath is not None:
                os.environ["PYTHONPATH"] = hello.pythonpath
            return hello


# --- loading ---------------------------------------------------------------------------------------------------------


def _load(hello: frames.Hello, control: socket.socket) -> Runner:
    # The parent asks for the place of a hang when it gives up.
    faulthandler.register(SHOW_YOURSELF, file=2, all_threads=True)
    with exit_with(control):
        try:
            module, _, name = hello.factory.partition(":")
            runner: Runner = getattr(importlib.import_module(module), name)(hello.config)
        except BaseException as error:  # noqa: BLE001  SystemExit too: whatever it was, the parent tells the user
            failed = frames.LoadFailed(f"{type(error).__name__}: {error}", traceback.format_exc())
            control.sendall(frames.encode(failed))
            sys.stdout.flush()
            sys.exit(1)
    faulthandler.unregister(SHOW_YOURSELF)
    sys.stdout.flush()
    control.sendall(frames.encode(frames.Loaded()))
    return runner


def _warn_of_threads(factory: str) -> None:
    names = [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]
    if names:
        sys.stderr.write(
            f"plait: warning: loading {factory} started threads ({', '.join(names)}). They do not exist in the worker "
            "processes, and a lock that one holds stays locked there. Start threads inside tasks.\n"
        )
        sys.stderr.flush()


# --- serving ---------------------------------------------------------------------------------------------------------


class Zygote:
    """Forks, kills and reaps workers for one parent."""

    def __init__(self, runner: Runner, control: socket.socket, folder: Path):
        self._runner, self._control, self._folder = runner, control, folder
        self._pids: dict[str, int] = {}
        self._fds: deque[int] = deque()
        self._reader = frames.Reader(frames.Fork | frames.Kill)
        self._wake_out, self._wake_in = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._ending = False

    def serve(self) -> None:
        """Until the parent is gone; then kill what is left."""
        for fd in (self._wake_out, self._wake_in):
            os.set_blocking(fd, False)
        signal.signal(signal.SIGCHLD, _wake_up)
        signal.signal(signal.SIGTERM, self._terminate)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.set_wakeup_fd(self._wake_in, warn_on_full_buffer=False)
        self._selector.register(self._control, selectors.EVENT_READ, self._listen)
        self._selector.register(self._wake_out, selectors.EVENT_READ, self._reap)
        try:
            while not self._ending:
                for key, _ in self._selector.select():
                    key.data()
        finally:
            self._end_all()

    def _listen(self) -> None:
        try:
            data, fds, flags, _ = socket.recv_fds(self._control, 1 << 16, _MAX_FDS)
        except ConnectionError:
            data, fds, flags = b"", [], 0
        if flags & socket.MSG_CTRUNC:
            raise RuntimeError("file descriptors of new workers were lost; is their limit (ulimit -n) too low?")
        self._ending = self._ending or not data
        for fd in fds:
            os.set_inheritable(fd, False)
        self._fds.extend(fds)
        for message in self._reader.feed(data):
            if isinstance(message, frames.Fork):
                self._fork(message.worker)
            else:
                self._kill(message.worker)

    def _fork(self, worker: str) -> None:
        sock, permits = self._fds.popleft(), self._fds.popleft()
        with warnings.catch_warnings():
            # Python 3.12 warns of threads here, also of those that libraries like OpenBLAS handle; we said it once.
            warnings.simplefilter("ignore", DeprecationWarning)
            try:
                pid = os.fork()
            except OSError as error:
                self._tell(frames.ForkFailed(worker, str(error)))
                pid = -1
            if pid == 0:
                self._become(worker, sock, permits)
        os.close(sock)
        os.close(permits)
        if pid > 0:
            self._pids[worker] = pid
            self._tell(frames.Forked(worker, pid))

    def _become(self, worker: str, sock: int, permits: int) -> NoReturn:
        """In the child. Never returns: nothing of the zygote's may run here, also not its exit handlers."""
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            for sig in (signal.SIGCHLD, signal.SIGTERM):
                signal.signal(sig, signal.SIG_DFL)
            self._selector.close()
            self._control.close()
            os.close(self._wake_in)
            os.close(self._wake_out)
            for fd in self._fds:  # of siblings that are forked next
                os.close(fd)
            die_with_parent(signal.SIGKILL)
            process.main(self._runner, socket.socket(fileno=sock), permits, self._folder, worker)
            code = 0
        except BaseException:  # noqa: BLE001  there is nobody above to see it: the worker's log is the place
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)

    def _kill(self, worker: str) -> None:
        pid = self._pids.get(worker)
        if pid is None:
            return
        # Not reaped yet, so the number is still its own. Before its setsid it is in our group, so it comes first.
        below = _descendants(pid)
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        _kill_group(pid)
        for child in below:
            with contextlib.suppress(ProcessLookupError, PermissionError):  # gone with the group; or not ours (sudo)
                os.kill(child, signal.SIGKILL)

    def _reap(self) -> None:
        os.read(self._wake_out, 4096)
        for worker, pid in list(self._pids.items()):
            # Each by its number: -1 would take the exit codes of processes that user code started while it loaded.
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                del self._pids[worker]
                _kill_group(pid)  # what the worker's attempts started and left behind
                self._tell(frames.Exited(worker, os.waitstatus_to_exitcode(status)))

    def _tell(self, message: object) -> None:
        with contextlib.suppress(ConnectionError):  # the parent is gone: the next read ends this process
            self._control.sendall(frames.encode(message))

    def _terminate(self, _signal: int, _frame: object) -> None:
        self._ending = True  # nothing that raises: it may come while the workers are being killed

    def _end_all(self) -> None:
        for worker in list(self._pids):
            self._kill(worker)


def _wake_up(_signal: int, _frame: object) -> None:
    """The wake-up descriptor does the work; without a handler the system would not tell."""


def _descendants(pid: int) -> list[int]:
    """The processes below one, also those that left its group; on Linux only, elsewhere the group is what is known."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has just ended
            parent = int(stat.read_bytes().rpartition(b")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found[1:]


def _kill_group(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):  # gone, or (macOS) only zombies are left
        os.killpg(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
