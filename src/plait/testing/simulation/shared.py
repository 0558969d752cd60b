"""The database of a simulation, in memory."""

from plait.adapters.stores.memory import MemoryStore
from plait.adapters.stores.memory_rows import RunRows
from plait.model.ids import RunId
from plait.model.rows import InboxRow, SignalRow, TriggerRow


class SharedStore(MemoryStore):
    """The database itself. Whoever checks it looks without copying, and changes nothing."""

    @property
    def run_rows(self) -> dict[RunId, RunRows]:
        """Everything of every run."""
        return self._tables.runs

    @property
    def slot_rows(self) -> dict[tuple[str, RunId, int], int]:
        """Who holds how many slots of what."""
        return self._tables.slots

    @property
    def limit_sizes(self) -> dict[str, int]:
        """How large limits are."""
        return self._tables.limits

    @property
    def inbox_rows(self) -> dict[int, InboxRow]:
        """What lies in the inbox."""
        return self._tables.inbox

    @property
    def signal_rows(self) -> dict[int, SignalRow]:
        """What is not counted."""
        return self._tables.signals.signals

    @property
    def trigger_rows(self) -> dict[tuple[str, int], TriggerRow]:
        """Where triggers stand."""
        return self._tables.definitions.triggers
