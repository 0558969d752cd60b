"""Running executions on the caller's own thread or event loop: bodies of flows, and the plain calls in them.

What they come to is reported, and the caller goes on once that is committed.
"""

import asyncio
import inspect
import threading
import time
from collections.abc import Callable
from contextvars import Context
from functools import partial
from typing import Any

import msgspec

from plait.authoring.context import in_context
from plait.authoring.flow import Flow
from plait.authoring.live import LiveGraph
from plait.authoring.params import bound_params
from plait.authoring.scope import in_scope
from plait.authoring.signals import Leaves, TaskCancelled
from plait.model.errors import EngineError
from plait.model.ids import RunId
from plait.model.outcome import LogSpan, Outcome
from plait.model.stimuli import ExecutionFinished, Stimulus
from plait.model.wire import Execution
from plait.ports import Capturing, ResultStore
from plait.runtime.bells import bell_of
from plait.runtime.calls import Calls
from plait.runtime.ends import Ends
from plait.runtime.flow_host import FlowHost, in_transaction
from plait.runtime.futures import futures_in, replaced, resolved
from plait.runtime.gathering import GATHER
from plait.runtime.here import CodeInThread, CodeOnLoop, Here
from plait.runtime.inheritance import inherit_scope
from plait.runtime.run_params import logical_text
from plait.runtime.scheduler import Scheduler
from plait.worker import endings
from plait.worker.arguments import complete_params, with_defaults
from plait.worker.code import LoadedCode
from plait.worker.coroutines import complete
from plait.worker.failures import failure
from plait.worker.harness import Harness


class Body(msgspec.Struct):
    """A flow's function with its arguments, and where what it submits runs."""

    fn: Callable[..., Any]
    arguments: dict[str, Any]
    executor: str


class Bodies:
    """Runs what is called here. Implements the port `Home` of the hosts of bodies."""

    def __init__(
        self,
        scheduler: Scheduler,
        harness: Harness,
        code: LoadedCode,
        results: ResultStore,
        capture: Capturing,
        calls: Calls,
        here: Here,
    ):
        self.scheduler = scheduler
        self.calls = calls
        self.here = here
        self.ends = Ends(results)
        self._harness = harness
        self._code = code
        self._results = results
        self._capture = capture
        self._on_loops: set[asyncio.Task[None]] = set()  # asyncio itself keeps only weak references
        inherit_scope()

    # --- executions ---------------------------------------------------------------------------------------------------

    def run_here(self, execution: Execution) -> None:
        """Run an execution on this thread, and report it; returns when that is committed."""
        run_id = execution.run.run_id
        code = CodeInThread()
        with (
            self._capture.capture(run_id, execution.no, execution.token) as captured,
            self.here.running(execution, code),
        ):
            outcome = code.run(lambda: self._outcome(execution, code))
        if outcome is None:
            outcome = endings.cancelled(code.reason or "")
        self.post_and_wait(run_id, _finished(execution, outcome, captured.span))

    def _outcome(self, execution: Execution, code: CodeInThread) -> Outcome:
        if execution.runner != "flow":
            return self._harness.run(execution)
        try:
            body = self._body_of(execution)
        except Exception as error:  # noqa: BLE001  wrong arguments: it fails as if it had raised them itself
            return self._failed(execution, error)
        if inspect.iscoroutinefunction(body.fn):
            return complete(self._body_on_own_loop(execution, body))
        return self._body(execution, body, code)

    async def run_here_async(self, execution: Execution) -> None:
        """The same on the running event loop. Raises CancelledError when the caller's asyncio task was cancelled."""
        run_id = execution.run.run_id
        caller = asyncio.current_task()
        assert caller is not None  # this is awaited
        cancelled_before = caller.cancelling()
        with self._capture.capture(run_id, execution.no, execution.token) as captured:
            outcome = await self._outcome_on_loop(execution, CodeOnLoop(caller))
        loop = asyncio.get_running_loop()
        bell, committed = bell_of(loop), loop.create_future()
        self.scheduler.post(run_id, _finished(execution, outcome, captured.span), partial(bell.ring, committed))
        bell.after_turn(self.scheduler.wake)  # what ends in the same turn goes into the same transaction,
        self.scheduler.gathering.soon(GATHER)  # unless that turn takes long
        await committed
        if caller.cancelling() > cancelled_before:
            raise asyncio.CancelledError

    async def _outcome_on_loop(self, execution: Execution, code: CodeOnLoop) -> Outcome:
        with self.here.running(execution, code):
            try:
                if execution.runner != "flow":
                    return await self._harness.run_async(execution)
                try:
                    body = self._body_of(execution)
                except Exception as error:  # noqa: BLE001  likewise
                    return self._failed(execution, error)
                return await self._async_body(execution, body, code)
            finally:
                code.ended()

    def start_here(self, context: Context, execution: Execution) -> None:
        """Run an execution on a thread of its own, in a copy of this context: the one before may be leaving it yet."""
        number = f"{execution.run.run_id[-4:]}-{execution.no}"
        threading.Thread(
            target=context.copy().run, args=(self.run_here, execution), name=f"plait-body-{number}", daemon=True
        ).start()

    def start_on_loop(self, loop: asyncio.AbstractEventLoop, context: Context, execution: Execution) -> None:
        """Run an execution on an event loop, in this context. Called from any thread."""

        def start() -> None:
            running = loop.create_task(self.run_here_async(execution), context=context)
            self._on_loops.add(running)
            running.add_done_callback(self._on_loops.discard)

        try:
            loop.call_soon_threadsafe(start)
        except RuntimeError:  # the loop was closed before the flow was over
            self.here.refuse(execution, "the event loop that was to run it is closed")

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

    def _body(self, execution: Execution, body: Body, code: CodeInThread) -> Outcome:
        started = time.time()
        host = FlowHost(self, execution, body.executor, code)
        context = self._harness.context_of(execution)
        context.params = body.arguments
        try:
            with in_scope(host), in_context(context), in_transaction(self._transaction(execution)):
                value = body.fn(**body.arguments)
                host.waits.check_left()
                with code.away():
                    value = replaced(value, resolved)
                    host.finish()
            outcome = self._succeeded(execution, value)
        except Leaves as left:
            host.leave()
            outcome = left.outcome
        except BaseException as error:  # noqa: BLE001  a body may raise anything; it is its outcome
            outcome = self._failed(execution, error)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())

    async def _body_on_loop(self, execution: Execution, body: Body) -> Outcome:
        """An async body that is called where no event loop runs: on one of its own."""
        task = asyncio.current_task()
        assert task is not None  # this is awaited
        code = CodeOnLoop(task)
        with self.here.running(execution, code):
            return await self._async_body(execution, body, code)

    async def _body_on_own_loop(self, execution: Execution, body: Body) -> Outcome:
        """The loop ends with the body: when that has left at a wait, what its children still run here comes to its end
        first."""
        outcome = await self._body_on_loop(execution, body)
        loop = asyncio.get_running_loop()
        await asyncio.sleep(0)  # what was handed to this loop begins
        while running := [task for task in self._on_loops if task.get_loop() is loop]:
            await asyncio.wait(running)
        return outcome

    async def _async_body(self, execution: Execution, body: Body, code: CodeOnLoop) -> Outcome:
        started = time.time()
        host = FlowHost(self, execution, body.executor, code)
        context = self._harness.context_of(execution)
        context.params = body.arguments
        try:
            with in_scope(host), in_context(context), in_transaction(self._transaction(execution)):
                value = await body.fn(**body.arguments)
                host.waits.check_left()
                for future in futures_in(value):
                    await future
                value = replaced(value, resolved)
                await host.finish_async()
            outcome = self._succeeded(execution, value)
        except Leaves as left:
            host.leave()
            outcome = left.outcome
        except BaseException as error:  # noqa: BLE001  likewise
            ended = isinstance(error, asyncio.CancelledError) and code.reason is not None
            outcome = self._failed(execution, TaskCancelled(code.reason) if ended else error)
        return msgspec.structs.replace(outcome, started_at=started, finished_at=time.time())

    def _body_of(self, execution: Execution) -> Body:
        if execution.child is not None:
            return self._body_of_child(execution)
        live = self._code.live(execution.run)
        assert live.fn is not None  # every flow has its function
        return Body(live.fn, self._harness.params_of(live, execution.run), executor_of(live))

    def _body_of_child(self, execution: Execution) -> Body:
        """A flow that was called in another one: its parameters are checked and filled as those of a run."""
        found = self.calls.call_of(execution)
        if found is None:
            raise EngineError(f"the call of {execution.key!r} is not known in this process")
        flow, args, kwargs = found
        assert isinstance(flow, Flow)  # the runner of a flow's spec, and of no other, is `flow`
        info = execution.run
        given = bound_params(flow.fn, flow.name, tuple(args), kwargs)
        date = info.logical_date or logical_text(flow.graph, given, info.started_at)
        values = complete_params(flow.graph, flow.fn, given, date, info.partition)
        return Body(flow.fn, with_defaults(flow.fn, values), flow.executor)

    def _transaction(self, execution: Execution) -> str | None:
        """The transaction in which a flow was called; one ends with its flow."""
        task = self.scheduler.hosted(execution.run.run_id).run.tasks[execution.no]
        return task.staged

    def _succeeded(self, execution: Execution, value: Any) -> Outcome:
        self._came_to(execution, value)
        try:
            name = f"{execution.run.run_id}/{execution.no}/{execution.token}/result"
            return Outcome(outputs={"result": self._results.put(value, name)})
        except TypeError:
            return Outcome(unstored=True)

    def _failed(self, execution: Execution, error: BaseException) -> Outcome:
        self._came_to(execution, None, error)
        return failure(error, None, execution.attempt)

    def _came_to(self, execution: Execution, value: Any, error: BaseException | None = None) -> None:
        if execution.child is not None:
            self.calls.came_to(execution, value, error)
        else:
            self.ends.keep(execution.run.run_id, execution.no, execution.token, value, error)


def executor_of(live: LiveGraph) -> str:
    """Where what a flow submits runs."""
    return live.graph.metadata.get("executor", "threads")


def _finished(execution: Execution, outcome: Outcome, log: LogSpan | None) -> ExecutionFinished:
    return ExecutionFinished(no=execution.no, token=execution.token, outcome=msgspec.structs.replace(outcome, log=log))
