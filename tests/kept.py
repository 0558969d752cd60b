"""What a process keeps: every place below some objects of plait at which something of a run is."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

PLAIT = ("plait.runtime", "plait.engine", "plait.adapters.workers", "plait.model")
PLAIN = (str, bytes, int, float, bool, type(None), type)


def places(roots: Mapping[str, object], run_ids: Iterable[str]) -> list[str]:
    """Where ids of these runs are, as paths of attributes."""
    wanted, seen, found = set(run_ids), set[int](), []
    todo: list[tuple[str, Any]] = list(roots.items())
    while todo:
        path, value = todo.pop()
        if isinstance(value, str):
            if value in wanted:
                found.append(path)
        elif not isinstance(value, PLAIN) and id(value) not in seen:
            seen.add(id(value))
            todo += ((path + step, part) for step, part in _parts(value))
    return sorted(found)


def _parts(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, each in list(value.items()):
            yield "[key]", key
            yield "[]", each
    elif isinstance(value, list | tuple | set | frozenset | deque):
        yield from (("[]", each) for each in list(value))
    elif type(value).__module__.startswith(PLAIT):
        names = list(getattr(value, "__dict__", {}))
        for kind in type(value).__mro__:
            slots = getattr(kind, "__slots__", ())
            names += [slots] if isinstance(slots, str) else slots
        yield from ((f".{name}", getattr(value, name)) for name in names if hasattr(value, name))
