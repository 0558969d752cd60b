"""The rows of one run, as the store in memory keeps them."""

import copy
from bisect import bisect_right

import msgspec

from plait.model.ids import MapPath, TaskNo
from plait.model.rows import AttemptRow, EventRow, RunRow, ScopeRow, TaskRow
from plait.model.states import LIVE, RunState, TaskState

_KEPT = ("control", "error", "log", "spec", "outputs")


def copy_run(row: RunRow) -> RunRow:
    """A copy that shares nothing that can be changed. `extra` comes back as it does from a database: as plain data."""
    made = copy.copy(row)
    if row.extra:
        made.extra = msgspec.msgpack.decode(msgspec.msgpack.encode(row.extra))
    return made


def copy_task(row: TaskRow) -> TaskRow:
    """A copy that shares nothing that can be changed."""
    made = copy.copy(row)
    if row.outputs is not None:
        made.outputs = dict(row.outputs)
    return made


def without_outputs(row: TaskRow) -> TaskRow:
    """A copy without the stored results."""
    made = copy.copy(row)
    made.outputs = None
    return made


class RunRows:
    """Everything of one run. Whoever calls holds the store's lock; rows that come in are its own from then on."""

    def __init__(self, run: RunRow):
        self.run = run
        self.tasks: dict[TaskNo, TaskRow] = {}
        self.by_node: dict[tuple[str, MapPath], list[TaskNo]] = {}
        self.attempts: dict[tuple[TaskNo, int], AttemptRow] = {}
        self.scopes: dict[tuple[str, MapPath], ScopeRow] = {}
        self.events: list[EventRow] = []

    def put_run(self, row: RunRow) -> None:
        """Replace the run's row."""
        self.run = row

    def put_task(self, row: TaskRow) -> None:
        """Insert or update a task row; what is none keeps what is there."""
        known = self.tasks.get(row.no)
        if known is None:
            self.by_node.setdefault((row.key, row.path), []).append(row.no)
        else:
            for name in _KEPT:
                if getattr(row, name) is None:
                    setattr(row, name, getattr(known, name))
        self.tasks[row.no] = row

    def put_attempt(self, row: AttemptRow) -> None:
        """Insert or replace an attempt."""
        self.attempts[row.no, row.attempt] = row

    def put_scope(self, row: ScopeRow) -> None:
        """Insert or replace an expanded scope."""
        self.scopes[row.scope, row.path] = row

    def put_event(self, row: EventRow) -> None:
        """Append an event; their numbers grow."""
        self.events.append(row)

    def events_after(self, after: int, limit: int) -> list[EventRow]:
        """At most `limit` events after number `after`."""
        first = bisect_right(self.events, after, key=lambda row: row.seq)
        return self.events[first : first + limit]

    def lose_owner(self, reason: str, now: float) -> None:
        """The owner is dead: a session's run is crashed, another waits for a new owner."""
        if not self.run.session:
            self.run = msgspec.structs.replace(self.run, owner=None, epoch=self.run.epoch + 1)
            return
        self.run = msgspec.structs.replace(
            self.run,
            owner=None,
            epoch=self.run.epoch + 1,
            state=RunState.CRASHED.value,
            reason=reason,
            finished_at=now,
        )
        for row in self.tasks.values():
            if row.state in LIVE:
                row.state, row.reason, row.finished_at = TaskState.CRASHED.value, reason, now
