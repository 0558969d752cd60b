"""One transaction of a scheduler: the slots that are granted, what is handed out, and the rows of both.

Theory of operation. Runs that are new come first: their rows are made, and all that follows finds them there. Whether
slots are free is known in the transaction that takes them, so grants come next; what they make ready is handed out as
far as executors have room; then every run that has something to record is written. A run that was taken over by another
process meanwhile is left out (its fence is looked at before anything of it is written), and the others go on. Where a
store notices it only at the commit, which then writes nothing, the same is written again: by then it knows.
"""

from collections.abc import Sequence

from plait.engine.decide import Decision, decide, dispatch, take
from plait.engine.limits import RUN, Request
from plait.model.errors import RunExists, StaleToken, StoreError
from plait.model.ids import RunId, TaskNo
from plait.model.rows import RunRow, SlotRow
from plait.model.stimuli import RunAdmitted, SlotsGranted
from plait.ports import RunBatch, Transaction
from plait.runtime.admission import RunAdmission
from plait.runtime.carry_out import CommandCarrier
from plait.runtime.hosted import Hosted
from plait.runtime.partition_marks import PartitionMarks
from plait.runtime.rows import batch_of, update_run_row
from plait.runtime.shell import Shell

UNLIMITED = 1 << 30
TRIES = 3
"""How often a transaction is begun whose commit notices that a lease was lost."""
Touched = dict[RunId, Hosted]
Lost = list[tuple[Hosted, StoreError]]
Batches = list[tuple[Hosted, Decision, RunBatch]]
Committed = tuple[list[tuple[Hosted, Decision]], Lost]
"""What was written; which runs belong to another process by now, or could not be made, and why."""


class Committer:
    """Writes for a scheduler. `hungry`: of each executor, the runs that have something ready for it, in order."""

    def __init__(self, scheduler: Shell, admission: RunAdmission, carrier: CommandCarrier):
        self._scheduler = scheduler
        self._admission = admission
        self._carrier = carrier
        self._partitions = PartitionMarks(scheduler.store)
        self.hungry: dict[str, Touched] = {}

    def commit(self, touched: Touched, now: float, *, alone: bool = False) -> Committed:
        """Grant, dispatch and write in one transaction; runs that this touches as well are added to `touched`, unless
        it is to be left `alone`.

        Raises what the store raises: then nothing was written, or, where the connection broke, nobody knows.
        """
        room = {name: executor.capacity() for name, executor in self._scheduler.executors.items()}
        batches: Batches | None = None
        granted: list[Request] = []
        lost: Lost = []
        if not self._scheduler.limits.may_grant():
            self._dispatch(touched, room, now, alone=alone)
            batches = self._batches(touched, now)
            if not batches:
                return [], []
        for left in reversed(range(TRIES)):
            try:
                with self._scheduler.store.transaction() as tx:
                    made, unmade = self._make(tx, touched)
                    if batches is None:
                        granted, lost = self._grant(tx, touched, now, alone=alone)
                        self._dispatch(touched, room, now, alone=alone)
                        batches = self._batches(touched, now)
                    else:
                        self._take_again(tx, granted)
                    written, stale = self._write(tx, batches, made)
            except StaleToken:
                if not left:
                    raise
                continue
            return written, stale + lost + unmade
        raise AssertionError("the last try returns or raises")

    def _make(self, tx: Transaction, touched: Touched) -> tuple[dict[RunId, RunRow], Lost]:
        """Make the rows of new runs, as they are. What cannot be made has an `error`, and no part in the rest; it stays
        among what is touched, to be told whatever becomes of the transaction."""
        made: dict[RunId, RunRow] = {}
        unmade: Lost = []
        for hosted in [each for each in touched.values() if each.fresh]:
            row, hosted.error = hosted.row, None
            try:
                if not tx.create_run(row):
                    raise RunExists(f"{row.occurrence} has its run already")
            except (RunExists, StaleToken) as error:
                hosted.error = error
                unmade.append((hosted, error))
            else:
                made[row.run_id] = row
        return made, unmade

    # --- grants -------------------------------------------------------------------------------------------------------

    def _grant(self, tx: Transaction, touched: Touched, now: float, *, alone: bool) -> tuple[list[Request], Lost]:
        limits = self._scheduler.limits
        granted: list[Request] = []
        lost: Lost = []
        tx.expect(limits.likely())
        for request in limits.grantable():
            run_id, no = request.owner
            hosted = self._scheduler.runs.get(run_id)
            if hosted is None:
                limits.release(request.owner)
            elif hosted.error is not None or self._is_left_out(run_id, touched, alone=alone):
                continue
            elif not tx.is_leased(run_id, hosted.run.epoch):
                limits.release(request.owner)
                lost.append((hosted, StaleToken(f"run {run_id} was taken over while it waited for slots")))
            elif not tx.acquire(_slots(request)):
                limits.refused(request)
            else:
                limits.granted(request)
                granted.append(request)
                self._tell(hosted, no, now)
                touched[run_id] = hosted
        return granted, lost

    def _take_again(self, tx: Transaction, granted: Sequence[Request]) -> None:
        """Take the slots that a transaction had taken which came to nothing; but for runs that others have."""
        tx.expect(sorted({use.key for request in granted for use in request.uses}))
        for request in granted:
            run_id, no = request.owner
            hosted = self._scheduler.runs.get(run_id)
            leased = hosted is not None and tx.is_leased(run_id, hosted.run.epoch)
            if leased and not tx.acquire(_slots(request)):
                raise StoreError(f"the slots of task run {no} of run {run_id} were taken meanwhile")

    def _tell(self, hosted: Hosted, no: int, now: float) -> None:
        if no == RUN:
            decide(hosted.run, RunAdmitted(lengths=hosted.row.extra.get("lengths", {})), now)
        else:
            decide(hosted.run, SlotsGranted(no=TaskNo(no)), now)
            self._carrier.slots_granted(hosted.run.run_id, TaskNo(no))

    def _is_left_out(self, run_id: RunId, touched: Touched, *, alone: bool) -> bool:
        """Whether a run has no part in this transaction: one is alone in it, or it is one that has its own."""
        return run_id not in touched if alone else run_id in self._scheduler.suspects

    # --- dispatch -----------------------------------------------------------------------------------------------------

    def _dispatch(self, touched: Touched, room: dict[str, int], now: float, *, alone: bool) -> None:
        """Hand out what is ready, oldest hunger first, as far as there is room."""
        for run_id, hosted in touched.items():
            for name in hosted.run.ready:
                self.hungry.setdefault(self._scheduler.executor_of(name), {})[run_id] = hosted
        for executor, waiting in list(self.hungry.items()):
            free = room.get(executor, UNLIMITED)
            if free > 0:
                self._feed(executor, free, waiting, now, touched, alone=alone)
            if not waiting:
                del self.hungry[executor]

    def _feed(self, executor: str, free: int, waiting: Touched, now: float, touched: Touched, *, alone: bool) -> None:
        fed: list[RunId] = []
        for run_id, hosted in waiting.items():
            if free <= 0:
                break
            if self._is_left_out(run_id, touched, alone=alone):
                continue
            run = hosted.run
            for name in [name for name in run.ready if self._scheduler.executor_of(name) == executor]:
                handed = dispatch(run, name, free, now)
                free -= len(handed)
                if handed:
                    touched[run_id] = hosted
                if not run.ready[name]:
                    del run.ready[name]
            if free > 0:
                fed.append(run_id)
        for run_id in fed:
            del waiting[run_id]

    def is_starving(self) -> bool:
        """Whether something that is ready was held back, and there is room for it: what was handed out beside it did
        not need any."""
        return any(
            self._scheduler.executors[name].capacity() > 0 for name in self.hungry if name in self._scheduler.executors
        )

    def forget(self, run_id: RunId) -> None:
        """A run is not hosted any more."""
        for waiting in self.hungry.values():
            waiting.pop(run_id, None)

    # --- rows ---------------------------------------------------------------------------------------------------------

    def _batches(self, touched: Touched, now: float) -> Batches:
        found: Batches = []
        for hosted in touched.values():
            if hosted.has_output:
                decision = take(hosted.run)
                if decision.changed:
                    hosted.row = update_run_row(hosted.row, hosted.run, self._scheduler.owner)
                batch, hosted.seq = batch_of(hosted.run, hosted.row, decision, hosted.seq, now, hosted.decided)
                batch.partitions = self._partitions.of(hosted.run, hosted.row, decision)
                found.append((hosted, decision, batch))
        return found

    def _write(self, tx: Transaction, batches: Batches, made: dict[RunId, RunRow]) -> Committed:
        written: list[tuple[Hosted, Decision]] = []
        stale: Lost = []
        for hosted, decision, batch in batches:
            if hosted.fresh:
                row = made.get(batch.run_id)
                if row is None:
                    continue
                if row is batch.run:  # what was decided at once is in the row already
                    batch.run = None
            try:
                tx.write(batch)
            except StaleToken as error:
                stale.append((hosted, error))
            else:
                written.append((hosted, decision))
        for remembered in self._admission.after(hosted for hosted, decision in written if decision.changed):
            tx.save_workflow(remembered)
        return written, stale


def _slots(request: Request) -> list[SlotRow]:
    run_id, no = request.owner
    return [SlotRow(key=use.key, run_id=run_id, no=no, slots=use.slots) for use in request.uses]
