"""Parameters of workflows: from a function's signature to a JSON Schema, and from given values to valid ones
(pydantic)."""

import inspect
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import Any

import msgspec

from plait.authoring.markers import RunValue
from plait.authoring.where import place_of
from plait.model.errors import DefinitionError, ParameterError
from plait.model.graph import ParamSpec

_PLAIN: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    dict: {"type": "object"},
    list: {"type": "array"},
    date: {"type": "string", "format": "date"},
    datetime: {"type": "string", "format": "date-time"},
    inspect.Parameter.empty: {},
    Any: {},
}


def annotations_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function; those that cannot be resolved count as anything."""
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception:  # a name that only exists for type checkers: its value is not checked
        return {name: Any for name in getattr(fn, "__annotations__", {})}


def params_of(fn: Callable[..., Any], *, skip: tuple[str, ...] = ()) -> tuple[ParamSpec, ...]:
    """The parameters of a workflow's function. Raises DefinitionError for *args, which no run could bind by name."""
    hints = annotations_of(fn)
    specs: list[ParamSpec] = []
    for name, parameter in inspect.signature(fn).parameters.items():
        if name in skip:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise DefinitionError(
                f"{fn.__name__!r} takes {parameter}, but a run's parameters have names",
                where=place_of(fn),
                wrong=f"def {fn.__name__}{inspect.signature(fn)}",
                right="name each parameter, or take one dict",
            )
        specs.append(_spec(name, parameter, hints.get(name, inspect.Parameter.empty)))
    return tuple(specs)


def _spec(name: str, parameter: inspect.Parameter, annotation: Any) -> ParamSpec:
    default = parameter.default
    schema = schema_of(annotation)
    if isinstance(default, RunValue):
        return ParamSpec(name=name, schema=schema, source=default.source)
    if default is inspect.Parameter.empty:
        return ParamSpec(name=name, schema=schema)
    plain = to_plain(default)
    return ParamSpec(name=name, schema=schema, default=plain if plain is not _NOT_PLAIN else None, has_default=True)


def schema_of(annotation: Any) -> dict[str, Any]:
    """The JSON Schema of an annotation; anything goes where it has none."""
    try:
        known = _PLAIN.get(annotation)
    except TypeError:  # unhashable, for instance Annotated with a list
        known = None
    if known is not None:
        return known
    from pydantic import TypeAdapter
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        return TypeAdapter(annotation).json_schema()
    except (PydanticSchemaGenerationError, PydanticUserError):
        return {}


def validate(fn: Callable[..., Any], given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The given values as the function's annotations want them (`"5"` becomes 5, `"2024-01-02"` a date).

    Raises ParameterError that names the field. Parameters that are not given are left out.
    """
    signature = inspect.signature(fn)
    hints = annotations_of(fn)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in signature.parameters:
            known = ", ".join(signature.parameters) or "none"
            raise ParameterError(
                f"{name!r} has no parameter {key!r}", where=place_of(fn), right=f"its parameters: {known}"
            )
        values[key] = _validate_one(key, value, hints.get(key, Any), name, fn)
    return values


def _validate_one(key: str, value: Any, annotation: Any, name: str, fn: Callable[..., Any]) -> Any:
    if annotation is Any or (type(value) is annotation):
        return value
    from pydantic import ConfigDict, TypeAdapter, ValidationError
    from pydantic.errors import PydanticSchemaGenerationError, PydanticUserError

    try:
        try:
            adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        except PydanticUserError:
            adapter = TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except (PydanticSchemaGenerationError, PydanticUserError):
        return value
    try:
        return adapter.validate_python(value)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join([key, *(str(part) for part in item['loc'])])}: {item['msg']}" for item in error.errors()
        )
        raise ParameterError(
            f"parameter {key!r} of {name!r} does not fit: {details}",
            where=place_of(fn),
            wrong=f"{key}={value!r}",
        ) from None


class _NotPlain:
    pass


_NOT_PLAIN = _NotPlain()


def to_plain(value: Any) -> Any:
    """A value as JSON data; `_NOT_PLAIN` when it cannot be. Dates become ISO text, pydantic models their fields."""
    try:
        return msgspec.to_builtins(value, enc_hook=_dump)
    except (TypeError, ValueError, NotImplementedError, OverflowError):
        return _NOT_PLAIN


def is_plain(value: Any) -> bool:
    """Whether `to_plain` gave data."""
    return value is not _NOT_PLAIN


def _dump(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(type(value).__name__)
    return dump(mode="json")
