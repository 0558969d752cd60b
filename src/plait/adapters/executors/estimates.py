"""How long executions take, learned from those that ended."""

_KEEP = 10_000
_WEIGHT = 0.3


class Estimates:
    """A moving average of seconds per (workflow, key), and one of all. Bounded: the oldest keys are forgotten."""

    def __init__(self) -> None:
        self._averages: dict[tuple[str, str], float] = {}
        self.overall: float | None = None

    def get(self, kind: tuple[str, str]) -> float | None:
        """The estimate, none when this kind has never been seen to end."""
        return self._averages.get(kind)

    def learn(self, kind: tuple[str, str], took: float) -> None:
        """One more has ended."""
        before = self._averages.get(kind)
        if before is None:
            if len(self._averages) >= _KEEP:
                del self._averages[next(iter(self._averages))]
            self._averages[kind] = took
        else:
            self._averages[kind] = before + _WEIGHT * (took - before)
        overall = self.overall
        self.overall = took if overall is None else overall + _WEIGHT * (took - overall)
