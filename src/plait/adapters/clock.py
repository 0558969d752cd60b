"""The system's clock."""

import time


class SystemClock:
    """Epoch seconds, UTC."""

    def now(self) -> float:
        """The time now."""
        return time.time()
