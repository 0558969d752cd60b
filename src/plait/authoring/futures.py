"""What stands for a value that is not there yet: a Future in a flow's body, an Output while a dag is traced."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Generic, NoReturn, Protocol, TypeVar, overload

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


class FutureList(list[Any], Generic[R]):
    """The futures of a `.map`, in order of the elements."""

    def result(self, timeout: float | None = None, *, raise_on_failure: bool = True) -> list[R]:
        """Wait for all and return their values; the first failure (in order) is raised."""
        return [future.result(timeout, raise_on_failure=raise_on_failure) for future in self]

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all are over."""
        return all(future.wait(timeout) for future in self)


class Output:
    """What a task will emit, while a dag is traced. Hand it to other tasks; its value is not known before the run."""

    __slots__ = ("_names", "_order", "_output", "_task")

    def __init__(self, task: str, output: str, names: tuple[str, ...], order: OrderRecorder):
        self._task = task
        self._output = output
        self._names = names
        self._order = order

    def __rshift__(self, other: Output | Sequence[Output]) -> Output | Sequence[Output]:
        """`a >> b`: b waits for a, without getting its value."""
        for each in [other] if isinstance(other, Output) else other:
            self._order.order(self, each)
        return other

    def __lshift__(self, other: Output | Sequence[Output]) -> Output | Sequence[Output]:
        """`a << b`: a waits for b."""
        for each in [other] if isinstance(other, Output) else other:
            self._order.order(each, self)
        return other

    def __rrshift__(self, other: Sequence[Output]) -> Output:
        """`[a, b] >> c`."""
        for each in other:
            self._order.order(each, self)
        return self

    def after(self, *others: Output) -> Output:
        """Wait for others as well, without getting their values; returns itself."""
        for other in others:
            self._order.order(other, self)
        return self

    def __getitem__(self, name: str) -> Output:
        """One of several named outputs: `parts["good"]`."""
        if name in self._names and self._names != (RESULT,):
            return Output(self._task, name, self._names, self._order)
        self._unknown(f"[{name!r}]")

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        self._unknown(f".{name}")

    def __bool__(self) -> NoReturn:
        self._unknown(" in a condition", right="use a task with branch=True, or make this a @flow")

    def __iter__(self) -> Iterator[Any]:
        self._unknown(" in a loop", right=f"map a task over it: other_task.map({self._task})")

    def __len__(self) -> NoReturn:
        self._unknown(" with len()")

    def __repr__(self) -> str:
        return f"<output {self._output!r} of task {self._task!r}>"

    def _unknown(self, use: str, right: str = "use it inside of a task, or make this a @flow") -> NoReturn:
        where, wrong = here()
        raise DefinitionError(
            f"the value of task {self._task!r} is used{use}, but a dag is traced before it runs, so there is no value yet",
            where=where,
            wrong=wrong,
            right=right,
        )


class OrderRecorder(Protocol):
    """Records that one output's task waits for another's."""

    def order(self, upstream: Output, downstream: Output) -> None:
        """Add an edge without data."""
        ...


def place_of_output(output: Output) -> tuple[str, str]:
    """The task and the name of an output."""
    return output._task, output._output  # pyright: ignore[reportPrivateUsage]  # attributes of users' names must not clash


@overload
def is_future(value: Future[Any]) -> bool: ...
@overload
def is_future(value: object) -> bool: ...
def is_future(value: object) -> bool:
    """Whether a value is a future of this engine."""
    return getattr(type(value), "__plait_future__", False) is True
