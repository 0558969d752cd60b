"""`@asset`: something that should exist, made by a function from other assets; `@check` looks at one."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar, overload

from msgspec.structs import replace

from plait.authoring.live import LiveGraph, LiveNode
from plait.authoring.partitions import Partitions
from plait.authoring.task import Task, TaskOptions, check_function, lowered
from plait.authoring.where import head_of, here, place_of
from plait.engine.plan import Plan
from plait.model.errors import DefinitionError
from plait.model.graph import Binding, Edge, FromAsset, FromContext, FromOutput, Graph, OutputSpec, TaskSpec
from plait.model.policies import OutcomeRule

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class AssetOptions:
    """What `@asset` takes beyond the options of a task; see `asset`."""

    key: str
    deps: tuple[str, ...]
    partitions: Partitions | None
    group: str
    kinds: tuple[str, ...]
    owners: tuple[str, ...]
    code_version: str | None


class Asset(Generic[P, R]):
    """Something that should exist. Calling it is a plain call of its function."""

    def __init__(self, fn: Callable[P, R], options: AssetOptions, task: Task[P, R]):
        self.fn = fn
        self.options_ = options
        self.key = options.key
        self.name = options.key
        self.task = task
        self.place = place_of(fn)
        functools.update_wrapper(self, fn, updated=())

    @property
    def inputs(self) -> tuple[str, ...]:
        """The keys of the assets whose values its function takes: the names of its parameters, except `context`."""
        return tuple(name for name in self.task.signature.parameters if name != "context")

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<asset {self.key!r}>"


class Check(Generic[P, R]):
    """A look at an asset after it was materialized; true is good."""

    def __init__(self, fn: Callable[P, R], asset: str, name: str, blocking: bool, severity: str):
        self.fn = fn
        self.asset = asset
        self.name = name
        self.blocking = blocking
        self.severity = severity
        self.place = place_of(fn)
        functools.update_wrapper(self, fn, updated=())

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.fn(*args, **kwargs)


_OWN = ("key", "deps", "partitions", "group", "kinds", "owners", "code_version")


@overload
def asset(fn: Callable[P, R], /) -> Asset[P, R]: ...
@overload
def asset(
    *,
    key: str = ...,
    deps: Sequence[str | Asset[..., Any]] = ...,
    partitions: Partitions | None = ...,
    group: str = ...,
    kinds: Sequence[str] = ...,
    owners: Sequence[str] = ...,
    tags: Sequence[str] = ...,
    code_version: str | None = ...,
    **task_options: Any,
) -> Callable[[Callable[P, R]], Asset[P, R]]: ...
def asset(fn: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a function an asset: something that should exist and be fresh. Its parameters are the assets that it is made
    from, by name; one called `context` gets the context of the run instead.

    `key`: its name, the function's if not given. `deps`: assets that must be there first, whose values it does not
    take. `partitions`: the slices that it has a value for (`daily("2013-01-01")`). `group`, `kinds`, `owners`, `tags`:
    for people and selections. `code_version`: what to change when its code gives other results. All options of `task`
    go as well (retries, pool, timeout ...).

        @asset(partitions=daily("2013-01-01"))
        def flights(context) -> Table:
            return extract(context.partition_key)
    """

    def make(function: Callable[..., Any]) -> Asset[..., Any]:
        check_function(function, "@asset")
        own = {name: options[name] for name in _OWN if name in options}
        rest = {name: value for name, value in options.items() if name not in _OWN}
        key = own.get("key") or function.__name__
        partitions = own.get("partitions")
        if partitions is not None and not isinstance(partitions, Partitions):
            raise DefinitionError(
                f"the partitions of {key!r} are {partitions!r}",
                where=place_of(function),
                wrong=f"partitions={partitions!r}",
                right='partitions=daily("2013-01-01")',
            )
        made = AssetOptions(
            key=key,
            deps=tuple(dep.key if isinstance(dep, Asset) else dep for dep in own.get("deps", ())),
            partitions=partitions,
            group=own.get("group", "default"),
            kinds=tuple(own.get("kinds", ())),
            owners=tuple(own.get("owners", ())),
            code_version=own.get("code_version"),
        )
        tags = tuple(rest.pop("tags", ()))
        settings = lowered(rest, "@asset", (*_OWN, "tags"))
        settings["outputs"] = (OutputSpec(asset=key),)
        task = Task(function, TaskOptions(name=key, **settings))
        task.spec = _with_tags(task.spec, tags)
        return Asset(function, made, task)

    return make if fn is None else make(fn)


def _with_tags(spec: TaskSpec, tags: tuple[str, ...]) -> TaskSpec:
    return replace(spec, tags=tags)


def check(
    *, asset: Asset[..., Any] | str, name: str = "", blocking: bool = False, severity: str = "error"
) -> Callable[[Callable[P, R]], Check[P, R]]:
    """Make a function a check of an asset: it gets the asset's value (and assets by name, and `context`), and returns
    whether it is good. A failed `blocking` check of severity "error" stops what is made from the asset.

        @check(asset=flights, blocking=True)
        def has_rows(flights) -> bool:
            return len(flights) > 0
    """
    if severity not in ("error", "warn"):
        where, wrong = here()
        raise DefinitionError(
            f"there is no severity {severity!r}", where=where, wrong=wrong, right='severity="error" or "warn"'
        )

    def make(function: Callable[P, R]) -> Check[P, R]:
        check_function(function, "@check")
        key = asset.key if isinstance(asset, Asset) else asset
        return Check(function, key, name or function.__name__, blocking, severity)

    return make


# --- the graph of a selection -----------------------------------------------------------------------------------------


def asset_graph(
    assets: Mapping[str, Asset[..., Any]], checks: Iterable[Check[..., Any]], selected: Sequence[str], name: str
) -> LiveGraph:
    """The graph that materializes `selected`. What is not selected is read as it was last materialized."""
    chosen = set(selected)
    nodes: list[TaskSpec] = []
    edges: dict[tuple[str, str, str | None], Edge] = {}
    live: dict[str, LiveNode] = {}
    for key in selected:
        made = assets[key]
        inputs = _inputs(made, made.task.signature, assets, chosen, key, edges)
        for dep in made.options_.deps:
            if dep not in assets:
                raise _unknown(made, key, dep, assets, f'deps=["{dep}"]')
            if dep in chosen:
                edges[dep, key, None] = Edge(upstream=dep, downstream=key)
        nodes.append(_node(made, key, inputs))
        live[key] = LiveNode(made.fn, made.task)
    for each in checks:
        if each.asset in chosen:
            _add_check(each, assets, chosen, nodes, edges, live)
    graph = Graph(
        name=name,
        kind="assets",
        nodes=tuple(nodes),
        edges=tuple(edges.values()),
        outcome=OutcomeRule.ANY_FAILURE,
        result=(selected[-1], "result") if selected else None,
    )
    _plan_check(graph, assets)
    return LiveGraph(graph=graph, nodes=live)


def _plan_check(graph: Graph, assets: Mapping[str, Asset[..., Any]]) -> None:
    """Raise DefinitionError for what a plan refuses, told of assets: that they wait for each other in a circle."""
    try:
        Plan(graph)
    except DefinitionError as error:
        circle = error.what.rpartition(": ")[2]
        made = next((assets[key] for key in circle.split(" -> ") if key in assets), None)
        if made is None:
            raise
        raise DefinitionError(
            f"the assets wait for each other in a circle: {circle}",
            where=made.place,
            wrong=head_of(made.fn),
            right=error.right,
        ) from None


def _node(made: Asset[..., Any], key: str, inputs: dict[str, Binding]) -> TaskSpec:
    o = made.options_
    metadata: dict[str, Any] = {"group": o.group, "kinds": list(o.kinds), "owners": list(o.owners)}
    if o.partitions is not None:
        metadata["partitions"] = o.partitions.spec()
    if o.code_version is not None:
        metadata["code_version"] = o.code_version
    return replace(made.task.spec, key=key, runner="asset", inputs=inputs, metadata=metadata)


def _inputs(
    made: Asset[..., Any] | Check[..., Any],
    signature: inspect.Signature,
    assets: Mapping[str, Asset[..., Any]],
    chosen: set[str],
    key: str,
    edges: dict[tuple[str, str, str | None], Edge],
) -> dict[str, Binding]:
    inputs: dict[str, Binding] = {}
    for name, parameter in signature.parameters.items():
        if name == "context":
            inputs[name] = FromContext(name="context")
        elif name in chosen:
            inputs[name] = FromOutput(task=name)
            edges[name, key, "result"] = Edge(upstream=name, downstream=key, output="result")
        elif name in assets:
            inputs[name] = FromAsset(key=name)
        elif parameter.default is inspect.Parameter.empty:
            raise _unknown(made, key, name, assets, head_of(made.fn))
    return inputs


def _unknown(
    made: Asset[..., Any] | Check[..., Any], key: str, name: str, assets: Mapping[str, Asset[..., Any]], wrong: str
) -> DefinitionError:
    known = ", ".join(sorted(assets)) or "none"
    return DefinitionError(
        f"{key!r} is made from {name!r}, which is not an asset here",
        where=made.place,
        wrong=wrong,
        right=f"name one of the assets: {known}; or `context` for the run's context",
    )


def _add_check(
    each: Check[..., Any],
    assets: Mapping[str, Asset[..., Any]],
    chosen: set[str],
    nodes: list[TaskSpec],
    edges: dict[tuple[str, str, str | None], Edge],
    live: dict[str, LiveNode],
) -> None:
    """A check is a task below its asset; a blocking one stands before everything that is made from the asset."""
    key = f"{each.asset}:{each.name}"
    inputs = _inputs(each, inspect.signature(each.fn), assets, chosen, key, edges)
    edges.setdefault((each.asset, key, None), Edge(upstream=each.asset, downstream=key))
    if each.blocking:
        below = [edge.downstream for edge in edges.values() if edge.upstream == each.asset]
        for other in below:
            if other in chosen:
                edges[key, other, None] = Edge(upstream=key, downstream=other)
    metadata = {"asset": each.asset, "check": each.name, "blocking": each.blocking, "severity": each.severity}
    nodes.append(TaskSpec(key=key, runner="check", inputs=inputs, metadata=metadata))
    live[key] = LiveNode(each.fn)
