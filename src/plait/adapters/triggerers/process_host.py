"""A triggerer process, as its supervisor sees it."""

import contextlib
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from plait.adapters.executors.zygote_link import environment
from plait.adapters.triggerers.places import place_of
from plait.adapters.triggerers.supervisor import Gone
from plait.worker import endings, frames, triggerer
from plait.worker.wait_loop import MARKS_SIZE, Marks

LOAD_TIMEOUT = 60.0
_TAIL = 4000
_FRAME = re.compile(r'^  File "(?P<file>[^"]+)", line (?P<line>\d+)', re.MULTILINE)
_SHOWN_WITHIN = 0.5
_GRACE = 1.0


class ProcessHost:
    """One process (`plait.worker.triggerer`). Made in the thread that lives as long as it is needed: on Linux the
    process ends with that thread. `segments` is the folder of its log, which is deleted when nothing stands in it."""

    def __init__(self, target: str, segments: Path, *, load_timeout: float = LOAD_TIMEOUT):
        self.loaded = False
        self._load_timeout = load_timeout
        self._load_until = time.monotonic() + load_timeout
        self._unsent = bytearray()
        self._held = bytearray()
        """What it is told as soon as it has loaded: until then anything on its socket means that we are gone."""
        segments.mkdir(parents=True, exist_ok=True)
        self._log = segments / f"{time.time_ns() // 1_000_000:x}-{os.getpid()}-triggerer.log"
        self._sock, theirs = socket.socketpair()
        with theirs, self._log.open("ab") as log, tempfile.TemporaryFile() as shared:
            shared.truncate(MARKS_SIZE)
            self._memory = mmap.mmap(shared.fileno(), MARKS_SIZE)
            self.marks = Marks(self._memory)
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "plait.worker.triggerer", str(shared.fileno()), str(theirs.fileno())],
                pass_fds=[shared.fileno(), theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
                start_new_session=True,
            )
        path = [entry or os.getcwd() for entry in sys.path]
        self._sock.sendall(frames.encode(triggerer.Load(target, path, os.environ.get("PYTHONPATH"))))
        self._sock.setblocking(False)
        self._reader = frames.Reader(frames.Loaded | frames.LoadFailed | triggerer.Over)

    def fileno(self) -> int:
        """The socket."""
        return self._sock.fileno()

    def writes(self) -> bool:
        """Whether the socket was full."""
        return bool(self._unsent)

    def start(self, number: int, trigger: dict[str, Any]) -> None:
        """Send it, or keep it until the code is loaded."""
        self._say(triggerer.Start(number, trigger))

    def drop(self, number: int) -> None:
        """Likewise."""
        self._say(triggerer.Drop(number))

    def _say(self, message: object) -> None:
        if not self.loaded:
            self._held += frames.encode(message)
            return
        self._unsent += frames.encode(message)
        self._send()

    def _send(self) -> None:
        if self._unsent:
            try:
                sent = self._sock.send(self._unsent)
            except BlockingIOError:
                return
            except ConnectionError:  # it is gone: that is read next
                sent = len(self._unsent)
            del self._unsent[:sent]

    def receive(self) -> tuple[list[tuple[int, Any, str | None]], Gone | None]:
        """Read what is there."""
        self._send()
        try:
            messages, closed = self._reader.receive(self._sock)
        except msgspec.DecodeError:  # user code wrote to a file descriptor that is not its own
            return [], Gone("the process of the triggers sent what is no message")
        over: list[tuple[int, Any, str | None]] = []
        for message in messages:
            match message:
                case frames.Loaded():
                    self.loaded = True
                    self._unsent, self._held = self._held, bytearray()
                    self._send()
                case frames.LoadFailed():
                    what = f"the code of the triggers does not load: {message.message}"
                    return over, Gone(what, blame=False, fatal=True)
                case triggerer.Over():
                    over.append((message.number, message.event, message.error))
        if closed:
            return over, self._died()
        if not self.loaded and time.monotonic() > self._load_until:
            at = self.where()
            what = f"the code of the triggers did not load within {self._load_timeout:g} s{f', at {at}' if at else ''}"
            return over, Gone(what, blame=False, fatal=True)
        return over, None

    def _died(self) -> Gone:
        code = self._end_process(_GRACE)
        told = endings.describe_exit(code).replace("worker process", "process of the triggers", 1)
        text = self._tail().strip()
        # Who is killed from outside (most often because memory runs out) need not be the one to blame.
        return Gone(f"{told}\nits last output:\n{text}" if text else told, blame=code != -signal.SIGKILL)

    def where(self) -> str:
        """Ask faulthandler, which answers whatever the interpreter is doing."""
        before = self._log.stat().st_size
        self._process.send_signal(triggerer.SHOW_YOURSELF)
        until = time.monotonic() + _SHOWN_WITHIN
        while self._log.stat().st_size == before and time.monotonic() < until:
            time.sleep(0.01)
        time.sleep(0.02)  # the rest of it
        with self._log.open(errors="replace") as log:
            log.seek(before)
            found = [(match["file"], int(match["line"])) for match in _FRAME.finditer(log.read())]
        return place_of(found)

    def kill(self) -> None:
        """SIGKILL it and what it started."""
        self._end_process(0.0)
        self._close()

    def end(self) -> None:
        """Close the socket, upon which it ends; kill it if that takes long."""
        self._sock.close()
        self._end_process(_GRACE)
        self._close()

    def _end_process(self, grace: float) -> int:
        """Wait so many seconds for its end, else kill it; what it started goes too. Its exit code."""
        if self._process.returncode is None:
            try:
                self._process.wait(grace)
            except subprocess.TimeoutExpired:
                self._kill_group()
                self._process.wait()
            self._kill_group()
        return self._process.wait()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):  # gone; (macOS) only zombies are left
            os.killpg(self._process.pid, signal.SIGKILL)

    def _close(self) -> None:
        self._sock.close()
        self.marks.close()
        self._memory.close()
        if self._log.exists() and self._log.stat().st_size == 0:
            self._log.unlink()

    def _tail(self) -> str:
        with self._log.open("rb") as log:
            log.seek(max(0, self._log.stat().st_size - _TAIL))
            return log.read().decode(errors="backslashreplace")
