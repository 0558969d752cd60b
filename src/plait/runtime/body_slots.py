"""The slots of a body: while it waits for its children it gives them back, so that the children can have them."""

import threading
from collections.abc import Callable

from plait.model.ids import RunId, TaskNo
from plait.model.stimuli import ExecutionBlocked, ExecutionUnblocked
from plait.model.wire import Execution
from plait.runtime.here import UserCode
from plait.runtime.scheduler import Scheduler


class BodySlots:
    """Those of one execution of a body; it may wait in several of its threads (or asyncio tasks) at the same time."""

    def __init__(self, scheduler: Scheduler, execution: Execution, code: UserCode):
        self._scheduler = scheduler
        self._run_id: RunId = execution.run.run_id
        self._no: TaskNo = execution.no
        self._token = execution.token
        self._code = code
        self._lock = threading.Lock()
        self._waiters = 0
        self.any = bool(scheduler.hosted(self._run_id).run.tasks[self._no].node.spec.limits)
        """Whether it has any."""

    def give_back(self) -> None:
        """One wait begins."""
        with self._lock:
            self._waiters += 1
            first = self._waiters == 1
        if first:
            self._scheduler.post(self._run_id, ExecutionBlocked(no=self._no, token=self._token))
            self._scheduler.pump()

    def take_back(self, tell: Callable[[], None]) -> bool:
        """One wait has ended. Whether it was the last: then the body goes on, by `go_on`, when it is told that it has
        its slots (or has to end)."""
        with self._lock:
            self._waiters -= 1
            if self._waiters:
                return False
        self._scheduler.carrier.grants[self._run_id, self._no] = tell
        self._code.wakers.append(tell)
        self._scheduler.post(self._run_id, ExecutionUnblocked(no=self._no, token=self._token))
        self._scheduler.pump()
        return True

    def go_on(self, tell: Callable[[], None]) -> None:
        """The body goes on."""
        self._code.wakers.remove(tell)
        self._scheduler.carrier.grants.pop((self._run_id, self._no), None)
