"""Parameters of workflows: from a function's signature to a JSON Schema, and from given values to valid ones
(pydantic)."""

import functools
import inspect
import os
import types
import typing
from collections.abc import Callable, Mapping
from datetime import date, datetime
from typing import TYPE_CHECKING, Any

import msgspec

from plait.authoring.markers import RunValue
from plait.authoring.where import head_of, here, place_of
from plait.model.errors import DefinitionError, ParameterError, UserError
from plait.model.graph import ParamSpec

if TYPE_CHECKING:  # pydantic is heavy: it is imported when a value or an annotation is not a plain one
    from pydantic import TypeAdapter, ValidationError

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


@functools.lru_cache(maxsize=1024)
def _known_signature(fn: Callable[..., Any]) -> inspect.Signature:
    return inspect.signature(fn)


def signature_of(fn: Callable[..., Any]) -> inspect.Signature:
    """The signature of a workflow's function, which every run of it needs."""
    try:
        return _known_signature(fn)
    except TypeError:  # an object that cannot be hashed; or one that has no signature, which is told here
        return inspect.signature(fn)


def annotations_of(fn: Callable[..., Any]) -> dict[str, Any]:
    """The resolved annotations of a function; one that cannot be resolved counts as anything."""
    try:
        return typing.get_type_hints(fn, include_extras=True)
    except Exception:  # noqa: BLE001  evaluating an annotation may raise anything; mostly a name that only checkers import
        return {name: _resolved(fn, name) for name in getattr(fn, "__annotations__", {})}


def _resolved(fn: Callable[..., Any], name: str) -> Any:
    alone = types.SimpleNamespace(__annotations__={name: fn.__annotations__[name]})
    try:
        return typing.get_type_hints(alone, getattr(fn, "__globals__", {}), include_extras=True)[name]
    except Exception:  # noqa: BLE001  likewise
        return Any


def params_of(fn: Callable[..., Any], *, skip: tuple[str, ...] = ()) -> tuple[ParamSpec, ...]:
    """The parameters of a workflow's function. Raises DefinitionError for *args, which no run could bind by name."""
    hints = annotations_of(fn)
    specs: list[ParamSpec] = []
    for name, parameter in inspect.signature(fn).parameters.items():
        if name in skip:
            continue
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            only = ", /" if parameter.kind is parameter.POSITIONAL_ONLY else ""
            raise DefinitionError(
                f"{fn.__name__!r} takes {parameter}{only}, but a run's parameters have names",
                where=place_of(fn),
                wrong=head_of(fn),
                right=f"def {fn.__name__}(first, second)      # name each parameter, or take one list or dict",
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
    from pydantic import PydanticUserError, TypeAdapter

    try:
        return TypeAdapter[Any](annotation).json_schema()
    except PydanticUserError:  # a class that pydantic knows nothing of
        return {}


def validate(fn: Callable[..., Any], given: Mapping[str, Any], name: str) -> dict[str, Any]:
    """The given values as the function's annotations want them (`"5"` becomes 5, `"2024-01-02"` a date).

    Raises ParameterError that names the field. Parameters that are not given are left out.
    """
    signature = signature_of(fn)
    hints = annotations_of(fn)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in signature.parameters:
            known = ", ".join(signature.parameters) or "none"
            raise ParameterError(
                f"{name!r} has no parameter {key!r}",
                where=place_of(fn),
                wrong=f"{name}({key}={value!r})",
                right=f"its parameters: {known}",
            )
        values[key] = _validate_one(key, value, hints.get(key, Any), name, fn)
    return values


def _validate_one(key: str, value: Any, annotation: Any, name: str, fn: Callable[..., Any]) -> Any:
    if annotation is Any or type(value) is annotation:
        return value
    import pydantic

    adapter = adapter_of(annotation)
    if adapter is None:
        return value
    try:
        return adapter.validate_python(value)
    except pydantic.ValidationError as error:
        details = mismatches(error, key)
        raise ParameterError(
            f"parameter {key!r} of {name!r} does not fit: {details}",
            where=place_of(fn),
            wrong=f"{name}({key}={_shortened(value)})",
            right=f"{name}({key}=...)      # {inspect.formatannotation(annotation)}",
        ) from None


def mismatches(error: "ValidationError", *below: str) -> str:
    """What does not fit, each with the path to its field."""
    return "; ".join(
        f"{'.'.join([*below, *(str(part) for part in item['loc'])]) or 'the value'}: {item['msg']}"
        for item in error.errors()
    )


def _shortened(value: Any, most: int = 80) -> str:
    text = repr(value)
    return text if len(text) <= most else f"{text[:most]}..."


def adapter_of(annotation: Any) -> "TypeAdapter[Any] | None":
    """What validates values of an annotation, made once; none for what pydantic cannot."""
    try:
        return _made_adapter(annotation)
    except TypeError:  # unhashable
        return _make_adapter(annotation)


def _make_adapter(annotation: Any) -> "TypeAdapter[Any] | None":
    from pydantic import ConfigDict, PydanticUserError, TypeAdapter

    try:
        try:
            return TypeAdapter(annotation)
        except PydanticUserError:
            return TypeAdapter(annotation, config=ConfigDict(arbitrary_types_allowed=True))
    except PydanticUserError:
        return None


_made_adapter = functools.lru_cache(maxsize=512)(_make_adapter)


def bind_call(
    signature: inspect.Signature,
    name: str,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any],
    kind: type[UserError],
) -> inspect.BoundArguments:
    """The arguments of a call, bound to a signature. Raises `kind` with the place of the call when they do not fit."""
    try:
        return signature.bind(*args, **kwargs)
    except TypeError as error:
        where, wrong = here()
        raise kind(
            f"{name}() is called wrongly: {error}", where=where, wrong=wrong, right=f"{name}{signature}"
        ) from None


def bound_params(fn: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters that a call of a workflow gives, by name. Raises ParameterError when they do not fit."""
    return dict(bind_call(signature_of(fn), name, args, kwargs, ParameterError).arguments)


class _NotPlain:
    pass


_NOT_PLAIN = _NotPlain()


def to_plain(value: Any, *, paths: bool = False) -> Any:
    """A value as JSON data; `_NOT_PLAIN` when it cannot be. Dates become ISO text, pydantic models their fields; and
    `paths` text, where whoever gets them knows what they were."""
    try:
        return msgspec.to_builtins(value, enc_hook=_dump_paths if paths else _dump)
    except (TypeError, ValueError, NotImplementedError, OverflowError):
        return _NOT_PLAIN


def is_plain(value: Any) -> bool:
    """Whether `to_plain` gave data."""
    return value is not _NOT_PLAIN


def _dump_paths(value: Any) -> Any:
    return os.fspath(value) if isinstance(value, os.PathLike) else _dump(value)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]  of text or of bytes


def _dump(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    if dump is None:
        raise NotImplementedError(type(value).__name__)
    return dump(mode="json")
