"""What a task or a flow can wait for. A trigger travels as plain data: where its code is, and its arguments; it is
awaited on an event loop beside thousands of others, far from the code that waits."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import os
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Generic, ParamSpec, Protocol, TypeVar, cast
from weakref import WeakValueDictionary

from plait.authoring.params import adapter_of, annotations_of, bind_call, is_plain, params_of, to_plain
from plait.authoring.retry import Seconds, seconds
from plait.authoring.where import code_of, head_of, here, place_of
from plait.model.errors import DefinitionError, UsageError

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Trigger(Protocol[R_co]):
    """Something to wait for. `run` is awaited on an event loop that it shares with other triggers, so it never blocks;
    what it returns (plain data) is the event.

    Most triggers are functions, see `trigger`. A class of your own is a dataclass, which is made again from its fields:

        @dataclass
        class Arrived:
            order: int

            async def run(self) -> dict: ...
    """

    async def run(self) -> R_co:
        """Wait, and return the event."""
        ...


# --- functions --------------------------------------------------------------------------------------------------------


class TriggerFunction(Generic[P, R]):
    """An async function to wait for. Calling it makes a `Trigger` of it; see `trigger`."""

    def __init__(self, fn: Callable[P, Coroutine[Any, Any, R]]):
        self.fn = fn
        self.name = fn.__name__
        self.signature = inspect.signature(fn)
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> TriggerCall[R]:
        bound = bind_call(self.signature, self.name, args, kwargs, UsageError)
        return TriggerCall(self, dict(bound.arguments))

    def __repr__(self) -> str:
        return f"<trigger {self.name!r}>"


class TriggerCall(Generic[R]):
    """A trigger function with its arguments."""

    def __init__(self, function: TriggerFunction[..., R], arguments: dict[str, Any]):
        self.function = function
        self.arguments = arguments

    async def run(self) -> R:
        """Wait, and return the event."""
        return await self.function.fn(**self.arguments)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.function.name}({shown})"


def trigger(fn: Callable[P, Coroutine[Any, Any, R]]) -> TriggerFunction[P, R]:
    """Make an async function something to wait for. Its arguments and what it returns are plain data.

        @trigger
        async def order_arrived(number: int) -> dict:
            while (order := await look_up(number)) is None:
                await asyncio.sleep(5)
            return order

        @task
        def ship(number: int):
            order = wait_for(order_arrived(number), timeout=3600)

    It runs on an event loop with thousands of others, in a process of its own where tasks run in processes; it may
    begin again (after a restart), so it should not matter how often. One that blocks the event loop is stopped, and
    what waits for it fails.
    """
    if not inspect.iscoroutinefunction(fn):
        raise DefinitionError(
            f"@trigger is for an async function, and {getattr(fn, '__name__', fn)!r} is none",
            where=place_of(fn),
            wrong=head_of(fn),
            right=f"async {head_of(fn)}",
        )
    params_of(fn)  # each parameter has a name, by which it travels
    return TriggerFunction(fn)


# --- as plain data ----------------------------------------------------------------------------------------------------

_local: WeakValueDictionary[str, Any] = WeakValueDictionary()
"""Triggers that only this process can find: those defined inside of a function."""
_count = itertools.count()


class Known:
    """A trigger that the scheduler answers itself."""

    def __init__(self, name: str, lowered: dict[str, Any]):
        self.name = name
        self.lowered = lowered

    async def run(self) -> Any:
        """Only in a run: there is nobody else who could tell."""
        where, wrong = here()
        raise UsageError(
            f"{self.name} is known to plait only", where=where, wrong=wrong, right="wait for it in a task or a flow"
        )


def lower(given: Any) -> tuple[str, dict[str, Any]]:
    """The name of a trigger, and the trigger as plain data. Raises UsageError for what is none, or cannot travel."""
    if isinstance(given, Known):
        return given.name, given.lowered
    if isinstance(given, TriggerCall):
        call = cast("TriggerCall[Any]", given)
        return call.function.name, _lowered(call.function, call.function.fn, call.arguments)
    kind = cast("type[Any]", type(given))
    if dataclasses.is_dataclass(given) and inspect.iscoroutinefunction(getattr(kind, "run", None)):
        arguments = {field.name: getattr(given, field.name) for field in dataclasses.fields(given) if field.init}
        return kind.__name__, _lowered(kind, kind, arguments)
    where, wrong = here()
    raise UsageError(
        f"{given!r} is nothing to wait for",
        where=where,
        wrong=wrong,
        right="a number of seconds, a timedelta, a datetime, or the call of a function with @trigger",
    )


def _lowered(found: Any, defined: Callable[..., Any], arguments: dict[str, Any]) -> dict[str, Any]:
    name = defined.__qualname__
    plain: dict[str, Any] = {}
    for argument, value in arguments.items():
        plain[argument] = to_plain(value, paths=True)
        if not is_plain(plain[argument]):
            where, wrong = here()
            raise UsageError(
                f"the argument {argument!r} of {name} is a {type(value).__name__}, which cannot travel to where it "
                "waits",
                where=where,
                wrong=wrong,
                right="give it plain data (text, numbers, dates, lists, dicts); let it open connections itself",
            )
    file = inspect.getsourcefile(defined) if inspect.isclass(defined) else code_of(defined).location
    lowered = {"kind": "code", "module": defined.__module__, "file": file or "", "name": name, "args": plain}
    if "<locals>" in name:
        lowered["local"] = f"{os.getpid()}:{next(_count)}"
        _local[lowered["local"]] = found
    return lowered


def find_local(key: str) -> Any:
    """A trigger of this process that has no name, none if it is of another process, or gone."""
    return _local.get(key)


def converted(given: Any, event: Any) -> Any:
    """The event as the annotation of the trigger says: it has travelled as plain data."""
    if isinstance(given, Known):
        return event
    kind = cast("type[Any]", type(given))
    fn = cast("TriggerCall[Any]", given).function.fn if isinstance(given, TriggerCall) else kind.run
    annotation = annotations_of(fn).get("return", Any)
    if annotation is Any or event is None:
        return event
    adapter = adapter_of(annotation)
    return event if adapter is None else adapter.validate_python(event)


# --- ready ones -------------------------------------------------------------------------------------------------------


def file_exists(path: str | os.PathLike[str], *, poll: Seconds = 1.0) -> TriggerCall[Path]:
    """Wait until a file (or folder) is there; looks every `poll` seconds. The event is its path."""
    return _file_exists(str(Path(path).absolute()), seconds(poll))


@trigger
async def _file_exists(path: str, poll: float) -> Path:
    import asyncio

    while True:
        if Path(path).exists():  # noqa: ASYNC240  a thread is dearer than the look; if the mount hangs, that is seen
            return Path(path)
        await asyncio.sleep(poll)


_file_exists.name = "file_exists"


def run_finished(run_id: str) -> Trigger[str]:
    """Wait until another run is over, wherever it runs. The event is its state: "success", "failed", ..."""
    return Known("run_finished", {"kind": "run_over", "run_id": run_id})
