"""The elements of a `.map` or `.product` in a flow's body, where the values are there."""

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

from plait.authoring.markers import Unmapped
from plait.authoring.where import here
from plait.model.errors import DefinitionError
from plait.runtime.futures import HostFuture

Arguments = tuple[tuple[Any, ...], dict[str, Any]]


def elements(name: str, args: tuple[Any, ...], kwargs: Mapping[str, Any], how: str) -> Iterator[Arguments]:
    """The arguments of each call; see `Task.map`. Raises DefinitionError when there is nothing to map over."""
    given = [*enumerate(args), *kwargs.items()]
    values = {key: _mapped_values(value) for key, value in given}
    mapped = {key: items for key, items in values.items() if items is not None}
    lengths = {len(items) for items in mapped.values()}
    if not mapped:
        where, wrong = here()
        raise DefinitionError(
            f"{name!r} is mapped, but nothing that it is given is a list or a dict",
            where=where,
            wrong=wrong,
            right=f"{name}.map([1, 2, 3])",
        )
    if how == "zip" and len(lengths) > 1:
        where, wrong = here()
        raise DefinitionError(
            f"{name!r} is mapped over lists of different lengths: {', '.join(map(str, sorted(lengths)))}",
            where=where,
            wrong=wrong,
            right=f"lists of one length, unmapped(...) for what every element gets, or {name}.product(...)",
        )
    combos = zip(*mapped.values(), strict=True) if how == "zip" else itertools.product(*mapped.values())
    static = dict(given)
    for combo in combos:
        chosen = {**static, **dict(zip(mapped, combo, strict=True))}
        yield tuple(chosen[index] for index in range(len(args))), {key: chosen[key] for key in kwargs}


def _mapped_values(value: Any) -> list[Any] | None:
    if isinstance(value, HostFuture):
        value = value.result()
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, range, set)):
        return list(value)
    return None


def unwrapped(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Arguments:
    """The arguments of a call without the marks of `unmapped`."""
    if not any(type(value) is Unmapped for value in (*args, *kwargs.values())):
        return args, kwargs
    return tuple(_bare(value) for value in args), {name: _bare(value) for name, value in kwargs.items()}


def _bare(value: Any) -> Any:
    return value.value if isinstance(value, Unmapped) else value
