"""A bus for one process: nobody else is there."""

from collections.abc import Callable


class MemoryBus:
    """Takes messages for other processes, of which there are none on a store in memory."""

    def publish(self, topic: str) -> None:
        """Nobody to wake."""

    def subscribe(self, callback: Callable[[str], None]) -> None:
        """Nothing will come."""

    def close(self) -> None:
        """Nothing to close."""
