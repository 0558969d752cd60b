"""`wait_for` and `ask`: leave the worker until something has happened, or somebody has answered.

The code that waits does not stand still: it is left at the call, by something that is raised there, and begins again
at its start when the wait is over; then the call returns what has come. So waits of seconds or of weeks hold no
process, no thread and no slot, and survive every restart.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast, overload

from plait.authoring.context import current_context
from plait.authoring.inputs import InputKind
from plait.authoring.retry import Seconds, seconds
from plait.authoring.scope import current_engine, current_scope
from plait.authoring.triggers import Trigger, converted, lower
from plait.authoring.waiting import Wait, Waiter, value_of
from plait.authoring.where import here
from plait.model.errors import DefinitionError, ParameterError, UsageError, WaitTimeout

R = TypeVar("R")
T = TypeVar("T")


@overload
def wait_for(what: Seconds | datetime, /, *, timeout: Seconds | None = None) -> datetime: ...
@overload
def wait_for(what: Trigger[R], /, *, timeout: Seconds | None = None) -> R: ...
def wait_for(what: Any, /, *, timeout: Seconds | None = None) -> Any:
    """Wait for a while (seconds or a timedelta), until a point in time (a datetime with a zone), or for what a trigger
    tells: the call of a function with `@trigger`, `file_exists(...)`, `run_finished(...)`.

    In a task or a flow nothing stands still meanwhile: the function is left here, holds no worker and no slot, uses no
    attempt, and begins again at its start when the wait is over. This call then returns the event, and so do the waits
    before it, at once. So what stands above a wait should be quick, or harmless to be done twice. `with` and `finally`
    blocks around it are left too.

        @task(retries=2)
        def load(day: date):
            path = wait_for(file_exists(f"/in/{day}.csv"), timeout=timedelta(hours=6))
            ...

    Raises WaitTimeout when it does not come within `timeout` (seconds or a timedelta), TriggerFailed when the trigger
    raises. A retry waits anew. Outside of a run it waits in place.
    """
    limit = seconds(timeout) if timeout is not None else None
    wait = _of_time(what, limit) if isinstance(what, (int, float, timedelta, datetime)) else _of_trigger(what, limit)
    waiter = _waiter("wait_for()")
    if waiter is None:
        return _in_place(what, wait)
    event = value_of(wait, waiter.wait(wait))
    if isinstance(what, (int, float, timedelta, datetime)):
        return datetime.fromtimestamp(event, UTC)
    return converted(what, event)


def _of_time(what: Seconds | datetime, limit: float | None) -> Wait:
    if isinstance(what, datetime):
        if what.tzinfo is None:
            where, wrong = here()
            raise UsageError(
                f"{what} has no time zone", where=where, wrong=wrong, right="datetime.now(UTC) + timedelta(hours=1)"
            )
        at = what.timestamp()
    else:
        at = time.time() + seconds(what)
    # The time itself does not tell one wait from another: it may be made of the clock, and differ each time.
    return Wait(name="wait", inputs="time", trigger={"kind": "time", "at": at}, timeout=limit)


def _of_trigger(what: Any, limit: float | None) -> Wait:
    name, lowered = lower(what)
    told = {key: value for key, value in lowered.items() if key not in ("file", "local")}
    return Wait(name=name, inputs=told, trigger=lowered, timeout=limit)


def _in_place(what: Any, wait: Wait) -> Any:
    """Outside of a run a function is a plain function, and waits as such."""
    if wait.trigger is not None and wait.trigger["kind"] == "time":
        at = float(wait.trigger["at"])
        left = at - time.time()
        time.sleep(max(0.0, left if wait.timeout is None else min(left, wait.timeout)))
        if wait.timeout is not None and left > wait.timeout:
            raise WaitTimeout(f"{wait.name!r} did not happen within {wait.timeout:g} s")
        return datetime.fromtimestamp(at, UTC)
    import asyncio

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        try:
            return asyncio.run(asyncio.wait_for(cast("Trigger[Any]", what).run(), wait.timeout))
        except TimeoutError:
            raise WaitTimeout(f"{wait.name!r} did not happen within {wait.timeout or 0:g} s") from None
    where, wrong = here()
    raise UsageError(
        "wait_for() outside of a run would block the event loop that runs here",
        where=where,
        wrong=wrong,
        right="event = await order_arrived(7).run()",
    )


@overload
def ask(kind: type[T], /, prompt: str, *, timeout: Seconds | None = None, name: str = "ask") -> T: ...
@overload
def ask(kind: Any, /, prompt: str, *, timeout: Seconds | None = None, name: str = "ask") -> Any: ...
def ask(kind: Any, /, prompt: str, *, timeout: Seconds | None = None, name: str = "ask") -> Any:
    """Ask people, and return the answer. `kind` says what it is: a type (`bool`, `date`, `Literal["go", "stop"]`), a
    pydantic model, or a JSON Schema as a dict. `prompt` tells them what for, `name` names the question in a flow.

        @flow
        def release(version: str):
            report = build(version)
            if ask(bool, f"Release {version}?", timeout=timedelta(days=2)):
                publish(version)

    The question is answered with `plait runs answer RUN_ID`, or from Python with `plait.answer`. Until then nothing
    stands still, as in `wait_for`; a retry does not ask again. An answer that does not fit is refused, and one that the
    model's own validators refuse is asked for again. Raises WaitTimeout when nobody answers within `timeout`.
    """
    waiter = _waiter("ask()")
    if waiter is None:
        where, wrong = here()
        raise UsageError(
            "ask() is called outside of a run, so nobody can be asked",
            where=where,
            wrong=wrong,
            right="call it in a function with @task or @flow",
        )
    wanted = InputKind(kind)
    limit = seconds(timeout) if timeout is not None else None
    told, inputs = prompt, [prompt, wanted.schema]
    while True:
        wait = Wait(name=name, inputs=inputs, schema=wanted.schema, prompt=told, timeout=limit)
        try:
            return wanted.value(value_of(wait, waiter.wait(wait)))
        except ParameterError as error:
            told = f"{prompt} (the last answer was refused: {error.what})"


def answer(run_id: str, value: Any, *, task: str | None = None) -> None:
    """Answer what a run asks: `answer(run_id, {"approve": True})`. `task` names the question where there are several.

    Raises ParameterError that names the field of a value that does not fit, UsageError when nothing is asked.
    """
    current_engine().answer(run_id, value, task=task)


def _waiter(what: str) -> Waiter | None:
    """Who answers waits here; none outside of a run."""
    scope: Any = current_scope()
    if scope is not None:
        if hasattr(scope, "wait"):
            return scope
        where, wrong = here()
        raise DefinitionError(
            f"{what} is called while a workflow is defined, and not while it runs",
            where=where,
            wrong=wrong,
            right="call it in the body of a @task or a @flow",
        )
    context = current_context()
    if context is None:
        return None
    if context.waits is None:
        where, wrong = here()
        raise UsageError(
            f"{what} is called in a hook (or a check), which cannot wait",
            where=where,
            wrong=wrong,
            right="call it in a task or a flow",
        )
    return context.waits
