"""A session: this process hosts runs of its own, as scripts, notebooks, tests and `plait run` do.

Flow bodies run on the thread (or event loop) that waits for the run; plain calls of tasks in them run there too,
decided inline. What is submitted goes to the session's executors. One thread fires timers and commits what was
decided in the background; one keeps the lease.
"""

from __future__ import annotations

import logging
import queue
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from plait.authoring.flow import Flow
from plait.authoring.limits import declared
from plait.authoring.live import LiveGraph
from plait.authoring.params import bound_params
from plait.engine.decide import Decision
from plait.engine.run import Run
from plait.model.errors import StaleToken, UsageError
from plait.model.ids import RunId
from plait.model.rows import RunRow
from plait.model.states import RUN_TERMINAL, RunState
from plait.model.stimuli import CancelRequested, ClearRequested, InputReceived, encode_stimulus
from plait.model.wire import Execution
from plait.ports import Capturing, Clock, EventBus, Executor, IdSource, PartitionStore, ResultStore, Runner, RunStore
from plait.runtime.bodies import Bodies
from plait.runtime.callees import CALLER, HOST
from plait.runtime.calls import Calls
from plait.runtime.here import Here
from plait.runtime.hosted import Hosted
from plait.runtime.lease import Lease, SessionLease, look_around
from plait.runtime.own_triggers import OwnTriggers
from plait.runtime.publishing import publish
from plait.runtime.run_params import request_of
from plait.runtime.scheduler import RunRequest, Scheduler
from plait.runtime.sub_runs import SubRuns
from plait.runtime.suspended import is_suspended
from plait.runtime.ticker import Ticker
from plait.runtime.triggers import CodeTriggers, MakeTriggerer
from plait.runtime.wait_nodes import WaitNodes
from plait.worker.arguments import with_defaults
from plait.worker.code import LoadedCode
from plait.worker.harness import Harness
from plait.worker.loops import is_cancellation

if TYPE_CHECKING:
    from plait.authoring.definitions import Definitions, Workflow

log = logging.getLogger("plait.session")


class Mailbox(Protocol):
    """Where a run's body is handed out, and where its end is told."""

    def put(self, execution: Execution | None, /) -> None:
        """An execution of the body; none when the run is over."""
        ...


class Session:
    """Hosts runs in this process. Close it when done; it is a context manager."""

    def __init__(  # noqa: PLR0913  the ports, each once; only the composition root calls it
        self,
        *,
        store: RunStore,
        results: ResultStore,
        clock: Clock,
        ids: IdSource,
        bus: EventBus,
        capture: Capturing,
        executors: Callable[[Runner], Mapping[str, Executor]],
        triggerer: MakeTriggerer,
        default_executor: str,
        target: str = "",
    ):
        self.store = store
        self.results = results
        self.target = target
        self.code = LoadedCode()
        self.observers: list[Callable[[Hosted, Decision], None]] = []
        self._capture = capture
        self._bus = bus
        self._mailboxes: dict[RunId, Mailbox] = {}
        self._abandoned: set[RunId] = set()
        self._handed_over: set[RunId] = set()
        """Runs of a service, which hosts them while they need no process."""
        self._calls = Calls()
        self.harness = Harness(self.code, results, self._calls)
        lease = Lease(store, clock)
        self.lease = SessionLease(lease, store, clock, bus)
        here = Here()
        self.scheduler = Scheduler(
            store=store,
            clock=clock,
            ids=ids,
            executors={**executors(self.harness), CALLER: here, HOST: here},
            default_executor=default_executor,
            owner=lease.owner,
        )
        self._bodies = Bodies(self.scheduler, self.harness, self.code, results, capture, self._calls, here)
        self._ends = self._bodies.ends
        self._sub_runs = SubRuns(self.scheduler, self, self._calls, self._ends, results)
        self.scheduler.gathering.can_wait = self._calls.can_wait
        self.scheduler.observers.append(self._observe)
        self._triggers = CodeTriggers(self.scheduler, triggerer)
        OwnTriggers(self.scheduler, None, self._triggers.start)
        self.scheduler.carrier.wait_node = WaitNodes(self.scheduler.post, results.put).execute
        self.scheduler.carrier.start_sub_run = self._sub_runs.start
        self.scheduler.carrier.on_end.append(self._on_end)
        self.scheduler.set_limits([limit.row() for limit in declared.values()])
        for executor in self.scheduler.executors.values():
            executor.start(self.scheduler)
        self._ticker = Ticker(self.scheduler, clock)
        self.lease.start(self.scheduler)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop everything; runs that are not over stay in the database and can be resumed."""
        self._ticker.stop()
        self._triggers.stop()
        for executor in self.scheduler.executors.values():
            executor.stop(1.0)
        self.scheduler.flush()
        self.lease.stop()
        self._capture.close()
        self._bus.close()
        self.store.close()

    # --- starting runs ------------------------------------------------------------------------------------------------

    def start(
        self,
        workflow: Workflow,
        params: Mapping[str, Any],
        *,
        date: str | None = None,
        partition: str | None = None,
        parent: str | None = None,
        mailbox: Mailbox | None = None,
    ) -> RunId:
        """Make a run of a workflow. Raises ParameterError that names the parameter which is wrong."""
        run_id = self.scheduler.ids.run_id()
        now = self.scheduler.clock.now()
        request, values = request_of(workflow, params, run_id, self.results, now, date=date, partition=partition)
        request.parent = parent
        self.harness.know_params(run_id, with_defaults(workflow.fn, values))
        return self._create(workflow.live, request, mailbox)

    def start_assets(
        self, definitions: Definitions, *, select: str | None = None, partition: str | None = None
    ) -> RunId:
        """Make a run that materializes a selection of assets. Raises ParameterError for a wrong partition."""
        from plait.runtime.asset_requests import asset_job, assets_request  # heavy: see there

        now = self.scheduler.clock.now()
        live = asset_job(definitions, select, self.store, partition, now)
        run_id = self.scheduler.ids.run_id()
        request = assets_request(definitions, live, select, run_id, partition, now, self.partitions.keys)
        return self._create(live, request, None)

    def _create(self, live: LiveGraph, request: RunRequest, mailbox: Mailbox | None) -> RunId:
        assert request.run_id is not None  # both callers have made one
        self.code.register(live)
        request.target = self.target
        request.tags = live.graph.tags
        self._mailboxes[request.run_id] = mailbox or queue.SimpleQueue()
        if live.graph.limited:
            self.scheduler.set_limits([limit.row() for limit in declared.values()])
        try:
            return self.scheduler.create(request)
        except BaseException:
            self.forget(request.run_id)
            raise

    def take_in(self, row: RunRow, live: LiveGraph) -> None:
        """A run of this session's is going to be hosted, by who makes it."""
        self.code.register(live)
        self._mailboxes[row.run_id] = queue.SimpleQueue()

    def publish(self, topic: str) -> None:
        """Wake the other processes on this database."""
        self._bus.publish(topic)

    def leave(self, run_id: RunId) -> None:
        """Nobody waits for a run: what this process keeps of it goes when it is over."""
        self._abandoned.add(run_id)

    def wait_here(self, run_id: RunId) -> None:
        """Run the body of a flow, on this thread, that nobody waits for."""
        try:
            self.wait(run_id)
        except Exception as error:  # noqa: BLE001  it has stopped the run in this process, and whoever hears of ends hears it
            log.warning("run %s: %s", run_id, error)

    def resume(self, run_id: RunId, definitions: Definitions, *, tasks: Sequence[str] = ()) -> None:
        """Go on with a crashed run; run the failures (and what is below them) of a failed one again.

        With `tasks` (keys): run these and what is below them again, whatever they came to. Raises UsageError when
        nothing is to run again.
        """
        row = self.store.get_run(run_id)
        if row is None:
            raise UsageError(f"there is no run {run_id}")
        if row.state == RunState.SUCCESS.value and not tasks:
            raise UsageError(f"run {run_id} has succeeded, there is nothing to resume", right="start a new run")
        if "assets" in row.extra:
            live = definitions.asset_job(row.extra["assets"], row.workflow)
        else:
            live = definitions.workflow(row.workflow).live
        self._take_over(run_id, live, tasks)
        run = self.scheduler.runs[run_id].run
        if run.state in RUN_TERMINAL and run.finished_at == row.finished_at:
            raise UsageError(f"nothing of run {run_id} is to run again", right="start a new run")

    def host(self, run_id: RunId, definitions: Definitions, *, epoch: int) -> None:
        """Take over a service's run that its scheduler, which leases it under `epoch`, hands over. Raises StaleToken
        when it is another's by now."""
        row = self.store.get_run(run_id)
        if row is None:
            raise StaleToken(f"run {run_id} is not in the database any more")
        self.lease.returns.keep(run_id)
        self._handed_over.add(run_id)
        self._take_over(run_id, definitions.workflow(row.workflow).live, epoch=epoch)

    def give_back(self, run_id: RunId, *, suspended: bool = False) -> bool:
        """Let a service go on with a run that it has handed over, now or when the store answers again; with `suspended`
        only if it is. Whether it does."""
        with self.scheduler.lock:  # so nobody takes what is left for the run to be for one that is gone
            hosted = self.scheduler.runs.get(run_id)
            if suspended and (hosted is None or hosted.has_output or not is_suspended(hosted.run)):
                return False
            self.forget(run_id)
            self.lease.returns.give_back(run_id)
        return True

    def go_on(self, run_id: RunId, workflow: Workflow) -> None:
        """Take over the run of a dag that a flow has called."""
        self._take_over(run_id, workflow.live)

    def _take_over(
        self, run_id: RunId, live: LiveGraph, tasks: Sequence[str] = (), *, epoch: int | None = None
    ) -> None:
        self.code.register(live)
        self._mailboxes[run_id] = queue.SimpleQueue()
        self.scheduler.set_limits([limit.row() for limit in declared.values()])
        row = self.scheduler.adoption.resume(run_id, graph=live.graph, epoch=epoch)
        if tasks:
            self.scheduler.post(run_id, ClearRequested(tasks=tuple(tasks)))
        elif row.state in (RunState.FAILED.value, RunState.CANCELLED.value):
            self.scheduler.post(run_id, ClearRequested(only_failed=True))
        self.scheduler.pump()

    def wait(self, run_id: RunId, timeout: float | None = None) -> bool:
        """Wait for a run; its flow's body runs on this thread. False when the time ran out, or a run that was handed
        over is suspended; raises what stopped the run in this process (a full disk, a lost lease)."""
        hosted = self.scheduler.runs[run_id]
        mailbox = self._mailboxes[run_id]
        assert isinstance(mailbox, queue.SimpleQueue)  # the other kind is awaited
        deadline = None if timeout is None else time.monotonic() + timeout
        while not hosted.ended.is_set():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            try:
                execution = mailbox.get(timeout=left)
            except queue.Empty:
                return False
            if execution is not None:
                self._bodies.run_here(execution)
            elif run_id in self._handed_over and is_suspended(hosted.run):
                return False
        if hosted.error is not None:
            raise hosted.error
        return True

    def answer(self, run_id: str, value: Any, *, task: str | None = None) -> None:
        """Answer what a run asks, here or in another process (see `plait.answer`)."""
        from plait.authoring.inputs import check_input
        from plait.engine.asks import choose  # few scripts answer

        full = RunId(run_id)
        paused = choose(run_id, self.store.tasks(full), task)
        check_input(paused.asked.schema, value)
        said = InputReceived(no=paused.no, token=paused.token, data=value)
        self.store.put_inbox(full, encode_stimulus(said))
        self._bus.publish("inbox")
        look_around(self.scheduler)

    def publish_event(self, name: str, data: Any) -> str:
        """Publish an event (see `plait.publish`)."""
        row = publish(self.store, self.scheduler.clock, self.scheduler.ids, name, data)
        self._bus.publish("events")
        return row.id

    def cancel(self, run_id: RunId, reason: str) -> None:
        """Cancel a run of this session."""
        self.scheduler.post(run_id, CancelRequested(reason=reason))
        self.scheduler.pump()

    @property
    def partitions(self) -> PartitionStore:
        """Where dynamic partitions are kept."""
        return self.store.partitions

    # --- the engine of this context (the port `Engine`) ---------------------------------------------------------------

    def run(self, workflow: Workflow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a workflow at once and return its value; an async flow's is a coroutine."""
        params = bound_params(workflow.fn, workflow.name, args, kwargs)
        if isinstance(workflow, Flow) and workflow.is_async:
            return self._run_async(workflow, params)
        return self._attend(self.start(workflow, params), self._ends.result_of)

    def _attend(self, run_id: RunId, result_of: Callable[[Hosted], Any]) -> Any:
        """Wait for a run that was called here, drop it from memory, and return its result."""
        hosted = self.scheduler.runs[run_id]
        try:
            self.wait(run_id)
            return result_of(hosted)
        except KeyboardInterrupt:
            self.cancel(run_id, "interrupted")
            raise
        finally:
            self._leave(hosted)

    async def _run_async(self, workflow: Workflow, params: dict[str, Any]) -> Any:
        from plait.runtime.loop_runs import LoopMailbox  # it imports asyncio: see `worker.loops`

        mailbox = LoopMailbox()
        run_id = self.start(workflow, params, mailbox=mailbox)
        hosted = self.scheduler.runs[run_id]
        try:
            await mailbox.attend(hosted, self._bodies.loops.run_here)
            return self._ends.result_of(hosted)
        except BaseException as error:
            if is_cancellation(error):
                self.cancel(run_id, "cancelled")
            raise
        finally:
            self._leave(hosted)

    def materialize(self, assets: tuple[Any, ...], *, partition: str | None = None, select: str | None = None) -> Any:
        """Materialize assets at once; returns their values by key."""
        from plait.authoring.asset_graph import managers
        from plait.runtime.asset_requests import definitions_of  # heavy: see there

        definitions = definitions_of(assets)
        run_id = self.start_assets(definitions, select=select, partition=partition)
        return self._attend(run_id, lambda hosted: self._ends.assets_of(hosted, managers(definitions.assets)))

    def _leave(self, hosted: Hosted) -> None:
        """Nobody waits for a run any more: what this process keeps of it goes, now or when it is over."""
        if hosted.ended.is_set():
            self.forget(hosted.run.run_id)
        else:
            self._abandoned.add(hosted.run.run_id)

    def forget(self, run_id: RunId) -> None:
        """Drop what this process keeps of a run that is over."""
        self.scheduler.release(run_id)
        self._mailboxes.pop(run_id, None)
        self._calls.forget(run_id)
        self._ends.forget(run_id)
        self._abandoned.discard(run_id)
        self._handed_over.discard(run_id)

    # --- what the scheduler tells -------------------------------------------------------------------------------------

    def _observe(self, hosted: Hosted, decision: Decision) -> None:
        run_id = hosted.run.run_id
        ended = [task for task in decision.touched if task.terminal]
        for task in ended:
            self.scheduler.carrier.pickled.pop((run_id, task.no), None)
            self.scheduler.carrier.inline.pop((run_id, task.no), None)
        self._calls.over(run_id, [task for task in ended if task.child is not None])
        self._hand_out_body(hosted.run, decision)
        if decision.released or decision.assets or hosted.run.state in RUN_TERMINAL:
            self._bus.publish("freed")  # a run of another process may wait for it
        if run_id in self._handed_over and is_suspended(hosted.run):
            self._mailboxes[run_id].put(None)
        for observer in self.observers:
            observer(hosted, decision)

    def _hand_out_body(self, run: Run, decision: Decision) -> None:
        mailbox = self._mailboxes.get(run.run_id)
        if mailbox is None or run.plan.graph.kind != "flow":
            return
        for task in decision.touched:
            if task.child is None and task.node.spec.runner == "flow" and not task.terminal:
                self.scheduler.carrier.inline[run.run_id, task.no] = mailbox.put

    def _on_end(self, hosted: Hosted) -> None:
        run_id = hosted.run.run_id
        hosted.ended.set()
        mailbox = self._mailboxes.get(run_id)
        if mailbox is not None:
            mailbox.put(None)
        self._calls.forget(run_id)
        if hosted.graph.kind == "assets":
            self._bus.publish("assets")
        for (waits_in, _), tell in list(self.scheduler.carrier.grants.items()):
            if waits_in == run_id:
                tell()
        if hosted.row.parent is not None:
            self._sub_runs.ended(hosted)
        if hosted.row.parent is not None or run_id in self._abandoned:
            self.forget(run_id)
