"""Runs of other workflows that a graph's own tasks start: nodes whose runner is `run`, and deferred tasks whose trigger
is of the kind `run`.

A node of the runner `run` is the sub-run: it ends as that ends. A deferred task has asked for a run in its own words
(rendered parameters, a date; `{"kind": "run", "workflow": ..., "params": {...}, "logical_date": ..., "wait": true}`),
sleeps until it is over, and judges its state itself when it resumes with `{"run_id": ..., "state": ...}`; without
`wait` it resumes at once. A run names its parent (`run id/task number`), so after a restart it is found again and not
started twice; a further attempt starts one of its own.
"""

from collections.abc import Callable
from typing import Any

import msgspec

from plait.engine.run import TaskRun
from plait.model.errors import UsageError
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import ErrorInfo, Outcome, RetryVerdict, Stored, Verdict
from plait.model.rows import RunRow
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState
from plait.model.stimuli import ExecutionFinished, TriggerFired
from plait.runtime.hosted import Hosted
from plait.runtime.scheduler import RunRequest, Scheduler

Find = Callable[[str], RunRequest | None]
"""What is known of a run of a workflow before it is asked for: its graph, where its code lies."""


class NodeRuns:
    """Starts them in the same scheduler, and tells the tasks that wait how they ended. `find` knows the workflows."""

    def __init__(self, scheduler: Scheduler, find: Find):
        self._scheduler = scheduler
        self._find = find
        self._awaited: dict[tuple[RunId, TaskNo], RunId] = {}
        """Runs that tasks here wait for. Another process may come to host them, when they or their tasks' runs fail
        here, or have a new owner."""
        scheduler.carrier.start_sub_run = self.start_node
        scheduler.carrier.on_end.append(self.ended)
        scheduler.carrier.rechecks.append(self.recheck)

    def start_node(self, hosted: Hosted, task: TaskRun, token: Token) -> None:
        """A node that is a run was handed out."""
        known = self._known(hosted, task)
        if known is not None and known.state in RUN_TERMINAL:
            self._report(hosted, task, known.run_id, known.state)
            return
        wanted = {"workflow": task.node.spec.workflow, "logical_date": hosted.row.logical_date}
        run_id = known.run_id if known is not None else self._create(hosted, task, wanted)
        self._awaited[hosted.run.run_id, task.no] = run_id

    def start_trigger(self, hosted: Hosted, task: TaskRun, trigger: dict[str, Any]) -> None:
        """A task was deferred until a run is over (or, without `wait`, only asks for it)."""
        known = self._known(hosted, task)
        if known is not None and known.state in RUN_TERMINAL:
            self._report(hosted, task, known.run_id, known.state)
            return
        run_id = known.run_id if known is not None else self._create(hosted, task, trigger)
        if trigger.get("wait", True):
            self._awaited[hosted.run.run_id, task.no] = run_id
        else:
            self._resume(hosted, task, run_id, RunState.RUNNING.value)

    def _known(self, hosted: Hosted, task: TaskRun) -> RunRow | None:
        """The run that this attempt of a task has started already."""
        found = self._scheduler.store.list_runs(parent=_parent(hosted, task), limit=1)
        return found[0] if found and found[0].extra.get("attempt") == _attempt(task) else None

    def _create(self, hosted: Hosted, task: TaskRun, wanted: dict[str, Any]) -> RunId:
        known = self._find(wanted["workflow"])
        if known is None:
            raise UsageError(f"{task.label()} starts the workflow {wanted['workflow']!r}, which is not known")
        return self._scheduler.create(
            msgspec.structs.replace(
                known,
                params=msgspec.json.encode(wanted.get("params", {})),
                logical_date=wanted.get("logical_date"),
                partition=hosted.row.partition,
                parent=_parent(hosted, task),
                session=hosted.row.session,
                extra={"attempt": _attempt(task)},
            )
        )

    def recheck(self) -> None:
        """Another process may have ended a run that a task here waits for."""
        for (run_id, no), sub_run in list(self._awaited.items()):
            hosted = self._scheduler.runs.get(run_id)
            task = hosted.run.tasks.get(no) if hosted is not None else None
            if hosted is None or task is None or task.terminal:
                del self._awaited[run_id, no]
            elif sub_run not in self._scheduler.runs:
                row = self._scheduler.store.get_run(sub_run)
                if row is None or row.state in RUN_TERMINAL:
                    self._report(hosted, task, sub_run, row.state if row is not None else "deleted")
                    del self._awaited[run_id, no]

    # --- ends ---------------------------------------------------------------------------------------------------------

    def ended(self, sub: Hosted) -> None:
        """A run is over: tell the task that waits for it, if one does."""
        parent_id, _, no = (sub.row.parent or "").rpartition("/")
        hosted = self._scheduler.runs.get(RunId(parent_id))
        task = hosted.run.tasks.get(TaskNo(int(no))) if hosted is not None else None
        if hosted is None or task is None or sub.error is not None:
            return
        if sub.row.extra.get("attempt") == _attempt(task):
            self._report(hosted, task, sub.run.run_id, sub.run.state.value)
            self._awaited.pop((hosted.run.run_id, task.no), None)  # now: if the store fails, it is looked at again

    def _report(self, hosted: Hosted, task: TaskRun, run_id: RunId, state: str) -> None:
        if task.state is TaskState.DEFERRED:
            self._resume(hosted, task, run_id, state)
        elif task.state in LIVE:
            outcome = self._outcome(run_id, state)
            self._scheduler.post(hosted.run.run_id, ExecutionFinished(no=task.no, token=task.token, outcome=outcome))

    def _resume(self, hosted: Hosted, task: TaskRun, run_id: RunId, state: str) -> None:
        payload = {"run_id": run_id, "state": state}
        self._scheduler.post(hosted.run.run_id, TriggerFired(no=task.no, payload=payload))

    def _outcome(self, run_id: RunId, state: str) -> Outcome:
        if state == RunState.SUCCESS.value:
            return Outcome(outputs=self._result(run_id))
        error = ErrorInfo(type="SubRunFailed", message=f"run {run_id} is {state}")
        verdict = Verdict.CANCELLED if state == RunState.CANCELLED.value else Verdict.FAILED
        return Outcome(verdict=verdict, error=error, retry=RetryVerdict.POLICY)

    def _result(self, run_id: RunId) -> dict[str, Stored]:
        """The value of a run, where one task of it is that."""
        hosted = self._scheduler.runs.get(run_id)
        if hosted is None:
            return self._stored_result(run_id)
        if hosted.graph.result is None:
            return {}
        key, output = hosted.graph.result
        task = hosted.run.current(key)
        stored = hosted.outputs.get([task.no]).get(task.no, {}).get(output) if task is not None else None
        return {"result": stored} if stored is not None else {}

    def _stored_result(self, run_id: RunId) -> dict[str, Stored]:
        """The value of a run that ended elsewhere."""
        store = self._scheduler.store
        row = store.get_run(run_id)
        graph = store.load_graph(row.graph_hash) if row is not None else None
        if graph is None or graph.result is None:
            return {}
        key, output = graph.result
        no = next((each.no for each in store.tasks(run_id) if (each.key, tuple(each.path)) == (key, ())), None)
        stored = store.outputs(run_id, [no]).get(no, {}).get(output) if no is not None else None
        return {"result": stored} if stored is not None else {}


def _attempt(task: TaskRun) -> int:
    """Which attempt it is at; a deferral has given its number back."""
    return task.attempt + (task.state is TaskState.DEFERRED)


def _parent(hosted: Hosted, task: TaskRun) -> str:
    return f"{hosted.run.run_id}/{task.no}"
