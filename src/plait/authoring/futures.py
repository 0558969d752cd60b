"""What stands for a value that is not there yet: a Future in a flow's body, an Output while a dag is traced."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, NoReturn, Protocol, TypeVar, cast

from plait.authoring.where import here
from plait.model.errors import DefinitionError
from plait.model.graph import RESULT

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)


class Future(Protocol[R_co]):
    """A task run that was submitted in a flow's body.

    Pass it to another task, which then waits for it, or ask it for its `result`.
    """

    @property
    def key(self) -> str:
        """The task's key."""
        ...

    @property
    def no(self) -> int:
        """The task run's number in its run."""
        ...

    def result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> R_co:
        """Wait for the task run (at most `timeout` seconds, else TimeoutError) and return its value.

        A failed one raises its own exception; with `raise_on_failure=False` that exception is returned instead. One
        that was skipped, cancelled, or whose upstream failed raises Unfinished.
        """
        ...

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is over; false when the time ran out."""
        ...

    def done(self) -> bool:
        """Whether it is over."""
        ...

    @property
    def state(self) -> str:
        """Its state now."""
        ...

    def __await__(self) -> Generator[Any, None, R_co]:
        """`await future`: its value, in an async flow."""
        ...


class FutureList(list[Future[R]]):
    """The futures of a `.map`, in order of the elements."""

    def result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> list[R]:
        """Wait for all (at most `timeout` seconds) and return their values; the first failure (in order) is raised."""
        deadline = _deadline(timeout)
        return [future.result(_left(deadline), raise_on_failure=raise_on_failure) for future in self]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all are over; false when the time ran out."""
        deadline = _deadline(timeout)
        return all(future.wait(_left(deadline)) for future in self)


def _deadline(timeout: float | None) -> float | None:
    return time.monotonic() + timeout if timeout is not None else None


def _left(deadline: float | None) -> float | None:
    return max(0.0, deadline - time.monotonic()) if deadline is not None else None


# --- stand-ins of a dag that is traced --------------------------------------------------------------------------------


class StandIn:
    """What stands for a value while a dag is traced: whatever needs the value raises a DefinitionError that says so."""

    __slots__ = ()
    __hash__ = object.__hash__

    def _what(self) -> str:
        raise NotImplementedError

    def _unknown(self, use: str, right: str = "use it inside of a task, or make this a @flow") -> NoReturn:
        where, wrong = here()
        raise DefinitionError(
            f"{self._what()} is used {use}, but a dag is traced before it runs, so there is no value yet",
            where=where,
            wrong=wrong,
            right=right,
        )

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._unknown(f"by its attribute .{name}")

    def __getitem__(self, name: Any) -> Any:
        self._unknown(f"by [{name!r}]")

    def __eq__(self, other: object) -> bool:
        if self is other:
            return True
        if isinstance(other, StandIn):
            return False
        self._unknown("in a comparison")

    def __bool__(self) -> NoReturn:  # noqa: PLE0304  it never returns
        self._unknown("in a condition", right="use a task with branch=True, or make this a @flow")

    def __iter__(self) -> Iterator[Any]:
        self._unknown("in a loop", right="map a task over it: other_task.map(...), or make this a @flow")

    def __len__(self) -> NoReturn:  # noqa: PLE0303  likewise
        self._unknown("by len()")

    def __str__(self) -> str:  # noqa: PLE0307  likewise
        self._unknown("as text")

    def __format__(self, spec: str) -> str:
        self._unknown("in a text")

    def __call__(self, *_: Any, **__: Any) -> NoReturn:
        self._unknown("like a function")


def _guard(symbol: str) -> Callable[..., NoReturn]:
    def operate(self: StandIn, *_: object) -> NoReturn:
        self._unknown(f"with {symbol}")  # pyright: ignore[reportPrivateUsage]  # it becomes a method

    return operate


_OPERATORS = {
    "add": "+", "sub": "-", "mul": "*", "truediv": "/", "floordiv": "//", "mod": "%", "pow": "**", "matmul": "@",
    "and": "&", "or": "|", "xor": "^",
}  # fmt: skip
for _name, _symbol in _OPERATORS.items():
    setattr(StandIn, f"__{_name}__", _guard(_symbol))
    setattr(StandIn, f"__r{_name}__", _guard(_symbol))
for _name, _symbol in {"lt": "<", "le": "<=", "gt": ">", "ge": ">="}.items():
    setattr(StandIn, f"__{_name}__", _guard(_symbol))
for _name, _symbol in {"neg": "-", "abs": "abs()", "int": "int()", "float": "float()", "index": "an index"}.items():
    setattr(StandIn, f"__{_name}__", _guard(_symbol))


class Output(StandIn):
    """What a task will emit, while a dag is traced. Hand it to other tasks; its value is not known before the run."""

    __slots__ = ("_names", "_order", "_output", "_task")

    def __init__(self, task: str, output: str, names: tuple[str, ...], order: OrderRecorder):
        self._task = task
        self._output = output
        self._names = names
        self._order = order

    def __rshift__(self, other: Output | Sequence[Output]) -> Output | Sequence[Output]:
        """`a >> b`: b waits for a, without getting its value."""
        for each in _outputs(other):
            self._order.order(self, each)
        return other

    def __lshift__(self, other: Output | Sequence[Output]) -> Output | Sequence[Output]:
        """`a << b`: a waits for b."""
        for each in _outputs(other):
            self._order.order(each, self)
        return other

    def __rrshift__(self, other: Sequence[Output]) -> Output:
        """`[a, b] >> c`."""
        for each in _outputs(other):
            self._order.order(each, self)
        return self

    def __rlshift__(self, other: Sequence[Output]) -> Output:
        """`[a, b] << c`."""
        for each in _outputs(other):
            self._order.order(self, each)
        return self

    def after(self, *others: Output) -> Output:
        """Wait for others as well, without getting their values; returns itself."""
        for other in _outputs(others):
            self._order.order(other, self)
        return self

    def __getitem__(self, name: Any) -> Output:
        """One of several named outputs: `parts["good"]`."""
        if name in self._names and self._names != (RESULT,):
            return Output(self._task, name, self._names, self._order)
        if self._names == (RESULT,):
            self._unknown(f"by [{name!r}]")
        self._unknown(f"by [{name!r}]", right=f"one of its outputs: {', '.join(self._names)}")

    def _what(self) -> str:
        return f"the value of task {self._task!r}"

    def __repr__(self) -> str:
        return f"<output {self._output!r} of task {self._task!r}>"


def _outputs(value: Any) -> Sequence[Output]:
    """The outputs on one side of `>>`. Raises DefinitionError for anything else, such as a task that is not called."""
    found: list[Any] = [value] if not isinstance(value, (list, tuple)) else list(cast("Sequence[Any]", value))
    for each in found:
        if not isinstance(each, Output):
            where, wrong = here()
            name = getattr(each, "name", None) or repr(each)
            raise DefinitionError(
                f"{name} is not what a task of this dag returned, so it has no place in an order",
                where=where,
                wrong=wrong,
                right="extract() >> load()      # call the tasks",
            )
    return found


class OrderRecorder(Protocol):
    """Records that one output's task waits for another's."""

    def order(self, upstream: Output, downstream: Output) -> None:
        """Add an edge without data."""
        ...


def place_of_output(output: Output) -> tuple[str, str]:
    """The task and the name of an output."""
    return output._task, output._output  # pyright: ignore[reportPrivateUsage]  # a user's name may not clash with ours
