"""Dags that a flow calls: each is a run of its own, whose end is the end of the flow's child."""

from collections.abc import Mapping
from typing import Any, Protocol

import msgspec

from plait.authoring.dag import Dag
from plait.authoring.params import bound_params
from plait.engine.run import TaskRun
from plait.model.errors import EngineError
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import Outcome, RetryVerdict, Stored, Verdict
from plait.model.states import RunState
from plait.model.stimuli import ExecutionFinished
from plait.ports import ResultStore
from plait.runtime.calls import Calls
from plait.runtime.ends import Ends
from plait.runtime.futures import resolved
from plait.runtime.hosted import Hosted
from plait.runtime.scheduler import Scheduler
from plait.worker.failures import error_info


class Starter(Protocol):
    """Starts runs in this process, and goes on with them."""

    def start(
        self,
        workflow: Dag[..., Any],
        params: Mapping[str, Any],
        *,
        date: str | None = None,
        partition: str | None = None,
        parent: str | None = None,
    ) -> RunId:
        """Make a run of a workflow."""
        ...

    def go_on(self, run_id: RunId, workflow: Dag[..., Any]) -> None:
        """Take over a run that has not succeeded."""
        ...


class SubRuns:
    """Starts the runs of dags that bodies call, and reports their ends."""

    def __init__(self, scheduler: Scheduler, starter: Starter, calls: Calls, ends: Ends, results: ResultStore):
        self._scheduler = scheduler
        self._starter = starter
        self._calls = calls
        self._ends = ends
        self._results = results

    def start(self, hosted: Hosted, task: TaskRun, token: Token) -> None:
        """A child that is a dag was handed out: start its run or, after a crash, go on with the one from then."""
        call = self._calls.of(hosted.run.run_id, task.no)
        if call is None:
            raise EngineError(f"the call of {task.label()} is not known in this process")
        parent = f"{hosted.run.run_id}/{task.no}"
        known = self._scheduler.store.list_runs(parent=parent, limit=1)
        try:
            if known:
                self._starter.go_on(known[0].run_id, call.callee)
                if known[0].state == RunState.SUCCESS.value:
                    self.ended(self._scheduler.runs[known[0].run_id])
                return
            args, kwargs = call.with_each(resolved)
            params = bound_params(call.callee.fn, call.callee.name, tuple(args), kwargs)
            row = hosted.row
            self._starter.start(call.callee, params, date=row.logical_date, partition=row.partition, parent=parent)
        except Exception as error:  # noqa: BLE001  a parameter is wrong: the child fails, as if the dag had raised it
            call.future.came_to(token, None, error)
            self._report(hosted.run.run_id, task.no, token, _failed(error))

    def ended(self, sub: Hosted) -> None:
        """A run is over: if a flow's child is waiting for it, that ends as well."""
        parent_id, _, no = (sub.row.parent or "").rpartition("/")
        hosted = self._scheduler.runs.get(RunId(parent_id))
        task = hosted.run.tasks.get(TaskNo(int(no))) if hosted is not None else None
        if hosted is None or task is None:
            return
        if sub.run.state is RunState.SUCCESS:
            outcome = self._succeeded(hosted, task, sub)
        else:
            error = self._ends.error_of(sub)
            call = self._calls.of(hosted.run.run_id, task.no)
            if call is not None:
                call.future.came_to(task.token, None, error)
            outcome = _failed(error)
            if sub.run.state is RunState.CANCELLED:
                outcome = msgspec.structs.replace(outcome, verdict=Verdict.CANCELLED)
        self._report(hosted.run.run_id, task.no, task.token, outcome)

    def _succeeded(self, hosted: Hosted, task: TaskRun, sub: Hosted) -> Outcome:
        """The value of a single task is where it is; those of a mapped one become one list."""
        if sub.graph.result is None:
            return Outcome()
        key, output = sub.graph.result
        result = sub.run.current(key)
        if result is not None:
            stored = sub.outputs.get([result.no]).get(result.no, {}).get(output)
            return Outcome(outputs={"result": stored} if stored is not None else {})
        name = f"{hosted.run.run_id}/{task.no}/{task.token}/result"
        return Outcome(outputs={"result": self._stored(self._ends.result_of(sub), name)})

    def _stored(self, value: Any, name: str) -> Stored:
        return self._results.put(value, name)

    def _report(self, run_id: RunId, no: TaskNo, token: Token, outcome: Outcome) -> None:
        now = self._scheduler.clock.now()
        outcome = msgspec.structs.replace(outcome, finished_at=now)
        self._scheduler.post(run_id, ExecutionFinished(no=no, token=token, outcome=outcome))


def _failed(error: BaseException) -> Outcome:
    return Outcome(verdict=Verdict.FAILED, error=error_info(error), retry=RetryVerdict.NEVER)
