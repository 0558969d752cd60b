"""`@flow`: plain Python whose calls of tasks are recorded, so that a run can be resumed where it was."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

import msgspec
from msgspec.structs import replace

from plait.authoring.dag import (
    DAG_OPTIONS,
    WorkflowOptions,
    check_scheduled,
    hook_specs,
    hooks_of,
    lower_workflow,
)
from plait.authoring.futures import Future
from plait.authoring.live import LiveGraph, LiveNode
from plait.authoring.params import params_of
from plait.authoring.points import Day
from plait.authoring.retry import NO_RETRY, Retry, Seconds, retry_of
from plait.authoring.scope import current_engine, current_scope, scope_for
from plait.authoring.task import Hook, check_executor, check_function
from plait.authoring.where import code_of, place_of
from plait.model.graph import Graph, Param, TaskSpec
from plait.model.policies import LimitUse, OutcomeRule

if TYPE_CHECKING:
    from plait.authoring.schedules import Schedule

P = ParamSpec("P")
R = TypeVar("R")


class BodyOptions(msgspec.Struct, frozen=True):
    """What `@flow` takes beyond the options of a dag; see `flow`."""

    retries: Retry = NO_RETRY
    executor: str = "threads"
    pool: str | None = None


_OWN = BodyOptions.__struct_fields__
_COMMON = tuple(name for name in DAG_OPTIONS if name not in ("max_active_tasks", "fail_fast"))


class Flow(Generic[P, R]):
    """A function whose body decides as it runs. Called in a script, a notebook or a test it runs at once on the
    embedded engine and returns its value; called in another flow it is a part of that one's run."""

    kind = "flow"

    def __init__(self, fn: Callable[P, R], options: WorkflowOptions, own: BodyOptions):
        self.fn = fn
        self.options_ = options
        self.own = own
        self.executor = own.executor
        self.name = options.name or fn.__name__
        self.place = place_of(fn)
        self.is_async = inspect.iscoroutinefunction(fn)
        self.signature = inspect.signature(fn)
        self._live: LiveGraph | None = None
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        scope = current_scope()
        if scope is not None:
            return cast("R", scope.call(self, args, kwargs))
        return cast("R", current_engine().run(self, args, kwargs))

    def submit(self, *args: Any, **kwargs: Any) -> Future[R]:
        """In another flow: start this one in the background and return its future."""
        scope = scope_for(f"{self.name}.submit()", f"{self.name}(...) to run it at once")
        return cast("Future[R]", scope.submit(self, args, kwargs))

    def options(self, **changes: Any) -> Flow[P, R]:
        """The same flow with some options changed: `reload.options(retries=2)`."""
        common, own = _lowered(changes)
        return Flow(self.fn, replace(self.options_, **common), replace(self.own, **own))

    @property
    def spec(self) -> TaskSpec:
        """The body's node, as a child of another flow: there the flow's timeout is the child's."""
        graph = self.live.graph
        return replace(graph.nodes[0], timeout=graph.policy.timeout)

    @property
    def live(self) -> LiveGraph:
        """The graph: one node, the body."""
        if self._live is None:
            self._live = self._make()
        return self._live

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self.live.graph

    def _make(self) -> LiveGraph:
        params = params_of(self.fn)
        if self.options_.schedule is not None:
            check_scheduled(self.fn, self.name, params)
        policy = self.options_.policy(self.place)
        body = TaskSpec(
            key=self.name,
            runner="flow",
            code=code_of(self.fn),
            inputs={param.name: Param(name=param.name) for param in params},
            retry=self.own.retries.policy(),
            executor="host",
            limits=(LimitUse(key=f"pool:{self.own.pool}"),) if self.own.pool is not None else (),
        )
        graph = Graph(
            name=self.name,
            kind="flow",
            nodes=(body,),
            params=params,
            outcome=OutcomeRule.BODY,
            result=(self.name, "result"),
            policy=policy,
            triggers=self.options_.triggers(),
            code=code_of(self.fn),
            doc=self.fn.__doc__ or "",
            tags=self.options_.tags,
            hooks=hook_specs(self.options_),
            metadata={"executor": self.executor},
        )
        return LiveGraph(graph=graph, nodes={self.name: LiveNode(self.fn)}, fn=self.fn, hooks=hooks_of(self.options_))

    def __repr__(self) -> str:
        return f"<flow {self.name!r}>"


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str = ...,
    schedule: Schedule | str | timedelta | None = ...,
    catchup: bool | str = ...,
    start: Day | None = ...,
    end: Day | None = ...,
    max_active_runs: int | None = ...,
    collision: str = ...,
    timeout: Seconds | None = ...,
    pause_after_failures: int | None = ...,
    tags: Sequence[str] = ...,
    retries: int | Retry = ...,
    executor: str = ...,
    pool: str | None = ...,
    on_success: Hook | Sequence[Hook] | None = ...,
    on_failure: Hook | Sequence[Hook] | None = ...,
) -> Callable[[Callable[P, R]], Flow[P, R]]: ...
def flow(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a flow: plain Python, whose calls of tasks are recorded as it runs.

    A task called in the body runs at once and gives its value; `.submit` and `.map` run in the background, on
    `executor`: "threads" (default), "processes" or "inline". `retries`: how often the body is run again when it raises;
    tasks that have succeeded are not run again. The other options are those of `dag`.

        @flow
        def reload(first: date, last: date):
            return [f.result() for f in extract.map(days(first, last))]
    """

    def make(function: Callable[..., Any]) -> Flow[..., Any]:
        common, own = _lowered(options)
        check_function(function, "@flow")
        return Flow(function, WorkflowOptions(**common), BodyOptions(**own))

    return make if fn is None else make(fn)


def _lowered(given: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Keywords as users write them: those that every workflow has, and those of a flow's body."""
    lowered = lower_workflow(given, "@flow", (*_COMMON, *_OWN))
    own = {name: lowered.pop(name) for name in _OWN if name in lowered}
    if "retries" in own:
        own["retries"] = retry_of(own["retries"])
    if "executor" in own:
        check_executor(own["executor"])
    return lowered, own
