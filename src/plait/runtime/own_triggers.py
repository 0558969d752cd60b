"""Event waits of deferred task runs that the scheduler answers itself; all others go to the triggerer.

- `{"kind": "run", ...}`: until a run of another workflow is over (`node_runs`);
- `{"kind": "task", "no": 7}`: until another task run of the same run is over. A flow's body that is suspended leaves
  its process this way, until the child is over that waits for a person's input.
"""

from typing import Any

from plait.engine.decide import Decision
from plait.engine.run import TaskRun
from plait.model.ids import RunId, TaskNo
from plait.model.stimuli import TriggerFired
from plait.runtime.carry_out import StartTrigger
from plait.runtime.hosted import Hosted
from plait.runtime.node_runs import NodeRuns
from plait.runtime.scheduler import Scheduler


class OwnTriggers:
    """Answers a scheduler's own kinds of triggers. `others` starts (or, for none, drops) all other ones."""

    def __init__(self, scheduler: Scheduler, runs: NodeRuns, others: StartTrigger):
        self._scheduler = scheduler
        self._runs = runs
        self._others = others
        self._waiting: dict[tuple[RunId, TaskNo], set[TaskNo]] = {}
        scheduler.carrier.start_trigger = self.start
        scheduler.carrier.on_end.append(self._run_ended)
        scheduler.observers.append(self._observe)

    def start(self, hosted: Hosted, task: TaskRun, trigger: dict[str, Any] | None) -> None:
        """A task run was deferred; or, without a trigger, its wait is over."""
        match (trigger or {}).get("kind"):
            case "run":
                self._runs.start_trigger(hosted, task, trigger or {})
            case "task":
                self._until_over(hosted, task, TaskNo((trigger or {})["no"]))
            case _:
                self._others(hosted, task, trigger)

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
        for place in [place for place in self._waiting if place[0] == hosted.run.run_id]:
            del self._waiting[place]
