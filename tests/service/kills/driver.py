"""Kills what serves a database, starts it again, and checks what came of it.

Theory of operation. The driver asks for runs of `files/ledger.py`, and kills -9: a scheduler, a worker, the process of
a flow's body, everything; at a random moment (`storm.py`), or at a commit (`at_every_commit`; `hook/` is how). What it
killed it starts again at once, and does nothing else: no run is resumed or retried by hand. In the end it kills no
more, and waits for all runs. Then the books have to agree (`books.py`), and after no kill has more run again than what
was in flight.
"""

import contextlib
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

from plait.bootstrap import load_definitions
from plait.bootstrap.service import request_run
from plait.model.ids import RunId
from plait.model.rows import RunRow
from plait.model.states import RUN_TERMINAL
from plait.runtime.lease import is_alive
from tests.service.house import House
from tests.service.kills.books import Ledger, check_run
from tests.service.kills.nursery import Nursery
from tests.waiting import wait_until

IN_FLIGHT = 40
"""Short tasks that may be executed again after a kill, for each worker, on all of its processes."""
PATIENCE = 90.0
"""Seconds for runs to end by themselves; a lease of 20 is in it, and a machine that does other things as well."""
VICTIMS = ("scheduler", "worker", "flow", "everything")
POINTS = ("before_commit", "after_commit")


@dataclass(frozen=True)
class Kill:
    """One kill, and a moment just before it. `point`: the commit at which the victim killed itself."""

    victim: str
    at: float
    point: str = ""


@dataclass
class Story:
    """What a drive came to, for its report."""

    kills: list[Kill] = field(default_factory=list)
    runs: int = 0
    tasks: int = 0
    executions: int = 0
    again: int = 0
    most_again: int = 0
    worst: str = "any"
    """The victim of the kill after which most ran again."""

    def add(self, other: "Story") -> None:
        """Sum up two that do not know of each other."""
        self.kills += other.kills
        self.runs += other.runs
        self.tasks += other.tasks
        self.executions += other.executions
        self.again += other.again
        if other.most_again > self.most_again:
            self.most_again, self.worst = other.most_again, other.worst

    def __str__(self) -> str:
        by_victim = Counter(kill.victim for kill in self.kills)
        victims = ", ".join(f"{count} {victim}" for victim, count in sorted(by_victim.items()))
        at_commits = sum(kill.point != "" for kill in self.kills)
        return (
            f"{len(self.kills)} kills ({victims}; {at_commits} at a commit), {self.runs} runs, {self.tasks} tasks, "
            f"{self.executions} executions, {self.again} of them again, "
            f"at most {self.most_again} after one kill ({self.worst})"
        )


class Driver:
    """One database and what serves it. `workers`: processes of each worker."""

    def __init__(self, house: House, nursery: Nursery, *, workers: int = 2):
        self.house = house
        self.story = Story()
        self.runs: list[RunId] = []
        self._nursery = nursery
        self.workers = workers
        self._target = house.put("ledger.py")
        self._definitions = load_definitions({"path": [], "target": str(self._target)})
        self._serving: dict[str, int] = {}
        self._starts = 0

    # --- processes ----------------------------------------------------------------------------------------------------

    def start(self, name: str, *, point: str = "", group: int = 0) -> int:
        """Start a scheduler or a worker (by its name); at `point` it is to kill itself. Returns the start's number."""
        self._starts += 1
        env = dict(self.house.env)
        if point:
            env |= {"KILL_AT": point, "KILL_MARKER": str(self._marker(self._starts))}
        kind = name.partition("-")[0]
        args = ["scheduler", str(self._target)] if kind == "scheduler" else ["worker", "--workers", str(self.workers)]
        log = self.house.folder / f"{name}.log"
        self._serving[name] = self._nursery.start(args, env=env, cwd=self.house.folder, log=log, group=group)
        return self._starts

    def start_victim(self, victim: str, point: str) -> int:
        """Start a scheduler and a worker, of which one will kill itself at that commit; the number of that start."""
        if victim == "everything":
            start = self.start("scheduler-0", point=f"{point}:group")
            self.start("worker-0", group=self._serving["scheduler-0"])
            return start
        if victim == "scheduler":
            self.start("worker-0")
            return self.start("scheduler-0", point=point)
        self.start("scheduler-0")
        return self.start("worker-0", point=point)  # a worker itself commits nothing: it is a flow's body that dies

    def is_up(self, name: str) -> bool:
        """Whether a process was started, and has not died."""
        return name in self._serving and is_alive(self._serving[name])

    def _marker(self, start: int) -> Path:
        return self.house.folder / f"killed-{start}"

    def has_died(self, start: int) -> bool:
        """Whether what was started to kill itself, or a process below it, has done so."""
        marker = self._marker(start)
        return marker.exists() and (pid := marker.read_text()) != "" and not is_alive(int(pid))

    def record(self, start: int, victim: str, point: str) -> None:
        """Note that what was started to kill itself has done so."""
        self.story.kills.append(Kill(victim, self._marker(start).stat().st_mtime, point))

    def kill(self, *names: str, victim: str) -> None:
        """Kill -9 these at once. `everything`: also what they have started."""
        below = self._below() if victim == "everything" else []
        self.story.kills.append(Kill(victim, time.time()))
        self._send(*[self._serving[name] for name in names], *below)

    def kill_a_body(self, choose: Callable[[list[int]], int]) -> None:
        """Kill -9 the process of a flow's body, of those that are at work."""
        ledger, still = Ledger(self.house.noted()), {row.run_id for row in self.open_runs()}
        bodies = [pid for run_id, pid in ledger.bodies.items() if run_id in still and is_alive(pid)]
        if bodies:
            self.story.kills.append(Kill("flow", time.time()))
            self._send(choose(bodies))

    def rest(self) -> None:
        """Kill all; nothing is in flight."""
        self._send(*self._serving.values(), *self._below())

    def _below(self) -> list[int]:
        """What the processes that serve have started, and what that has."""
        return [int(line.partition(":")[0]) for line in self.house.left()]

    def _send(self, *pids: int) -> None:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.until(lambda: not any(map(is_alive, pids)), "the killed are gone")

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait, and tell what the processes said if it does not happen."""
        try:
            wait_until(condition, what, PATIENCE)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.open()}\n{self.logs()}") from None

    def open(self) -> str:
        """What is not over, and who lives."""
        runs = "\n".join(
            f"{row.run_id} {row.workflow} {row.state} {row.reason!r} of {row.owner} epoch {row.epoch}: "
            + ", ".join(
                f"{task.key}{task.path} {task.state} {task.token:x} attempt {task.attempt}"
                for task in self.house.store.tasks(row.run_id)
                if task.state != "success"
            )
            for row in self.open_runs()
        )
        owners = {row.owner: is_alive(row.pid) for row in self.house.store.owners()}
        return f"{runs}\nowners: {owners}\nserving: {self._serving}\nslots: {self.house.store.slots()}"

    def logs(self) -> str:
        """The ends of the logs."""
        logs = sorted(self.house.folder.glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-3000:]}" for path in logs)

    # --- runs ---------------------------------------------------------------------------------------------------------

    def ask(self, name: str, **params: Any) -> RunId:
        """Ask for a run, as `plait runs start` does."""
        workflow, target = self._definitions.workflow(name), str(self._target)
        asked = request_run(
            self.house.settings, self.house.store, self._definitions, workflow, params=params, target=target
        )
        self.runs.append(asked)
        return asked

    def is_over(self, run_id: RunId) -> bool:
        """Whether a run has ended."""
        return self.house.row(run_id).state in RUN_TERMINAL

    def open_runs(self) -> list[RunRow]:
        """Those that are not over."""
        return [row for run_id in self.runs if (row := self.house.row(run_id)).state not in RUN_TERMINAL]

    def check(self, workers: int = 1) -> Story:
        """Raise AssertionError unless the books agree, on runs that are over, and what ran again is what was in flight
        in so many workers."""
        ledger, story = Ledger(self.house.noted()), self.story
        story.tasks = 0
        for run_id in self.runs:
            row = self.house.row(run_id)
            assert row.state == "success", f"run {run_id} of {row.workflow} is {row.state}: {row.reason}\n{self.logs()}"
            story.tasks += check_run(self.house, ledger, row)
        assert not self.house.store.slots(), "slots leaked"
        story.kills.sort(key=lambda kill: kill.at)
        again = ledger.again([kill.at for kill in story.kills])
        story.runs, story.executions = len(self.runs), ledger.executions()
        story.again, story.most_again = sum(again), max(again, default=0)
        if story.most_again:
            story.worst = story.kills[again.index(story.most_again)].victim
        # What a kill has to have repeated may begin only after the next one, when they come in quick succession.
        for kills, so_far in enumerate(accumulate(again), 1):
            most = kills * IN_FLIGHT * workers
            assert so_far <= most, f"{so_far} ran again after {kills} kills, more than was in flight: {story}"
        return story


def at_every_commit(
    driver: Driver, victim: str, point: str, ask: Callable[[], RunId], numbers: range = range(1, 1000)
) -> int:
    """Kill the victim at its first commit; then, with all started anew and another run, at its second one, and so on,
    until a run is over before that. `numbers`: the commits that are tried. Returns how often it was killed."""
    for count, number in enumerate(numbers):
        start = driver.start_victim(victim, f"{point}:{number}")
        run_id = ask()
        driver.until(
            lambda start=start, run_id=run_id: driver.has_died(start) or driver.is_over(run_id), "a kill, or the end"
        )
        if not driver.has_died(start):
            driver.rest()
            return count
        driver.record(start, victim, f"{point}:{number}")
        if victim == "everything":
            driver.until(lambda: not driver.is_up("worker-0"), "its group is gone")
        for name in ("scheduler-0", "worker-0"):
            if not driver.is_up(name):
                driver.start(name)
        driver.until(lambda run_id=run_id: driver.is_over(run_id), f"the end of run {run_id}")
        driver.rest()
    return len(numbers)
