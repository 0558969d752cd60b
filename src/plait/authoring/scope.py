"""What a call means where it stands: outside of everything, while a dag is traced, in a flow's body, while a file is
loaded.

A scope is set for the current context (contextvar), so threads and async tasks that a body starts are in it as well.
Calls that go up (a flow called in a script) go through one port, `Engine`, which the package's face fills.
"""

from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from plait.authoring.where import here
from plait.model.errors import DefinitionError

if TYPE_CHECKING:
    from plait.ports import PartitionStore

T = TypeVar("T")


class Scope(Protocol):
    """Answers the calls of tasks, flows and dags made inside of it."""

    def call(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call: the value, or its stand-in."""
        ...

    def submit(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """`.submit`: a future, or its stand-in."""
        ...

    def map(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any], how: str) -> Any:
        """`.map` (`how` is zip) or `.product`."""
        ...


class Engine(Protocol):
    """Runs what is called outside of any run."""

    def run(self, workflow: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a flow or a dag at once and return its value; an async flow's is a coroutine."""
        ...

    def materialize(self, assets: tuple[Any, ...], *, partition: str | None, select: str | None) -> Any:
        """Materialize assets at once; returns their values by key."""
        ...

    @property
    def partitions(self) -> "PartitionStore":
        """Where this process keeps dynamic partitions."""
        ...

    def publish_event(self, name: str, data: Any) -> str:
        """Publish an event; its id. Raises ParameterError for one that cannot be published."""
        ...

    def answer(self, run_id: str, value: Any, *, task: str | None) -> None:
        """Answer what a run asks. Raises ParameterError for a value that does not fit."""
        ...


_scope: ContextVar[Scope | None] = ContextVar("plait_scope", default=None)
_engine: list[Callable[[], Engine]] = []


def current_scope() -> Scope | None:
    """The scope of this context, none outside of everything."""
    return _scope.get()


def scope_for(call: str, instead: str) -> Scope:
    """The scope of this context. Raises DefinitionError outside of everything, for a call that makes no sense there."""
    scope = _scope.get()
    if scope is None:
        where, wrong = here()
        raise DefinitionError(
            f"{call} is called outside of a run, so there is nobody to run it",
            where=where,
            wrong=wrong,
            right=f"call it in a function with @flow or @dag; or call {instead}",
        )
    return scope


class Within(Generic[T]):
    """Sets a context variable for a block. A class, because every task passes by here: half a generator's price."""

    __slots__ = ("_before", "_value", "_variable")

    def __init__(self, variable: ContextVar[T], value: T):
        self._variable = variable
        self._value = value

    def __enter__(self) -> None:
        self._before = self._variable.set(self._value)

    def __exit__(self, *exc: object) -> None:
        self._variable.reset(self._before)


def in_scope(scope: Scope | None) -> Within[Scope | None]:
    """Be in a scope for a block."""
    return Within(_scope, scope)


def provide_engine(factory: Callable[[], Engine]) -> None:
    """Say who runs what is called outside of any run. The face does this once; tests may say otherwise."""
    _engine[:] = [factory]


def current_engine() -> Engine:
    """Who runs what is called outside of any run."""
    return _engine[0]()
