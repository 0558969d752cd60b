"""Tracing a dag: its function is called once with stand-ins for its parameters; every task called in it becomes a
node."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from msgspec.structs import replace

from plait.authoring.futures import Output, place_of_output
from plait.authoring.live import LiveNode
from plait.authoring.markers import Unmapped
from plait.authoring.params import is_plain, to_plain
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


class ParamStandIn:
    """A parameter of the dag, while it is traced. It can be handed to tasks; its value is not known yet."""

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        where, wrong = here()
        raise DefinitionError(
            f"parameter {self._name!r} is used by .{name}, but a dag is traced before it runs, so it has no value yet",
            where=where,
            wrong=wrong,
            right="use it inside of a task, or make this a @flow",
        )

    def __bool__(self) -> bool:
        self.__getattr__("value in a condition")
        return False

    def __repr__(self) -> str:
        return f"<parameter {self._name!r}>"


class ElementStandIn:
    """One element of a mapped group, while its function is traced."""

    def __init__(self, scope: str, source: int):
        self.binding = Element(scope=scope, source=source)


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
        return self._add(callee, args, kwargs, None)

    submit = call

    def map(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any], how: str) -> Any:
        """A task is mapped: a node with a scope of its own."""
        return self._add(callee, args, kwargs, how)

    # --- nodes --------------------------------------------------------------------------------------------------------

    def _add(self, task: Task[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], how: str | None) -> Output:
        key = self._free_key(task.name)
        bound = _bind(task.signature, task.name, args, kwargs)
        live = LiveNode(task.fn, task)
        sources: list[MapSource] = []
        inputs: dict[str, Binding] = {}
        for name, value in bound.items():
            mapped = how is not None and _is_mapped(value)
            if mapped:
                inputs[name] = Element(scope=key, source=len(sources))
                sources.append(self.source_of(value, live, f"{name}[]"))
                self._connect(key, value)
            else:
                inputs[name] = self.bind(key, value.value if isinstance(value, Unmapped) else value, live, name)
        if how is not None and not sources:
            where, wrong = here()
            raise DefinitionError(
                f"{task.name!r} is mapped, but nothing that it is given is a list, a dict or an output",
                where=where,
                wrong=wrong,
                right=f"{task.name}.map([1, 2, 3])",
            )
        mapping = MapSpec(sources=tuple(sources), how=how or "zip") if how is not None else None
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
        match value:
            case Output():
                self._connect(key, value)
                task, output = place_of_output(value)
                return FromOutput(task=task, output=output)
            case ParamStandIn():
                return Param(name=value._name)  # pyright: ignore[reportPrivateUsage]  # stand-ins have no public attributes
            case ElementStandIn():
                return value.binding
            case list() | tuple() | set() if _has_stand_in(value):
                items = tuple(self.bind(key, item, live, f"{path}[{i}]") for i, item in enumerate(value))
                return ListOf(items=items, kind=type(value).__name__)
            case dict() if _has_stand_in(value):
                return DictOf(
                    items={str(name): self.bind(key, item, live, f"{path}[{name!r}]") for name, item in value.items()}
                )
            case _:
                return _literal(value, live, path)

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
            return OverParam(name=value._name)  # pyright: ignore[reportPrivateUsage]  # likewise
        live.literals[path] = value
        if isinstance(value, dict):
            return OverLiteral(length=len(value), keys=tuple(map(str, value)))
        return OverLiteral(length=len(value))

    def order(self, upstream: Output, downstream: Output) -> None:
        """`upstream >> downstream`."""
        up, down = place_of_output(upstream)[0], place_of_output(downstream)[0]
        self.edges.setdefault((up, down, None), Edge(upstream=up, downstream=down))

    # --- groups -------------------------------------------------------------------------------------------------------

    @contextmanager
    def group(self, name: str, mapping: MapSpec | None = None, key: str | None = None) -> Iterator[str]:
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
        bound = _bind(inspect.signature(fn), name, args, kwargs)
        key = self._free_key(name)
        live = LiveNode(fn)
        sources: list[MapSource] = []
        values: dict[str, Any] = {}
        mapped_outputs: list[Output] = []
        for argument, value in bound.items():
            if _is_mapped(value):
                values[argument] = ElementStandIn(key, len(sources))
                sources.append(self.source_of(value, live, f"{argument}[]"))
                if isinstance(value, Output):
                    mapped_outputs.append(value)
            else:
                values[argument] = value.value if isinstance(value, Unmapped) else value
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

        def marked(spec: TaskSpec) -> TaskSpec:
            if not any((spec.key, output.name) in self.measured for output in spec.outputs):
                return spec
            outputs = tuple(
                replace(output, measured=True) if (spec.key, output.name) in self.measured else output
                for output in spec.outputs
            )
            return replace(spec, outputs=outputs)

        return tuple(marked(spec) for spec in self.nodes.values())


def _bind(signature: inspect.Signature, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments by name; those of `*args` as `*0`, `*1`, ..."""
    try:
        bound = signature.bind(*args, **kwargs)
    except TypeError as error:
        where, wrong = here()
        raise DefinitionError(
            f"{name}() is called wrongly: {error}", where=where, wrong=wrong, right=f"{name}{signature}"
        ) from None
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


def _is_mapped(value: Any) -> bool:
    if isinstance(value, Unmapped):
        return False
    return isinstance(value, (list, tuple, dict, range, Output, ParamStandIn))


def _has_stand_in(value: Any) -> bool:
    if isinstance(value, (Output, ParamStandIn, ElementStandIn)):
        return True
    if isinstance(value, dict):
        return any(_has_stand_in(item) for item in value.values())
    if isinstance(value, (list, tuple, set)):
        return any(_has_stand_in(item) for item in value)
    return False


def _literal(value: Any, live: LiveNode, path: str) -> Binding:
    """Plain data goes into the graph, everything else stays in code."""
    if type(value) in (str, int, float, bool, type(None)):
        return Literal(value=value)
    if isinstance(value, (list, dict)):
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
        "this only means something while a dag is defined",
        where=where,
        wrong=wrong,
        right="use it in a function with @dag",
    )
