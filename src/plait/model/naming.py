"""How people name task runs: `extract`, `extract[2]`, `load[2, eu]`."""

from collections.abc import Iterable

from plait.model.rows import TaskRow

MapIndex = int | str | list[int | str] | None


def map_index(path: tuple[int | str, ...]) -> MapIndex:
    """A map path as JSON: none, its one element, or a list."""
    return None if not path else path[0] if len(path) == 1 else list(path)


def call_numbers(rows: Iterable[TaskRow]) -> dict[int, int]:
    """The numbers of a flow's calls, by task run: calls of one task in one body count from 0, where there are several.

    A map in a flow is several calls, so this is its index. `rows` are in the order of their numbers.
    """
    calls: dict[tuple[int, str], list[int]] = {}
    for row in rows:
        if row.parent is not None and row.child is not None and not row.path and not row.child.startswith("hook:"):
            calls.setdefault((row.parent, row.key), []).append(row.no)
    return {no: at for nos in calls.values() if len(nos) > 1 for at, no in enumerate(nos)}


def label(key: str, index: MapIndex) -> str:
    """A task run's name for people: `extract[2]`, `load[2, eu]`."""
    if index is None:
        return key
    return f"{key}[{', '.join(map(str, index)) if isinstance(index, list) else index}]"
