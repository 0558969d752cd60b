"""What people say to a run from outside of its process: left in the store's inbox for whoever owns the run."""

from collections.abc import Callable

from plait.model.ids import RunId
from plait.model.stimuli import Stimulus, encode_stimulus
from plait.ports import RunStore


def say(store: RunStore, run_id: RunId, stimulus: Stimulus, wake: Callable[[], None] = lambda: None) -> None:
    """Leave a stimulus for a run, durably, and wake its owner; one that misses the call looks on its slow timer."""
    store.put_inbox(run_id, encode_stimulus(stimulus))
    wake()
