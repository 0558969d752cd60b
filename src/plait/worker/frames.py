"""What the parent, the zygote and the workers say to each other: length-prefixed MessagePack frames on sockets.

An execution is sent with its run replaced by a small slot number: the worker keeps a table of slots, the parent says
what is in them (a `RunInfo` goes once per worker and run, and the table has a bound).
"""

import socket
import struct
from typing import Any

import msgspec

from plait.model.ids import RunId
from plait.model.outcome import Outcome
from plait.model.wire import Execution, RunInfo

RUN_SLOTS = 64
"""Runs that a worker remembers. A frame never holds more executions than this, so none is needed twice in it."""

_HEADER = struct.Struct("!I")
_RECEIVE = 1 << 18


# --- parent to worker ------------------------------------------------------------------------------------------------

_NO_RUN = RunInfo(run_id=RunId(""), workflow="", target="")


class Item(msgspec.Struct, array_like=True, gc=False):
    """One execution on its way: its number on this worker, the slot of its run, whether its start is to be told."""

    seq: int
    slot: int
    tell: bool
    execution: Execution


class Work(msgspec.Struct, array_like=True, gc=False):
    """What a worker gets: runs for its slots first, then executions."""

    runs: list[tuple[int, RunInfo]]
    items: list[Item]


def without_run(execution: Execution) -> Execution:
    """The execution as it travels."""
    return msgspec.structs.replace(execution, run=_NO_RUN)


def with_run(execution: Execution, run: RunInfo) -> Execution:
    """The execution as it was before `without_run`."""
    return msgspec.structs.replace(execution, run=run)


# --- worker to parent ------------------------------------------------------------------------------------------------


class Began(msgspec.Struct, array_like=True, tag=1, gc=False):
    """The worker begins an execution, at epoch seconds `at`; its output begins at `offset` of `segment`."""

    seq: int
    at: float
    segment: str
    offset: int


class Ended(msgspec.Struct, array_like=True, tag=2):
    """An execution ended after `took` seconds."""

    seq: int
    took: float
    outcome: Outcome


# --- parent to zygote ------------------------------------------------------------------------------------------------


class Hello(msgspec.Struct, array_like=True, tag=1):
    """The first message: what to load. `path` is the parent's sys.path, `pythonpath` the user's own setting."""

    factory: str
    config: dict[str, Any]
    path: list[str]
    pythonpath: str | None
    folder: str


class Fork(msgspec.Struct, array_like=True, tag=2):
    """Fork a worker. Its socket and the reading end of its permits come with this message."""

    worker: str


class Kill(msgspec.Struct, array_like=True, tag=3):
    """SIGKILL a worker and all of its process group."""

    worker: str


# --- zygote to parent ------------------------------------------------------------------------------------------------


class Loaded(msgspec.Struct, array_like=True, tag=1):
    """The factory has returned a runner; workers can be forked."""


class LoadFailed(msgspec.Struct, array_like=True, tag=2):
    """The factory raised."""

    message: str
    traceback: str


class Forked(msgspec.Struct, array_like=True, tag=3):
    """The worker runs as process `pid`."""

    worker: str
    pid: int


class ForkFailed(msgspec.Struct, array_like=True, tag=4):
    """The system refused a new process."""

    worker: str
    reason: str


class Exited(msgspec.Struct, array_like=True, tag=5):
    """The worker's process has ended: exit code, or minus the signal."""

    worker: str
    code: int


# --- framing ---------------------------------------------------------------------------------------------------------

_encoder = msgspec.msgpack.Encoder()


def encode(message: Any) -> bytearray:
    """A message as one frame."""
    frame = bytearray(4)
    _encoder.encode_into(message, frame, 4)
    _HEADER.pack_into(frame, 0, len(frame) - 4)
    return frame


class Reader:
    """Takes frames of one type out of a stream of bytes."""

    def __init__(self, kind: Any):
        self._decode = msgspec.msgpack.Decoder(kind).decode
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[Any]:
        """The messages that are complete now."""
        buffer: bytes | bytearray = data
        if self._rest:
            self._rest += data
            buffer = self._rest
        messages: list[Any] = []
        at, end = 0, len(buffer)
        with memoryview(buffer) as view:
            while end - at >= 4:
                stop = at + 4 + _HEADER.unpack_from(view, at)[0]
                if stop > end:
                    break
                with view[at + 4 : stop] as body:
                    messages.append(self._decode(body))
                at = stop
        if buffer is data:
            if at < end:
                self._rest += data[at:]
        else:
            del self._rest[:at]
        return messages

    def receive(self, sock: socket.socket) -> tuple[list[Any], bool]:
        """Read what is there (a blocking socket waits for it): the messages, and whether the other end is gone."""
        try:
            data = sock.recv(_RECEIVE)
        except BlockingIOError:
            return [], False
        except ConnectionError:
            return [], True
        return (self.feed(data), False) if data else ([], True)
