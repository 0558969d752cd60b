"""Retry maths: whether a failed attempt is tried again, and when. Randomness is a function of (run, task, attempt)."""

from plait.model.hashes import blake2b
from plait.model.outcome import Outcome, RetryVerdict, Verdict
from plait.model.policies import Jitter, RetryPolicy


def retry_delay(policy: RetryPolicy, outcome: Outcome, attempt: int, seed: str) -> float | None:
    """Seconds until the attempt after `attempt` (from 1), or none when there is no further one.

    `seed` names the attempt uniquely; the jitter is drawn from its hash, so a replay draws the same.
    """
    if outcome.retry is RetryVerdict.NEVER:
        return None
    limit = policy.limit
    if outcome.retry is RetryVerdict.ALWAYS:
        limit = outcome.retry_limit if outcome.retry_limit is not None else max(limit, attempt)
    elif outcome.verdict is Verdict.CRASHED and not policy.on_crash:
        return None
    if attempt > limit:
        return None
    if outcome.retry_delay is not None:
        return max(0.0, outcome.retry_delay)
    return _jittered(policy, base_delay(policy, attempt), seed)


def base_delay(policy: RetryPolicy, attempt: int) -> float:
    """The delay after failed attempt `attempt` (from 1) before jitter: from the list, grown by the factor, capped."""
    delays = policy.delays or (0.0,)
    delay = delays[min(attempt - 1, len(delays) - 1)]
    if policy.factor != 1.0:
        try:
            delay *= policy.factor ** (attempt - 1)
        except OverflowError:
            delay = float("inf")
    if policy.cap is not None:
        delay = min(delay, policy.cap)
    return max(0.0, min(delay, 1e9))


def _jittered(policy: RetryPolicy, delay: float, seed: str) -> float:
    if policy.jitter is Jitter.NONE or delay == 0.0:
        return delay
    draw = int.from_bytes(blake2b(seed.encode(), digest_size=8).digest(), "big") / 2**64
    match policy.jitter:
        case Jitter.FULL:
            spread = delay * draw
        case Jitter.PLUS_MINUS:
            spread = delay * 2 * draw
        case _:
            spread = delay * (1 + policy.jitter_factor * draw)
    return spread if policy.cap is None else min(spread, policy.cap)
