"""All timers of a scheduler, in one heap (C5)."""

import heapq

from plait.model.commands import SetTimer
from plait.model.ids import RunId


class Timers:
    """Due times with what to post then. A later timer of the same (run, kind, task) replaces the earlier one."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, RunId, SetTimer]] = []
        self._latest: dict[RunId, dict[tuple[str, int | None], int]] = {}
        self._count = 0

    def set(self, run_id: RunId, timer: SetTimer) -> None:
        """Add a timer."""
        self._count += 1
        self._latest.setdefault(run_id, {})[timer.kind, timer.no] = self._count
        heapq.heappush(self._heap, (timer.at, self._count, run_id, timer))

    def next_at(self) -> float | None:
        """When the next one is due (epoch seconds), none when there is none."""
        while self._heap and not self._alive(self._heap[0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def due(self, now: float, limit: int = 1000) -> list[tuple[RunId, SetTimer]]:
        """Take at most `limit` timers that are due."""
        found: list[tuple[RunId, SetTimer]] = []
        while len(found) < limit:
            at = self.next_at()
            if at is None or at > now:
                break
            _, _, run_id, timer = heapq.heappop(self._heap)
            del self._latest[run_id][timer.kind, timer.no]
            found.append((run_id, timer))
        return found

    def forget_run(self, run_id: RunId) -> None:
        """Drop all timers of a run."""
        self._latest.pop(run_id, None)

    def _alive(self, entry: tuple[float, int, RunId, SetTimer]) -> bool:
        _, count, run_id, timer = entry
        return self._latest.get(run_id, {}).get((timer.kind, timer.no)) == count
