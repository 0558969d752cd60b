"""What the parts of a scheduler need of it: the seam that keeps them from knowing each other."""

import threading
from collections.abc import Callable, Iterable
from typing import Protocol

from plait.engine.limits import LimitBook
from plait.model.ids import RunId, Token
from plait.model.stimuli import Stimulus
from plait.ports import Clock, Executor, RunStore
from plait.runtime.hosted import Hosted
from plait.runtime.timers import Timers


class Shell(Protocol):
    """The scheduler as those who carry out its commands see it."""

    store: RunStore
    clock: Clock
    owner: str
    executors: dict[str, Executor]
    default_executor: str
    limits: LimitBook
    timers: Timers
    runs: dict[RunId, Hosted]
    suspects: set[RunId]
    lock: threading.RLock
    handed_over: dict[RunId, Token]
    nudge: Callable[[], None]

    def post(self, run_id: RunId, stimulus: Stimulus, ticket: Callable[[], None] | None = None) -> None:
        """Say something to a run."""
        ...

    def decide(self, hosted: Hosted, stimulus: Stimulus, now: float) -> None:
        """Decide a stimulus; somebody has to `pump` afterwards."""
        ...

    def executor_of(self, name: str | None) -> str:
        """The executor that a task run goes to: the one it names, or the default one."""
        ...

    def release(self, run_id: RunId) -> None:
        """Forget a run that is over, or that another process goes on with."""
        ...

    def fail(self, hosted: Iterable[Hosted], error: BaseException) -> None:
        """These runs cannot go on in this process."""
        ...
