"""The triggerer: a process that loads a code location and awaits its triggers on one event loop.

Run as `python -m plait.worker.triggerer MARKS CONTROL`, with the file of the marks (see `wait_loop`) and a socket to
the parent at these file descriptors. The parent says what to load, is told when that is done, then says what to wait
for. It ends with its parent.
"""

import asyncio
import contextlib
import faulthandler
import mmap
import os
import signal
import socket
import sys
import traceback
from typing import Any

import msgspec

from plait.authoring.params import adapter_of
from plait.worker import frames
from plait.worker.loading import load_target
from plait.worker.parent import die_with_parent, exit_with
from plait.worker.process import prepare_logging
from plait.worker.wait_loop import MARKS_SIZE, Marks, WaitLoop

SHOW_YOURSELF = signal.SIGUSR1
"""Write to the log what the event loop is doing."""


class Load(msgspec.Struct, array_like=True, tag=1):
    """The first message: the code location (empty: none). `path` is the parent's sys.path, `pythonpath` the user's own
    setting."""

    target: str
    path: list[str]
    pythonpath: str | None


class Start(msgspec.Struct, array_like=True, tag=2):
    """Begin to wait for a trigger, under this number."""

    number: int
    trigger: dict[str, Any]


class Drop(msgspec.Struct, array_like=True, tag=3):
    """Nobody waits for this one any more."""

    number: int


class Over(msgspec.Struct, array_like=True, tag=6):
    """To the parent: a trigger has told its event, or failed."""

    number: int
    event: Any
    error: str | None


def main() -> None:
    """Load, tell the parent, then wait until it is gone."""
    control = socket.socket(fileno=int(sys.argv.pop()))
    marks = Marks(mmap.mmap(int(sys.argv.pop()), MARKS_SIZE))
    die_with_parent(signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    faulthandler.register(SHOW_YOURSELF, file=2, all_threads=False)
    prepare_logging()
    load = _first(control)
    sys.path[:] = load.path
    os.environ.pop("PYTHONPATH", None)
    if load.pythonpath is not None:
        os.environ["PYTHONPATH"] = load.pythonpath
    if load.target:
        _load(load.target, control)
    adapter_of(int)  # imports pydantic, which arguments need: not on the event loop, at the cost of the first trigger
    control.sendall(frames.encode(frames.Loaded()))
    with contextlib.suppress(ConnectionError):  # the parent is gone, and so is what it waited for
        asyncio.run(_Server(control, marks).serve())
    sys.stdout.flush()
    os._exit(0)  # threads of user code, which may hang, are of no more interest


def _first(control: socket.socket) -> Load:
    reader = frames.Reader(Load)
    while True:
        messages, closed = reader.receive(control)
        if closed:
            sys.exit(0)
        if messages:
            return messages[0]


def _load(target: str, control: socket.socket) -> None:
    with exit_with(control):
        try:
            load_target(target, validate=False)
        except BaseException as error:  # noqa: BLE001  SystemExit too: whatever it was, the parent tells the user
            failed = frames.LoadFailed(f"{type(error).__name__}: {error}", traceback.format_exc())
            control.sendall(frames.encode(failed))
            sys.stdout.flush()
            os._exit(1)


class _Server:
    """Serves the parent from within the event loop."""

    def __init__(self, control: socket.socket, marks: Marks):
        self._control, self._marks = control, marks
        self._reader = frames.Reader(Start | Drop)
        self._unsent = bytearray()

    async def serve(self) -> None:
        """Until the parent is gone."""
        self._loop = asyncio.get_running_loop()
        self._gone = self._loop.create_future()
        self._control.setblocking(False)
        self._waits = WaitLoop(self._marks, self._over)
        self._loop.add_reader(self._control, self._listen)
        await self._gone
        self._loop.remove_reader(self._control)
        await self._waits.close()

    def _listen(self) -> None:
        messages, closed = self._reader.receive(self._control)
        for message in messages:
            if isinstance(message, Start):
                self._waits.start(message.number, message.trigger)
            else:
                self._waits.drop(message.number)
        if closed:
            self._end()

    def _over(self, number: int, event: Any, error: str | None) -> None:
        idle = not self._unsent
        self._unsent += frames.encode(Over(number, event, error))
        if idle:
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        try:
            sent = self._control.send(self._unsent)
        except BlockingIOError:
            sent = 0
        except ConnectionError:
            self._end()
            return
        del self._unsent[:sent]
        if self._unsent:
            self._loop.add_writer(self._control, self._send)
        else:
            self._loop.remove_writer(self._control)

    def _end(self) -> None:
        if not self._gone.done():
            self._gone.set_result(None)


if __name__ == "__main__":
    main()
