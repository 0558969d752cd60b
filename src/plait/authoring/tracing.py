"""Tracing a dag: its function is called once with stand-ins for its parameters; every task called in it becomes a
node."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import contextmanager
from typing import Any, cast

from msgspec.structs import replace

from plait.authoring.futures import Output, StandIn, place_of_output
from plait.authoring.live import LiveNode
from plait.authoring.markers import Unmapped
from plait.authoring.params import bind_call, is_plain, to_plain
from plait.authoring.scope import current_scope
from plait.authoring.task import Task
from plait.authoring.where import here
from plait.model.errors import DefinitionError
from plait.model.graph import (
    Binding,
    DictOf,
    Edge,
    Element,
    FromOutput,
    GroupSpec,
    InCode,
    ListOf,
    Literal,
    MapSource,
    MapSpec,
    OverLiteral,
    OverOutput,
    OverParam,
    Param,
    TaskSpec,
)


class ParamStandIn(StandIn):
    """A parameter of the dag, while it is traced. It can be handed to tasks; its value is not known yet."""

    __slots__ = ("_name",)

    def __init__(self, name: str):
        self._name = name

    def _what(self) -> str:
        return f"parameter {self._name!r}"

    def __repr__(self) -> str:
        return f"<parameter {self._name!r}>"


class ElementStandIn(StandIn):
    """One element of a mapped group, while its function is traced."""

    __slots__ = ("_binding", "_name")

    def __init__(self, name: str, binding: Element):
        self._name = name
        self._binding = binding

    def _what(self) -> str:
        return f"the element {self._name!r}"

    def __repr__(self) -> str:
        return f"<element {self._name!r}>"


def _name_of(param: ParamStandIn) -> str:
    return param._name  # pyright: ignore[reportPrivateUsage]  # a user's name may not clash with ours


def _binding_of(element: ElementStandIn) -> Element:
    return element._binding  # pyright: ignore[reportPrivateUsage]  # likewise


class Tracer:
    """The scope of a dag's function: collects nodes, edges, groups and literals."""

    def __init__(self, name: str):
        self.name = name
        self.nodes: dict[str, TaskSpec] = {}
        self.live: dict[str, LiveNode] = {}
        self.edges: dict[tuple[str, str, str | None], Edge] = {}
        self.groups: dict[str, GroupSpec] = {}
        self.measured: set[tuple[str, str]] = set()
        self._group: str | None = None
        self._numbers: dict[str, int] = {}
        self._orders: dict[tuple[str, str], tuple[str, str]] = {}

    # --- the scope ----------------------------------------------------------------------------------------------------

    def call(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A task is called: a node; another workflow is not."""
        if not isinstance(callee, Task):
            where, wrong = here()
            raise DefinitionError(
                f"{callee.name!r} is a {callee.kind}, which cannot be a task of the dag {self.name!r}",
                where=where,
                wrong=wrong,
                right="call its tasks here, or call both from a @flow",
            )
        return self._add(cast("Task[..., Any]", callee), args, kwargs, None)

    submit = call

    def map(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any], how: str) -> Any:
        """A task is mapped: a node with a scope of its own."""
        return self._add(callee, args, kwargs, how)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _add(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], how: str | None) -> Output:
        key = self._free_key(task.name)
        bound = _arguments(task.signature, task.name, args, kwargs)
        live = LiveNode(task.fn, task)
        sources: list[MapSource] = []
        inputs: dict[str, Binding] = {}
        for name, value in bound.items():
            if how is not None and _is_mapped(value):
                inputs[name] = Element(scope=key, source=len(sources))
                sources.append(self.source_of(value, live, f"{name}[]"))
                self._connect(key, value)
            else:
                inputs[name] = self.bind(key, _bare(value), live, name)
        mapping = None
        if how is not None:
            _check_sources(task.name, bound.values(), sources, how)
            mapping = MapSpec(sources=tuple(sources), how=how)
        self.nodes[key] = replace(task.spec, key=key, group=self._group, inputs=inputs, mapping=mapping)
        self.live[key] = live
        names = tuple(output.name for output in task.options_.outputs)
        return Output(key, names[0], names, self)

    def _free_key(self, name: str) -> str:
        prefix = f"{self._group}." if self._group else ""
        key, number = prefix + name, self._numbers.get(prefix + name, 0) + 1
        self._numbers[key] = number
        if number > 1:
            key = f"{prefix}{name}_{number}"
        while key in self.nodes or key in self.groups:  # somebody has named a task just so
            number += 1
            key = f"{prefix}{name}_{number}"
        return key

    def bind(self, key: str, value: Any, live: LiveNode, path: str) -> Binding:
        """The binding of one argument, with its edges."""
        if isinstance(value, Output):
            self._connect(key, value)
            task, output = place_of_output(value)
            return FromOutput(task=task, output=output)
        if isinstance(value, ParamStandIn):
            return Param(name=_name_of(value))
        if isinstance(value, ElementStandIn):
            return _binding_of(value)
        if not _has_stand_in(value):
            return _literal(value, live, path)
        if isinstance(value, dict):
            mapping = cast("dict[Any, Any]", value)
            _check_keys(mapping)
            return DictOf(items={k: self.bind(key, item, live, f"{path}[{k!r}]") for k, item in mapping.items()})
        kind = type(value).__name__
        if kind not in ("list", "tuple", "set"):
            where, wrong = here()
            raise DefinitionError(
                f"an output lies in a {kind}, where plait does not find it",
                where=where,
                wrong=wrong,
                right="hand outputs over one by one, or in a list, tuple, set or dict",
            )
        items = cast("Iterable[Any]", value)
        return ListOf(
            items=tuple(self.bind(key, item, live, f"{path}[{i}]") for i, item in enumerate(items)), kind=kind
        )

    def _connect(self, key: str, value: Any) -> None:
        if isinstance(value, Output):
            task, output = place_of_output(value)
            self.edges[task, key, output] = Edge(upstream=task, downstream=key, output=output)

    def source_of(self, value: Any, live: LiveNode, path: str) -> MapSource:
        """What a scope maps over; `live` remembers where a literal is kept."""
        live.sources.append(path)
        if isinstance(value, Output):
            task, output = place_of_output(value)
            self.measured.add((task, output))
            return OverOutput(task=task, output=output)
        if isinstance(value, ParamStandIn):
            return OverParam(name=_name_of(value))
        if _has_stand_in(value):
            where, wrong = here()
            raise DefinitionError(
                "a list that holds outputs is mapped over, and its elements are not known before the run",
                where=where,
                wrong=wrong,
                right="let a task return the list, and map over that: load.map(collect([a, b]))",
            )
        if isinstance(value, dict):
            named = {str(name): item for name, item in cast("dict[Any, Any]", value).items()}
            live.literals[path] = named
            return OverLiteral(length=len(named), keys=tuple(named))
        live.literals[path] = value
        return OverLiteral(length=len(value))

    def order(self, upstream: Output, downstream: Output) -> None:
        """`upstream >> downstream`."""
        up, down = place_of_output(upstream)[0], place_of_output(downstream)[0]
        self.edges.setdefault((up, down, None), Edge(upstream=up, downstream=down))
        self._orders.setdefault((up, down), here())

    def closing_order(self) -> tuple[str, str] | None:
        """Where the last `>>` stands that is a part of a circle: data alone flows only from what was called before."""
        below: dict[str, list[str]] = {}
        for edge in self.edges.values():
            below.setdefault(edge.upstream, []).append(edge.downstream)
        for (up, down), place in reversed(self._orders.items()):
            seen, todo = {down}, [down]
            while todo and up not in seen:
                new = [key for key in below.get(todo.pop(), ()) if key not in seen]
                seen.update(new)
                todo.extend(new)
            if up in seen:
                return place
        return None

    # --- groups -------------------------------------------------------------------------------------------------------

    @contextmanager
    def group(self, name: str, mapping: MapSpec | None = None, key: str | None = None) -> Generator[str]:
        """Tasks called inside lie in this group."""
        key = key or self._free_key(name)
        self.groups[key] = GroupSpec(key=key, parent=self._group, title=name, mapping=mapping)
        before, self._group = self._group, key
        try:
            yield key
        finally:
            self._group = before

    def map_group(self, name: str, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Trace a group's function once, with elements in place of what is mapped."""
        bound = _arguments(inspect.signature(fn), name, args, kwargs)
        key = self._free_key(name)
        live = LiveNode(fn)
        sources: list[MapSource] = []
        values: dict[str, Any] = {}
        mapped_outputs: list[Output] = []
        for argument, value in bound.items():
            if _is_mapped(value):
                values[argument] = ElementStandIn(argument, Element(scope=key, source=len(sources)))
                sources.append(self.source_of(value, live, f"{argument}[]"))
                if isinstance(value, Output):
                    mapped_outputs.append(value)
            else:
                values[argument] = _bare(value)
        _check_sources(name, bound.values(), sources, "zip")
        before = set(self.nodes)
        with self.group(name, MapSpec(sources=tuple(sources), how="zip"), key) as made:
            result = fn(**values)
        self.live[made] = live
        for task in set(self.nodes) - before:
            for output in mapped_outputs:
                self._connect(task, output)
        return result

    # --- the graph ----------------------------------------------------------------------------------------------------

    def specs(self) -> tuple[TaskSpec, ...]:
        """All nodes, with the outputs that scopes map over marked as measured."""
        return tuple(self._measured(spec) for spec in self.nodes.values())

    def _measured(self, spec: TaskSpec) -> TaskSpec:
        if not any((spec.key, output.name) in self.measured for output in spec.outputs):
            return spec
        outputs = tuple(
            replace(output, measured=True) if (spec.key, output.name) in self.measured else output
            for output in spec.outputs
        )
        return replace(spec, outputs=outputs)


def _arguments(
    signature: inspect.Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> dict[str, Any]:
    """Arguments by name; those of `*args` as `*0`, `*1`, ..."""
    bound = bind_call(signature, name, args, kwargs, DefinitionError)
    values: dict[str, Any] = {}
    for argument, value in bound.arguments.items():
        kind = signature.parameters[argument].kind
        if kind is inspect.Parameter.VAR_POSITIONAL:
            values.update({f"*{number}": item for number, item in enumerate(value)})
        elif kind is inspect.Parameter.VAR_KEYWORD:
            values.update(value)
        else:
            values[argument] = value
    return values


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Unmapped) else value


def _is_mapped(value: Any) -> bool:
    return isinstance(value, (list, tuple, dict, range, Output, ParamStandIn))


def _check_sources(name: str, given: Iterable[Any], sources: Sequence[MapSource], how: str) -> None:
    """Raise DefinitionError when there is nothing to map over, or lists that are known have different lengths."""
    lengths = {source.length for source in sources if isinstance(source, OverLiteral)}
    if sources and (how != "zip" or len(lengths) <= 1):
        return
    where, wrong = here()
    if sources:
        raise DefinitionError(
            f"{name!r} is mapped over lists of different lengths: {', '.join(map(str, sorted(lengths)))}",
            where=where,
            wrong=wrong,
            right=f"lists of one length, unmapped(...) for what every element gets, or {name}.product(...)",
        )
    if any(isinstance(value, ElementStandIn) for value in given):
        raise DefinitionError(
            f"{name!r} is mapped over an element of a mapped group, whose own elements are not known",
            where=where,
            wrong=wrong,
            right=f"let a task in the group return the list: {name}.map(parts_of(element))",
        )
    raise DefinitionError(
        f"{name!r} is mapped, but nothing that it is given is a list, a dict or an output",
        where=where,
        wrong=wrong,
        right=f"{name}.map([1, 2, 3])",
    )


def _has_stand_in(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_has_stand_in(item) for item in cast("dict[Any, Any]", value).values())
    if isinstance(value, (list, tuple, set, frozenset)):
        return any(_has_stand_in(item) for item in cast("Iterable[Any]", value))
    return isinstance(value, StandIn)


def _check_keys(mapping: dict[Any, Any]) -> None:
    for key in mapping:
        if not isinstance(key, str):
            where, wrong = here()
            raise DefinitionError(
                f"a dict that holds outputs has the key {key!r}, which is not text",
                where=where,
                wrong=wrong,
                right='{"name": output}',
            )


def _literal(value: Any, live: LiveNode, path: str) -> Binding:
    """Plain data goes into the graph, everything else stays in code."""
    if value is None or type(value) in (str, int, float, bool):
        return Literal(value=value)
    if type(value) in (list, dict):
        plain = to_plain(value)
        if is_plain(plain) and plain == value:
            return Literal(value=plain)
    live.literals[path] = value
    return InCode(path=path)


def current_tracer() -> Tracer:
    """The dag that is traced here. Raises DefinitionError outside of one."""
    scope = current_scope()
    if isinstance(scope, Tracer):
        return scope
    where, wrong = here()
    raise DefinitionError(
        "a group is a part of a dag, and no dag is being defined here",
        where=where,
        wrong=wrong,
        right="use it in a function with @dag",
    )
