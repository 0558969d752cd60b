"""How long executions take, learned from those that ended."""

from typing import TypeVar

K = TypeVar("K")
_KEEP = 10_000
_WEIGHT = 0.3
_ENOUGH = 8
"""Ends after which what a workflow's tasks take says something about one that has not run yet."""


class _Average:
    __slots__ = ("count", "seconds")

    def __init__(self) -> None:
        self.count = 0
        self.seconds = 0.0

    def learn(self, took: float) -> None:
        self.count += 1
        self.seconds += (_WEIGHT if self.count > 1 else 1.0) * (took - self.seconds)


class Estimates:
    """A moving average of seconds per (workflow, key), one per workflow, and one of all. Bounded: the oldest are
    forgotten."""

    def __init__(self) -> None:
        self._averages: dict[tuple[str, str], _Average] = {}
        self._workflows: dict[str, _Average] = {}
        self._all = _Average()

    @property
    def overall(self) -> float | None:
        """The average of all, none before the first has ended."""
        return self._all.seconds if self._all.count else None

    def get(self, kind: tuple[str, str]) -> float | None:
        """The estimate, none when this kind has never been seen to end."""
        known = self._averages.get(kind)
        return known.seconds if known is not None else None

    def guess(self, kind: tuple[str, str]) -> float | None:
        """The same, for one who can take it back: a kind that is new is taken to be as the others of its workflow, of
        which a graph of many tasks has one each."""
        known = self._averages.get(kind)
        if known is not None:
            return known.seconds
        others = self._workflows.get(kind[0])
        return others.seconds if others is not None and others.count >= _ENOUGH else None

    def learn(self, kind: tuple[str, str], took: float) -> None:
        """One more has ended."""
        _of(self._averages, kind).learn(took)
        _of(self._workflows, kind[0]).learn(took)
        self._all.learn(took)


def _of(averages: dict[K, _Average], key: K) -> _Average:
    found = averages.get(key)
    if found is None:
        if len(averages) >= _KEEP:
            del averages[next(iter(averages))]
        found = averages[key] = _Average()
    return found
