"""Retries as a user writes them, lowered to `plait.model.policies.RetryPolicy`."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta

from plait.model.errors import DefinitionError
from plait.model.policies import Jitter, RetryPolicy

Seconds = float | int | timedelta


def seconds(value: Seconds) -> float:
    """A duration in seconds."""
    return value.total_seconds() if isinstance(value, timedelta) else float(value)


@dataclass(frozen=True)
class Retry:
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
        if isinstance(self.times, bool) or not isinstance(self.times, int) or self.times < 0:  # pyright: ignore[reportUnnecessaryIsInstance]  # users are not always type-checked
            raise DefinitionError(f"retries are a whole number from 0, not {self.times!r}", right="Retry(3, delay=60)")
        if self.factor < 1:
            raise DefinitionError(
                f"a retry factor is at least 1, not {self.factor!r}", right="Retry(3, delay=60, factor=2)"
            )

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
        if isinstance(self.jitter, str):
            try:
                kind, share = Jitter(self.jitter), 0.0
            except ValueError:
                raise DefinitionError(
                    f"unknown jitter {self.jitter!r}", right='jitter="full", "plus_minus", "none" or a number'
                ) from None
        else:
            kind, share = Jitter.FACTOR, float(self.jitter)
        return RetryPolicy(
            limit=self.times,
            delays=delays,
            factor=self.factor,
            cap=seconds(self.cap) if self.cap is not None else None,
            jitter=kind,
            jitter_factor=share,
        )


NO_RETRY = Retry(0)
