"""Which runs may start: their workflow's number of active runs and its pause, and the failures that lead to a pause."""

from collections.abc import Iterable

from plait.engine.admission import Admission, admit, after_run, pause
from plait.engine.limits import RUN, runs_limit
from plait.model.ids import RunId
from plait.model.policies import LimitUse
from plait.model.rows import LimitRow, WorkflowRow
from plait.model.states import RUN_TERMINAL
from plait.model.stimuli import CancelRequested, RunAdmitted, Stimulus, encode_stimulus
from plait.runtime.hosted import Hosted
from plait.runtime.shell import Shell


class RunAdmission:
    """Starts a scheduler's runs, or lets them wait. A place among the active runs is a slot of the workflow's limit, so
    it holds across processes."""

    def __init__(self, scheduler: Shell):
        self._scheduler = scheduler
        self._held_back: dict[str, list[RunId]] = {}

    def admit(self, hosted: Hosted) -> None:
        """A run was made, or found queued: start it as soon as its workflow allows. Somebody has to `pump`
        afterwards."""
        run_id, policy = hosted.run.run_id, hosted.graph.policy
        held = hosted.row.extra.get("triggered", False) and self.remembered(hosted).paused
        answer = admit(policy, self._active(hosted), held=held)
        if answer is Admission.HOLD:
            self._held_back.setdefault(hosted.graph.name, []).append(run_id)
        elif answer is Admission.CANCEL_NEW:
            reason = f"{hosted.graph.name!r} has {policy.max_active_runs} active runs already"
            self._decide(hosted, CancelRequested(reason=reason))
        elif policy.max_active_runs is None:
            self._decide(hosted, RunAdmitted(lengths=hosted.row.extra.get("lengths", {})))
        else:
            if answer is Admission.CANCEL_OLDEST:
                self._cancel(self._active(hosted)[0], f"replaced by run {run_id}")
            self.take_place(hosted)

    def _decide(self, hosted: Hosted, stimulus: Stimulus) -> None:
        self._scheduler.decide(hosted, stimulus, self._scheduler.clock.now())

    def take_place(self, hosted: Hosted) -> None:
        """Get in line for a place among the active runs, if there is a limit to them."""
        most = hosted.graph.policy.max_active_runs
        if most is not None:
            key = self._declared(hosted, most)
            self._scheduler.limits.request((hosted.run.run_id, RUN), (LimitUse(key=key),))

    def _cancel(self, run_id: RunId, reason: str) -> None:
        """Here, or wherever the run is hosted: its owner looks into its inbox."""
        if run_id in self._scheduler.runs:
            self._scheduler.post(run_id, CancelRequested(reason=reason))
        else:
            self._scheduler.store.put_inbox(run_id, encode_stimulus(CancelRequested(reason=reason)))

    def _declared(self, hosted: Hosted, most: int) -> str:
        key = runs_limit(hosted.graph.name)
        self._scheduler.store.save_limits([LimitRow(key=key, slots=most)])
        self._scheduler.limits.resize(key, most)
        return key

    def _active(self, hosted: Hosted) -> list[RunId]:
        """Who has a place, oldest first: ids sort by time."""
        if hosted.graph.policy.max_active_runs is None:
            return []
        return sorted(slot.run_id for slot in self._scheduler.store.slots(runs_limit(hosted.graph.name)))

    # --- pauses -------------------------------------------------------------------------------------------------------

    def remembered(self, hosted: Hosted) -> WorkflowRow:
        """What is remembered of a run's workflow."""
        known = self._scheduler.store.workflow(hosted.graph.name)
        return known if known is not None else WorkflowRow(name=hosted.graph.name, kind=hosted.graph.kind)

    def after(self, changed: Iterable[Hosted]) -> list[WorkflowRow]:
        """What is to be remembered of workflows now that runs have ended, where somebody asks for it."""
        rows: dict[str, WorkflowRow] = {}
        for hosted in changed:
            policy, name = hosted.graph.policy, hosted.graph.name
            if policy.pause_after_failures is not None and hosted.run.state in RUN_TERMINAL:
                rows[name] = after_run(policy, rows.get(name) or self.remembered(hosted), hosted.run.state)
        return list(rows.values())

    def pause(self, workflow: str, *, paused: bool) -> None:
        """Hold back what triggers start; or let it start, in its order, with no failures counted."""
        row = self._scheduler.store.workflow(workflow) or WorkflowRow(name=workflow)
        with self._scheduler.store.transaction() as tx:
            tx.save_workflow(pause(row, paused=paused))
        if not paused:
            self._let_go(workflow)

    def recheck(self) -> None:
        """Another process may have let workflows go on."""
        for workflow in list(self._held_back):
            row = self._scheduler.store.workflow(workflow)
            if row is None or not row.paused:
                self._let_go(workflow)

    def _let_go(self, workflow: str) -> None:
        for run_id in self._held_back.pop(workflow, ()):
            hosted = self._scheduler.runs.get(run_id)
            if hosted is not None and hosted.run.state not in RUN_TERMINAL:
                self.admit(hosted)
