"""The scope of a flow's body: its calls become children of its run, decided on the calling thread.

A plain call runs here and now, on the body's own thread (or event loop); `.submit` and `.map` go to an executor. The
body gets a value only after the outcome is committed; the start may be committed in the background. On a replay,
recorded children answer at once.
"""

import queue
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import Context, copy_context
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

import msgspec

from plait.authoring.dag import Dag
from plait.authoring.flow import Flow
from plait.authoring.futures import FutureList
from plait.authoring.params import bind_call
from plait.authoring.signals import TaskCancelled
from plait.authoring.waiting import Wait
from plait.authoring.where import here
from plait.engine.run import TaskRun
from plait.model.errors import DefinitionError, ParameterError, Unfinished, UsageError
from plait.model.graph import TaskSpec
from plait.model.ids import RunId, TaskNo
from plait.model.outcome import LogSpan, Outcome
from plait.model.states import RunState, TaskState
from plait.model.stimuli import ChildSubmitted, ExecutionFinished, Stimulus
from plait.model.wire import Execution
from plait.runtime.body_slots import BodySlots
from plait.runtime.body_transactions import BodyTransactions, current_transaction
from plait.runtime.body_waits import BodyWaits
from plait.runtime.callees import CALLER, RUNS, executor_of, runs_elsewhere
from plait.runtime.calls import Call, Calls
from plait.runtime.elements import elements, unwrapped
from plait.runtime.ends import Ends
from plait.runtime.futures import HostFuture, futures_in
from plait.runtime.here import CodeInThread, Here, UserCode
from plait.runtime.scheduler import Scheduler
from plait.worker.arguments import ByRef, pickle_call
from plait.worker.failures import exception_of
from plait.worker.fingerprint import Unhashable, fingerprint
from plait.worker.loops import running_loop

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop

    from plait.runtime.loop_calls import LoopCalls

_OVER: Any = object()


class Loops(Protocol):
    """Runs what is called on event loops."""

    async def run_here(self, execution: Execution) -> None:
        """Run an execution on the running event loop, and report it."""
        ...

    def start(self, loop: "AbstractEventLoop", context: Context, execution: Execution) -> None:
        """Run an execution on an event loop."""
        ...


class Home(Protocol):
    """What the host of a body asks of its session."""

    scheduler: Scheduler
    calls: Calls
    ends: Ends
    here: Here

    @property
    def loops(self) -> Loops:
        """Made when it is asked for."""
        ...

    def run_here(self, execution: Execution) -> None:
        """Run an execution on this thread, and report it."""
        ...

    def start_here(self, context: Context, execution: Execution) -> None:
        """Run an execution on a thread of its own."""
        ...

    def post_and_wait(self, run_id: RunId, stimulus: Stimulus) -> None:
        """Say something to a run; returns when what follows from it is committed."""
        ...


class FlowHost:
    """Answers the calls of one execution of a body."""

    inherited_by_threads = True

    def __init__(self, home: Home, execution: Execution, executor: str, code: UserCode):
        self._home = home
        self._scheduler = home.scheduler
        self._run_id = execution.run.run_id
        self._no = execution.no
        self._token = execution.token
        self._name = execution.key
        self._executor = executor
        self._code = code
        self.slots = BodySlots(self._scheduler, execution, code)
        self._blocked_loop = running_loop() if isinstance(code, CodeInThread) else None
        """The event loop of a notebook, which stands still while a body that is not async runs on its thread."""
        self._occurrences: dict[tuple[str, str], int] = {}
        self._unhashable: dict[str, int] = {}
        self._lock = threading.Lock()
        self._open: dict[TaskNo, HostFuture] = {}
        self._loop_calls: LoopCalls | None = None
        """Made when the first call is awaited; it has no state of its own."""
        self._transactions = BodyTransactions(home, self._run_id, self._no)
        self.waits = BodyWaits(code, self._add_wait, self._value_of, self._error_of)

    # --- the scope ----------------------------------------------------------------------------------------------------

    def call(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call of a task, a flow or a dag: the value. That of an async one is a coroutine."""
        with self._code.away():
            if not isinstance(callee, Dag) and callee.is_async:
                return self._awaited().call(callee, args, kwargs)
            if runs_elsewhere(callee, self._executor):
                return self._submit(callee, args, kwargs).result()
            return self._call_here(callee, args, kwargs)

    def submit(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In the background: a task or a flow on an executor, a dag as a run of its own."""
        with self._code.away():
            return self._submit(callee, args, kwargs)

    def map(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any], how: str) -> Any:
        """One submit per element."""
        with self._code.away():
            return FutureList(self._submit(callee, a, k) for a, k in elements(callee.name, args, kwargs, how))

    def _call_here(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        future, task, execution = self.begin(callee, args, kwargs)
        try:
            if execution is not None:
                self._home.run_here(execution)
            if not task.terminal:
                self._attend(future, task)
        finally:
            self.leave_call(task)
        return self.value_of(future, raise_on_failure=True)

    def _attend(self, future: HostFuture, task: TaskRun) -> None:
        """A plain call waits for slots or for futures, or is tried again: run its executions as they come."""
        mailbox: queue.SimpleQueue[Execution] = queue.SimpleQueue()
        self.expect(task, mailbox.put)
        future.on_settled(lambda: mailbox.put(_OVER))
        with self.waiting():  # also while it runs here: the slots may be the body's
            while (execution := mailbox.get()) is not _OVER:
                self._home.run_here(execution)

    def _awaited(self) -> "LoopCalls":
        if self._loop_calls is None:
            from plait.runtime.loop_calls import LoopCalls  # it imports asyncio: see `worker.loops`

            self._loop_calls = LoopCalls(self, self._scheduler, self._home.here, self._home.loops.run_here)
        return self._loop_calls

    def _submit(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HostFuture:
        loop: AbstractEventLoop | None = None
        taker: Callable[[Execution], None] | None = None
        executor = executor_of(callee, self._executor)
        if isinstance(callee, Dag):
            _ = callee.graph  # what is wrong with it is told here, where it is called
            executor = RUNS
        elif callee.is_async and executor != "processes" and (loop := self._loop_here()) is not None:
            executor = CALLER
            taker = partial(self._home.loops.start, loop, copy_context())
        elif isinstance(callee, Flow):
            taker = partial(self._home.start_here, copy_context())
        future, task = self._add(callee, args, kwargs, executor, taker, loop)
        if not task.terminal:
            self._scheduler.wake_soon()
        return future

    def _loop_here(self) -> "AbstractEventLoop | None":
        loop = running_loop()
        return None if loop is self._blocked_loop else loop

    # --- children -----------------------------------------------------------------------------------------------------

    def _add(
        self,
        callee: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        executor: str,
        taker: Callable[[Execution], None] | None,
        loop: "AbstractEventLoop | None" = None,
    ) -> tuple[HostFuture, TaskRun]:
        """Add a child. `taker` takes its executions, if no executor does."""
        call, child = self._prepared(callee, args, kwargs, executor, loop)
        with self._scheduler.lock:
            task = self._record(call, child)
            if not task.terminal:
                if taker is not None:
                    self.expect(task, taker)
                elif child.spec.executor == "processes":
                    place = (self._run_id, task.no)
                    self._scheduler.carrier.pickled[place] = partial(self._pickled, call)
        return call.future, task

    def begin(
        self,
        callee: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        loop: "AbstractEventLoop | None" = None,
    ) -> tuple[HostFuture, TaskRun, Execution | None]:
        """Add a plain call; its execution if it can begin now."""
        call, child = self._prepared(callee, args, kwargs, CALLER, loop)
        with self._scheduler.lock:
            task = self._record(call, child)
            return call.future, task, self._take(task)

    def _prepared(
        self,
        callee: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        executor: str,
        loop: "AbstractEventLoop | None",
    ) -> tuple[Call, ChildSubmitted]:
        """A call, as this process and as the engine sees it."""
        args, kwargs = unwrapped(args, kwargs)
        kind = ParameterError if isinstance(callee, (Dag, Flow)) else DefinitionError
        bind_call(callee.signature, callee.name, args, kwargs, kind)
        spec = self._home.calls.spec_of(callee, executor)
        inputs = futures_in((args, kwargs))
        for future in inputs:
            future.is_input()
        child = ChildSubmitted(
            parent=self._no,
            spec=spec,
            key=self._child_key(spec, args, kwargs),
            upstream=tuple(future.no for future in inputs),
            transaction=current_transaction(),
        )
        future = HostFuture(self, spec.key, child.key, loop)
        return Call(callee, args, kwargs, future, limited=bool(spec.limits)), child

    def _record(self, call: Call, child: ChildSubmitted) -> TaskRun:
        """Add a call to the run. The scheduler's lock is held."""
        self._check_open(call.callee.name)
        task = self._scheduler.add_child(self._run_id, child)
        call.future.is_of(task.no)
        if task.terminal:
            call.future.settled()
        else:
            self._open[task.no] = call.future
            self._home.calls.open(self._run_id, task.no, call)
        return task

    def is_over(self, future: HostFuture) -> None:
        """A child is over, and that is committed."""
        self._open.pop(future.no, None)

    def _check_open(self, name: str) -> None:
        """Whether the body may call anything now."""
        hosted = self._scheduler.runs.get(self._run_id)
        task = hosted.run.tasks.get(self._no) if hosted is not None else None
        if hosted is not None and hosted.run.state is RunState.CANCELLING:
            raise TaskCancelled(hosted.run.reason)
        if task is None or task.terminal or task.token != self._token:
            where, wrong = here()
            raise UsageError(
                f"{name!r} is called when its flow {self._name!r} is over",
                where=where,
                wrong=wrong,
                right="wait for the threads (or asyncio tasks) that a flow starts before it returns",
            )

    def expect(self, task: TaskRun, taker: Callable[[Execution], None]) -> None:
        """Say who takes the executions of a child from now on; also the one that came before."""
        place = (self._run_id, task.no)
        with self._scheduler.lock:
            if task.terminal:
                return
            self._scheduler.carrier.inline[place] = taker
            early = self._home.here.claim(*place)
        if early is not None:
            taker(early)

    def _take(self, task: TaskRun) -> Execution | None:
        """The execution of a plain call that can begin now, none when it has to wait. The scheduler's lock is held."""
        if task.state is not TaskState.READY:
            return None
        self._scheduler.dispatch_inline(self._run_id, CALLER)
        if task.state is not TaskState.DISPATCHED:
            return None
        return self._scheduler.carrier.begin_inline(self._scheduler.hosted(self._run_id), task)

    def leave_call(self, task: TaskRun) -> None:
        """A plain call returns, or was interrupted: nobody takes its executions any more."""
        if not task.terminal:
            self.expect(task, self._home.here.refuse)

    def _pickled(self, call: Call) -> bytes:
        """A child's call for a worker process: futures go as references to their stored results."""

        def reference(future: HostFuture) -> Any:
            outputs = self._scheduler.hosted(self._run_id).outputs
            stored = outputs.get([future.no]).get(future.no, {}).get("result")
            return ByRef(stored) if stored is not None else future.result()

        return pickle_call(call.callee, *call.with_each(reference))

    def _child_key(self, spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
        """(task, input fingerprint, occurrence); inputs without a fingerprint count by an ordinal."""
        with self._lock:
            try:
                print_ = fingerprint((args, kwargs))
            except Unhashable:
                self._unhashable[spec.key] = self._unhashable.get(spec.key, 0) + 1
                print_ = f"unhashable-{self._unhashable[spec.key]}"
            count = self._occurrences.get((spec.key, print_), 0)
            self._occurrences[spec.key, print_] = count + 1
        return f"{spec.key}:{print_}:{count}"

    def state_of(self, no: TaskNo) -> str:
        """A child's state now."""
        return self._scheduler.hosted(self._run_id).run.tasks[no].state.value

    def value_of(self, future: HostFuture, *, raise_on_failure: bool) -> Any:
        """What a child that is over came to: its value; or its exception, raised or returned."""
        hosted = self._scheduler.hosted(self._run_id)
        task = hosted.run.tasks[future.no]
        live = future.live(task.token)
        if task.state is TaskState.SUCCESS:
            return live[0] if live is not None else self._value_of(task)
        error = self._error_of(task, live[1] if live is not None else None)
        if raise_on_failure:
            raise error
        return error

    def _value_of(self, task: TaskRun) -> Any:
        return self._home.ends.value_of(self._scheduler.hosted(self._run_id), task)

    def _error_of(self, task: TaskRun, live: BaseException | None) -> BaseException:
        """The exception that was recorded for a child: as it was raised here, or as it came; else why there is none."""
        recorded = task.error
        if recorded is not None and task.state in (TaskState.FAILED, TaskState.CRASHED, TaskState.CANCELLED):
            mine = live is not None and type(live).__name__ == recorded.type  # not what rose after its timeout
            error = live if live is not None and mine else exception_of(recorded)
            if task.state is not TaskState.CANCELLED or isinstance(error, KeyboardInterrupt):
                return error
        why = f": {task.reason}" if task.reason else ""
        return Unfinished(f"{task.label()} has no result, it is {task.state.value}{why}")

    # --- waiting ------------------------------------------------------------------------------------------------------

    @contextmanager
    def waiting(self) -> Generator[None]:
        """The body waits for a child: it gives its slots back meanwhile, so that the child can have them."""
        with self._code.away():
            self._scheduler.flush()
            if not self.slots.any:
                yield
                return
            self.slots.give_back()
            try:
                yield
            finally:
                granted = threading.Event()
                tell = granted.set
                if self.slots.take_back(tell):
                    try:
                        granted.wait()
                    finally:
                        self.slots.go_on(tell)

    async def until_over(self, future: HostFuture) -> None:
        """Wait for a future without blocking the event loop."""
        await self._awaited().until_over(future)

    def open_future(self) -> HostFuture | None:
        """One of the children that are not over."""
        while True:
            try:
                return next(iter(self._open.values()), None)
            except RuntimeError:  # another one was over at that very moment
                continue

    # --- events and people's input ------------------------------------------------------------------------------------

    def wait(self, wait: Wait) -> dict[str, Any]:
        """What ended a wait of the body; else the body is left."""
        return self.waits.wait(wait, undone=current_transaction() is not None)

    def _add_wait(self, spec: TaskSpec, inputs: Any) -> TaskRun:
        child = ChildSubmitted(parent=self._no, spec=spec, key=self._child_key(spec, (inputs,), {}))
        with self._scheduler.lock:
            self._check_open(spec.key)
            task = self._scheduler.add_child(self._run_id, child)
        self._scheduler.wake()
        return task

    def leave(self) -> None:
        """The body was left. What has still to run on its event loop, which may end, waits for the body that begins
        again. With the lock, so that whatever was handed out before is on its way to the loop by now."""
        with self._scheduler.lock:
            for no, future in list(self._open.items()):
                if future.on_loop:
                    self._scheduler.carrier.inline[self._run_id, no] = self._home.here.hold

    # --- transactions -------------------------------------------------------------------------------------------------

    def begin_transaction(self, name: str) -> Any:
        """Open a transaction; none inside of an open one, of which it is a part."""
        return self._transactions.begin(name)

    def end_transaction(self, opened: Any, *, ok: bool) -> None:
        """Commit it, or roll it back; returns when that is recorded, and the functions that undo it were called."""
        key = self._transactions.close(opened)
        with self._code.away():
            self._transactions.end(key, ok=ok)


def finished(execution: Execution, outcome: Outcome, log: LogSpan | None) -> ExecutionFinished:
    """What is said to a run about the end of an execution here."""
    return ExecutionFinished(no=execution.no, token=execution.token, outcome=msgspec.structs.replace(outcome, log=log))
