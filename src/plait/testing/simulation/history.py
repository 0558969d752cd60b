"""Folding a run's events: what they say that its rows are, and what they may not say."""

from plait.adapters.stores.memory_rows import RunRows
from plait.model import events as e
from plait.model.ids import TaskNo, Token
from plait.model.rows import TaskRow
from plait.model.states import LIVE, RUN_TERMINAL, TERMINAL, WAITING, RunState, TaskState
from plait.runtime.rows import decode_event

OPEN = "open"
DISPATCHED = TaskState.DISPATCHED.value
FAILED = (TaskState.FAILED.value, TaskState.CRASHED.value)
_TERMINAL = frozenset(state.value for state in TERMINAL)
_WAITING = frozenset(state.value for state in WAITING)
_LIVE = frozenset(state.value for state in LIVE)


class FoldedTask:
    """What events say of one task run."""

    __slots__ = ("attempt", "current", "next_attempt", "state", "token")

    def __init__(self) -> None:
        self.state = OPEN
        self.attempt = 0
        self.next_attempt = 1
        self.token = Token(0)
        self.current = True


class History:
    """What the events of one run say, up to one of them."""

    def __init__(self) -> None:
        self.state = RunState.QUEUED.value
        self.tasks: dict[TaskNo, FoldedTask] = {}
        self.dispatched: dict[Token, TaskNo] = {}
        self.failures: set[tuple[TaskNo, int]] = set()
        self.cleared = 0
        """How often task runs were cleared."""
        self.count = 0
        self._newest = Token(0)

    def go_on(self, rows: RunRows) -> list[tuple[e.Event, Token]]:
        """Fold what is new; returns it, each with the token of the execution that it is about, 0 for none. Raises
        ValueError for what cannot be."""
        found: list[tuple[e.Event, Token]] = []
        for row in rows.events[self.count :]:
            self.count += 1
            if row.seq != self.count:
                raise ValueError(f"event {row.seq} comes as number {self.count}")
            event = decode_event(row)
            found.append((event, self._fold(event)))
        return found

    def task(self, no: TaskNo) -> FoldedTask:
        """One task run."""
        found = self.tasks.get(no)
        if found is None:
            found = self.tasks[no] = FoldedTask()
        return found

    def _fold(self, event: e.Event) -> Token:
        match event:
            case e.RunChanged():
                self._change(event.state)
            case e.TaskDispatched():
                return self._dispatch(event)
            case e.TaskFinished() | e.TaskWaits():
                return self._end(event)
            case e.TaskResolved():
                self._leave(event.no, event.state)
            case e.TasksCleared():
                self.cleared += 1
                for no in event.nos:
                    self.task(no).current = False
            case _:
                pass
        return Token(0)

    def _change(self, state: str) -> None:
        if self.state in RUN_TERMINAL and not self.cleared:
            raise ValueError(f"F8: the run was {self.state}, and became {state} without being cleared")
        self.state = state

    def _dispatch(self, event: e.TaskDispatched) -> Token:
        task = self.task(event.no)
        if event.token <= self._newest:
            raise ValueError(f"C3: token {event.token} comes after {self._newest}")
        if task.state in _TERMINAL or not task.current:
            raise ValueError(f"F3: task run {event.no} was {task.state}, and is dispatched")
        if event.attempt != task.next_attempt:
            raise ValueError(f"F2: task run {event.no} begins attempt {event.attempt} instead of {task.next_attempt}")
        self._newest = event.token
        self.dispatched[event.token] = event.no
        task.state, task.attempt, task.token = DISPATCHED, event.attempt, event.token
        return event.token

    def _end(self, event: e.TaskFinished | e.TaskWaits) -> Token:
        task = self._leave(event.no, event.state)
        failed = event.state in FAILED or event.state == TaskState.RETRY_WAIT.value
        if failed and (event.no, event.attempt) in self.failures:
            raise ValueError(f"F2: attempt {event.attempt} of task run {event.no} failed twice")
        if failed:
            self.failures.add((event.no, event.attempt))
        if isinstance(event, e.TaskWaits):
            task.next_attempt = event.attempt + 1
        return task.token

    def _leave(self, no: TaskNo, state: str) -> FoldedTask:
        task = self.task(no)
        if task.state in _TERMINAL:
            raise ValueError(f"F3: task run {no} was {task.state}, and became {state}")
        task.state = state
        return task

    # --- rows ---------------------------------------------------------------------------------------------------------

    def compare(self, rows: RunRows) -> str | None:
        """Where the rows are not what the events say."""
        if rows.run.state != self.state:
            return f"the run's row says {rows.run.state}, its events {self.state}"
        for no, row in rows.tasks.items():
            said = self._compare_task(row, self.tasks.get(no))
            if said is not None:
                return f"task run {no}: {said}"
        return None

    def _compare_task(self, row: TaskRow, folded: FoldedTask | None) -> str | None:
        if folded is None:
            return f"its row says {row.state}, no event speaks of it" if row.state in _TERMINAL else None
        if row.current != folded.current:
            return f"its row says current={row.current}, its events {folded.current}"
        if not row.current:
            return None
        if row.state in _TERMINAL or folded.state in _TERMINAL or row.state in _WAITING:
            return f"its row says {row.state}, its events {folded.state}" if row.state != folded.state else None
        if row.state in _LIVE and (folded.state != DISPATCHED or folded.token != row.token):
            return f"its row says {row.state} under {row.token}, its events {folded.state} under {folded.token}"
        return None
