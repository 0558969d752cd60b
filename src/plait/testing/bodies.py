"""Flow bodies as scripts: a generator that adds children and yields what it waits for, instead of user code.

    def etl(body: Body) -> BodyScript:
        rows = [body.submit("extract", day) for day in range(3)]
        yield rows                                   # blocks until these are over, whatever they came to
        yield body.submit("load", wait_for=rows)
        return Outcome()

A replayed execution plays the script from its beginning, as a replayed body runs from its beginning. A child's key is
made as a flow's host makes it: from its task, its inputs and how often that was asked for.
"""

import inspect
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

from plait.engine.run import TaskRun
from plait.model.errors import EngineError
from plait.model.graph import TaskSpec
from plait.model.ids import TaskNo
from plait.model.outcome import Outcome
from plait.model.stimuli import ChildSubmitted, ExecutionBlocked, ExecutionUnblocked, TransactionEnded
from plait.model.wire import Execution
from plait.runtime.scheduler import Scheduler

Waits = TaskRun | Sequence[TaskRun]
BodyScript = Generator[Waits, None, Outcome | None]
MakesBody = Callable[["Body"], BodyScript]


class Body:
    """One execution of a body: what its script can do."""

    def __init__(self, scheduler: Scheduler, execution: Execution):
        self._scheduler = scheduler
        self.execution = execution
        self.no = execution.no
        self.run_id = execution.run.run_id
        self._asked: dict[tuple[str, str], int] = {}
        self._transaction: str | None = None

    @property
    def task(self) -> TaskRun:
        """Its own task run."""
        return self._scheduler.hosted(self.run_id).run.tasks[self.no]

    def submit(
        self,
        task: str | TaskSpec,
        *inputs: Any,
        wait_for: Iterable[TaskRun] = (),
        allow_failure: Iterable[TaskRun] = (),
    ) -> TaskRun:
        """Call a task in the background; on a replay the recorded child comes back."""
        spec = TaskSpec(key=task) if isinstance(task, str) else task
        print_ = repr(inputs)
        count = self._asked.get((spec.key, print_), 0)
        self._asked[spec.key, print_] = count + 1
        lenient = tuple(up.no for up in allow_failure)
        return self._scheduler.add_child(
            self.run_id,
            ChildSubmitted(
                parent=self.no,
                spec=spec,
                key=f"{spec.key}:{print_}:{count}",
                upstream=(*(up.no for up in wait_for), *lenient),
                allow_failure=lenient,
                transaction=self._transaction,
            ),
        )

    def begin(self, transaction: str) -> None:
        """Open a transaction: what is submitted from now on is staged in it."""
        self._transaction = f"{self.no}:{transaction}"

    def end(self, *, ok: bool) -> None:
        """Commit the open transaction, or roll it back."""
        if self._transaction is None:
            raise EngineError("there is no open transaction")
        self._scheduler.post(self.run_id, TransactionEnded(name=self._transaction, ok=ok))
        self._transaction = None
        self._scheduler.pump()


class PlayedBody:
    """A body under way: gives its slots back while it waits, and goes on when what it waits for is over."""

    def __init__(self, scheduler: Scheduler, execution: Execution, script: MakesBody):
        self._scheduler = scheduler
        self._body = Body(scheduler, execution)
        self._steps = script(self._body)
        self._waits: tuple[TaskNo, ...] = ()
        self._blocked = False
        self.outcome: Outcome | None = None
        """What it returned, once it has."""

    def go_on(self) -> bool:
        """Play the script as far as it goes; returns whether it moved."""
        if self.outcome is not None or any(not task.terminal for task in self._waited()):
            return False
        if self._blocked:
            return self._unblock()
        try:
            waits = next(self._steps)
        except StopIteration as stop:
            self.outcome = stop.value if stop.value is not None else Outcome()
            return True
        self._waits = tuple(task.no for task in ([waits] if isinstance(waits, TaskRun) else waits))
        if any(not task.terminal for task in self._waited()):
            self._block()
        return True

    def _waited(self) -> list[TaskRun]:
        tasks = self._scheduler.hosted(self._body.run_id).run.tasks
        return [tasks[no] for no in self._waits]

    def _block(self) -> None:
        execution = self._body.execution
        self._scheduler.flush()
        self._scheduler.post(self._body.run_id, ExecutionBlocked(no=execution.no, token=execution.token))
        self._scheduler.pump()
        self._blocked = True

    def _unblock(self) -> bool:
        """Ask for the slots again, once; true when they are there."""
        task, execution = self._body.task, self._body.execution
        if task.blocked:
            self._scheduler.post(self._body.run_id, ExecutionUnblocked(no=execution.no, token=execution.token))
            self._scheduler.pump()
        if not task.node.slotless and not task.granted:
            return False
        self._blocked = False
        return True


def is_body(script: Any) -> bool:
    """Whether a script is one of a body."""
    return inspect.isgeneratorfunction(script)
