"""A look at hosted runs in which nothing has happened for a while: each has a reason to wait, or is helped on.

What it looks for never happens as far as is known: an execution that no executor has any more, a timer that did not
fire, an aggregate that breaks an invariant. Each is said in the log, because each is a defect; and each is mended, so
that a defect costs seconds and not a run (F1, F25).
"""

import itertools
import logging
from collections.abc import Iterable

from plait.engine.executions import TIMERS
from plait.engine.invariants import check_run
from plait.model.errors import EngineError
from plait.model.ids import RunId, TaskNo, Token
from plait.model.states import LIVE
from plait.model.stimuli import ExecutionReturned, Stimulus, TimerFired
from plait.runtime.hosted import Hosted
from plait.runtime.scheduler import Scheduler

QUIET = 30.0
"""Seconds without an event after which a run is looked at."""
LATE = 5.0
"""Seconds by which a timer may be late."""
AT_ONCE = 200
"""Runs that one look takes at most; the next look goes on behind them (C8)."""
log = logging.getLogger("plait.watchdog")


class Watchdog:
    """Looks at the runs of one scheduler, every now and then."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._since: dict[RunId, tuple[int, float]] = {}
        """Of each run: the number of its last event, and since when it is that."""
        self._missing: set[tuple[RunId, Token]] = set()
        """Executions that no executor had at the last look: what was on its way then has arrived by the next one."""
        self._turn = 0

    def look(self) -> None:
        """Help on what hangs. Somebody has to `pump` afterwards."""
        scheduler = self._scheduler
        with scheduler.lock:
            now = scheduler.clock.now()
            hosted = list(scheduler.runs.values())
            self._since = {each.run.run_id: self._seen(each, now) for each in hosted}
            quiet = [each for each in hosted if now - self._since[each.run.run_id][1] >= QUIET]
            self._turn = self._turn % len(quiet) if quiet else 0
            missing, self._missing = self._missing, set()
            for each in itertools.islice(itertools.cycle(quiet), self._turn, self._turn + min(AT_ONCE, len(quiet))):
                self._look_at(each, missing, now)
            self._turn += AT_ONCE

    def _seen(self, hosted: Hosted, now: float) -> tuple[int, float]:
        known = self._since.get(hosted.run.run_id)
        return known if known is not None and known[0] == hosted.seq else (hosted.seq, now)

    def _look_at(self, hosted: Hosted, missing: set[tuple[RunId, Token]], now: float) -> None:
        try:
            check_run(hosted.run)
        except EngineError as error:
            log.exception(
                "run %s hangs in a state that it should not be in; it goes back to its rows", hosted.run.run_id
            )
            self._scheduler.fail([hosted], error)
            return
        for no, stimulus in itertools.chain(self._lost(hosted, missing), self._late(hosted, now)):
            log.error("run %s: task run %d hangs; helped on by %s", hosted.run.run_id, no, type(stimulus).__name__)
            self._scheduler.post(hosted.run.run_id, stimulus)

    def _lost(self, hosted: Hosted, missing: set[tuple[RunId, Token]]) -> Iterable[tuple[TaskNo, Stimulus]]:
        run = hosted.run
        held = {token for executor in self._scheduler.executors.values() for token in executor.adopt(run.run_id)}
        for task in list(run.tasks.values()):
            if task.state not in LIVE or task.token in held or task.node.spec.runner == "run":
                continue
            if (run.run_id, task.token) in missing:
                yield task.no, ExecutionReturned(no=task.no, token=task.token)
            else:
                self._missing.add((run.run_id, task.token))

    def _late(self, hosted: Hosted, now: float) -> Iterable[tuple[TaskNo, Stimulus]]:
        for task in list(hosted.run.tasks.values()):
            kind = TIMERS.get(task.state)
            if kind is not None and task.wait_until is not None and task.wait_until < now - LATE:
                yield task.no, TimerFired(kind=kind, no=task.no, generation=task.generation)
