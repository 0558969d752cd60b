"""Carrying out commands, after their events were committed: submit, cancel, timers, slots, watches, sub-runs."""

from collections.abc import Callable, Sequence
from typing import Any

from plait.engine.run import TaskRun
from plait.model import commands as c
from plait.model.errors import StoreError
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import ErrorInfo, Outcome, RetryVerdict, Verdict
from plait.model.policies import LimitUse
from plait.model.rows import LimitRow
from plait.model.states import LIVE, RUN_TERMINAL
from plait.model.stimuli import CancelRequested, ExecutionFinished, SlotsGranted, SlotsRefused, encode_stimulus
from plait.model.wire import Execution
from plait.runtime.binding import upstream_of, versions_of
from plait.runtime.hosted import Hosted
from plait.runtime.shell import Shell
from plait.runtime.wait_nodes import WAITS
from plait.runtime.watching import Watching, fired

SubRun = Callable[[Hosted, TaskRun, Token], None]
WaitNode = Callable[[TaskRun, Execution], None]
StartTrigger = Callable[[Hosted, TaskRun, dict[str, Any] | None], None]


class CommandCarrier:
    """Carries out what a scheduler's runs want done."""

    def __init__(self, scheduler: Shell):
        self._scheduler = scheduler
        self._submissions: dict[str, list[Execution]] = {}
        self._leaving: dict[RunId, Token] = {}
        self.watching = Watching(scheduler)
        self._begun: set[tuple[RunId, Token]] = set()
        self.pickled: dict[tuple[RunId, TaskNo], Callable[[], bytes]] = {}
        """Makes the pickled calls of flows' children that run in other processes."""
        self.inline: dict[tuple[RunId, TaskNo], Callable[[Execution], None]] = {}
        """Who takes an execution that runs on the caller's own thread."""
        self.grants: dict[tuple[RunId, TaskNo], Callable[[], None]] = {}
        """Who waits for the slots of a body that goes on after it was blocked."""
        self.start_sub_run: SubRun = _no_sub_runs
        self.start_trigger: StartTrigger = _no_triggers
        self.wait_node: WaitNode | None = None
        """Who answers the executions of nodes that only wait."""
        self.on_end: list[Callable[[Hosted], None]] = []
        self.on_release: list[Callable[[RunId], None]] = []
        """Told of each run that this process hosts no longer, whatever has become of it."""
        self.rechecks: list[Callable[[], None]] = [self.watching.recheck]
        """Look in the store at what another process may have changed."""
        self._handlers: dict[type, Callable[[Hosted, Any], None]] = {
            c.Execute: self._execute,
            c.CancelExecution: self._cancel,
            c.SetTimer: self._set_timer,
            c.RequestSlots: self._request_slots,
            c.ReleaseSlots: self._release_slots,
            c.AddWatch: self._add_watch,
            c.StartTrigger: self._start_trigger,
            c.StartRun: self._start_run,
            c.RunEnded: self._run_ended,
        }

    def carry_out(self, batch: Sequence[tuple[Hosted, c.Command]]) -> None:
        """Carry out these commands in order; executions go to their executors in one call each."""
        for hosted, command in batch:
            if hosted.error is not None:
                continue
            try:
                self._handlers[type(command)](hosted, command)
            except Exception as error:  # noqa: BLE001  one command that cannot be carried out fails its run alone
                self._scheduler.fail([hosted], error)
        leaving, self._leaving = self._leaving, {}
        for run_id in leaving:  # before its worker can take it over
            self._scheduler.release(run_id)
        self._scheduler.handed_over.update(leaving)
        submissions, self._submissions = self._submissions, {}
        for name, executions in submissions.items():
            self._scheduler.executors[name].submit(executions)

    # --- executions ---------------------------------------------------------------------------------------------------

    def execution(self, hosted: Hosted, command: c.Execute) -> Execution | None:
        """What goes to the worker, or none when the task run has moved on in the meantime."""
        task = hosted.run.tasks.get(command.no)
        if task is None or task.token != command.token or task.state not in LIVE:
            return None
        return self._made(hosted, task, command.resume)

    def begin_inline(self, hosted: Hosted, task: TaskRun) -> Execution:
        """The execution of a task run that was just dispatched to the calling thread itself; its command is not carried
        out a second time."""
        self._begun.add((hosted.run.run_id, task.token))
        return self._made(hosted, task, None)

    def _made(self, hosted: Hosted, task: TaskRun, resume: Any) -> Execution:
        spec = task.node.spec
        pickled = self.pickled.get((hosted.run.run_id, task.no))
        return Execution(
            run=hosted.info,
            no=task.no,
            token=task.token,
            key=task.key,
            path=task.path,
            attempt=task.attempt,
            max_attempts=spec.retry.limit + 1,
            runner=spec.runner,
            timeout=spec.timeout,
            upstream=upstream_of(hosted, task) if spec.inputs else {},
            versions=versions_of(hosted, task) if "assets" in spec.metadata else {},
            call=pickled() if pickled is not None else None,
            child=task.child,
            code=spec.code if task.child is not None else None,
            resume=resume,
        )

    def _execute(self, hosted: Hosted, command: c.Execute) -> None:
        if (hosted.run.run_id, command.token) in self._begun:
            self._begun.discard((hosted.run.run_id, command.token))
            return
        execution = self.execution(hosted, command)
        if execution is None:
            return
        task = hosted.run.tasks[command.no]
        if self.wait_node is not None and task.node.spec.executor == WAITS:
            self.wait_node(task, execution)
            return
        taker = self.inline.get((hosted.run.run_id, command.no))
        if taker is not None:
            taker(execution)
            return
        name = self._scheduler.executor_of(command.executor)
        if name not in self._scheduler.executors:
            known = ", ".join(sorted(self._scheduler.executors))
            error = ErrorInfo(type="UsageError", message=f"there is no executor {name!r} here; known: {known}")
            outcome = Outcome(verdict=Verdict.FAILED, error=error, retry=RetryVerdict.NEVER)
            self._scheduler.post(
                hosted.run.run_id, ExecutionFinished(no=command.no, token=command.token, outcome=outcome)
            )
            return
        self._submissions.setdefault(name, []).append(execution)
        if self._scheduler.executors[name].capabilities.takes_runs:
            self._leaving[hosted.run.run_id] = command.token

    def _cancel(self, hosted: Hosted, command: c.CancelExecution) -> None:
        for executor in self._scheduler.executors.values():
            executor.cancel(hosted.run.run_id, command.token, command.reason)
        task = hosted.run.tasks.get(command.no)
        if task is not None and task.node.spec.runner == "run":
            self._cancel_sub_run(hosted, task, command.reason)

    def _cancel_sub_run(self, hosted: Hosted, task: TaskRun, reason: str) -> None:
        parent = f"{hosted.run.run_id}/{task.no}"
        request = CancelRequested(reason=reason)
        for row in self._scheduler.store.list_runs(parent=parent):
            if row.run_id in self._scheduler.runs:
                self._scheduler.post(row.run_id, request)
            elif row.state not in RUN_TERMINAL:
                self._scheduler.store.put_inbox(row.run_id, encode_stimulus(request))

    # --- waits --------------------------------------------------------------------------------------------------------

    def _set_timer(self, hosted: Hosted, command: c.SetTimer) -> None:
        self._scheduler.timers.set(hosted.run.run_id, command)
        self._scheduler.nudge()

    def declare(self, uses: Sequence[LimitUse]) -> None:
        """Give the limits a size that the definition itself declares."""
        limits = self._scheduler.limits
        new = [use for use in uses if use.size is not None and limits.sizes.get(use.key) != use.size]
        if new:
            self._scheduler.store.save_limits([LimitRow(key=use.key, slots=use.size or 0) for use in new])
            for use in new:
                limits.resize(use.key, use.size or 0)

    def _request_slots(self, hosted: Hosted, command: c.RequestSlots) -> None:
        self.declare(command.uses)
        said = self._scheduler.limits.impossible(command.uses)
        if said is not None:
            self._scheduler.post(hosted.run.run_id, SlotsRefused(no=command.no, reason=said))
            return
        uses = self._scheduler.limits.bounded(command.uses)
        if uses:
            self._scheduler.limits.request((hosted.run.run_id, command.no), uses, command.priority)
        else:
            self._scheduler.post(hosted.run.run_id, SlotsGranted(no=command.no))
            self.slots_granted(hosted.run.run_id, command.no)

    def _release_slots(self, hosted: Hosted, command: c.ReleaseSlots) -> None:
        self._scheduler.limits.release((hosted.run.run_id, command.no))

    def _add_watch(self, hosted: Hosted, command: c.AddWatch) -> None:
        said = self.watching.add(hosted, command)
        if said is not None:
            self._scheduler.post(hosted.run.run_id, fired(command.no, command.index, said))

    def _start_trigger(self, hosted: Hosted, command: c.StartTrigger) -> None:
        task = hosted.run.tasks.get(command.no)
        if task is not None:
            self.start_trigger(hosted, task, command.trigger)

    def _start_run(self, hosted: Hosted, command: c.StartRun) -> None:
        task = hosted.run.tasks.get(command.no)
        if task is None or task.token != command.token:
            return
        try:
            self.start_sub_run(hosted, task, command.token)
        except StoreError:  # whether there is a run now nobody knows: whoever goes on with this one looks
            raise
        except Exception as error:  # noqa: BLE001  the workflow is unknown, a parameter wrong: the task fails, the run decides
            info = ErrorInfo(type=type(error).__name__, message=str(error))
            outcome = Outcome(verdict=Verdict.FAILED, error=info, retry=RetryVerdict.NEVER)
            self._scheduler.post(hosted.run.run_id, ExecutionFinished(no=task.no, token=command.token, outcome=outcome))

    def slots_granted(self, run_id: RunId, no: TaskNo) -> None:
        """A task run got its slots: tell a body that waits for them."""
        waiter = self.grants.get((run_id, no))
        if waiter is not None:
            waiter()

    # --- ends ---------------------------------------------------------------------------------------------------------

    def _run_ended(self, hosted: Hosted, command: c.RunEnded) -> None:
        run_id = hosted.run.run_id
        self._scheduler.timers.forget_run(run_id)
        self._scheduler.limits.forget_run(run_id)
        for callback in self.on_end:
            callback(hosted)
        self.watching.run_ended(hosted)
        hosted.ended.set()

    def forget(self, run_id: RunId) -> None:
        """A run is hosted here no longer."""
        for places in (self.pickled, self.inline, self.grants):
            for place in [each for each in places if each[0] == run_id]:
                places.pop(place, None)
        self._begun = {each for each in self._begun if each[0] != run_id}
        for callback in self.on_release:
            callback(run_id)

    def run_failed(self, hosted: Hosted, error: BaseException) -> None:
        """A run cannot go on in this process: tell who waits in it."""
        for callback in self.on_end:
            callback(hosted)


def _no_sub_runs(hosted: Hosted, task: TaskRun, token: Token) -> None:
    raise NotImplementedError("this scheduler has nobody who starts other workflows")


def _no_triggers(hosted: Hosted, task: TaskRun, trigger: dict[str, Any] | None) -> None:
    if trigger is not None:
        raise NotImplementedError("this scheduler has no triggerer")
