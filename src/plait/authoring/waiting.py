"""What a wait is, as plain data, and who answers it: the attempt of a task, or the body of a flow."""

from typing import Any, Protocol

import msgspec

from plait.model.errors import TriggerFailed, WaitTimeout
from plait.model.outcome import TOO_LATE


class Wait(msgspec.Struct, frozen=True):
    """One wait of user code: for what a `trigger` tells, or for people's input that fits a `schema`.

    Its name and its `inputs` (anything that has a fingerprint) tell it from other waits of the same code; equal ones
    are counted. `timeout` is in seconds.
    """

    name: str
    inputs: Any
    trigger: dict[str, Any] | None = None
    schema: dict[str, Any] | None = None
    prompt: str = ""
    timeout: float | None = None


class Waiter(Protocol):
    """Answers the waits of code that begins again after each of them."""

    def wait(self, wait: Wait) -> dict[str, Any]:
        """What ended the wait, if that is known: `event` or `input`, or an `error`; else the code is left here."""
        ...


def value_of(wait: Wait, answer: dict[str, Any]) -> Any:
    """The event, or the input. Raises WaitTimeout or TriggerFailed when there is none."""
    error = answer.get("error")
    if error == TOO_LATE:
        what = f"nobody has answered {wait.name!r}" if wait.trigger is None else f"{wait.name!r} did not happen"
        raise WaitTimeout(f"{what} within {wait.timeout:g} s" if wait.timeout is not None else what)
    if error is not None:
        raise TriggerFailed(f"{wait.name!r} failed: {error}")
    return answer["input"] if "input" in answer else answer.get("event")
