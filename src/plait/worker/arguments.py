"""From bindings and stored references to the arguments of a call."""

import inspect
import pickle
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any

import msgspec

from plait.authoring.context import Context
from plait.authoring.live import LiveGraph, LiveNode
from plait.authoring.params import annotations_of, validate
from plait.model.errors import ParameterError
from plait.model.graph import (
    Binding,
    DictOf,
    Element,
    FromAsset,
    FromContext,
    FromOutput,
    Graph,
    InCode,
    ListOf,
    Literal,
    OverLiteral,
    OverParam,
    Param,
    ParamSpec,
    Template,
)
from plait.model.outcome import Stored
from plait.model.wire import Execution, RunInfo, Upstream
from plait.ports import ResultStore

KEPT_SOURCES = 4
"""How many lists that scopes map over a worker keeps loaded, so that it reads each only once."""


@dataclass(frozen=True)
class ByRef:
    """In the pickled arguments of a flow's child: the stored result of an upstream that it was given as a future."""

    stored: Stored


def run_params(graph: Graph, fn: Callable[..., Any] | None, info: RunInfo) -> dict[str, Any]:
    """The values of a run's parameters, as the function's annotations want them.

    Raises ParameterError that names the field when one is missing or does not fit.
    """
    given: dict[str, Any] = msgspec.json.decode(info.params)
    return complete_params(graph, fn, given, info.logical_date, info.partition)


def complete_params(
    graph: Graph, fn: Callable[..., Any] | None, given: Mapping[str, Any], logical: str | None, partition: str | None
) -> dict[str, Any]:
    """Given values validated, and what is not given filled from the run or from the defaults."""
    values: dict[str, Any] = {}
    chosen = dict(given)
    for param in graph.params:
        if param.name not in chosen and param.source is not None:
            found = _from_run(param, fn, logical, partition)
            if found is not None:
                chosen[param.name] = found
    values = validate(fn, chosen, graph.name) if fn is not None else chosen
    for param in graph.params:
        if param.name in values:
            continue
        if not param.has_default:
            raise ParameterError(
                f"parameter {param.name!r} of {graph.name!r} is not given, and it has no default",
                right=_how_to_give(param),
            )
    return values


def _how_to_give(param: ParamSpec) -> str:
    if param.source == "partition_key":
        return "plait run ... --partition KEY"
    return f"plait run ... -p {param.name}=..."


def _from_run(param: ParamSpec, fn: Callable[..., Any] | None, logical: str | None, partition: str | None) -> Any:
    if param.source == "partition_key":
        return partition
    if logical is None:
        return None
    at = datetime.fromisoformat(logical)
    wanted = annotations_of(fn).get(param.name) if fn is not None else None
    if wanted is date:
        return at.date()
    return at if wanted is datetime else logical


def with_defaults(fn: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and the function's own defaults for what is missing."""
    defaults = {
        name: parameter.default
        for name, parameter in inspect.signature(fn).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **values}


def pickle_call(callee: Any, args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """A flow's child call for a worker process; what only exists in this process goes by value."""
    import cloudpickle

    return cloudpickle.dumps((callee, args, kwargs))


def unpickle_call(call: bytes) -> tuple[Any, list[Any], dict[str, Any]]:
    """A call that our own session pickled for its workers."""
    return pickle.loads(call)  # noqa: S301  made by `pickle_call` in the session that started this worker


class Arguments:
    """Makes the arguments of executions; keeps the sources of mapped scopes loaded."""

    def __init__(self, results: ResultStore):
        self._results = results
        self._sources: OrderedDict[str, Any] = OrderedDict()

    def bind(
        self, execution: Execution, graph: LiveGraph, node: LiveNode, params: dict[str, Any], context: Context
    ) -> tuple[list[Any], dict[str, Any]]:
        """Positional and named arguments of a node of a graph."""
        spec = graph_spec(graph, execution.key)
        resolver = _Resolver(self, execution, graph, node, params, context)
        positional: list[Any] = []
        named: dict[str, Any] = {}
        for name, binding in spec.inputs.items():
            value = resolver.value(binding)
            if name.startswith("*"):
                positional.append(value)
            else:
                named[name] = value
        return positional, named

    def load(self, stored: Stored | None) -> Any:
        """A stored value; none where nothing was emitted."""
        return self._results.get(stored) if stored is not None else None

    def element(self, upstream: Upstream) -> Any:
        """The element of a mapped list or dict that an execution is for."""
        stored = upstream.one
        if upstream.at is None or stored is None:
            return self.load(stored)
        name = stored.url or ""
        source = self._sources.get(name) if name else None
        if source is None:
            source = self._results.get(stored)
            if name:
                self._sources[name] = source
                while len(self._sources) > KEPT_SOURCES:
                    self._sources.popitem(last=False)
        return element_at(source, upstream.at)

    def by_ref(self, value: Any) -> Any:
        """A child's arguments with every reference replaced by its value."""
        match value:
            case ByRef():
                return self._results.get(value.stored)
            case list():
                return [self.by_ref(item) for item in value]
            case tuple() if type(value) is tuple:
                return tuple(self.by_ref(item) for item in value)
            case dict():
                return {key: self.by_ref(item) for key, item in value.items()}
            case _:
                return value


def element_at(source: Any, at: int | str) -> Any:
    """An element of a list by index, or of a dict by its key as text."""
    if isinstance(source, dict):
        if at in source:
            return source[at]
        if isinstance(at, int):
            return list(source.values())[at]
        return next(value for key, value in source.items() if str(key) == at)
    return source[at]


def graph_spec(graph: LiveGraph, key: str) -> Any:
    """The spec of a node, from an index made on first use."""
    index = graph.index
    if not index:
        index.update({spec.key: spec for spec in graph.graph.nodes})
    return index[key]


@dataclass
class _Resolver:
    arguments: Arguments
    execution: Execution
    graph: LiveGraph
    node: LiveNode
    params: dict[str, Any]
    context: Context

    def value(self, binding: Binding) -> Any:
        match binding:
            case Literal():
                return binding.value
            case FromOutput():
                return self.output(binding)
            case Param():
                return self.params[binding.name]
            case Element():
                return self.element(binding)
            case InCode():
                return self.node.literals[binding.path]
            case ListOf():
                items = [self.value(item) for item in binding.items]
                return {"list": list, "tuple": tuple, "set": set}[binding.kind](items)
            case DictOf():
                return {name: self.value(item) for name, item in binding.items.items()}
            case FromContext():
                return self.context if binding.name == "context" else getattr(self.context, binding.name)
            case FromAsset():
                return self.asset(binding)
            case Template():
                raise TypeError("templates are rendered by a dialect, and this task has none")

    def output(self, binding: FromOutput) -> Any:
        upstream = self.execution.upstream[f"{binding.task}/{binding.output}"]
        if upstream.many is None:
            return self.arguments.load(upstream.one)
        values = [self.arguments.load(stored) for stored in upstream.many if stored is not None]
        if not binding.keyed or upstream.keys is None:
            return values
        names = [key for key, stored in zip(upstream.keys, upstream.many, strict=True) if stored is not None]
        return dict(zip(names, values, strict=True))

    def asset(self, binding: FromAsset) -> Any:
        upstream = self.execution.upstream.get(f"#{binding.key}")
        if upstream is None or upstream.one is None:
            raise LookupError(
                f"asset {binding.key!r} is not selected and was never materialized"
                f"{f' for partition {self.context.partition!r}' if self.context.partition else ''}; "
                f"materialize it first, or select it too: --select '+{self.execution.key}'"
            )
        return self.arguments.load(upstream.one)

    def element(self, binding: Element) -> Any:
        upstream = self.execution.upstream[f"@{binding.scope}/{binding.source}"]
        scope = graph_mapping(self.graph, binding.scope)
        source = scope.sources[binding.source]
        if isinstance(source, OverLiteral):
            assert upstream.at is not None  # the dispatcher names the element of every mapped binding
            return element_at(self.literal_source(binding), upstream.at)
        if isinstance(source, OverParam):
            assert upstream.at is not None  # likewise
            return element_at(self.params[source.name], upstream.at)
        return self.arguments.element(upstream)

    def literal_source(self, binding: Element) -> Any:
        """The list in code, kept at the mapped node (or group)."""
        owner = self.graph.nodes[binding.scope]
        return owner.literals[owner.sources[binding.source]]


def graph_mapping(graph: LiveGraph, scope: str) -> Any:
    """The mapping of a mapped task or group."""
    for group in graph.graph.groups:
        if group.key == scope and group.mapping is not None:
            return group.mapping
    return graph_spec(graph, scope).mapping


def utc_of(text: str | None) -> datetime | None:
    """A logical date as an aware point in time; one without a zone is UTC."""
    if text is None:
        return None
    at = datetime.fromisoformat(text)
    return at if at.tzinfo is not None else at.replace(tzinfo=UTC)
