"""The waits of a flow's body: each is a child, as whose result what ended it is found again."""

from collections.abc import Callable
from typing import Any

from plait.authoring.signals import Leaves
from plait.authoring.waiting import Wait
from plait.authoring.where import here
from plait.engine.run import TaskRun
from plait.model.errors import UsageError
from plait.model.graph import TaskSpec
from plait.model.outcome import TOO_LATE, Outcome, Verdict
from plait.model.states import TaskState
from plait.runtime.here import UserCode
from plait.runtime.wait_nodes import spec_of_wait


class BodyWaits:
    """Answers the waits of one execution of a body. `add` adds the child, `value_of` reads the result of one that has
    succeeded, `error_of` says why another has none. `left` is the wait at which the body was left."""

    def __init__(
        self,
        code: UserCode,
        add: Callable[[TaskSpec, Any], TaskRun],
        value_of: Callable[[TaskRun], Any],
        error_of: Callable[[TaskRun, None], BaseException],
    ):
        self._code = code
        self._add = add
        self._value_of = value_of
        self._error_of = error_of
        self.left: str | None = None

    def wait(self, wait: Wait, *, undone: bool) -> dict[str, Any]:
        """What ended a wait. Until it has, the body is left, and deferred until that child is over; its other children
        go on. `undone`: leaving would undo an open transaction."""
        self._check_leaving(wait.name, undone)
        spec = spec_of_wait(
            wait.name, trigger=wait.trigger, schema=wait.schema, prompt=wait.prompt, timeout=wait.timeout
        )
        with self._code.away():
            task = self._add(spec, wait.inputs)
            if not task.terminal:
                self.left = wait.name
                raise Leaves(Outcome(verdict=Verdict.DEFER, trigger={"kind": "task", "no": task.no}))
            return self._came_to(wait, task)

    def _came_to(self, wait: Wait, task: TaskRun) -> dict[str, Any]:
        if task.state is TaskState.SUCCESS:
            value = self._value_of(task)
            return {"input": value} if wait.trigger is None else {"event": value}
        error = task.error
        if task.state is not TaskState.FAILED or error is None:
            raise self._error_of(task, None)
        return {"error": TOO_LATE if error.type == "WaitTimeout" else error.message}

    def _check_leaving(self, name: str, undone: bool) -> None:
        """Whether the body can be left here."""
        if undone:
            what, right = "inside of a transaction, which would be undone", "wait before the transaction, or after it"
        elif not self._code.is_mine():
            what, right = "in a thread of the flow, which cannot leave for it", "wait in the body of the flow itself"
        else:
            return
        where, wrong = here()
        raise UsageError(f"the wait for {name!r} is {what}", where=where, wrong=wrong, right=right)

    def check_left(self) -> None:
        """Raise UsageError when the body has caught what makes it leave at a wait, and gone on."""
        if self.left is not None:
            raise UsageError(
                f"the flow was to leave at its wait for {self.left!r}, but an `except BaseException` (or a bare "
                "`except`) around it has let it go on",
                right="except Exception:",
            )
