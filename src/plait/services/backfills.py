"""Backfills for people: begun, looked at, paused, resumed and cancelled from outside of what drives them."""

from collections.abc import Callable

import msgspec

from plait.engine.backfill import Backfill, begin, decode, encode, moved_to
from plait.engine.partitions.keysets import KeySet
from plait.engine.schedules import moment
from plait.model.backfills import OVER, BackfillPlan, BackfillState
from plait.model.errors import UsageError
from plait.model.rows import BackfillRow
from plait.ports import Clock, IdSource, RunStore

MOST_FOUND = 1000


class ProgressView(msgspec.Struct, kw_only=True):
    """How far a group of a backfill is, in partitions; of `runs` that are over, `runs_failed` did not succeed. `held`:
    why nothing of it can begin now."""

    name: str
    assets: list[str]
    total: int
    done: int
    failed: int
    skipped: int
    running: int
    left: int
    runs: int
    runs_failed: int
    failed_ranges: list[str] = []
    held: str = ""


class BackfillView(msgspec.Struct, kw_only=True):
    """A backfill. Times are ISO 8601 in UTC. `here`: whether a process that somebody started drives it, as
    `plait backfill` does; else services do. `runs` are those on their way."""

    id: str
    state: str
    title: str
    target: str
    created_at: str
    updated_at: str
    here: bool
    total: int
    done: int
    failed: int
    skipped: int
    running: int
    groups: list[ProgressView]
    runs: list[str] = []


class BackfillRequests:
    """What can be done to backfills. `wake` rings the processes that drive them."""

    def __init__(self, store: RunStore, clock: Clock, wake: Callable[[], None] = lambda: None):
        self._store = store
        self._clock = clock
        self._wake = wake

    def begin(self, plan: BackfillPlan, title: str, ids: IdSource) -> str:
        """Have a plan carried out, durably; returns the backfill's id. Raises UsageError for one without runs."""
        if not any(group.targets for group in plan.groups):
            raise UsageError("there is nothing to do: no partition that was asked for is to be made")
        now = self._clock.now()
        row = BackfillRow(
            id=str(ids.run_id()), state=BackfillState.RUNNING.value, title=title, created_at=now, updated_at=now,
            plan=encode(plan), cursor=encode(begin(plan)),
        )  # fmt: skip
        with self._store.transaction() as tx:
            tx.save_backfill(row)
        self._wake()
        return row.id

    def find(self, text: str) -> BackfillRow:
        """The backfill whose id begins or ends so. Raises UsageError for none, or several."""
        row = self._store.partitions.backfill(text)
        if row is not None:
            return row
        rows = self._store.partitions.backfills(limit=MOST_FOUND)
        found = [each for each in rows if text and (each.id.startswith(text) or each.id.endswith(text))]
        if len(found) == 1:
            return found[0]
        what = "several backfills have" if found else "no backfill has"
        raise UsageError(f"{what} an id that begins or ends with {text!r}", right="plait backfills list")

    def change(self, id: str, state: BackfillState) -> BackfillRow:
        """Have a backfill paused, go on, or be cancelled. Raises UserError when it is over."""
        with self._store.transaction() as tx:
            row = tx.backfill(id)
            if row is None:
                raise UsageError(f"there is no backfill {id}")
            row = moved_to(row, state, self._clock.now())
            tx.save_backfill(row)
        self._wake()
        return row

    def views(self, *, open_only: bool = False, limit: int = 50) -> list[BackfillView]:
        """Newest first."""
        rows = self._store.partitions.backfills(open_only=open_only, limit=limit)
        return [self.view(row) for row in sorted(rows, key=lambda row: row.id, reverse=True)]

    def view(self, row: BackfillRow) -> BackfillView:
        """A backfill, and how far it is."""
        plan, cursor = decode(row.plan, row.cursor)
        work = Backfill(plan, cursor, dynamic=self._store.partitions.keys)
        groups: list[ProgressView] = []
        for number, group in enumerate(plan.groups):
            progress, standing = work.progress(number), cursor.groups[number]
            groups.append(
                ProgressView(
                    name=group.name,
                    assets=list(group.assets),
                    **msgspec.structs.asdict(progress),
                    left=progress.left,
                    runs=standing.runs,
                    runs_failed=standing.runs_failed,
                    held=cursor.held.get(number, ""),
                    failed_ranges=work.ranges_of(number, KeySet(standing.failed)),
                )
            )
        return BackfillView(
            id=row.id,
            state=row.state,
            title=row.title,
            target=plan.target,
            created_at=moment(row.created_at),
            updated_at=moment(row.updated_at),
            here=plan.session,
            total=sum(each.total for each in groups),
            done=sum(each.done for each in groups),
            failed=sum(each.failed for each in groups),
            skipped=sum(each.skipped for each in groups),
            running=sum(each.running for each in groups),
            groups=groups,
            runs=[flight.run_id for flight in cursor.flights],
        )


def is_over(view: BackfillView) -> bool:
    """Whether nothing more comes of it."""
    return BackfillState(view.state) in OVER
