"""What a task raises to say more than that it failed."""

from datetime import datetime, timedelta

from plait.model.outcome import Outcome


class Signal(Exception):
    """Base of what user code raises to steer its own task run."""


class Skip(Signal):
    """This task run is skipped; what depends on it is skipped too, as its trigger rules say.

    if not rows:
        raise Skip("no rows today")
    """


class Fail(Signal):
    """Fail now, without any further retry."""


class RetryAfter(Signal):
    """Fail this attempt, and try again after `delay` seconds (within the task's retries)."""

    def __init__(self, delay: float | timedelta, reason: str = ""):
        self.delay = delay.total_seconds() if isinstance(delay, timedelta) else float(delay)
        super().__init__(reason or f"retry after {self.delay:g} s")


class LookAgain(Signal):
    """A sensor's condition does not hold yet: look again after `delay` seconds, or `at` a time (aware).

    No slot is held and no attempt is used in between. `@task(wait_timeout=...)` bounds the whole wait.
    """

    def __init__(self, delay: float | timedelta | None = None, *, at: datetime | None = None):
        if (delay is None) == (at is None):
            raise TypeError("LookAgain takes either a delay or at=")
        self.delay = delay.total_seconds() if isinstance(delay, timedelta) else delay
        self.at = at
        super().__init__("look again")


class Leaves(BaseException):
    """Code of a task or a flow leaves its worker at a wait, and begins again when the wait is over. Whoever called it
    reports the `outcome`. Not an Exception, so that `except Exception` lets it pass."""

    def __init__(self, outcome: Outcome):
        self.outcome = outcome
        super().__init__("this code waits, and begins again when the wait is over")


class TaskCancelled(BaseException):
    """Raised inside of a task that is cancelled and cannot be killed (threads), at its next Python instruction."""
