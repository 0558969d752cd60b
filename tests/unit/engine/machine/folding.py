"""Folding a run's events, and asking that they tell what the rows tell."""

from collections.abc import Iterable, Mapping

from plait.model import events as e
from plait.model.rows import RunRow, ScopeRow, TaskRow
from plait.model.states import WAITING, TaskState

S = TaskState
Place = tuple[str, tuple[int | str, ...]]

_AS_TOLD = {S.RUNNING.value: S.DISPATCHED.value}
"""That a worker has begun is no event: it is recorded with the end."""


class Fold:
    """The states of a run and of its task runs, as its events tell them so far."""

    def __init__(self) -> None:
        self.run: str = "queued"
        self.tasks: dict[int, str] = {}
        self.cleared: set[int] = set()
        self.scopes: dict[Place, int] = {}

    def add(self, event: e.Event) -> None:
        """One more event."""
        match event:
            case e.RunChanged():
                self.run = event.state
            case e.TaskDispatched():
                self.tasks[event.no] = S.DISPATCHED.value
            case e.ChildRecorded():
                self.tasks[event.no] = S.PENDING.value
            case e.TaskFinished() | e.TaskWaits() | e.TaskResolved():
                self.tasks[event.no] = event.state
            case e.TasksCleared():
                self.cleared.update(event.nos)
            case e.ScopeExpanded():
                self.scopes[event.scope, event.path] = event.length
            case _:
                pass

    def breach(
        self, run: RunRow, tasks: Mapping[int, TaskRow], scopes: Iterable[ScopeRow], current: Iterable[int]
    ) -> str | None:
        """What the rows tell otherwise, if anything."""
        if run.state != self.run:
            return f"the run is {run.state}, its events say {self.run}"
        for no, row in tasks.items():
            told = self.tasks.get(no, S.PENDING.value)
            if row.current != (no not in self.cleared):
                return f"task run {no} ({row.key}) is current: {row.current}; its events say otherwise"
            if row.current and not _same(row.state, told):
                return f"task run {no} ({row.key}) is {row.state}, its events say {told}"
        unwritten = [no for no in self.tasks if no not in tasks]
        if unwritten:
            return f"events speak of the task runs {unwritten}, which have no row"
        for scope in scopes:
            if scope.length and self.scopes.get((scope.scope, scope.path)) != scope.length:
                return f"the scope {scope.scope}{scope.path} has {scope.length} elements, its events say otherwise"
        return None


def _same(row: str, told: str) -> bool:
    """That a wait is over is no event: the next dispatch tells."""
    return _AS_TOLD.get(row, row) == told or (row == S.READY.value and (S(told) in WAITING or told == S.PENDING.value))
