"""The calls that bodies in this process have made and that are not over: what was called with what, and its future."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

import msgspec

from plait.authoring.dag import Dag
from plait.authoring.task import Task
from plait.authoring.where import code_of
from plait.engine.run import TaskRun
from plait.model.graph import TaskSpec
from plait.model.ids import RunId, TaskNo
from plait.model.wire import Execution, Finished
from plait.runtime.futures import HostFuture, replaced, resolved
from plait.worker.hooks import place_of_hook


class Call(msgspec.Struct, frozen=True):
    """One call of a task, a flow or a dag in a body."""

    callee: Any
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]
    future: HostFuture
    limited: bool = False
    """Whether it holds slots, for which others may wait."""

    def with_each(self, by: Callable[[HostFuture], Any]) -> tuple[list[Any], dict[str, Any]]:
        """The arguments, with every future in them replaced."""
        return [replaced(arg, by) for arg in self.args], {name: replaced(arg, by) for name, arg in self.kwargs.items()}


class Calls:
    """The open calls of all runs of a session. Implements the port `Callers` of the harness."""

    def __init__(self) -> None:
        self._open: dict[RunId, dict[TaskNo, Call]] = {}
        self._ends: dict[tuple[RunId, TaskNo], Callable[[], None]] = {}
        self._specs: WeakKeyDictionary[Any, dict[str, TaskSpec]] = WeakKeyDictionary()
        self._hooks: dict[tuple[str, int], Callable[..., Any]] = {}

    def spec_of(self, callee: Any, executor: str) -> TaskSpec:
        """The node of a callee as a child on an executor; the same object each time."""
        known = self._specs.setdefault(callee, {})
        spec = known.get(executor)
        if spec is None:
            if isinstance(callee, Dag):
                spec = TaskSpec(key=callee.name, runner="run", workflow=callee.name, executor=executor)
            else:
                spec = msgspec.structs.replace(callee.spec, executor=executor, inputs={})
            if isinstance(callee, Task):
                self._hooks.update({(spec.key, index): hook for index, hook in enumerate(callee.hooks)})
            known[executor] = spec
        return spec

    # --- from the call to its end -------------------------------------------------------------------------------------

    def open(self, run_id: RunId, no: TaskNo, call: Call) -> None:
        """A call was made."""
        self._open.setdefault(run_id, {})[no] = call

    def of(self, run_id: RunId, no: TaskNo) -> Call | None:
        """An open call."""
        return self._open.get(run_id, {}).get(no)

    def can_wait(self, report: Finished) -> bool:
        """Whether nobody waits for the end of a call as yet."""
        call = self.of(report.run_id, report.no)
        return call is not None and not call.limited and not call.future.wanted

    def on_end(self, run_id: RunId, no: TaskNo, callback: Callable[[], None]) -> None:
        """Call back when any other task run (a hook) is over."""
        self._ends[run_id, no] = callback

    def over(self, run_id: RunId, tasks: Iterable[TaskRun]) -> None:
        """These task runs have ended, and that is committed."""
        calls = self._open.get(run_id, {})
        for task in tasks:
            if not task.terminal:
                continue
            call = calls.pop(task.no, None)
            if call is not None:
                call.future.settled()
            elif self._ends:
                callback = self._ends.pop((run_id, task.no), None)
                if callback is not None:
                    callback()

    def forget(self, run_id: RunId) -> None:
        """A run is over in this process, or cannot go on: nobody waits for its calls any more."""
        for call in self._open.pop(run_id, {}).values():
            call.future.settled()
        for key in [key for key in self._ends if key[0] == run_id]:
            self._ends.pop(key)()

    # --- the harness's side -------------------------------------------------------------------------------------------

    def call_of(self, execution: Execution) -> tuple[Any, list[Any], dict[str, Any]] | None:
        """What an execution in this process calls, with its arguments."""
        call = self.of(execution.run.run_id, execution.no)
        return None if call is None else (call.callee, *call.with_each(resolved))

    def hook_of(self, execution: Execution) -> Callable[..., Any] | None:
        """A hook of a task that was called here."""
        hook = self._hooks.get(place_of_hook(execution))
        return hook if hook is not None and execution.code == code_of(hook) else None

    def came_to(self, execution: Execution, value: Any, error: BaseException | None = None) -> None:
        """Hand the live value (or exception) of an execution in this process to its future."""
        call = self.of(execution.run.run_id, execution.no)
        if call is not None:
            call.future.came_to(execution.token, value, error)
