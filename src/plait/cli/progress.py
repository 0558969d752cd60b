"""Showing a board while a run goes on: a live table on a terminal, plain lines elsewhere. Both on stderr, both small
for any run."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TextIO

from plait.cli.board import Board, Line
from plait.cli.common import STATE_STYLES, console, is_terminal, own_stream, seconds

if TYPE_CHECKING:
    from rich.console import RenderableType

REFRESH = 5
"""Times a second that the live table is drawn."""
MOST_ROWS = 18
MOST_KEYS = 60
"""More keys than this, and plain lines tell the sums only."""
MOST_QUESTIONS = 10
BAR = 24
_LOOK = 0.25
_EVERY = 5.0


class Display(Protocol):
    """Something that shows a board from `start` to `stop`."""

    def start(self) -> None:
        """Begin to show."""
        ...

    def stop(self) -> None:
        """The last look, then no more."""
        ...


def display(board: Board, title: str, refresh: Callable[[], None] = lambda: None) -> Display:
    """What suits stderr. `refresh` is called before each look, on the display's thread."""
    stream = own_stream(sys.stderr)
    if is_terminal(sys.stderr):
        return LiveTable(board, title, refresh, stream)
    return PlainLines(board, title, refresh, stream)


class PlainLines:
    """One line when a task is done, and one every few seconds for a task of many runs; with very many tasks, the
    sums."""

    def __init__(self, board: Board, title: str, refresh: Callable[[], None], stream: TextIO):
        self._board, self._title, self._refresh, self._stream = board, title, refresh, stream
        self._told: dict[str, tuple[float, str]] = {}
        self._asked: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="plait-progress", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """Say what was not said yet."""
        self._stop.set()
        self._thread.join()
        self._look(last=True)
        if self._stream is not sys.stderr:
            self._stream.close()

    def _run(self) -> None:
        while not self._stop.wait(_LOOK):
            self._look()

    def _look(self, *, last: bool = False) -> None:
        self._refresh()
        if self._title and self._board.run_id:
            self._write(f"{self._title}  {self._board.run_id}")
            self._title = ""
        asked, before = self._board.questions(), self._asked
        for question in asked[:MOST_QUESTIONS]:
            if question not in before:
                self._write(f"  {question}")
        self._asked = asked
        lines = self._board.lines()
        if len(lines) > MOST_KEYS:
            whole, elapsed = self._board.sums()
            lines = [Line("all tasks", whole.states, whole.expected, self._board.began, None, time.monotonic())]
            if not self._is_due(lines[0], last):
                return
            self._tell(lines[0], elapsed)
            return
        for line in lines:
            if self._is_due(line, last):
                self._tell(line, line.elapsed(time.monotonic()))

    def _is_due(self, line: Line, last: bool) -> bool:
        at, words = self._told.get(line.key, (self._board.began, ""))
        if line.words() == words or not (line.over or line.active):
            return False
        finished = line.done and line.key not in self._told and not self._board.open_ended
        return last or finished or time.monotonic() - at >= _EVERY

    def _tell(self, line: Line, elapsed: float | None) -> None:
        self._told[line.key] = (time.monotonic(), line.words())
        took = f"  {seconds(elapsed)}" if elapsed is not None else ""
        self._write(f"  {line.key:<28} {line.words()}{took}")

    def _write(self, text: str) -> None:
        try:
            self._stream.write(text + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # nobody reads it any more
            self._stop.set()


class LiveTable:
    """A table that is drawn again and again: a row a task with a bar, the busiest ones where there are many."""

    def __init__(self, board: Board, title: str, refresh: Callable[[], None], stream: TextIO):
        from rich.live import Live

        self._board, self._title, self._refresh, self._stream = board, title, refresh, stream
        self._live = Live(
            console=console(stream),
            get_renderable=self.render,
            refresh_per_second=REFRESH,
            transient=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start()

    def stop(self) -> None:
        """Take the table away: the summary follows."""
        self._live.stop()
        if self._stream is not sys.stderr:
            self._stream.close()

    def render(self) -> RenderableType:
        """The table as it stands."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        self._refresh()
        lines, now = self._board.lines(), time.monotonic()
        whole, elapsed = self._board.sums()
        table = Table.grid(padding=(0, 2))
        shown = _most_telling(lines, MOST_ROWS)
        for line in shown:
            table.add_row(*_cells(line, now))
        title = f"{self._title}  {self._board.run_id}"
        head = Text.assemble((title, "bold"), f"  {self._board.state}  {seconds(elapsed)}")
        foot: list[Any] = []
        if len(shown) < len(lines):
            foot.append(Text(f"and {len(lines) - len(shown)} more tasks", style="dim"))
        foot += [Text(question, style=STATE_STYLES["paused"]) for question in self._board.questions()[:MOST_QUESTIONS]]
        if len(lines) > 1 and whole.total:
            words = f"{whole.over:,} of {whole.total:,} done, {whole.active:,} running, {whole.failed:,} failed"
            foot.append(Text(words, style="dim"))
        return Group(head, table, *foot)


def _most_telling(lines: list[Line], most: int) -> list[Line]:
    """The lines to show when there is no room for all: what runs, then what failed, then what changed last; in their
    order."""
    if len(lines) <= most:
        return lines
    ranked = sorted(lines, key=lambda line: (line.active > 0, line.bad > 0, line.changed), reverse=True)
    chosen = {line.key for line in ranked[:most]}
    return [line for line in lines if line.key in chosen]


def _cells(line: Line, now: float) -> tuple[RenderableType, ...]:
    from rich.progress_bar import ProgressBar
    from rich.text import Text

    key = Text(line.key, overflow="ellipsis", no_wrap=True)
    if line.total == 1:
        state = next((state for state, count in line.states.items() if count), "pending")
        return (
            key,
            Text(state, style=STATE_STYLES.get(state, "dim")),
            Text(seconds(line.elapsed(now)), style="dim"),
            Text(""),
        )
    style = "red" if line.bad else "green"
    bar = ProgressBar(total=line.total, completed=line.over, width=BAR, complete_style=style, finished_style=style)
    notes = [f"{line.over:,}/{line.total:,}"]
    notes += [f"{line.active:,} running"] if line.active else []
    notes += [
        f"{count:,} {state}" for state, count in line.states.items() if count and state not in ("success", *_PLAIN)
    ]
    return (
        key,
        bar,
        Text(seconds(line.elapsed(now)), style="dim"),
        Text(", ".join(notes), style="red" if line.bad else ""),
    )


_PLAIN = ("dispatched", "running", "ready", "pending")
