"""Retries as a user writes them, lowered to `plait.model.policies.RetryPolicy`."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import msgspec

from plait.authoring.where import here
from plait.model.errors import DefinitionError
from plait.model.policies import Jitter, RetryPolicy

Seconds = float | int | timedelta


def seconds(value: Seconds) -> float:
    """A duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


class Retry(msgspec.Struct, frozen=True):
    """How a failed task is tried again.

    `times`: retries after the first attempt. `delay`: seconds (or a timedelta) before each retry, a list of them (the
    last one repeats), or a function of the attempt that failed (from 1), called in the worker. `factor`: each further
    delay is multiplied by it; `cap`: the longest delay. `jitter`: "full" draws from 0 to the delay, "plus_minus" from 0
    to twice the delay, a number stretches the delay by up to that share. `when`: a function of the exception; false
    means do not retry.

        @task(retries=Retry(3, delay=60, factor=2, cap=3600))
        @task(retries=Retry(5, delay=[1, 10, 60], when=lambda error: isinstance(error, OSError)))
    """

    times: int
    delay: Seconds | Sequence[Seconds] | Callable[[int], Seconds] = 0
    factor: float = 1.0
    cap: Seconds | None = None
    jitter: str | float = "none"
    when: Callable[[BaseException], bool] | None = None

    def __post_init__(self) -> None:
        given: Any = self.times
        if isinstance(given, bool) or not isinstance(given, int) or given < 0:
            raise _wrong(f"retries are a whole number from 0, not {given!r}", "Retry(3, delay=60)")
        if self.factor < 1:
            raise _wrong(f"a retry factor is at least 1, not {self.factor!r}", "Retry(3, delay=60, factor=2)")
        if isinstance(self.jitter, str) and self.jitter not in _JITTERS:
            raise _wrong(f"there is no jitter {self.jitter!r}", 'jitter="full", "plus_minus", "none" or a number')

    @property
    def delay_function(self) -> Callable[[int], Seconds] | None:
        """The delay, where it is a function to call in the worker."""
        return self.delay if callable(self.delay) else None

    def policy(self) -> RetryPolicy:
        """The static part, as the engine knows it."""
        if callable(self.delay):
            delays: tuple[float, ...] = (0.0,)
        elif isinstance(self.delay, Sequence):
            delays = tuple(seconds(delay) for delay in self.delay) or (0.0,)
        else:
            delays = (seconds(self.delay),)
        by_name = isinstance(self.jitter, str)
        return RetryPolicy(
            limit=self.times,
            delays=delays,
            factor=self.factor,
            cap=seconds(self.cap) if self.cap is not None else None,
            jitter=Jitter(self.jitter) if by_name else Jitter.FACTOR,
            jitter_factor=0.0 if by_name else float(self.jitter),
        )


_JITTERS = tuple(jitter.value for jitter in Jitter if jitter is not Jitter.FACTOR)


def _wrong(what: str, right: str) -> DefinitionError:
    where, wrong = here()
    return DefinitionError(what, where=where, wrong=wrong, right=right)


def retry_of(value: Any) -> Retry:
    """What `retries=` may be: a number, or a Retry."""
    return value if isinstance(value, Retry) else Retry(value)


NO_RETRY = Retry(0)
