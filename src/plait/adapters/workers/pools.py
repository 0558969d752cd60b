"""The process pools of a worker: one per code location and kind, made when it is needed, retired when it is idle or its
code has changed.

How many executions may be under way at once is bounded for all pools together: as many as there are processes, and,
where they are short, as many as take about 20 ms.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path

from plait.adapters.executors.estimates import Estimates
from plait.adapters.executors.worker_link import depth
from plait.model.wire import Execution, Finished, Report, Started
from plait.ports import Executor, ReportSink
from plait.worker.loading import stamp_of

MOST_POOLS = 16
"""Code locations whose processes stay warm."""
IDLE_AFTER = 300.0
"""Seconds after which the processes of a location that nobody asks for are stopped."""
LOOK_AGAIN = 0.5
"""Seconds for which it is taken for granted that a location has not changed."""

MakePool = Callable[[str], Executor]
"""Makes the executor of a code location, not started yet."""
Place = tuple[str, str]


class _Pool:
    def __init__(self, executor: Executor):
        self.executor = executor
        self.busy = 0
        self.used = time.monotonic()
        self.retired = False


class Pools:
    """Executors of one kind by code location. Whoever calls holds the agent's lock."""

    def __init__(self, make: MakePool, workers: int, sink: ReportSink):
        self.workers = workers
        self._make = make
        self._sink = sink
        self._pools: dict[Place, _Pool] = {}
        self._of: dict[tuple[str, int], _Pool] = {}
        self._stamps: dict[str, tuple[float, str]] = {}
        self._estimates = Estimates()

    @property
    def busy(self) -> int:
        """How many executions are under way."""
        return len(self._of)

    def free(self) -> int:
        """How many more executions are welcome."""
        return max(0, self.workers * depth(self.workers, self._estimates.overall) - len(self._of))

    def submit(self, executions: Sequence[Execution]) -> None:
        """Hand them to the pools of their locations."""
        by_target: dict[str, list[Execution]] = {}
        for execution in executions:
            by_target.setdefault(execution.run.target, []).append(execution)
        for target, theirs in by_target.items():
            pool = self._pool(target)
            pool.busy += len(theirs)
            pool.used = time.monotonic()
            for execution in theirs:
                self._of[execution.run.run_id, execution.token] = pool
            pool.executor.submit(theirs)

    def executor_of(self, run_id: str, token: int) -> Executor | None:
        """The executor that an execution is at."""
        pool = self._of.get((run_id, token))
        return pool.executor if pool is not None else None

    def reported(self, report: Report) -> None:
        """An execution has ended (or only begun)."""
        if isinstance(report, Started):
            return
        pool = self._of.pop((report.run_id, report.token), None)
        if pool is not None:
            pool.busy -= 1
        if isinstance(report, Finished) and report.outcome.started_at:
            took = max(0.0, report.outcome.finished_at - report.outcome.started_at)
            self._estimates.learn(("", ""), took)

    def idle(self) -> list[Executor]:
        """Pools that nobody needs any more: they are forgotten here, and the caller stops them."""
        now = time.monotonic()
        places = sorted(self._pools, key=lambda place: self._pools[place].used)
        surplus = len(places) - MOST_POOLS
        gone: list[Executor] = []
        for place in places:
            pool = self._pools[place]
            if not pool.busy and (pool.retired or surplus > 0 or pool.used < now - IDLE_AFTER):
                gone.append(self._pools.pop(place).executor)
                surplus -= 1
        return gone

    def all(self) -> list[Executor]:
        """Every executor."""
        return [pool.executor for pool in self._pools.values()]

    def _pool(self, target: str) -> _Pool:
        place = (target, self._stamp(target))
        pool = self._pools.get(place)
        if pool is None:
            for other, known in self._pools.items():
                known.retired = known.retired or other[0] == target
            pool = self._pools[place] = _Pool(self._make(target))
            pool.executor.start(self._sink)
        pool.retired = False
        return pool

    def _stamp(self, target: str) -> str:
        """Changes when the location's code does. What it imports from elsewhere is not looked at."""
        now = time.monotonic()
        known = self._stamps.get(target)
        if known is None or known[0] < now - LOOK_AGAIN:
            known = self._stamps[target] = (now, stamp_of(Path(target)))
        return known[1]
