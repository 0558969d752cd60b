"""Event waits of deferred task runs that the scheduler answers itself; all others go to the triggerer.

- `{"kind": "run", ...}`: until a run of another workflow is over, which it starts (`node_runs`);
- `{"kind": "run_over", "run_id": ...}`: until a run that is there already is over;
- `{"kind": "task", "no": 7}`: until another task run of the same run is over. A flow's body that is suspended leaves
  its process this way, until the child is over that waits for an event or for a person's input.
"""

from typing import Any

from plait.engine.decide import Decision
from plait.engine.run import TaskRun
from plait.model.ids import RunId, TaskNo, Token
from plait.model.states import RUN_TERMINAL, RunState
from plait.model.stimuli import TriggerFired
from plait.runtime.carry_out import StartTrigger
from plait.runtime.hosted import Hosted
from plait.runtime.node_runs import NodeRuns
from plait.runtime.scheduler import Scheduler


class OwnTriggers:
    """Answers a scheduler's own kinds of triggers. `others` starts (or, for none, drops) all other ones; so it does
    those of the kind `run` where there are no `runs` to start."""

    def __init__(self, scheduler: Scheduler, runs: NodeRuns | None, others: StartTrigger):
        self._scheduler = scheduler
        self._runs = runs
        self._others = others
        self._waiting: dict[tuple[RunId, TaskNo], set[TaskNo]] = {}
        self._awaited: dict[RunId, dict[tuple[RunId, TaskNo], Token]] = {}
        """Who waits for other runs, by these."""
        scheduler.carrier.start_trigger = self.start
        scheduler.carrier.on_end.append(self._run_ended)
        scheduler.carrier.rechecks.append(self._look)
        scheduler.observers.append(self._observe)

    def start(self, hosted: Hosted, task: TaskRun, trigger: dict[str, Any] | None) -> None:
        """A task run was deferred; or, without a trigger, its wait is over."""
        match trigger:
            case {"kind": "run"} if self._runs is not None:
                self._runs.start_trigger(hosted, task, trigger)
            case {"kind": "run_over", "run_id": run_id}:
                self._until_run_over(hosted, task, RunId(run_id))
            case {"kind": "task", "no": no}:
                self._until_over(hosted, task, TaskNo(no))
            case _:
                self._others(hosted, task, trigger)

    # --- another run --------------------------------------------------------------------------------------------------

    def _until_run_over(self, hosted: Hosted, task: TaskRun, run_id: RunId) -> None:
        waits = self._awaited.setdefault(run_id, {})
        waits[hosted.run.run_id, task.no] = task.token
        self._look_at(run_id)

    def _look(self) -> None:
        """Another process may have ended a run."""
        for run_id in list(self._awaited):
            self._look_at(run_id)

    def _look_at(self, run_id: RunId) -> None:
        row = self._scheduler.store.get_run(run_id)
        if row is None or RunState(row.state) in RUN_TERMINAL:
            self._tell(run_id, row.state if row is not None else None)

    def _tell(self, run_id: RunId, state: str | None) -> None:
        """An event for a wait that is over already changes nothing: the engine knows by its token."""
        error = f"there is no run {run_id}" if state is None else None
        for (waits_in, no), token in self._awaited.pop(run_id, {}).items():
            said = TriggerFired(no=no, token=token, payload=state, error=error)
            self._scheduler.post(waits_in, said)

    # --- another task run ---------------------------------------------------------------------------------------------

    def _until_over(self, hosted: Hosted, task: TaskRun, no: TaskNo) -> None:
        awaited = hosted.run.tasks.get(no)
        if awaited is None or awaited.terminal:
            self._fire(hosted, task.no, awaited)
        else:
            self._waiting.setdefault((hosted.run.run_id, no), set()).add(task.no)

    def _observe(self, hosted: Hosted, decision: Decision) -> None:
        if self._waiting:
            for task in decision.touched:
                if task.terminal:
                    for no in self._waiting.pop((hosted.run.run_id, task.no), ()):
                        self._fire(hosted, no, task)

    def _fire(self, hosted: Hosted, no: TaskNo, over: TaskRun | None) -> None:
        state = over.state.value if over is not None else None
        self._scheduler.post(hosted.run.run_id, TriggerFired(no=no, payload={"state": state}))

    def _run_ended(self, hosted: Hosted) -> None:
        run_id = hosted.run.run_id
        for place in [place for place in self._waiting if place[0] == run_id]:
            del self._waiting[place]
        for waits in self._awaited.values():
            for place in [place for place in waits if place[0] == run_id]:
                del waits[place]
        if hosted.run.state in RUN_TERMINAL:
            self._tell(run_id, hosted.run.state.value)
