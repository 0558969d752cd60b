"""Two forked workers over pipes. A task is its number in four bytes, and so is its end.

Fork them before anything starts a thread.
"""

import os
import select
import signal
from collections.abc import Sequence

from bench.work import fib

ONE = 4
"""Bytes of a number."""
_READ = 1 << 16


class Workers:
    """Runs fib(10) for each number that it is sent."""

    def __init__(self, count: int = 2):
        self._to: list[int] = []
        self._from: list[int] = []
        self._pids: list[int] = []
        self._turn = 0
        for _ in range(count):
            out, to = os.pipe()
            back, answer = os.pipe()
            pid = os.fork()
            if pid == 0:
                for fd in (to, back, *self._to, *self._from):
                    os.close(fd)
                _serve(out, answer)
            os.close(out)
            os.close(answer)
            self._to.append(to)
            self._from.append(back)
            self._pids.append(pid)

    def send(self, numbers: Sequence[int]) -> None:
        """Share these out."""
        count = len(self._to)
        for each in range(min(count, len(numbers))):
            data = b"".join(number.to_bytes(ONE, "little") for number in numbers[each::count])
            os.write(self._to[(each + self._turn) % count], data)
        self._turn += 1

    def receive(self) -> list[int]:
        """Wait for what has ended."""
        ended: list[int] = []
        ready, _, _ = select.select(self._from, (), ())
        for fd in ready:
            data = os.read(fd, _READ)
            ended += [int.from_bytes(data[at : at + ONE], "little") for at in range(0, len(data), ONE)]
        return ended

    def close(self) -> None:
        """End them."""
        for fd in (*self._to, *self._from):
            os.close(fd)
        for pid in self._pids:
            os.waitpid(pid, 0)


def _serve(out: int, answer: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while data := os.read(out, _READ):
        for _ in range(0, len(data), ONE):
            fib(10)
        os.write(answer, data)
    os._exit(0)
