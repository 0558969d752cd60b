"""`@flow`: plain Python whose calls of tasks are recorded, so that a run can be resumed where it was."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import timedelta
from typing import Any, Generic, ParamSpec, TypeVar, cast, overload

from plait.authoring.dag import DAG_OPTIONS, WorkflowOptions, hooks_by_name, workflow_options
from plait.authoring.futures import Future
from plait.authoring.live import LiveGraph, LiveNode
from plait.authoring.params import params_of
from plait.authoring.retry import NO_RETRY, Retry, Seconds
from plait.authoring.schedules import Schedule
from plait.authoring.scope import current_engine, current_scope
from plait.authoring.task import Hook
from plait.authoring.where import code_of, place_of
from plait.model.errors import DefinitionError
from plait.model.graph import Graph, HookSpec, Param, TaskSpec
from plait.model.policies import LimitUse, OutcomeRule

P = ParamSpec("P")
R = TypeVar("R")

FLOW_OPTIONS = (
    *(name for name in DAG_OPTIONS if name not in ("max_active_tasks", "fail_fast")),
    "retries",
    "executor",
    "pool",
)


class Flow(Generic[P, R]):
    """A function whose body decides as it runs. Called in a script, a notebook or a test it runs at once on the
    embedded engine and returns its value; called in another flow it is a part of that one's run."""

    kind = "flow"

    def __init__(
        self,
        fn: Callable[P, R],
        options: WorkflowOptions,
        retries: Retry = NO_RETRY,
        executor: str = "threads",
        pool: str | None = None,
    ):
        self.fn = fn
        self.options_ = options
        self.retries = retries
        self.executor = executor
        self.pool = pool
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
        scope = current_scope()
        if scope is None:
            raise DefinitionError(
                f"{self.name}.submit() is called outside of a run",
                where=self.place,
                right=f"call it in a function with @flow; or call {self.name}(...) to run it at once",
            )
        return cast("Future[R]", scope.submit(self, args, kwargs))

    def options(self, **changes: Any) -> Flow[P, R]:
        """The same flow with some options changed."""
        fields = {k: v for k, v in changes.items() if k in WorkflowOptions.__dataclass_fields__}
        retries = changes.get("retries", self.retries)
        return Flow(
            self.fn,
            replace(self.options_, **fields),
            Retry(retries) if isinstance(retries, int) else retries,
            changes.get("executor", self.executor),
            changes.get("pool", self.pool),
        )

    with_options = options

    @property
    def spec(self) -> TaskSpec:
        """The body's node."""
        return self.live.graph.nodes[0]

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
            for param in params:
                if not param.has_default and param.source is None:
                    raise DefinitionError(
                        f"{self.name!r} has a schedule, but nothing binds its parameter {param.name!r}",
                        where=self.place,
                        wrong=f"def {self.name}({param.name})",
                        right=f"def {self.name}({param.name}=logical_date())   # or another default",
                    )
        body = TaskSpec(
            key=self.name,
            runner="flow",
            code=code_of(self.fn),
            inputs={param.name: Param(name=param.name) for param in params},
            retry=self.retries.policy(),
            timeout=None,
            executor="host",
            limits=(LimitUse(key=f"pool:{self.pool}"),) if self.pool is not None else (),
        )
        policy = self.options_.policy(self.place)
        graph = Graph(
            name=self.name,
            kind="flow",
            nodes=(body,),
            params=params,
            outcome=OutcomeRule.BODY,
            result=(self.name, "result"),
            policy=policy,
            triggers=(self.options_.schedule.trigger(catchup=self.options_.catchup),) if self.options_.schedule else (),
            code=code_of(self.fn),
            doc=self.fn.__doc__ or "",
            tags=self.options_.tags,
            hooks=tuple(HookSpec(on=on, code=code_of(hook)) for on, hook in self.options_.hooks),
            metadata={"executor": self.executor},
        )
        return LiveGraph(
            graph=graph, nodes={self.name: LiveNode(self.fn)}, fn=self.fn, hooks=hooks_by_name(self.options_)
        )

    def __repr__(self) -> str:
        return f"<flow {self.name!r}>"


@overload
def flow(fn: Callable[P, R], /) -> Flow[P, R]: ...
@overload
def flow(
    *,
    name: str = ...,
    schedule: Schedule | str | timedelta | None = ...,
    catchup: bool = ...,
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
        common = {k: v for k, v in options.items() if k not in ("retries", "executor", "pool")}
        workflow = workflow_options(common, function, "@flow", FLOW_OPTIONS)
        retries = options.get("retries", NO_RETRY)
        executor = options.get("executor", "threads")
        if executor not in ("threads", "processes", "inline"):
            raise DefinitionError(
                f"there is no executor {executor!r}",
                where=place_of(function),
                wrong=f"executor={executor!r}",
                right='executor="threads", "processes" or "inline"',
            )
        return Flow(
            function, workflow, Retry(retries) if isinstance(retries, int) else retries, executor, options.get("pool")
        )

    return make if fn is None else make(fn)
