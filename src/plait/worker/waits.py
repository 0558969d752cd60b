"""The waits of one attempt of a task: which of them are over, and how it leaves at the first that is not."""

from __future__ import annotations

from typing import Any, NoReturn

import msgspec

from plait.authoring.context import Context
from plait.authoring.signals import Leaves
from plait.authoring.waiting import Wait
from plait.model.errors import UsageError
from plait.model.outcome import Outcome, Verdict
from plait.worker.fingerprint import fingerprint

MOST_ANSWERS = 256 << 10
"""Bytes of what ended the waits of one attempt: they lie in the task run's row, and travel with each execution."""


class WaitNames:
    """Names waits: the same code gets the same names each time it begins again."""

    def __init__(self) -> None:
        self._counts: dict[str, int] = {}

    def next(self, wait: Wait) -> str:
        """The name of the next wait."""
        kind = f"{wait.name}:{fingerprint(wait.inputs)}"
        self._counts[kind] = self._counts.get(kind, -1) + 1
        return f"{kind}:{self._counts[kind]}"


class TaskWaits:
    """Answers the waits of an attempt (the protocol `Waiter`). `left` is the wait at which it was left. There is one
    for each execution, and most never wait."""

    __slots__ = ("_answers", "_asked", "_context", "_names", "left")

    def __init__(self, context: Context):
        told: Any = context.resume
        self._context = context
        self._answers: dict[str, dict[str, Any]] = (told.get("answers") if isinstance(told, dict) else None) or {}
        self._names: WaitNames | None = None
        self._asked: set[str] | None = None
        self.left: Wait | None = None

    def wait(self, wait: Wait) -> dict[str, Any]:
        """What ended the wait, if it is over; else leave."""
        if self._names is None or self._asked is None:
            self._names, self._asked = WaitNames(), set()
        name = self._names.next(wait)
        self._asked.add(name)
        known = self._answers.get(name)
        if known is not None:
            return known
        self._leave(name, wait, others=bool(self._answers.keys() - self._asked))

    def _leave(self, name: str, wait: Wait, *, others: bool) -> NoReturn:
        """`others`: what it waited for before, and does not now."""
        if others:
            self._context.log.warning(
                "this attempt waited for other things before it began again; it waits anew for %r. What it waits for "
                "should depend on its inputs only, not on the clock or on chance",
                wait.name,
            )
        size = len(msgspec.json.encode(self._answers))
        if size > MOST_ANSWERS:
            raise UsageError(
                f"an attempt of a task can keep {MOST_ANSWERS >> 10} KB of what it waited for, and has {size >> 10} KB "
                f"after {len(self._answers)} waits",
                right="let the trigger itself wait for several things, or wait in several tasks of a flow",
            )
        self.left = wait
        raise Leaves(outcome_of(wait, name))


def outcome_of(wait: Wait, name: str | None = None) -> Outcome:
    """How code is left at a wait; with `name`, code that begins again at its start."""
    if wait.trigger is not None:
        return Outcome(verdict=Verdict.DEFER, trigger=wait.trigger, timeout=wait.timeout, wait=name)
    return Outcome(verdict=Verdict.PAUSE, schema=wait.schema, prompt=wait.prompt, timeout=wait.timeout, wait=name)
