"""A session: this process hosts runs of its own, as scripts, notebooks, tests and `plait run` do.

Flow bodies run on the thread that waits for the run; plain calls of tasks in them run there too, decided inline. What
is submitted goes to the session's executors. One thread fires timers and commits what was decided in the background;
one keeps the lease.
"""

from __future__ import annotations

import asyncio
import inspect
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Mapping
from typing import Any

import msgspec

from plait.authoring.context import in_context
from plait.authoring.dag import Dag
from plait.authoring.definitions import Definitions, Workflow
from plait.authoring.flow import Flow
from plait.authoring.limits import declared
from plait.authoring.live import LiveGraph
from plait.authoring.params import is_plain, to_plain
from plait.authoring.scope import in_scope
from plait.authoring.task import Task
from plait.authoring.where import place_of
from plait.engine.decide import Decision
from plait.engine.run import Run, TaskRun
from plait.model.errors import EngineError, ParameterError, TaskFailed, UsageError
from plait.model.graph import OverParam, TaskSpec
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import Outcome, RetryVerdict, Stored, Verdict
from plait.model.states import RunState, TaskState
from plait.model.stimuli import CancelRequested, ChildSubmitted, ClearRequested, ExecutionFinished, Stimulus
from plait.model.wire import Execution
from plait.ports import Capturing, Clock, EventBus, Executor, IdSource, ResultStore, Runner, RunStore
from plait.runtime.flow_host import CALLER, FlowHost, resolve_returned
from plait.runtime.futures import HostFuture, futures_in, replaced
from plait.runtime.hosted import Hosted
from plait.runtime.lease import Lease
from plait.runtime.scheduler import RunRequest, Scheduler
from plait.runtime.ticker import Ticker
from plait.worker.arguments import ByRef, complete_params, pickle_call, with_defaults
from plait.worker.code import LoadedCode
from plait.worker.harness import Harness, error_info, exception_of, failure

CallKey = tuple[RunId, TaskNo]


class _Call(msgspec.Struct):
    """A child's call in this process: what is called with what, and who takes its executions."""

    callee: Any
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    future: HostFuture


class Session:
    """Hosts runs in this process. Close it when done; it is a context manager."""

    def __init__(
        self,
        *,
        store: RunStore,
        results: ResultStore,
        clock: Clock,
        ids: IdSource,
        bus: EventBus,
        capture: Capturing,
        executors: Callable[[Runner], Mapping[str, Executor]],
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
        self._calls: dict[CallKey, _Call] = {}
        self._values: dict[tuple[RunId, TaskNo, Token], Any] = {}
        self._errors: dict[tuple[RunId, TaskNo, Token], BaseException] = {}
        self._bodies: dict[RunId, queue.SimpleQueue[Execution | None]] = {}
        self._live_params: dict[RunId, dict[str, Any]] = {}
        self._specs: dict[tuple[int, str], tuple[Any, TaskSpec]] = {}
        self._workflows: dict[str, Workflow] = {}
        self.harness = Harness(
            self.code, results, keep=self._keep, local_call=self._local_call, body=self._run_body_child
        )
        self.lease = Lease(store, clock, bus)
        self.scheduler = Scheduler(
            store=store,
            clock=clock,
            ids=ids,
            executors=executors(self.harness),
            default_executor=default_executor,
            owner=self.lease.owner,
        )
        self.scheduler.observers.append(self._observe)
        self.scheduler.carrier.start_sub_run = self._start_sub_run
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
        for executor in self.scheduler.executors.values():
            executor.stop(1.0)
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
    ) -> RunId:
        """Make a run of a workflow. Raises ParameterError that names the parameter which is wrong."""
        live = workflow.live
        values = complete_params(live.graph, workflow.fn, params, date or self._now_text(live), partition)
        return self._create(live, values, date or self._now_text(live), partition, parent, {})

    def start_assets(
        self, definitions: Definitions, *, select: str | None = None, partition: str | None = None
    ) -> RunId:
        """Make a run that materializes a selection of assets. Raises ParameterError for a wrong partition."""
        live = definitions.asset_job(select, "assets")
        for spec in live.graph.nodes:
            made = definitions.assets.get(spec.key)
            partitions = made.options_.partitions if made is not None else None
            if partitions is not None:
                if partition is None:
                    raise ParameterError(
                        f"asset {spec.key!r} has partitions, and none is given",
                        where=made.place if made is not None else None,
                        right="plait run ... --partition KEY",
                    )
                partitions.check(partition)
        return self._create(live, {}, None, partition, None, {"assets": select})

    def _now_text(self, live: LiveGraph) -> str | None:
        """The logical date of a run that nobody gave one, where a parameter asks for it: now."""
        if not any(param.source == "logical_date" for param in live.graph.params):
            return None
        return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(self.scheduler.clock.now()))

    def _create(
        self,
        live: LiveGraph,
        values: dict[str, Any],
        date: str | None,
        partition: str | None,
        parent: str | None,
        extra: dict[str, Any],
    ) -> RunId:
        self.code.register(live)
        plain = {name: to_plain(value) for name, value in values.items()}
        request = RunRequest(
            graph=live.graph,
            params=msgspec.json.encode({name: value for name, value in plain.items() if is_plain(value)}),
            lengths=_lengths(live, values),
            logical_date=date,
            partition=partition,
            target=self.target,
            parent=parent,
            tags=live.graph.tags,
            run_id=self.scheduler.ids.run_id(),
            extra=extra,
        )
        assert request.run_id is not None  # given a line above
        self._live_params[request.run_id] = values
        self._bodies[request.run_id] = queue.SimpleQueue()
        self.scheduler.set_limits([limit.row() for limit in declared.values()])
        return self.scheduler.create(request)

    def resume(self, run_id: RunId, definitions: Definitions) -> None:
        """Go on with a crashed run; run the failures (and what is below them) of a failed one again."""
        row = self.store.get_run(run_id)
        if row is None:
            raise UsageError(f"there is no run {run_id}")
        if row.state == RunState.SUCCESS.value:
            raise UsageError(f"run {run_id} has succeeded, there is nothing to resume", right="start a new run")
        if "assets" in row.extra:
            live = definitions.asset_job(row.extra["assets"], row.workflow)
        else:
            live = definitions.workflow(row.workflow).live
        self.code.register(live)
        self._bodies[run_id] = queue.SimpleQueue()
        self.scheduler.resume(run_id, graph=live.graph)
        if row.state in (RunState.FAILED.value, RunState.CANCELLED.value):
            self.scheduler.post(run_id, ClearRequested(only_failed=True))
        self.scheduler.pump()

    def wait(self, run_id: RunId, timeout: float | None = None) -> bool:
        """Wait for a run; its flow's body runs on this thread. False when the time ran out; raises what stopped the run
        in this process (a full disk, a lost lease)."""
        hosted = self.scheduler.runs[run_id]
        bodies = self._bodies[run_id]
        deadline = None if timeout is None else time.monotonic() + timeout
        while not hosted.ended.is_set():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            try:
                execution = bodies.get(timeout=left)
            except queue.Empty:
                return False
            if execution is not None:
                self.run_inline(execution)
        if hosted.error is not None:
            raise hosted.error
        return True

    def cancel(self, run_id: RunId, reason: str) -> None:
        """Cancel a run of this session."""
        self.scheduler.post(run_id, CancelRequested(reason=reason))
        self.scheduler.pump()

    # --- the engine of this context (the port `Engine`) ---------------------------------------------------------------

    def run(self, workflow: Workflow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Run a workflow at once and return its value; an async flow's is a coroutine."""
        run_id = self.start(workflow, _bound(workflow, args, kwargs))
        if isinstance(workflow, Flow) and workflow.is_async:
            return self._run_async(run_id)
        try:
            self.wait(run_id)
        except KeyboardInterrupt:
            self.cancel(run_id, "interrupted")
            raise
        return self._finish(run_id)

    async def _run_async(self, run_id: RunId) -> Any:
        hosted = self.scheduler.runs[run_id]
        bodies = self._bodies[run_id]
        while not hosted.ended.is_set():
            execution = await asyncio.to_thread(bodies.get)
            if execution is not None:
                await self._report_async(execution, self._run_body_async(execution))
        if hosted.error is not None:
            raise hosted.error
        return self._finish(run_id)

    def _finish(self, run_id: RunId) -> Any:
        hosted = self.scheduler.runs[run_id]
        try:
            return self._result_of(hosted)
        finally:
            self.forget(run_id)

    def _result_of(self, hosted: Hosted) -> Any:
        run = hosted.run
        if run.state is not RunState.SUCCESS:
            raise self._error_of(hosted)
        if hosted.graph.result is None:
            return None
        key, output = hosted.graph.result
        task = run.current(key)
        if task is not None and task.state is TaskState.SUCCESS:
            return self.value_of(run.run_id, task, output)
        if any(node.key == key and node.mapping for node in hosted.graph.nodes):
            tasks = sorted((t for t in run.of_node(key) if t.state is TaskState.SUCCESS), key=lambda t: t.no)
            return [self.value_of(run.run_id, t, output) for t in tasks]
        return None

    def _error_of(self, hosted: Hosted) -> BaseException:
        """The first failure of a run, as the exception that it was."""
        failed = [t for t in hosted.run.tasks.values() if t.state in (TaskState.FAILED, TaskState.CRASHED)]
        for task in sorted(failed, key=lambda t: (t.child is not None, t.no)):
            error = self.exception_of(hosted.run.run_id, task)
            if error is None and task.error is not None:
                error = exception_of(task.error)
            if error is not None:
                return error
        return TaskFailed(
            f"run {hosted.run.run_id} of {hosted.graph.name!r} is {hosted.run.state.value}: {hosted.run.reason}"
        )

    def materialize(self, assets: tuple[Any, ...], *, partition: str | None = None, select: str | None = None) -> Any:
        """Materialize assets at once; returns their values by key."""
        definitions = Definitions(assets={made.key: made for made in assets if hasattr(made, "key")})
        definitions.checks = [made for made in assets if not hasattr(made, "key")]
        run_id = self.start_assets(definitions, select=select, partition=partition)
        self.wait(run_id)
        hosted = self.scheduler.runs[run_id]
        try:
            if hosted.run.state is not RunState.SUCCESS:
                raise self._error_of(hosted)
            return {
                task.key: self.value_of(run_id, task)
                for task in hosted.run.tasks.values()
                if task.node.spec.runner == "asset" and task.state is TaskState.SUCCESS
            }
        finally:
            self.forget(run_id)

    def forget(self, run_id: RunId) -> None:
        """Drop what this process keeps of a run that is over."""
        self.scheduler.release(run_id)
        self._bodies.pop(run_id, None)
        self._live_params.pop(run_id, None)
        for table in (self._calls, self._values, self._errors):
            for key in [key for key in table if key[0] == run_id]:
                del table[key]  # type: ignore[attr-defined]  # three dicts, each with keys that begin with the run

    # --- children of bodies -------------------------------------------------------------------------------------------

    def spec_of(self, callee: Any, executor: str) -> TaskSpec:
        """The node of a callee as a child on an executor; the same object each time."""
        known = self._specs.get((id(callee), executor))
        if known is None:
            if isinstance(callee, Dag):
                spec = TaskSpec(key=callee.name, runner="run", workflow=callee.name, executor=executor)
                self._workflows[callee.name] = callee
            else:
                spec = msgspec.structs.replace(callee.spec, executor=executor, inputs={})
            known = self._specs[id(callee), executor] = (callee, spec)  # the callee is kept, so its id stays its own
        return known[1]

    def add_child(
        self,
        run_id: RunId,
        child: ChildSubmitted,
        future: HostFuture,
        callee: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        taker: Callable[[Execution], None] | None,
    ) -> TaskRun:
        """Add a child of a body, and remember its call until it is over."""
        with self.scheduler.lock:
            task = self.scheduler.add_child(run_id, child)
            if task.terminal:
                future.settled()
                return task
            self._calls[run_id, task.no] = _Call(callee, args, kwargs, future)
            if taker is not None:
                self.scheduler.carrier.inline[run_id, task.no] = taker
            elif child.spec.executor == "processes":
                self.scheduler.carrier.pickled[run_id, task.no] = lambda: self._pickle_call(run_id, task.no)
            return task

    def take_inline(self, run_id: RunId, task: TaskRun) -> Execution | None:
        """The execution of a plain call that can begin now, none when it has to wait."""
        with self.scheduler.lock:
            if task.state is not TaskState.READY:
                return None
            self.scheduler.dispatch_inline(run_id, CALLER)
            if task.state is not TaskState.DISPATCHED:
                return None
            return self.scheduler.carrier.begin_inline(self.scheduler.hosted(run_id), task)

    def forget_call(self, run_id: RunId, no: TaskNo) -> None:
        """A plain call is over."""
        self.scheduler.carrier.inline.pop((run_id, no), None)
        self._calls.pop((run_id, no), None)

    def _local_call(self, execution: Execution) -> tuple[Task[Any, Any], list[Any], dict[str, Any]] | None:
        call = self._calls.get((execution.run.run_id, execution.no))
        if call is None:
            return None

        def value(future: HostFuture) -> Any:
            return future.result()

        return (
            call.callee,
            [replaced(arg, value) for arg in call.args],
            {k: replaced(v, value) for k, v in call.kwargs.items()},
        )

    def _pickle_call(self, run_id: RunId, no: TaskNo) -> bytes:
        """A child's call for a worker process: futures go as references to their stored results."""
        call = self._calls[run_id, no]

        def reference(future: HostFuture) -> Any:
            hosted = self.scheduler.hosted(run_id)
            stored = hosted.outputs.get([future.no]).get(future.no, {}).get("result")
            return ByRef(stored) if stored is not None else future.result()

        args = [replaced(arg, reference) for arg in call.args]
        return pickle_call(call.callee, args, {k: replaced(v, reference) for k, v in call.kwargs.items()})

    # --- running on this thread ---------------------------------------------------------------------------------------

    def run_inline(self, execution: Execution) -> None:
        """Run an execution here, and report it; returns when that is committed."""
        with self._capture.capture(execution.run.run_id, execution.no, execution.token) as captured:
            outcome = self.harness.run(execution) if execution.child is not None else self._run_body(execution)
        outcome = msgspec.structs.replace(outcome, log=captured.span)
        self.post_and_wait(
            execution.run.run_id, ExecutionFinished(no=execution.no, token=execution.token, outcome=outcome)
        )

    async def run_inline_async(self, execution: Execution) -> None:
        """The same for an async task or flow, on the running event loop."""
        if execution.runner == "flow":
            await self._report_async(execution, self._run_body_async(execution))
        else:
            await self._report_async(execution, self.harness.run_async(execution))

    async def _report_async(self, execution: Execution, running: Coroutine[Any, Any, Outcome]) -> None:
        with self._capture.capture(execution.run.run_id, execution.no, execution.token) as captured:
            outcome = await running
        outcome = msgspec.structs.replace(outcome, log=captured.span)
        loop = asyncio.get_running_loop()
        done = asyncio.Event()
        stimulus = ExecutionFinished(no=execution.no, token=execution.token, outcome=outcome)
        self.scheduler.post(execution.run.run_id, stimulus, lambda: loop.call_soon_threadsafe(done.set))
        self.scheduler.wake()
        await done.wait()

    def post_and_wait(self, run_id: RunId, stimulus: Stimulus) -> None:
        """Say something to a run; returns when what follows from it is committed."""
        done = threading.Event()
        self.scheduler.post(run_id, stimulus, done.set)
        self.scheduler.pump()
        done.wait()
        hosted = self.scheduler.runs.get(run_id)
        if hosted is not None and hosted.error is not None:
            raise hosted.error

    # --- bodies -------------------------------------------------------------------------------------------------------

    def _run_body_child(self, execution: Execution) -> Outcome:
        """A flow that was called or submitted in another one."""
        return self._run_body(execution)

    def _body_call(self, execution: Execution) -> tuple[Flow[..., Any], list[Any], dict[str, Any]]:
        run_id = execution.run.run_id
        if execution.child is not None:
            found = self._local_call(execution)
            if found is None:
                raise EngineError(f"the call of {execution.key!r} is not known in this process")
            return found  # type: ignore[return-value]  # a child whose runner is `flow` is a Flow
        live = self.code.live(execution.run)
        assert live.fn is not None  # every flow has its function
        values = self._live_params.get(run_id)
        if values is None:
            values = self.harness.params_of(live, execution.run)
        flow = self._flow_of(live)
        return flow, [], with_defaults(live.fn, values)

    def _flow_of(self, live: LiveGraph) -> Any:
        return _Body(live)

    def _host(self, execution: Execution, executor: str) -> FlowHost:
        run = self.scheduler.hosted(execution.run.run_id).run
        task = run.tasks[execution.no]
        return FlowHost(
            self, execution.run.run_id, execution.no, execution.token, executor, bool(task.node.spec.limits)
        )

    def _run_body(self, execution: Execution) -> Outcome:
        started = time.time()
        try:
            flow, args, kwargs = self._body_call(execution)
            host = self._host(execution, flow.executor)
            context = self.harness.context_of(execution)
            context.params = kwargs
            with in_scope(host), in_context(context):
                value = flow.fn(*args, **kwargs)
                if asyncio.iscoroutine(value):
                    value = asyncio.run(value)
                value = resolve_returned(value)
                host.finish()
            outcome = self._body_success(execution, value)
        except BaseException as error:  # a body may raise anything; it is its outcome
            outcome = self._body_failure(execution, error)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())

    async def _run_body_async(self, execution: Execution) -> Outcome:
        started = time.time()
        try:
            flow, args, kwargs = self._body_call(execution)
            host = self._host(execution, flow.executor)
            context = self.harness.context_of(execution)
            context.params = kwargs
            with in_scope(host), in_context(context):
                value = await flow.fn(*args, **kwargs)
                value = await asyncio.to_thread(resolve_returned, value) if futures_in(value) else value
                if host.unfinished:
                    await asyncio.to_thread(host.finish)
            outcome = self._body_success(execution, value)
        except asyncio.CancelledError as error:
            outcome = self._body_failure(execution, error)
        except BaseException as error:  # likewise
            outcome = self._body_failure(execution, error)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())

    def _body_success(self, execution: Execution, value: Any) -> Outcome:
        self._keep(execution, value)
        try:
            stored = self.results.put(value, f"{execution.run.run_id}/{execution.no}/{execution.token}/result")
        except TypeError:
            return Outcome(unstored=True)
        return Outcome(outputs={"result": stored})

    def _body_failure(self, execution: Execution, error: BaseException) -> Outcome:
        self._errors[execution.run.run_id, execution.no, execution.token] = error
        outcome = failure(error, None, execution.attempt)
        if isinstance(error, (KeyboardInterrupt, asyncio.CancelledError)):
            return msgspec.structs.replace(outcome, verdict=Verdict.CANCELLED)
        return outcome

    # --- values -------------------------------------------------------------------------------------------------------

    def _keep(self, execution: Execution, value: Any) -> None:
        self._values[execution.run.run_id, execution.no, execution.token] = value

    def value_of(self, run_id: RunId, task: TaskRun, output: str = "result") -> Any:
        """The value of a success: the live one if it is here, else what was stored."""
        live = self._values.get((run_id, task.no, task.token), self)
        if live is not self:
            return live
        stored = self.scheduler.hosted(run_id).outputs.get([task.no]).get(task.no, {}).get(output)
        return self.results.get(stored) if stored is not None else None

    def exception_of(self, run_id: RunId, task: TaskRun) -> BaseException | None:
        """The live exception of a failure in this process."""
        return self._errors.get((run_id, task.no, task.token))

    # --- what the scheduler tells -------------------------------------------------------------------------------------

    def _observe(self, hosted: Hosted, decision: Decision) -> None:
        run_id = hosted.run.run_id
        for task in decision.touched:
            if task.terminal and task.child is not None:
                call = self._calls.pop((run_id, task.no), None)
                self.scheduler.carrier.pickled.pop((run_id, task.no), None)
                if call is not None:
                    call.future.settled()
        self._hand_bodies(hosted.run, decision)
        for observer in self.observers:
            observer(hosted, decision)

    def _hand_bodies(self, run: Run, decision: Decision) -> None:
        bodies = self._bodies.get(run.run_id)
        if bodies is None or run.plan.graph.kind != "flow":
            return
        for task in decision.touched:
            if task.child is None and task.node.spec.runner == "flow":
                self.scheduler.carrier.inline[run.run_id, task.no] = bodies.put

    def _on_end(self, hosted: Hosted) -> None:
        hosted.ended.set()
        bodies = self._bodies.get(hosted.run.run_id)
        if bodies is not None:
            bodies.put(None)
        if hosted.error is not None:
            for key, call in list(self._calls.items()):
                if key[0] == hosted.run.run_id:
                    call.future.settled()
        if hosted.row.parent is not None:
            self._sub_run_ended(hosted)

    # --- runs inside of runs ------------------------------------------------------------------------------------------

    def _start_sub_run(self, hosted: Hosted, task: TaskRun, token: Token) -> None:
        """A flow called a dag: start it, or, after a crash, go on with the run that it started then."""
        parent = f"{hosted.run.run_id}/{task.no}"
        known = self.store.list_runs(parent=parent, limit=1)
        if known and known[0].state == RunState.SUCCESS.value:
            stored = self._stored_result(known[0].run_id)
            self._report_sub_run(hosted.run.run_id, task.no, token, Outcome(outputs=stored))
            return
        workflow = self._workflows[task.node.spec.workflow]
        if known:
            live = workflow.live
            self.code.register(live)
            self._bodies[known[0].run_id] = queue.SimpleQueue()
            self.scheduler.resume(known[0].run_id, graph=live.graph)
            if known[0].state == RunState.FAILED.value:
                self.scheduler.post(known[0].run_id, ClearRequested(only_failed=True))
            return
        call = self._calls[hosted.run.run_id, task.no]
        args = replaced(call.args, lambda future: future.result())
        kwargs = replaced(call.kwargs, lambda future: future.result())
        self.start(workflow, _bound(workflow, args, kwargs), date=hosted.row.logical_date, parent=parent)

    def _sub_run_ended(self, sub: Hosted) -> None:
        parent_id, _, no = (sub.row.parent or "").rpartition("/")
        hosted = self.scheduler.runs.get(RunId(parent_id))
        task = hosted.run.tasks.get(TaskNo(int(no))) if hosted is not None else None
        if hosted is None or task is None:
            return
        if sub.run.state is RunState.SUCCESS:
            outcome = Outcome(outputs=self._stored_result(sub.run.run_id))
        else:
            error = self._error_of(sub)
            self._errors[hosted.run.run_id, task.no, task.token] = error
            outcome = Outcome(verdict=Verdict.FAILED, error=error_info(error), retry=RetryVerdict.NEVER)
        outcome = msgspec.structs.replace(outcome, started_at=sub.run.started_at or 0.0)
        self._report_sub_run(hosted.run.run_id, task.no, task.token, outcome)
        self.scheduler.release(sub.run.run_id)
        self._live_params.pop(sub.run.run_id, None)
        self._bodies.pop(sub.run.run_id, None)

    def _report_sub_run(self, run_id: RunId, no: TaskNo, token: Token, outcome: Outcome) -> None:
        now = self.scheduler.clock.now()
        outcome = msgspec.structs.replace(outcome, started_at=outcome.started_at or now, finished_at=now)
        self.scheduler.post(run_id, ExecutionFinished(no=no, token=token, outcome=outcome))

    def _stored_result(self, run_id: RunId) -> dict[str, Stored]:
        hosted = self.scheduler.runs.get(run_id)
        row = self.store.get_run(run_id)
        graph = (
            hosted.graph if hosted is not None else self.store.load_graph(row.graph_hash) if row is not None else None
        )
        if graph is None or graph.result is None:
            return {}
        key, output = graph.result
        found = [task for task in self.store.tasks(run_id) if task.key == key and task.state == TaskState.SUCCESS.value]
        if not found:
            return {}
        stored = self.store.outputs(run_id, [found[0].no]).get(found[0].no, {}).get(output)
        return {"result": stored} if stored is not None else {}


class _Body:
    """A flow's function as a run calls it."""

    def __init__(self, live: LiveGraph):
        assert live.fn is not None
        self.fn = live.fn
        self.executor: str = live.graph.metadata.get("executor", "threads")


def _lengths(live: LiveGraph, values: Mapping[str, Any]) -> dict[str, int | list[str]]:
    """The lengths of the parameters that scopes map over."""
    found: dict[str, int | list[str]] = {}
    mappings = [node.mapping for node in live.graph.nodes] + [group.mapping for group in live.graph.groups]
    for mapping in mappings:
        for source in mapping.sources if mapping is not None else ():
            if isinstance(source, OverParam):
                value = values.get(source.name)
                if value is None and live.fn is not None:
                    value = with_defaults(live.fn, values).get(source.name)
                if isinstance(value, dict):
                    found[source.name] = [str(key) for key in value]
                elif isinstance(value, (list, tuple, range)):
                    found[source.name] = len(value)
    return found


def _bound(workflow: Workflow, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a call by name. Raises ParameterError when they do not fit the signature."""
    try:
        return dict(inspect.signature(workflow.fn).bind_partial(*args, **kwargs).arguments)
    except TypeError as error:
        raise ParameterError(
            f"{workflow.name}() is called wrongly: {error}",
            where=place_of(workflow.fn),
            right=f"{workflow.name}{inspect.signature(workflow.fn)}",
        ) from None
