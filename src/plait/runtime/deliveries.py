"""From the store's inbox to hosted runs: what others leave there is decided once, and deleted with what it led to."""

import logging

import msgspec

from plait.model.errors import StoreError
from plait.model.ids import RunId
from plait.model.rows import InboxRow
from plait.model.states import RUN_TERMINAL
from plait.model.stimuli import Stimulus, decode_stimulus
from plait.ports import RunStore
from plait.runtime.hosted import Hosted

log = logging.getLogger("plait.scheduler")


class Deliveries:
    """The inbox of a store, as the scheduler takes from it. A row stays there until a batch of its run deletes it
    (`Hosted.decided`): a process that dies before that has decided nothing. Called with the scheduler's lock held."""

    def __init__(self, store: RunStore):
        self._store = store

    def accept(self, hosted: Hosted | None, row: InboxRow) -> Stimulus | None:
        """What a row says to its run; none if it is with that run already, or if the run is to be taken up again. What
        nobody here can decide is deleted."""
        if hosted is None:
            if self._is_over(row.run_id):
                self._forget(row.run_id, row.id, "this process has ended with it")
            return None
        if hosted.error is not None or row.id in hosted.delivered:
            return None
        try:
            stimulus = decode_stimulus(row.data)
        except msgspec.DecodeError as error:
            self._forget(row.run_id, row.id, f"it cannot be read ({error})")
            return None
        hosted.delivered.add(row.id)
        return stimulus

    def decided(self, hosted: Hosted, number: int) -> None:
        """A row was decided: the run's next batch deletes it. One that failed its run is deleted now, so that it does
        not fail whoever goes on with the run."""
        if hosted.error is None:
            hosted.decided.append(number)
        else:
            self._forget(hosted.run.run_id, number, f"it made the run fail here ({hosted.error!r})")

    def _is_over(self, run_id: RunId) -> bool:
        """Whether nobody goes on with a run. A service does, also with one that is over."""
        run = self._store.get_run(run_id)
        return run is None or (run.session and run.state in RUN_TERMINAL)

    def _forget(self, run_id: RunId, number: int, why: str) -> None:
        log.warning("something that was said to run %s is dropped: %s", run_id, why)
        try:
            self._store.forget_inbox([number])
        except StoreError as error:  # then it comes again, and is dropped again
            log.warning("it could not be deleted from the inbox: %s", error)
