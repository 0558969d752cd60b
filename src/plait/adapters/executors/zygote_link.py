"""The parent's end of the zygote: start it, have workers forked and killed, learn how they ended."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import plait.model
from plait.worker import endings, frames, zygote

_STARTS = 5
_WITHIN = 60.0
_TAIL = 4000
_SHOW = 0.1


class RestartBudget:
    """At most five starts a minute, so that a zygote that keeps dying does not eat the machine."""

    def __init__(self) -> None:
        self._starts: list[float] = []

    def take(self, now: float) -> bool:
        """Whether one more start is allowed at `now`; counts it if so."""
        self._starts = [at for at in self._starts if now - at < _WITHIN]
        if len(self._starts) >= _STARTS:
            return False
        self._starts.append(now)
        return True


class ZygoteLink:
    """One zygote process. Started by the constructor, in the thread that lives as long as it is needed: on Linux the
    zygote ends with that thread."""

    def __init__(self, factory: str, config: dict[str, Any], folder: Path, name: str, load_timeout: float, now: float):
        self.loaded = False
        self.load_deadline = now + load_timeout
        self._load_timeout = load_timeout
        self._log = folder / f"{name}.log"
        self.sock, theirs = socket.socketpair()
        hello = frames.Hello(
            factory=factory,
            config=config,
            path=[entry or os.getcwd() for entry in sys.path],
            pythonpath=os.environ.get("PYTHONPATH"),
            folder=str(folder),
        )
        with theirs, self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "plait.worker.zygote", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        self.sock.sendall(frames.encode(hello))
        self.sock.setblocking(False)
        self._reader = frames.Reader(
            frames.Loaded | frames.LoadFailed | frames.Forked | frames.ForkFailed | frames.Exited
        )

    def receive(self) -> tuple[list[Any], bool]:
        """What the zygote has said, and whether it is gone."""
        return self._reader.receive(self.sock)

    def fork(self, worker: str, far_ends: tuple[int, int]) -> None:
        """Ask for a worker that gets these two file descriptors. OSError when the zygote is gone."""
        frame = frames.encode(frames.Fork(worker))
        socket.send_fds(self.sock, [frame], list(far_ends))

    def kill(self, worker: str) -> None:
        """SIGKILL a worker and its process group. OSError when the zygote is gone."""
        self.sock.send(frames.encode(frames.Kill(worker)))

    def hung(self) -> str:
        """The text for a load that takes too long."""
        self._process.send_signal(zygote.SHOW_YOURSELF)
        time.sleep(_SHOW)
        return f"the definitions did not load within {self._load_timeout:g} s\n{self._tail()}"

    def died(self) -> str:
        """Reap the process after its socket closed; the text says how it ended, with the last that it printed."""
        self.end(wait=1.0)
        code = self._process.returncode
        when = "while serving" if self.loaded else "while loading the definitions"
        told = endings.describe_exit(code).replace("worker process", "process of the code location", 1)
        return f"{told}, {when}\n{self._tail()}"

    def end(self, wait: float) -> None:
        """Close the socket, upon which the zygote kills its workers and ends; kill it if that takes longer."""
        self.sock.close()
        try:
            self._process.wait(wait)
        except subprocess.TimeoutExpired:
            # Its group and session are its own; a load that hangs may have started processes.
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()

    def remove_empty_log(self) -> None:
        """A log in which nothing stands is of no use to anybody."""
        if self._log.exists() and self._log.stat().st_size == 0:
            self._log.unlink()

    def _tail(self) -> str:
        try:
            with self._log.open("rb") as log:
                log.seek(max(0, self._log.stat().st_size - _TAIL))
                text = log.read().decode(errors="backslashreplace").strip()
        except FileNotFoundError:  # retention has taken it
            return "its log is gone"
        return f"its last output:\n{text}" if text else "it printed nothing"


def environment() -> dict[str, str]:
    """Ours for a new process, with plait importable also where only this process's sys.path has it; which is undone
    there on arrival."""
    environment = dict(os.environ)
    source = str(Path(plait.model.__file__).parents[2])
    if Path(source).name not in {"site-packages", "dist-packages"}:  # those are found anyway, and not before the rest
        path = os.environ.get("PYTHONPATH")
        environment["PYTHONPATH"] = f"{source}{os.pathsep}{path}" if path else source
    if sys.platform == "darwin":  # system libraries that were loaded before a fork would abort the worker
        environment["OBJC_DISABLE_INITIALIZE_FORK_SAFETY"] = "YES"
    return environment
