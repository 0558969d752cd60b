"""`@dag`: a function that is called once, with stand-ins, to make a static graph; `group` for its parts."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, cast, overload

import msgspec
from msgspec.structs import replace

from plait.authoring.futures import Future, Output, place_of_output
from plait.authoring.live import LiveGraph, LiveNode
from plait.authoring.params import params_of
from plait.authoring.points import Day, point_of
from plait.authoring.retry import Seconds, seconds
from plait.authoring.scope import current_engine, current_scope, in_scope, scope_for
from plait.authoring.task import Hook, check_function, lower_hooks
from plait.authoring.tracing import ParamStandIn, Tracer, current_tracer
from plait.authoring.where import code_of, head_of, here, place_of, unknown_option
from plait.engine.plan import Plan
from plait.model.errors import DefinitionError
from plait.model.graph import Graph, HookSpec, TaskSpec, TriggerSpec
from plait.model.graph import ParamSpec as RunParam
from plait.model.policies import Collision, OutcomeRule, RunPolicy, TriggerRule
from plait.model.schedules import Catchup

if TYPE_CHECKING:
    from plait.authoring.schedules import Schedule

P = ParamSpec("P")
R = TypeVar("R")
WORKFLOW_HOOKS = ("on_success", "on_failure")
CATCHUPS = 'catchup="all" (or True), "latest" (or False), "none"'


class WorkflowOptions(msgspec.Struct, frozen=True):
    """What `@dag` and `@flow` share; see `dag` for the meanings."""

    name: str = ""
    schedule: Schedule | None = None
    catchup: bool | str = False
    start: Day | None = None
    end: Day | None = None
    max_active_runs: int | None = None
    collision: str = "enqueue"
    max_active_tasks: int | None = None
    timeout: Seconds | None = None
    fail_fast: bool = False
    pause_after_failures: int | None = None
    tags: tuple[str, ...] = ()
    hooks: tuple[tuple[str, Hook], ...] = ()

    def __post_init__(self) -> None:
        self.triggers()  # what is wrong is told where it is written

    def triggers(self) -> tuple[TriggerSpec, ...]:
        """The schedule as the graph has it."""
        catchup = _catchup_of(self.catchup)
        if self.schedule is None:
            return ()
        return (self.schedule.between(self.start, self.end).trigger(catchup=catchup),)

    def policy(self, place: str) -> RunPolicy:
        """The policies of the run, as the engine knows them."""
        try:
            collision = Collision(self.collision)
        except ValueError:
            raise DefinitionError(
                f"there is no collision rule {self.collision!r}",
                where=place,
                wrong=f"collision={self.collision!r}",
                right=f"one of: {', '.join(rule.value for rule in Collision)}",
            ) from None
        return RunPolicy(
            max_active_runs=self.max_active_runs,
            collision=collision,
            max_active_tasks=self.max_active_tasks,
            timeout=seconds(self.timeout) if self.timeout is not None else None,
            fail_fast=self.fail_fast,
            pause_after_failures=self.pause_after_failures,
        )


def lower_workflow(given: dict[str, Any], decorator: str, allowed: Collection[str]) -> dict[str, Any]:
    """Keywords as users write them, as `WorkflowOptions` has them. Unknown ones are told with the ones that exist."""
    given = dict(given)
    hooks = lower_hooks(given, WORKFLOW_HOOKS)
    for keyword in given:
        if keyword not in allowed:
            raise unknown_option(decorator, keyword, {*allowed, *WORKFLOW_HOOKS})
    if hooks:
        given["hooks"] = hooks
    if given.get("schedule") is not None:
        from plait.authoring.schedules import schedule_of  # zones and calendars cost 5 ms of a script's start

        given["schedule"] = schedule_of(given["schedule"])
    for edge in ("start", "end"):
        if given.get(edge) is not None:
            given[edge] = point_of(given[edge])
    if "tags" in given:
        given["tags"] = tuple(given["tags"])
    return given


def _catchup_of(value: bool | str) -> Catchup:
    """What `catchup=` may be: true for all, false for the latest, or a policy's name."""
    if isinstance(value, bool):
        return Catchup.ALL if value else Catchup.LATEST
    try:
        return Catchup(value)
    except ValueError:
        where, wrong = here()
        raise DefinitionError(f"there is no catch-up {value!r}", where=where, wrong=wrong, right=CATCHUPS) from None


def check_scheduled(fn: Callable[..., Any], name: str, params: Sequence[RunParam]) -> None:
    """Raise DefinitionError when a scheduled run would lack a parameter."""
    for param in params:
        if not param.has_default and param.source is None:
            raise DefinitionError(
                f"{name!r} has a schedule, but nothing binds its parameter {param.name!r}",
                where=place_of(fn),
                wrong=head_of(fn),
                right=f"def {fn.__name__}({param.name}=logical_date())      # or another default",
            )


DAG_OPTIONS = tuple(name for name in WorkflowOptions.__struct_fields__ if name != "hooks")


class Dag(Generic[P, R]):
    """A static graph, traced from a function. Calling it runs it at once on the embedded engine and returns the value
    of what the function returned."""

    kind = "dag"

    def __init__(self, fn: Callable[P, R], options: WorkflowOptions):
        self.fn = fn
        self.options_ = options
        self.name = options.name or fn.__name__
        self.place = place_of(fn)
        self.signature = inspect.signature(fn)
        self._live: LiveGraph | None = None
        functools.update_wrapper(self, fn, updated=())

    def options(self, **changes: Any) -> Dag[P, R]:
        """The same dag with some options changed: `daily.options(name="daily_eu", schedule=None)`."""
        return Dag(self.fn, replace(self.options_, **lower_workflow(changes, "@dag", DAG_OPTIONS)))

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        scope = current_scope()
        if scope is not None:
            return cast("R", scope.call(self, args, kwargs))
        return cast("R", current_engine().run(self, args, kwargs))

    def submit(self, *args: Any, **kwargs: Any) -> Future[R]:
        """In a flow: start a run of this dag in the background, and return its future."""
        scope = scope_for(f"{self.name}.submit()", f"{self.name}(...) to run it at once")
        return cast("Future[R]", scope.submit(self, args, kwargs))

    @property
    def live(self) -> LiveGraph:
        """The graph with its functions, traced on first use."""
        if self._live is None:
            self._live = self._trace()
        return self._live

    @property
    def graph(self) -> Graph:
        """The graph."""
        return self.live.graph

    def _trace(self) -> LiveGraph:
        params = params_of(self.fn)
        if self.options_.schedule is not None:
            check_scheduled(self.fn, self.name, params)
        tracer = Tracer(self.name)
        function: Callable[..., Any] = self.fn
        with in_scope(tracer):
            returned = function(**{param.name: ParamStandIn(param.name) for param in params})
        if not tracer.nodes:
            raise DefinitionError(
                f"the dag {self.name!r} has no tasks",
                where=self.place,
                wrong=f"@dag\n{head_of(self.fn)}: ...",
                right="call at least one @task in it",
            )
        graph = Graph(
            name=self.name,
            kind="dag",
            result=_result(tracer, returned),
            nodes=tracer.specs(),
            edges=tuple(tracer.edges.values()),
            groups=tuple(tracer.groups.values()),
            params=params,
            outcome=OutcomeRule.LEAVES,
            policy=self.options_.policy(self.place),
            triggers=self.options_.triggers(),
            code=code_of(self.fn),
            doc=self.fn.__doc__ or "",
            tags=self.options_.tags,
            hooks=hook_specs(self.options_),
        )
        _check(graph, self.place, tracer)
        return LiveGraph(graph=graph, nodes=tracer.live, fn=self.fn, hooks=hooks_of(self.options_))

    def __repr__(self) -> str:
        return f"<dag {self.name!r}>"


def hooks_of(options: WorkflowOptions) -> tuple[Hook, ...]:
    """A workflow's hooks, in the order of the graph's `HookSpec`s."""
    return tuple(hook for _, hook in options.hooks)


def hook_specs(options: WorkflowOptions) -> tuple[HookSpec, ...]:
    """A workflow's hooks as the graph has them."""
    return tuple(HookSpec(on=on, code=code_of(hook)) for on, hook in options.hooks)


def _check(graph: Graph, place: str, tracer: Tracer) -> None:
    """Compile the graph once, so that what is wrong with it is told with its place."""
    try:
        Plan(graph)
    except DefinitionError as error:
        where, wrong = tracer.closing_order() or (place, error.wrong)
        raise DefinitionError(error.what, where=where, wrong=wrong, right=error.right) from None


def _result(tracer: Tracer, returned: Any) -> tuple[str, str] | None:
    """The output that is the workflow's value; anything but one output is collected by a node of its own."""
    if isinstance(returned, Output):
        return place_of_output(returned)
    if returned is None:
        return None
    live = LiveNode(_collect)
    key = "result"
    while key in tracer.nodes:
        key += "_"
    # It takes what there is, and as a teardown that does not count it leaves the run's outcome to the other leaves.
    tracer.nodes[key] = TaskSpec(
        key=key,
        inputs={"value": tracer.bind(key, returned, live, "value")},
        code=code_of(_collect),
        trigger_rule=TriggerRule.ALL_DONE,
        teardown=True,
        counts=False,
    )
    tracer.live[key] = live
    return key, "result"


def _collect(value: Any) -> Any:
    return value


class Group(Generic[P, R]):
    """A named part of a dag: `with group("load"): ...`, or a function with `@group`, which can also be mapped."""

    def __init__(self, fn: Callable[P, R], name: str):
        self.fn = fn
        self.name = name
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        with current_tracer().group(self.name):
            return self.fn(*args, **kwargs)

    def map(self, *args: Any, **kwargs: Any) -> Any:
        """The whole group once per element; lists, dicts and outputs are mapped over side by side."""
        return current_tracer().map_group(self.name, self.fn, args, kwargs)


class _NamedGroup(AbstractContextManager[None]):
    """What `group("name")` gives: a `with` block, or a decorator with a name."""

    def __init__(self, name: str):
        self._name = name
        self._entered: Any = None

    def __enter__(self) -> None:
        self._entered = current_tracer().group(self._name)
        self._entered.__enter__()

    def __exit__(self, *exc: Any) -> None:
        self._entered.__exit__(*exc)

    def __call__(self, fn: Callable[P, R]) -> Group[P, R]:
        return Group(fn, self._name)


@overload
def group(name: str, /) -> _NamedGroup: ...
@overload
def group(name: Callable[P, R], /) -> Group[P, R]: ...
def group(name: Any, /) -> Any:
    """Group tasks of a dag under a name.

    with group("load"):
        ...

    @group
    def per_region(region): ...
    per_region.map(regions)     # the whole group once per region
    """
    return _NamedGroup(name) if isinstance(name, str) else Group(name, name.__name__)


@overload
def dag(fn: Callable[P, R], /) -> Dag[P, R]: ...
@overload
def dag(
    *,
    name: str = ...,
    schedule: Schedule | str | timedelta | None = ...,
    catchup: bool | str = ...,
    start: Day | None = ...,
    end: Day | None = ...,
    max_active_runs: int | None = ...,
    collision: str = ...,
    max_active_tasks: int | None = ...,
    timeout: Seconds | None = ...,
    fail_fast: bool = ...,
    pause_after_failures: int | None = ...,
    tags: Sequence[str] = ...,
    on_success: Hook | Sequence[Hook] | None = ...,
    on_failure: Hook | Sequence[Hook] | None = ...,
) -> Callable[[Callable[P, R]], Dag[P, R]]: ...
def dag(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function a dag: it is called once, its parameters stand for values of a later run, and each task called in
    it becomes a node. What it returns is the run's result.

    `schedule`: `cron(...)`, `every(...)`, another schedule, a cron expression or a timedelta; from `start` to before
    `end`. `catchup`: which of the runs that were missed (since the start, too) are made up for: "all" (or true), the
    "latest" (or false) or "none". `max_active_runs`: runs at once; one too many waits ("enqueue"), is cancelled
    ("skip") or replaces the oldest ("cancel"), as `collision` says. `max_active_tasks`: tasks at once in one run.
    `timeout`: seconds of a whole run. `fail_fast`: the first failure ends the run. `pause_after_failures`: pause the
    schedule after so many failed runs in a row.

        @dag(schedule=cron("0 6 * * *", tz="America/New_York"), max_active_runs=1)
        def daily_flights(day: date = logical_date()):
            return load(transform(extract(day)))
    """

    def make(function: Callable[..., Any]) -> Dag[..., Any]:
        lowered = lower_workflow(options, "@dag", DAG_OPTIONS)
        check_function(function, "@dag")
        if inspect.iscoroutinefunction(function):
            raise DefinitionError(
                f"the dag {function.__name__!r} is async, but it is only traced, and awaits nothing",
                where=place_of(function),
                wrong=f"@dag\n{head_of(function)}: ...",
                right=f"def {function.__name__}(...)      # its tasks may be async; or make it a @flow",
            )
        return Dag(function, WorkflowOptions(**lowered))

    return make if fn is None else make(fn)
