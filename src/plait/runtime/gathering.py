"""When what does not hurry is decided and committed: with the next transaction, or a moment later, many at once.

What nobody waits for is left to the timer thread: `Gathering.at` is when it commits that at the latest. Whoever pumps
before takes it along.
"""

import contextlib
from collections.abc import Callable, Iterator
from math import inf

from plait.model.wire import Finished, Report
from plait.runtime.shell import Shell

FLUSH_AFTER = 0.05
"""Seconds until the start of a task that runs in its flow's own thread is committed, if nothing else commits before."""
GATHER = 0.002
"""Seconds for which calls of a body, and ends of calls that nobody waits for, are gathered into one transaction."""
BURST = 0.01
"""Seconds from one start of a run to the next one, below which a further one is expected as soon."""


class Gathering:
    """What one scheduler leaves for a moment."""

    def __init__(self, shell: Shell):
        self._shell = shell
        self.at: float | None = None
        """When what was decided in the background is committed at the latest."""
        self.can_wait: Callable[[Finished], bool] = lambda report: False
        """Whether nobody waits for the end of a task run as yet, so that its transaction can gather some more."""
        self._woken_at = -inf
        self._started_at = -inf
        self._busy_until = -inf

    def holds(self, report: Report, *, hungry: bool) -> bool:
        """Whether a report can wait for a moment; an end gives back room that somebody `hungry` may need."""
        return isinstance(report, Finished) and not hungry and (self.is_busy() or self.can_wait(report))

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Runs are being started."""
        now = self._shell.clock.now()
        busy = self._started_at <= now < self._started_at + BURST
        self._busy_until = inf if busy else -inf
        try:
            yield
        finally:
            self._started_at = self._shell.clock.now()
            self._busy_until = self._started_at + BURST if busy else -inf

    def is_busy(self) -> bool:
        """Whether runs are started one after the other: the transaction of the next one takes along what can wait."""
        return self._shell.clock.now() < self._busy_until

    def soon(self, after: float = FLUSH_AFTER) -> None:
        """Something was left for the background: it is committed with the next transaction, or so many seconds
        later."""
        at = self._shell.clock.now() + after
        if self.at is None or at < self.at:
            self.at = at
            self._shell.nudge()

    def leave(self, *, more: bool) -> None:
        """All that was left is committed; what comes from now on, if there is not `more` already, can wait for the next
        start."""
        if self.at is not None:
            self.at = self._shell.clock.now() + BURST / 2  # whoever sleeps until it was due looks then, and sleeps on
        elif more:
            self.soon(BURST / 2)

    @property
    def moment(self) -> float:
        """Seconds for which ends can wait: the next start comes meanwhile, if runs are being started."""
        return BURST / 2 if self.is_busy() else GATHER

    def is_first(self) -> bool:
        """Of what comes one after the other: whether this comes first, and is seen to at once. What follows is gathered
        for a moment."""
        now = self._shell.clock.now()
        if self._woken_at <= now < self._woken_at + GATHER:
            self.soon(GATHER)
            return False
        self._woken_at = now
        return True

    def is_due(self, now: float) -> bool:
        """Whether the moment is over; asked once."""
        if self.at is None or self.at > now:
            return False
        self.at = None
        return True
