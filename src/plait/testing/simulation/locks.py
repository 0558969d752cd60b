"""A lock that says whether it is held."""

from types import TracebackType


class SeenLock:
    """Stands in for a scheduler's lock. Threads of a simulation never wait for it: one whose process holds it is not
    run."""

    def __init__(self) -> None:
        self.depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it; the same thread may do so again."""
        self.depth += 1
        return True

    def release(self) -> None:
        """Give it back."""
        self.depth -= 1

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()
