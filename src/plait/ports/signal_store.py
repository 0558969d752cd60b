"""What is kept of signals and of published events."""

from typing import Protocol

from plait.model.rows import PublishedRow


class SignalStore(Protocol):
    """What triggers wait for but time. An update of an asset becomes a signal in the transaction that writes it
    (`RunBatch.asset_events`, materialized and observed ones), if a deployed trigger waits for that asset then: so what
    nobody waits for leaves no trace, and none is lost or counted twice."""

    def any_awaited(self) -> bool:
        """Whether any deployed trigger waits for a signal."""
        ...

    def waiting(self) -> bool:
        """Whether there are signals that nobody has counted."""
        ...

    def published(self, *, name: str | None = None, before: str | None = None, limit: int = 50) -> list[PublishedRow]:
        """Published events (of this name), newest first, older than the one with the id `before` if given."""
        ...

    def delete_published(self, before: float, limit: int = 1000) -> int:
        """Delete at most `limit` events that were published before then (epoch seconds); returns how many."""
        ...
