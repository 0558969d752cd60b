"""Runs of a service that failed in its scheduler (a decision raised, a commit broke): back to their rows, and on.

A run whose commit failed together with others may not be to blame: it becomes a suspect, which commits alone from then
on. One that fails alone has had a setback; it is tried again after a pause that doubles, and given up as crashed after
`MOST_SETBACKS` in a row, with the reason. So a poisonous run ends, and says why (F16, F25).
"""

import heapq
import logging
import threading

from plait.model.errors import PlaitError, StaleToken, StoreError
from plait.model.ids import RunId
from plait.runtime.hosted import Hosted
from plait.runtime.scheduler import Scheduler

MOST_SETBACKS = 5
FIRST_PAUSE = 0.05
"""Seconds before a run is tried again for the first time."""
FORGIVEN_AFTER = 60.0
"""Seconds without a setback after which earlier ones do not count any more."""
log = logging.getLogger("plait.recovery")


class Recovery:
    """Takes what fails in one scheduler."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._lock = threading.Lock()
        self._due: list[tuple[float, RunId]] = []
        self._setbacks: dict[RunId, tuple[int, float]] = {}
        self._why: dict[RunId, BaseException] = {}
        scheduler.recover = self.failed

    @property
    def next_at(self) -> float | None:
        """When a run is tried again next."""
        with self._lock:
            return self._due[0][0] if self._due else None

    def __contains__(self, run_id: RunId) -> bool:
        """Whether a run waits to be tried again."""
        with self._lock:
            return any(each == run_id for _, each in self._due)

    def failed(self, hosted: Hosted, error: BaseException) -> None:
        """A hosted run cannot go on as it is."""
        run_id = hosted.run.run_id
        was_alone = run_id in self._scheduler.suspects or not isinstance(error, (StoreError, OSError))
        self._scheduler.release(run_id)
        if isinstance(error, StaleToken):
            self._scheduler.unrecorded.take(run_id)
            log.info("run %s: another process goes on with it", run_id)
            return
        self._scheduler.suspects.add(run_id)
        self.set_back(run_id, error, counts=was_alone)

    def set_back(self, run_id: RunId, error: BaseException, *, counts: bool = True) -> None:
        """A run that this process leases could not go on: try again later."""
        now = self._scheduler.clock.now()
        with self._lock:
            count, at = self._setbacks.get(run_id, (0, now))
            count = int(counts) if at < now - FORGIVEN_AFTER else count + counts
            self._setbacks[run_id] = (count, now)
            self._why[run_id] = error
            heapq.heappush(self._due, (now + FIRST_PAUSE * 2**count, run_id))
        log.warning("run %s: setback %d: %s: %s", run_id, count, type(error).__name__, error)
        self._scheduler.nudge()

    def go_on(self, now: float) -> None:
        """Go on with the runs whose pause is over. Somebody has to `pump` afterwards."""
        for run_id, error, count in self._take(now):
            try:
                if count >= MOST_SETBACKS:
                    self._give_up(run_id, error)
                else:
                    self._again(run_id)
            except StaleToken:
                log.info("run %s: another process goes on with it", run_id)
                self._scheduler.suspects.discard(run_id)
                self._scheduler.unrecorded.take(run_id)
            except Exception as problem:  # noqa: BLE001  whatever it is, it is counted, and said in the end
                self.set_back(run_id, problem, counts=not isinstance(problem, StoreError))

    def _take(self, now: float) -> list[tuple[RunId, BaseException | None, int]]:
        """The runs whose pause is over, why they failed, and how many setbacks they had."""
        taken: list[tuple[RunId, BaseException | None, int]] = []
        with self._lock:
            while self._due and self._due[0][0] <= now:
                _, run_id = heapq.heappop(self._due)
                error = self._why.pop(run_id, None)
                if run_id not in self._scheduler.runs:
                    taken.append((run_id, error, self._setbacks.get(run_id, (0, now))[0]))
            for run_id in [each for each, (_, at) in self._setbacks.items() if at < now - FORGIVEN_AFTER]:
                del self._setbacks[run_id]
        return taken

    def _again(self, run_id: RunId) -> None:
        with self._scheduler.lock:
            if run_id in self._scheduler.runs:
                return
            row = self._scheduler.store.get_run(run_id)
            if row is None or row.owner != self._scheduler.owner:
                raise StaleToken(f"run {run_id} is another process's")
            self._scheduler.adoption.resume(run_id, epoch=row.epoch)

    def _give_up(self, run_id: RunId, error: BaseException | None) -> None:
        told = f"{type(error).__name__}: {error}" if error is not None else "unknown"
        if not isinstance(error, PlaitError):
            log.error("run %s cannot go on", run_id, exc_info=error)
        reason = f"the scheduler could not go on with it: {told}"[:1000]
        self._scheduler.store.let_go([run_id], self._scheduler.owner, self._scheduler.clock.now(), crashed=reason)
        self._scheduler.suspects.discard(run_id)
        self._scheduler.unrecorded.take(run_id)
        with self._lock:
            self._setbacks.pop(run_id, None)
