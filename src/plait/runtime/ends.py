"""What runs came to, as objects: a run's value, or the exception of its first failure. What is not live is read."""

from collections.abc import Mapping
from typing import Any

from plait.authoring.io import IOManager
from plait.authoring.signals import TaskCancelled
from plait.engine.run import TaskRun
from plait.model.errors import TaskFailed
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import Stored
from plait.model.states import RunState, TaskState
from plait.ports import ResultStore
from plait.runtime.binding import ordered
from plait.runtime.hosted import Hosted
from plait.worker.failures import exception_of
from plait.worker.loops import is_cancellation
from plait.worker.values import load_value

FAILED = (TaskState.FAILED, TaskState.CRASHED)


class Ends:
    """Keeps the live values and exceptions of top-level bodies, and reads all others."""

    def __init__(self, results: ResultStore):
        self._results = results
        self._live: dict[RunId, dict[tuple[TaskNo, Token], tuple[Any, BaseException | None]]] = {}

    def keep(self, run_id: RunId, no: TaskNo, token: Token, value: Any, error: BaseException | None = None) -> None:
        """Keep what an execution came to, until the run is forgotten."""
        self._live.setdefault(run_id, {})[no, token] = (value, error)

    def forget(self, run_id: RunId) -> None:
        """Nobody asks for this run any more."""
        self._live.pop(run_id, None)

    def value_of(self, hosted: Hosted, task: TaskRun, output: str = "result") -> Any:
        """The value of a success: the live one if it is here, else what was stored."""
        live = self._live.get(hosted.run.run_id, {}).get((task.no, task.token))
        if live is not None:
            return live[0]
        stored = hosted.outputs.get([task.no]).get(task.no, {}).get(output)
        return self._results.get(stored) if stored is not None else None

    def exception_of(self, hosted: Hosted, task: TaskRun) -> BaseException | None:
        """The exception of a failure: the live one if it is here, else the one that was recorded."""
        live = self._live.get(hosted.run.run_id, {}).get((task.no, task.token))
        if live is not None and live[1] is not None:
            return live[1]
        return exception_of(task.error) if task.error is not None else None

    def error_of(self, hosted: Hosted) -> BaseException:
        """Why a run did not succeed: the interrupt that ended its body, else its first failure as the exception that it
        was (its body's, else that of a task), else the reason that the run gives."""
        run = hosted.run
        for _, error in self._live.get(run.run_id, {}).values():
            if error is not None and (isinstance(error, KeyboardInterrupt) or is_cancellation(error)):
                return error
        failed = [task for task in run.tasks.values() if task.state in FAILED]
        if run.state is not RunState.CANCELLED:
            for task in sorted(failed, key=lambda t: (t.child is not None, t.no)):
                error = self.exception_of(hosted, task)
                if error is not None and not isinstance(error, TaskCancelled):
                    return error
        return TaskFailed(f"run {run.run_id} of {hosted.graph.name!r} is {run.state.value}: {run.reason}")

    def result_of(self, hosted: Hosted) -> Any:
        """A run's value: of a mapped task the list of all. Raises its first failure when it has not succeeded."""
        run = hosted.run
        if run.state is not RunState.SUCCESS:
            raise self.error_of(hosted)
        if hosted.graph.result is None:
            return None
        key, output = hosted.graph.result
        node = run.plan.nodes[key]
        found = [task for task in ordered(run, node, ()) if task.state is TaskState.SUCCESS]
        if not node.depth:
            return self.value_of(hosted, found[0], output) if found else None
        outputs = hosted.outputs.get([task.no for task in found])
        stored = [outputs.get(task.no, {}).get(output) for task in found]
        return [self._results.get(each) if each is not None else None for each in stored]

    def assets_of(self, hosted: Hosted, managers: Mapping[str, IOManager]) -> dict[str, Any]:
        """The values of the assets that a run has made, by key. Raises the first failure of a run that has not
        succeeded."""
        if hosted.run.state is not RunState.SUCCESS:
            raise self.error_of(hosted)
        found: dict[str, Any] = {}
        for task in hosted.run.tasks.values():
            outputs = task.node.spec.outputs if task.node.spec.runner == "asset" else ()
            if outputs and task.state is TaskState.SUCCESS:
                stored = hosted.outputs.get([task.no]).get(task.no, {})
                for output in outputs:
                    if output.asset is not None and output.name in stored:
                        found[output.asset] = self._loaded(stored[output.name], managers)
        return found

    def _loaded(self, stored: Stored, managers: Mapping[str, IOManager]) -> Any:
        return load_value(stored, managers, self._results.get)
