"""What is shown while a run goes on: right, and small however large the run."""

import fcntl
import io
import os
import pty
import struct
import sys
import termios
import time
from pathlib import Path

from plait.cli.board import Board
from plait.cli.progress import MOST_ROWS, LiveTable, PlainLines
from tests.cli.conftest import Command


def _lines(board: Board, *, seconds: float = 0.3) -> list[str]:
    board.run_id = "0001"
    stream = io.StringIO()
    stream.close = lambda: None  # type: ignore[method-assign]  # it is read after the display has let go of it
    shown = PlainLines(board, "title", lambda: None, stream)
    shown.start()
    time.sleep(seconds)
    shown.stop()
    return stream.getvalue().splitlines()


def test_a_board_counts() -> None:
    board = Board()
    board.expect({"load": 3})
    for no, state in ((0, "dispatched"), (0, "running"), (0, "success"), (1, "running"), (1, "running")):
        board.update(no, "load", state)
    (line,) = board.lines()
    assert (line.total, line.over, line.active, line.waiting, line.done) == (3, 1, 1, 1, False)
    assert line.words() == "1 running, 1 success, 1 pending"
    board.drop(0)
    assert board.lines()[0].states["success"] == 0


def test_plain_lines_of_ten_thousand_tasks_are_few() -> None:
    mapped = Board()
    for no in range(10_000):
        mapped.update(no, "work", "success")
    assert len(_lines(mapped)) == 2
    different = Board()
    for no in range(10_000):
        different.update(no, f"task_{no}", "failed" if no == 7 else "success")
    lines = _lines(different)
    assert len(lines) <= 3
    assert "9,999 success, 1 failed" in lines[-1]


def test_the_live_table_of_ten_thousand_tasks_is_small_and_quick() -> None:
    from rich.console import Console

    board = Board()
    for no in range(10_000):
        board.update(no, f"task_{no % 500}", "running" if no % 500 == 250 else "success")
    stream = io.StringIO()
    table = LiveTable(board, "title", lambda: None, stream)
    console = Console(file=stream, width=100)
    console.print(table.render())
    began = time.perf_counter()
    console.print(table.render())
    assert time.perf_counter() - began < 0.1
    text = stream.getvalue()
    assert len(text.splitlines()) <= 2 * (MOST_ROWS + 4)
    assert "task_250" in text
    assert "and 482 more tasks" in text


def test_on_a_terminal(plait: Command, files: Path) -> None:
    """The table is drawn, and taken away; what stays is the summary."""
    pid, fd = pty.fork()
    if pid == 0:
        try:
            os.chdir(plait.folder)
            os.execve(  # noqa: S606  the child of a pseudo-terminal becomes the command itself
                sys.executable,
                [sys.executable, "-m", "plait", "run", str(files / "work.py"), "slow"],
                {**plait.env, "TERM": "xterm-256color"},
            )
        finally:
            os._exit(1)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
    seen = b""
    while True:
        try:
            data = os.read(fd, 1 << 16)
        except OSError:  # how Linux tells that the other side is closed
            break
        if not data:
            break
        seen += data
    os.close(fd)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    text = seen.decode()
    assert "slow_double" in text
    assert "/20" in text
    assert "result: 380" in text
    assert len(text) < 20_000


def test_many_tasks_on_stderr(shared: Command, files: Path) -> None:
    result = shared("run", files / "work.py", "many", "-p", "count=2000", "--json")
    assert len(result.json["tasks"]) == 2002
    assert len(result.err.splitlines()) < 10
