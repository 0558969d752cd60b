"""Outcomes that tests write often."""

from typing import Any

from plait.model.outcome import ErrorInfo, Outcome, Verdict


def failure(error: str = "ValueError: boom", *, verdict: Verdict = Verdict.FAILED, **more: Any) -> Outcome:
    """A failure whose error reads `type: message`; `more` are other fields of the outcome."""
    kind, _, message = error.partition(": ")
    return Outcome(verdict=verdict, error=ErrorInfo(type=kind, message=message), **more)
