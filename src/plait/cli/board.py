"""What a run is doing, as counts per task key: small however many task runs there are, fed by commits or by recorded
events."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from plait.model.graph import Graph
from plait.model.states import TERMINAL

OVER = frozenset(state.value for state in TERMINAL)
BAD = ("failed", "crashed", "upstream_failed", "cancelled")
ACTIVE = ("dispatched", "running")


@dataclass
class Line:
    """The task runs of one key: how many are in which state, how many are expected as far as is known, since when,
    until when."""

    key: str
    states: Counter[str] = field(default_factory=Counter[str])
    expected: int = 0
    began: float | None = None
    ended: float | None = None
    changed: float = 0.0

    @property
    def waiting(self) -> int:
        """How many are expected that were not seen to change yet."""
        return max(0, self.expected - self.states.total())

    @property
    def total(self) -> int:
        """How many task runs there are, with those that have not begun."""
        return max(self.expected, self.states.total())

    @property
    def over(self) -> int:
        """How many have ended."""
        return sum(count for state, count in self.states.items() if state in OVER)

    @property
    def active(self) -> int:
        """How many are in the hands of a worker."""
        return sum(self.states[state] for state in ACTIVE)

    @property
    def bad(self) -> int:
        """How many did not end well, by their own fault or not."""
        return sum(self.states[state] for state in BAD)

    @property
    def failed(self) -> int:
        """How many failed themselves."""
        return self.states["failed"] + self.states["crashed"]

    @property
    def done(self) -> bool:
        """Whether all that is known has ended."""
        return self.over == self.total

    def elapsed(self, now: float) -> float | None:
        """Seconds since the first began, until the last ended."""
        if self.began is None:
            return None
        return (self.ended if self.done and self.ended is not None else now) - self.began

    def words(self) -> str:
        """Its states in words: `998 success, 2 failed`; of a single task run only the state."""
        parts = sorted(((s, n) for s, n in self.states.items() if n), key=lambda part: (-part[1], part[0]))
        if self.waiting:
            parts.append(("pending", self.waiting))
        if len(parts) == 1 and parts[0][1] == 1:
            return parts[0][0]
        return ", ".join(f"{count:,} {state}" for state, count in parts)


class Board:
    """All lines of a run. Updates may come from any thread."""

    def __init__(self) -> None:
        self.began = time.monotonic()
        self.run_id = ""
        self.state = "queued"
        self.order: dict[str, int] = {}
        """Where each key stands in the graph; others follow as they appear."""
        self.open_ended = False
        """Whether more task runs of a key may follow although all that are known have ended: a flow decides as it
        runs."""
        self._lines: dict[str, Line] = {}
        self._known: dict[int, tuple[str, str]] = {}
        self._asks: dict[int, tuple[str, str]] = {}
        self._lock = threading.Lock()

    def know(self, graph: Graph) -> None:
        """What the graph tells: the order of its tasks, and whether that is all."""
        self.order = {node.key: at for at, node in enumerate(graph.nodes)}
        self.open_ended = graph.kind == "flow"

    def update(self, no: int, key: str, state: str, asks: str | None = None) -> None:
        """Task run number `no` of `key` is in `state` now; `asks` is what it asks people."""
        now = time.monotonic()
        with self._lock:
            if asks is not None:
                self._asks[no] = (key, asks)
            elif self._asks:
                self._asks.pop(no, None)
            before = self._known.get(no)
            if before is not None and before[1] == state:
                return
            self._known[no] = (key, state)
            line = self._line(key)
            if before is not None:
                line.states[before[1]] -= 1
            line.states[state] += 1
            line.changed = now
            if line.began is None and (state in ACTIVE or state in OVER):
                line.began = now
            if state in OVER:
                line.ended = now

    def questions(self) -> list[str]:
        """What is asked now, and how it is answered."""
        with self._lock:
            asked = list(self._asks.values())
        return [f"{key} asks: {text}  (plait runs answer {self.run_id})" for key, text in asked]

    def key_of(self, no: int) -> str | None:
        """The key of a task run that was seen."""
        known = self._known.get(no)
        return known[0] if known is not None else None

    def drop(self, no: int) -> None:
        """A task run was replaced by another one."""
        with self._lock:
            key, state = self._known.pop(no, ("", ""))
            if key:
                self._line(key).states[state] -= 1

    def expect(self, counts: Mapping[str, int]) -> None:
        """So many task runs of each key are known to come, or to be there."""
        with self._lock:
            for key, count in counts.items():
                self._line(key).expected = count

    def _line(self, key: str) -> Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
        return line

    def lines(self) -> list[Line]:
        """A copy of the lines, as the graph has them, then in the order in which they appeared."""
        with self._lock:
            found = [
                Line(each.key, Counter(each.states), each.expected, each.began, each.ended, each.changed)
                for each in self._lines.values()
                if each.total
            ]
        return sorted(found, key=lambda line: self.order.get(line.key, len(self.order)))

    def sums(self) -> tuple[Line, float]:
        """All lines as one, and the seconds since the beginning."""
        whole = Line("")
        for line in self.lines():
            whole.states.update(line.states)
            whole.expected += line.total
        return whole, time.monotonic() - self.began
