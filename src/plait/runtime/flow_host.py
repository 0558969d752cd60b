"""The scope of a flow's body: its calls become children of its run, decided on the calling thread.

A plain call runs here and now, on the body's own thread (or event loop); `.submit` and `.map` go to an executor. The
body gets a value only after the outcome is committed; the start may be committed in the background. On a replay,
recorded children answer at once.
"""

import asyncio
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import Context, ContextVar, copy_context
from functools import partial
from typing import Any, Protocol

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
from plait.model.states import RunState, TaskState
from plait.model.stimuli import ChildSubmitted, ExecutionBlocked, ExecutionUnblocked, Stimulus, TransactionEnded
from plait.model.wire import Execution
from plait.runtime.bells import bell_of
from plait.runtime.body_waits import BodyWaits
from plait.runtime.callees import CALLER, RUNS, executor_of, runs_elsewhere
from plait.runtime.calls import Call, Calls
from plait.runtime.elements import elements, unwrapped
from plait.runtime.ends import Ends
from plait.runtime.futures import HostFuture, futures_in, running_loop
from plait.runtime.here import CodeInThread, CodeOnLoop, Here
from plait.runtime.scheduler import Scheduler
from plait.worker.arguments import ByRef, pickle_call
from plait.worker.failures import exception_of
from plait.worker.fingerprint import Unhashable, fingerprint

_OVER: Any = object()
_transaction: ContextVar[str | None] = ContextVar("plait_transaction", default=None)


class Home(Protocol):
    """What the host of a body asks of its session."""

    scheduler: Scheduler
    calls: Calls
    ends: Ends
    here: Here

    def run_here(self, execution: Execution) -> None:
        """Run an execution on this thread, and report it."""
        ...

    async def run_here_async(self, execution: Execution) -> None:
        """The same on the running event loop."""
        ...

    def start_here(self, context: Context, execution: Execution) -> None:
        """Run an execution on a thread of its own."""
        ...

    def start_on_loop(self, loop: asyncio.AbstractEventLoop, context: Context, execution: Execution) -> None:
        """Run an execution on an event loop."""
        ...

    def post_and_wait(self, run_id: RunId, stimulus: Stimulus) -> None:
        """Say something to a run; returns when what follows from it is committed."""
        ...


@contextmanager
def in_transaction(key: str | None) -> Generator[None]:
    """What is called inside belongs to this transaction."""
    before = _transaction.set(key)
    try:
        yield
    finally:
        _transaction.reset(before)


class FlowHost:
    """Answers the calls of one execution of a body."""

    inherited_by_threads = True

    def __init__(self, home: Home, execution: Execution, executor: str, code: CodeInThread | CodeOnLoop):
        self._home = home
        self._scheduler = home.scheduler
        self._run_id = execution.run.run_id
        self._no = execution.no
        self._token = execution.token
        self._name = execution.key
        self._executor = executor
        self._code = code
        self._limited = bool(self._scheduler.hosted(self._run_id).run.tasks[self._no].node.spec.limits)
        self._blocked_loop = running_loop() if isinstance(code, CodeInThread) else None
        """The event loop of a notebook, which stands still while a body that is not async runs on its thread."""
        self._occurrences: dict[tuple[str, str], int] = {}
        self._unhashable: dict[str, int] = {}
        self._waiters = 0
        self._lock = threading.Lock()
        self._open: dict[TaskNo, HostFuture] = {}
        self._transactions = 0
        self.waits = BodyWaits(code, self._add_wait, self._value_of, self._error_of)

    # --- the scope ----------------------------------------------------------------------------------------------------

    def call(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call of a task, a flow or a dag: the value. That of an async one is a coroutine."""
        with self._code.away():
            if not isinstance(callee, Dag) and callee.is_async:
                return self._call_async(callee, args, kwargs)
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
        future, task, execution = self._begin(callee, args, kwargs)
        try:
            if execution is not None:
                self._home.run_here(execution)
            if not task.terminal:
                self._attend(future, task)
        finally:
            self._leave(task)
        return self.value_of(future, raise_on_failure=True)

    def _attend(self, future: HostFuture, task: TaskRun) -> None:
        """A plain call waits for slots or for futures, or is tried again: run its executions as they come."""
        mailbox: queue.SimpleQueue[Execution] = queue.SimpleQueue()
        self._expect(task, mailbox.put)
        future.on_settled(lambda: mailbox.put(_OVER))
        with self.waiting():  # also while it runs here: the slots may be the body's
            while (execution := mailbox.get()) is not _OVER:
                self._home.run_here(execution)

    async def _call_async(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        future, task, execution = self._begin(callee, args, kwargs, asyncio.get_running_loop())
        try:
            if execution is not None:
                await self._home.run_here_async(execution)
            if not task.terminal:
                await self._attend_async(future, task)
        finally:
            self._leave(task)
        return self.value_of(future, raise_on_failure=True)

    async def _attend_async(self, future: HostFuture, task: TaskRun) -> None:
        """The same where it is awaited."""
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Execution] = asyncio.Queue()
        gone = False

        def take(execution: Execution) -> None:
            if not gone:
                arrived.put_nowait(execution)
            elif execution is not _OVER:
                self._home.here.refuse(execution)

        def put(execution: Execution) -> None:
            try:
                loop.call_soon_threadsafe(take, execution)
            except RuntimeError:  # the loop is closed: nobody waits any more
                if execution is not _OVER:
                    self._home.here.refuse(execution)

        self._expect(task, put)
        try:
            future.on_settled(lambda: put(_OVER))
            async with self._waiting_async():
                while (execution := await arrived.get()) is not _OVER:
                    await self._home.run_here_async(execution)
        finally:
            gone = True
            self._leave(task)
            while not arrived.empty():
                take(arrived.get_nowait())

    def _submit(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> HostFuture:
        loop: asyncio.AbstractEventLoop | None = None
        taker: Callable[[Execution], None] | None = None
        executor = executor_of(callee, self._executor)
        if isinstance(callee, Dag):
            _ = callee.graph  # what is wrong with it is told here, where it is called
            executor = RUNS
        elif callee.is_async and executor != "processes" and (loop := self._loop_here()) is not None:
            executor = CALLER
            taker = partial(self._home.start_on_loop, loop, copy_context())
        elif isinstance(callee, Flow):
            taker = partial(self._home.start_here, copy_context())
        future, task = self._add(callee, args, kwargs, executor, taker, loop)
        if not task.terminal:
            self._scheduler.wake_soon()
        return future

    def _loop_here(self) -> asyncio.AbstractEventLoop | None:
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
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> tuple[HostFuture, TaskRun]:
        """Add a child. `taker` takes its executions, if no executor does."""
        call, child = self._prepared(callee, args, kwargs, executor, loop)
        with self._scheduler.lock:
            task = self._record(call, child)
            if not task.terminal:
                if taker is not None:
                    self._expect(task, taker)
                elif child.spec.executor == "processes":
                    place = (self._run_id, task.no)
                    self._scheduler.carrier.pickled[place] = partial(self._pickled, call)
        return call.future, task

    def _begin(
        self,
        callee: Any,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        loop: asyncio.AbstractEventLoop | None = None,
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
        loop: asyncio.AbstractEventLoop | None,
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
            transaction=_transaction.get(),
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

    def _expect(self, task: TaskRun, taker: Callable[[Execution], None]) -> None:
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

    def _leave(self, task: TaskRun) -> None:
        """A plain call returns, or was interrupted: nobody takes its executions any more."""
        if not task.terminal:
            self._expect(task, self._home.here.refuse)

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
            if not self._limited:
                yield
                return
            self._block()
            try:
                yield
            finally:
                granted = threading.Event()
                tell = granted.set
                if self._unblock(tell):
                    try:
                        granted.wait()
                    finally:
                        self._go_on(tell)

    @asynccontextmanager
    async def _waiting_async(self) -> AsyncGenerator[None]:
        """The same where it is awaited."""
        self._scheduler.wake()
        if not self._limited:
            yield
            return
        self._block()
        try:
            yield
        finally:
            loop, granted = asyncio.get_running_loop(), asyncio.Event()

            def tell() -> None:
                loop.call_soon_threadsafe(granted.set)

            if self._unblock(tell):
                try:
                    await granted.wait()
                finally:
                    self._go_on(tell)

    async def until_over(self, future: HostFuture) -> None:
        """Wait for a future without blocking the event loop."""
        loop = asyncio.get_running_loop()
        over = loop.create_future()
        async with self._waiting_async():
            future.on_settled(partial(bell_of(loop).ring, over))
            await over

    def _block(self) -> None:
        with self._lock:
            self._waiters += 1
            first = self._waiters == 1
        if first:
            self._scheduler.post(self._run_id, ExecutionBlocked(no=self._no, token=self._token))
            self._scheduler.pump()

    def _unblock(self, tell: Callable[[], None]) -> bool:
        """One wait has ended. Whether it was the last: then the body goes on when it is told that it has its slots."""
        with self._lock:
            self._waiters -= 1
            if self._waiters:
                return False
        self._scheduler.carrier.grants[self._run_id, self._no] = tell
        self._code.wakers.append(tell)
        self._scheduler.post(self._run_id, ExecutionUnblocked(no=self._no, token=self._token))
        self._scheduler.pump()
        return True

    def _go_on(self, tell: Callable[[], None]) -> None:
        self._code.wakers.remove(tell)
        self._scheduler.carrier.grants.pop((self._run_id, self._no), None)

    def finish(self) -> None:
        """The body has returned: what it submitted is waited for."""
        while self._open:
            next(iter(self._open.values())).wait()

    async def finish_async(self) -> None:
        """The same for an async body."""
        while self._open:
            await self.until_over(next(iter(self._open.values())))

    # --- events and people's input ------------------------------------------------------------------------------------

    def wait(self, wait: Wait) -> dict[str, Any]:
        """What ended a wait of the body; else the body is left."""
        return self.waits.wait(wait, undone=_transaction.get() is not None)

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
        if _transaction.get() is not None:
            return None
        self._transactions += 1
        key = f"{self._no}:{name or 'transaction'}:{self._transactions}"
        return key, _transaction.set(key)

    def end_transaction(self, opened: Any, *, ok: bool) -> None:
        """Commit it, or roll it back; returns when that is recorded, and the functions that undo it were called."""
        key, before = opened
        _transaction.reset(before)
        with self._code.away():
            staged = list(self._scheduler.hosted(self._run_id).run.transactions.get(key, ()))
            self._home.post_and_wait(self._run_id, TransactionEnded(name=key, ok=ok))
            for hook in self._hooks_of(staged, "commit" if ok else "rollback"):
                hook.wait()

    def _hooks_of(self, nos: list[TaskNo], state: str) -> list[threading.Event]:
        """The ends of the hooks that were called for these task runs."""
        ends: list[threading.Event] = []
        with self._scheduler.lock:
            run = self._scheduler.hosted(self._run_id).run
            for no in nos:
                for index in range(len(run.tasks[no].node.spec.hooks)):
                    hook = run.children.get((no, f"hook:{state}:{index}"))
                    if hook is not None and not hook.terminal:
                        ends.append(threading.Event())
                        self._home.calls.on_end(self._run_id, hook.no, ends[-1].set)
        return ends
