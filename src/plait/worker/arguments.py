"""From bindings and stored references to the arguments of a call."""

import inspect
import pickle
from collections import OrderedDict
from collections.abc import Callable, Container, Mapping
from datetime import UTC, date, datetime
from typing import Any, get_args

import msgspec

from plait.authoring.context import Context
from plait.authoring.io import IOContext
from plait.authoring.live import LiveGraph, LiveNode
from plait.authoring.params import annotations_of, signature_of, validate
from plait.authoring.where import place_of
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
from plait.worker import io
from plait.worker.values import load_value

STORED_PARAMS = "stored_params"
"""In the `extra` of a run: the parameters that JSON would not give back as they were, by name, as `Stored`."""
KEPT_SOURCES = 4
"""How many lists that scopes map over a worker keeps loaded, so that it reads each only once."""


class ByRef(msgspec.Struct, frozen=True):
    """In the pickled arguments of a flow's child: the stored result of an upstream that it was given as a future."""

    stored: Stored


def run_params(graph: Graph, fn: Callable[..., Any] | None, info: RunInfo, results: ResultStore) -> dict[str, Any]:
    """The values of a run's parameters, as the function's annotations want them.

    Raises ParameterError that names the field when one is missing or does not fit.
    """
    given: dict[str, Any] = msgspec.json.decode(info.params)
    stored = {name: msgspec.convert(each, Stored) for name, each in info.extra.get(STORED_PARAMS, {}).items()}
    values = complete_params(graph, fn, {**given, **dict.fromkeys(stored)}, info.logical_date, info.partition, stored)
    return {**values, **{name: results.get(each) for name, each in stored.items()}}


def complete_params(
    graph: Graph,
    fn: Callable[..., Any] | None,
    given: Mapping[str, Any],
    logical: str | None,
    partition: str | None,
    known: Container[str] = (),
) -> dict[str, Any]:
    """Given values validated (but for those that are `known` to be valid), and what is not given filled from the run or
    from the defaults."""
    values: dict[str, Any] = {name: value for name, value in given.items() if name in known}
    chosen = {name: value for name, value in given.items() if name not in known}
    for param in graph.params:
        if param.name not in given and param.source is not None:
            found = _from_run(param, fn, logical, partition)
            if found is not None:
                chosen[param.name] = found
    values.update(validate(fn, chosen, graph.name) if fn is not None else chosen)
    for param in graph.params:
        if param.name in values or param.has_default:
            continue
        raise ParameterError(
            f"parameter {param.name!r} of {graph.name!r} is not given, and it has no default",
            where=place_of(fn) if fn is not None else None,
            wrong=f"{graph.name}({', '.join(f'{name}=...' for name in given)})",
            right=_how_to_give(graph, param),
        )
    return values


def _how_to_give(graph: Graph, param: ParamSpec) -> str:
    if param.source == "partition_key":
        return f"plait run ... --partition KEY      # in Python: {graph.name}({param.name}=...)"
    return f"{graph.name}({param.name}=...)      # on the command line: plait run ... -p {param.name}=..."


def _from_run(param: ParamSpec, fn: Callable[..., Any] | None, logical: str | None, partition: str | None) -> Any:
    if param.source == "partition_key":
        return partition
    at = utc_of(logical)
    if at is None:
        return None
    annotation = annotations_of(fn).get(param.name) if fn is not None else None
    wanted = (annotation, *get_args(annotation))  # `date | None` is a date as well
    if datetime in wanted:
        return at
    return at.date() if date in wanted else logical


def with_defaults(fn: Callable[..., Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, and the function's own defaults for what is missing."""
    defaults = {
        name: parameter.default
        for name, parameter in signature_of(fn).parameters.items()
        if parameter.default is not inspect.Parameter.empty
    }
    return {**defaults, **values}


def pickle_call(callee: Any, args: list[Any], kwargs: dict[str, Any]) -> bytes:
    """A flow's child call for a worker process; what only exists in this process goes by value."""
    import cloudpickle  # noqa: PLC0415  heavy, and only calls that leave this process need it

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
        named = {name: resolver.value(binding) for name, binding in spec.inputs.items()}
        if node.task is None:
            return [], named
        starred = [name for name in named if name.startswith("*")]  # those of *args, numbered
        leading = _leading(node.task.signature, starred=bool(starred))
        return [named.pop(name) for name in (*leading, *starred) if name in named], named

    def load(self, stored: Stored | None) -> Any:
        """A stored value; none where nothing was emitted."""
        return self._results.get(stored) if stored is not None else None

    def element(self, upstream: Upstream) -> Any:
        """The element of a mapped list or dict that an execution is for."""
        stored = upstream.one
        if upstream.at is None or stored is None:
            return self.load(stored)
        if stored.url is None:
            return element_at(self._results.get(stored), upstream.at)
        source = self._sources.get(stored.url)
        if source is None:
            source = self._results.get(stored)
            if isinstance(source, dict):
                source = {str(key): value for key, value in source.items()}  # as the elements are named
            self._sources[stored.url] = source
            while len(self._sources) > KEPT_SOURCES:
                self._sources.popitem(last=False)
        return element_at(source, upstream.at)

    def by_ref(self, value: Any) -> Any:
        """A child's argument with every reference in it replaced by its value."""
        if isinstance(value, ByRef):
            return self._results.get(value.stored)
        if not _has_reference(value):
            return value
        if isinstance(value, dict):
            return {key: self.by_ref(item) for key, item in value.items()}
        items = (self.by_ref(item) for item in value)
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)


def _has_reference(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_reference(item) for item in value.values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_has_reference(item) for item in value)
    return isinstance(value, ByRef)


def _leading(signature: inspect.Signature, *, starred: bool) -> list[str]:
    """The parameters that have to be given by position: positional-only ones, and all before a `*args` that is used."""
    kinds = {inspect.Parameter.POSITIONAL_ONLY}
    if starred:
        kinds.add(inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return [name for name, parameter in signature.parameters.items() if parameter.kind in kinds]


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


class _Resolver(msgspec.Struct):
    arguments: Arguments
    execution: Execution
    graph: LiveGraph
    node: LiveNode
    params: dict[str, Any]
    context: Context

    def value(self, binding: Binding) -> Any:
        return _RESOLVE[type(binding)](self, binding)

    def param(self, binding: Param) -> Any:
        return self.params[binding.name]

    def in_code(self, binding: InCode) -> Any:
        return self.node.literals[binding.path]

    def list_of(self, binding: ListOf) -> Any:
        items = [self.value(item) for item in binding.items]
        return {"list": list, "tuple": tuple, "set": set}[binding.kind](items)

    def dict_of(self, binding: DictOf) -> Any:
        return {name: self.value(item) for name, item in binding.items.items()}

    def from_context(self, binding: FromContext) -> Any:
        return self.context if binding.name == "context" else getattr(self.context, binding.name)

    def template(self, binding: Template) -> Any:
        raise TypeError("templates are rendered by a dialect, and this task has none")

    def output(self, binding: FromOutput) -> Any:
        upstream = self.execution.upstream[f"{binding.task}/{binding.output}"]
        if upstream.many is None:
            return self.load(upstream.one)
        values = [self.load(stored) for stored in upstream.many if stored is not None]
        if not binding.keyed or upstream.keys is None:
            return values
        names = [key for key, stored in zip(upstream.keys, upstream.many, strict=True) if stored is not None]
        return dict(zip(names, values, strict=True))

    def asset(self, binding: FromAsset) -> Any:
        upstream = self.execution.upstream.get(f"#{binding.key}")
        if upstream is not None and upstream.many is not None:
            return self.partitions(binding.key, upstream)
        if upstream is None or upstream.one is None:
            external = self.graph.externals.get(binding.key)
            if external is not None:
                partition = self.context.partition if external.partitions is not None else None
                about = IOContext(binding.key, partition, external.metadata)
                return io.set_up(self.graph.ios[binding.key]).load(about)
            raise LookupError(
                f"asset {binding.key!r} is not selected and was never materialized"
                f"{f' for partition {self.context.partition!r}' if self.context.partition else ''}; "
                f"materialize it first, or select it too: --select '+{self.execution.key}'"
            )
        return self.load(upstream.one)

    def partitions(self, key: str, upstream: Upstream) -> Any:
        """The values of several partitions, by their keys; none for the partition before the first one."""
        if upstream.keys is None:
            return None
        found = dict(zip(upstream.keys, upstream.many or (), strict=True))
        gone = [name for name, stored in found.items() if stored is None]
        if gone:
            raise LookupError(
                f"{len(gone)} of the {len(found)} partitions of {key!r} that it is made from have no value: "
                f"{', '.join(gone[:5])}{', ...' if len(gone) > 5 else ''}. They were never materialized, or by a run "
                "over several partitions that returned no dict by partition key"
            )
        return {name: self.load(stored) for name, stored in found.items()}

    def load(self, stored: Stored | None) -> Any:
        return load_value(stored, self.graph.ios, self.arguments.load) if stored is not None else None

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


_RESOLVE: dict[type, Callable[[_Resolver, Any], Any]] = {
    Literal: lambda _, binding: binding.value,
    InCode: _Resolver.in_code,
    Param: _Resolver.param,
    FromOutput: _Resolver.output,
    Element: _Resolver.element,
    FromAsset: _Resolver.asset,
    FromContext: _Resolver.from_context,
    Template: _Resolver.template,
    ListOf: _Resolver.list_of,
    DictOf: _Resolver.dict_of,
}


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
