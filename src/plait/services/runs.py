"""What can be done to a run from outside of the process that owns it."""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

from plait.authoring.inputs import check_input
from plait.engine.asks import Question, choose, questions
from plait.model.errors import UsageError
from plait.model.ids import RunId
from plait.model.rows import RunRow
from plait.model.states import RunState
from plait.model.stimuli import CancelRequested, ClearRequested, InputReceived
from plait.ports import Clock, RunStore
from plait.services import inbox
from plait.services.views import is_over


class Ended(StrEnum):
    """What came of waiting for a run."""

    OVER = "over"
    NO_OWNER = "no owner"
    NO_ANSWER = "no answer"


class RunRequests:
    """Asks the owners of runs for something. `wake` rings their bell, `pause(seconds)` waits."""

    def __init__(
        self, store: RunStore, clock: Clock, pause: Callable[[float], None], wake: Callable[[], None] = lambda: None
    ):
        self._store = store
        self._clock = clock
        self._pause = pause
        self._wake = wake

    def cancel(self, row: RunRow, reason: str) -> None:
        """Ask the owner of a run to cancel it. Raises UsageError when it is over."""
        if is_over(row.state):
            raise UsageError(f"run {row.run_id} is over already: it is {row.state}")
        inbox.say(self._store, row.run_id, CancelRequested(reason=reason), self._wake)

    def again(self, row: RunRow, tasks: Sequence[str] = ()) -> None:
        """Ask a service to run the failures of a run that is over again, or these tasks (keys), with what is below
        them. Raises UsageError when there is nothing to run again."""
        if not is_over(row.state):
            raise UsageError(f"run {row.run_id} is not over: it is {row.state}")
        if row.state == RunState.SUCCESS.value and not tasks:
            raise UsageError(f"run {row.run_id} has succeeded, there is nothing to run again", right="name a task")
        request = ClearRequested(tasks=tuple(tasks), only_failed=not tasks)
        inbox.say(self._store, row.run_id, request, self._wake)

    def begun(self, before: RunRow, timeout: float) -> bool:
        """Wait until a run that was over goes on (and perhaps is over again), at most `timeout` seconds."""
        give_up = self._clock.now() + timeout
        while self._clock.now() < give_up:
            row = self._store.get_run(before.run_id)
            if row is None or not is_over(row.state) or row.finished_at != before.finished_at:
                return row is not None
            self._pause(0.02)
        return False

    def answer(self, row: RunRow, task: str | None, read: Callable[[Question], Any]) -> Question:
        """Answer what a run asks, with what `read` makes of the question. Raises ParameterError for an answer that does
        not fit, UsageError when nothing is asked, or several things and `task` names none."""
        question = choose(row.run_id, self._store.tasks(row.run_id), task)
        data = read(question)
        check_input(question.asked.schema, data)
        said = InputReceived(no=question.no, token=question.token, data=data)
        inbox.say(self._store, row.run_id, said, self._wake)
        return question

    def wait_taken(self, row: RunRow, question: Question, timeout: float) -> bool:
        """Wait until the owner of a run has taken an answer, at most `timeout` seconds."""
        give_up = self._clock.now() + timeout
        delay = 0.02
        while True:
            asked = questions(self._store.tasks(row.run_id))
            if all((each.no, each.token) != (question.no, question.token) for each in asked):
                return True
            if self._clock.now() >= give_up or not self.has_owner(row):
                return False
            self._pause(delay)
            delay = min(0.5, delay * 1.5)

    def wait(self, run_id: RunId, timeout: float) -> tuple[Ended, RunRow]:
        """Wait until a run is over, at most `timeout` seconds. A run that no live process owns is not waited for."""
        give_up = self._clock.now() + timeout
        delay = 0.02
        while True:
            row = self._store.get_run(run_id)
            if row is None:
                raise UsageError(f"run {run_id} was deleted meanwhile")
            if is_over(row.state):
                return Ended.OVER, row
            if not self.has_owner(row):
                return Ended.NO_OWNER, row
            if self._clock.now() >= give_up:
                return Ended.NO_ANSWER, row
            self._pause(delay)
            delay = min(0.5, delay * 1.5)

    def has_owner(self, row: RunRow) -> bool:
        """Whether a process whose lease holds owns the run."""
        now = self._clock.now()
        return any(owner.owner == row.owner and owner.lease_until > now for owner in self._store.owners())
