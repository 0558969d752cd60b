"""How many trivial executions a second each executor takes, what they cost, and how long one alone takes.

    python -m bench.parts.executors [--count N] [--workers N]

Throughput: the sink submits as much as there is capacity for, as the dispatcher does. CPU of the parent's side is this
process's, CPU of the workers that of its ended children (with the zygote's start, which is measured apart and taken
off). Latency: a chain in which each execution is submitted when the one before is reported.
"""

import argparse
import json
import resource
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import Any

from plait.adapters.executors.inline import InlineExecutor
from plait.adapters.executors.processes import ProcessExecutor
from plait.adapters.executors.threads import ThreadExecutor
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import Outcome, Stored
from plait.model.wire import Execution, Finished, Report, RunInfo
from plait.ports import Executor

RUN = RunInfo(run_id=RunId("0190aaaa-aaaa-7aaa-8aaa-aaaaaaaaaaaa"), workflow="bench", target="bench.py")
RESULT = Stored(format="json", data=b"55", size=2)


class Trivial:
    """A runner that does nothing and has a small result."""

    def run(self, execution: Execution) -> Outcome:
        now = time.time()
        return Outcome(outputs={"result": RESULT}, started_at=now, finished_at=now)


def make(config: dict[str, Any]) -> Trivial:
    """The zygote's factory."""
    return Trivial()


class Driver:
    """Submits `count` executions, as many at a time as there is capacity for but at most `depth`; waits for all."""

    def __init__(self, executor: Executor, depth: int):
        self._executor, self.depth = executor, depth
        self._lock = threading.Lock()
        self._next = self._left = self._stop = 0
        self._end = threading.Event()
        self.wake_ups = 0

    def report(self, reports: Sequence[Report]) -> None:
        with self._lock:
            self.wake_ups += 1
            self._left -= sum(type(report) is Finished for report in reports)
            over = self._left == 0
        if over:
            self._end.set()
        else:
            self._submit()

    def _submit(self) -> None:
        with self._lock:
            first = self._next
            self._next += max(0, min(self._executor.capacity(), self.depth, self._stop - first))
            numbers = range(first, self._next)
        if numbers:
            self._executor.submit([Execution(run=RUN, no=TaskNo(no), token=Token(no), key="trivial") for no in numbers])

    def run(self, count: int) -> float:
        self._left, self._stop, self.wake_ups = count, self._next + count, 0
        self._end.clear()
        begin = time.perf_counter()
        self._submit()
        self._end.wait()
        return time.perf_counter() - begin


def children() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def executor_of(kind: str, workers: int, folder: str) -> Executor:
    if kind == "inline":
        return InlineExecutor(Trivial())
    if kind == "threads":
        return ThreadExecutor(Trivial(), workers)
    return ProcessExecutor("bench.parts.executors:make", {}, workers=workers, segments=folder)


def measure(kind: str, workers: int, count: int) -> dict[str, float | str]:
    """Start, warm up, measure, stop; once with nothing to do, so that the start's CPU can be taken off."""
    idle = 0.0
    for amount in (0, count):
        with tempfile.TemporaryDirectory() as folder:
            before = children()
            executor = executor_of(kind, workers, folder)
            driver = Driver(executor, 1 << 30)
            executor.start(driver)
            cold = driver.run(50)
            driver.run(200)
            if not amount:
                executor.stop()
                idle = children() - before
                continue
            cpu = time.process_time()
            wall = driver.run(amount)
            cpu = time.process_time() - cpu
            wake_ups = driver.wake_ups
            driver.depth = 1
            chain = driver.run(2000)
            executor.stop()
            below = children() - before - idle
    return {
        "executor": kind,
        "executions/s": round(count / wall),
        "parent CPU us": round(cpu / count * 1e6, 1),
        "worker CPU us": round(below / (count + 2000) * 1e6, 1),
        "per wake-up": round(count / wake_ups, 1),
        "one alone us": round(chain / 2000 * 1e6),
        "first 50 ms": round(cold * 1e3, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=50_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = [measure(kind, options.workers, options.count) for kind in ("processes", "threads", "inline")]
    if options.json:
        print(json.dumps(rows))
        return
    print("  ".join(f"{name:>14}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:>14}" for value in row.values()))


if __name__ == "__main__":
    main()
