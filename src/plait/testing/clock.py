"""A clock that jumps (the port `Clock`)."""

START = 1_767_225_600.0
"""Where a fake clock begins: 2026-01-01T00:00:00Z."""


class FakeClock:
    """Stands still until it is told to go on."""

    def __init__(self, start: float = START):
        self._now = start

    def now(self) -> float:
        """Epoch seconds, UTC."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Go on by so many seconds."""
        self.jump(self._now + seconds)

    def jump(self, at: float) -> None:
        """Go to a moment that is not in the past."""
        if at < self._now:
            raise ValueError(f"the clock shows {self._now}, it does not go back to {at}")
        self._now = at
