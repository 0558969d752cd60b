"""What people say to a run from outside of its process: left in the store's inbox for whoever owns the run."""

from collections.abc import Callable

import msgspec

from plait.model.ids import RunId
from plait.model.stimuli import Stimulus
from plait.ports import RunStore

_decoder = msgspec.json.Decoder(Stimulus)


def encode(stimulus: Stimulus) -> bytes:
    """A stimulus as it lies in the inbox: JSON with the name of its type."""
    return msgspec.json.encode(stimulus)


def decode(data: bytes) -> Stimulus:
    """The stimulus that lies in the inbox."""
    return _decoder.decode(data)


def say(store: RunStore, run_id: RunId, stimulus: Stimulus, wake: Callable[[], None] = lambda: None) -> None:
    """Leave a stimulus for a run, durably, and wake its owner; one that misses the call looks on its slow timer."""
    store.put_inbox(run_id, encode(stimulus))
    wake()
