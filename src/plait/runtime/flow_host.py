"""The scope of a flow's body: its calls become children of its run, decided on the calling thread.

A plain call runs here and now, on the body's own thread (or event loop); `.submit` and `.map` go to an executor. The
body gets a value only after the outcome is committed; the start may be committed in the background. On a replay,
recorded children answer at once.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from plait.authoring.dag import Dag
from plait.authoring.flow import Flow
from plait.authoring.futures import FutureList
from plait.authoring.markers import Unmapped
from plait.authoring.task import Task
from plait.authoring.where import here
from plait.engine.run import TaskRun
from plait.model.errors import DefinitionError, Unfinished
from plait.model.graph import TaskSpec
from plait.model.ids import RunId, TaskNo, Token
from plait.model.states import TaskState
from plait.model.stimuli import ChildSubmitted, ExecutionBlocked, ExecutionUnblocked, TransactionEnded
from plait.model.wire import Execution
from plait.runtime.futures import HostFuture, futures_in, replaced
from plait.worker.fingerprint import Unhashable, fingerprint
from plait.worker.harness import exception_of

if TYPE_CHECKING:
    from plait.runtime.session import Session

CALLER = "caller"
RUNS = "runs"


class FlowHost:
    """Answers the calls of one execution of a body."""

    def __init__(self, session: Session, run_id: RunId, no: TaskNo, token: Token, executor: str, limited: bool):
        self._session = session
        self._scheduler = session.scheduler
        self._run_id = run_id
        self._no = no
        self._token = token
        self._executor = executor
        self._limited = limited
        self._occurrences: dict[tuple[str, str], int] = {}
        self._unhashable: dict[str, int] = {}
        self._waiters = 0
        self._lock = threading.Lock()
        self._open: dict[int, HostFuture] = {}
        self.transaction: str | None = None
        self._transactions = 0

    # --- the scope ----------------------------------------------------------------------------------------------------

    def call(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """A plain call of a task, a flow or a dag."""
        if isinstance(callee, Dag):
            return self.submit(callee, args, kwargs).result()
        if callee.is_async:
            return self._call_async(callee, args, kwargs)
        if self._executor == "processes" and isinstance(callee, Task):
            return self.submit(callee, args, kwargs).result()
        mailbox: queue.SimpleQueue[Execution] = queue.SimpleQueue()
        future, task = self._add(callee, args, kwargs, CALLER, mailbox.put)
        try:
            while not task.terminal:
                execution = self._session.take_inline(self._run_id, task)
                if execution is None:
                    execution = self._next(mailbox, future)
                    if execution is None:
                        break
                self._session.run_inline(execution)
        finally:
            self._session.forget_call(self._run_id, task.no)
        return self.value_of(task.no, raise_on_failure=True)

    def _next(self, mailbox: queue.SimpleQueue[Execution], future: HostFuture) -> Execution | None:
        """Wait for the next execution of a call that has to wait (slots, a retry's delay), none when it is over."""
        future.on_settled(lambda: mailbox.put(_OVER))
        with self.waiting():
            execution = mailbox.get()
        return None if execution is _OVER else execution

    async def _call_async(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        loop = asyncio.get_running_loop()
        arrived: asyncio.Queue[Execution] = asyncio.Queue()

        def put(execution: Execution) -> None:
            loop.call_soon_threadsafe(arrived.put_nowait, execution)

        future, task = self._add(callee, args, kwargs, CALLER, put)
        try:
            while not task.terminal:
                execution = self._session.take_inline(self._run_id, task)
                if execution is None:
                    future.on_settled(lambda: put(_OVER))
                    execution = await arrived.get()
                    if execution is _OVER:
                        break
                await self._session.run_inline_async(execution)
        finally:
            self._session.forget_call(self._run_id, task.no)
        return self.value_of(task.no, raise_on_failure=True)

    def submit(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """In the background: a task or a flow on an executor, a dag as a run of its own."""
        if not isinstance(callee, Dag) and callee.is_async and _running_loop():
            return _spawn(self._call_async(callee, args, kwargs))
        executor = RUNS if isinstance(callee, Dag) else callee_executor(callee, self._executor)
        future, task = self._add(callee, args, kwargs, executor, None)
        if not task.terminal:
            self._scheduler.wake()
        return future

    def map(self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any], how: str) -> Any:
        """One submit per element."""
        return FutureList(self.submit(callee, a, k) for a, k in _elements(callee, args, kwargs, how))

    # --- children -----------------------------------------------------------------------------------------------------

    def _add(
        self, callee: Any, args: tuple[Any, ...], kwargs: dict[str, Any], executor: str, taker: Any
    ) -> tuple[HostFuture, TaskRun]:
        spec = self._session.spec_of(callee, executor)
        upstream = futures_in((args, kwargs))
        child = ChildSubmitted(
            parent=self._no,
            spec=spec,
            key=self._child_key(spec, args, kwargs),
            upstream=tuple(future.no for future in upstream),
            transaction=self.transaction,
        )
        future = HostFuture(self, spec.key, child.key)
        task = self._session.add_child(self._run_id, child, future, callee, args, kwargs, taker)
        future._no = task.no  # pyright: ignore[reportPrivateUsage]  # set once, before it is handed out
        if not task.terminal:
            self._open[task.no] = future
            future.on_settled(lambda: self._open.pop(task.no, None) and None)
        return future, task

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
        return self._task(no).state.value

    def _task(self, no: TaskNo) -> TaskRun:
        return self._scheduler.hosted(self._run_id).run.tasks[no]

    def value_of(self, no: TaskNo, *, raise_on_failure: bool) -> Any:
        """What a child that is over came to: its value; or its exception, raised or returned."""
        task = self._task(no)
        if task.state is TaskState.SUCCESS:
            return self._session.value_of(self._run_id, task)
        error = self._session.exception_of(self._run_id, task)
        if error is None and task.error is not None and task.state in (TaskState.FAILED, TaskState.CRASHED):
            error = exception_of(task.error)
        if error is None:
            why = f": {task.reason}" if task.reason else ""
            error = Unfinished(f"{task.label()} has no result, it is {task.state.value}{why}")
        if raise_on_failure:
            raise error
        return error

    # --- waiting ------------------------------------------------------------------------------------------------------

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """The body waits for a child: it gives its slots back meanwhile, so that the child can have them."""
        self._scheduler.flush()
        if not self._limited:
            yield
            return
        with self._lock:
            self._waiters += 1
            first = self._waiters == 1
        if first:
            self._scheduler.post(self._run_id, ExecutionBlocked(no=self._no, token=self._token))
            self._scheduler.pump()
        try:
            yield
        finally:
            with self._lock:
                self._waiters -= 1
                last = self._waiters == 0
            if last:
                granted = threading.Event()
                self._scheduler.carrier.grants[self._run_id, self._no] = granted.set
                self._scheduler.post(self._run_id, ExecutionUnblocked(no=self._no, token=self._token))
                self._scheduler.pump()
                granted.wait()
                self._scheduler.carrier.grants.pop((self._run_id, self._no), None)

    @property
    def unfinished(self) -> bool:
        """Whether anything that was submitted is not over."""
        return bool(self._open)

    def finish(self) -> None:
        """The body has returned: what it submitted is waited for."""
        while self._open:
            next(iter(self._open.values())).wait()

    # --- transactions -------------------------------------------------------------------------------------------------

    def begin_transaction(self, name: str) -> str:
        """Open a transaction (inside an open one: part of that one)."""
        if self.transaction is not None:
            return ""
        self._transactions += 1
        self.transaction = f"{self._no}:{name or 'transaction'}:{self._transactions}"
        return self.transaction

    def end_transaction(self, name: str, *, ok: bool) -> None:
        """Commit it, or roll it back; returns when that is recorded."""
        self.transaction = None
        self._session.post_and_wait(self._run_id, TransactionEnded(name=name, ok=ok))


_OVER: Any = object()


def callee_executor(callee: Any, default: str) -> str:
    """Where a submitted task or flow runs: a flow's body only in this process."""
    if isinstance(callee, Flow):
        return "threads"
    return callee.options_.executor or default


def _running_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _spawn(coroutine: Any) -> asyncio.Task[Any]:
    return asyncio.get_running_loop().create_task(coroutine)


def _elements(
    callee: Any, args: tuple[Any, ...], kwargs: Mapping[str, Any], how: str
) -> Iterator[tuple[tuple[Any, ...], dict[str, Any]]]:
    """The arguments of every element of a map; see `Task.map`."""
    import itertools

    given = [*enumerate(args), *kwargs.items()]
    values = {name: _mapped_values(value) for name, value in given}
    mapped = {name: items for name, items in values.items() if items is not None}
    if not mapped:
        where, wrong = here()
        raise DefinitionError(
            f"{callee.name!r} is mapped, but nothing that it is given is a list or a dict",
            where=where,
            wrong=wrong,
            right=f"{callee.name}.map([1, 2, 3])",
        )
    lengths = {len(items) for items in mapped.values()}
    if how == "zip" and len(lengths) > 1:
        where, wrong = here()
        raise DefinitionError(
            f"{callee.name!r} is mapped over lists of different lengths: {', '.join(map(str, sorted(lengths)))}",
            where=where,
            wrong=wrong,
            right=f"lists of one length, unmapped(...) for what every element gets, or {callee.name}.product(...)",
        )
    static = {name: value.value if isinstance(value, Unmapped) else value for name, value in given}
    combos = zip(*mapped.values(), strict=True) if how == "zip" else itertools.product(*mapped.values())
    for combo in combos:
        chosen = {**static, **dict(zip(mapped, combo, strict=True))}
        yield tuple(chosen[i] for i in range(len(args))), {name: chosen[name] for name in kwargs}


def _mapped_values(value: Any) -> list[Any] | None:
    if isinstance(value, Unmapped) or isinstance(value, (str, bytes)):
        return None
    if isinstance(value, HostFuture):
        value = value.result()
    if isinstance(value, dict):
        return list(value.values())
    if isinstance(value, (list, tuple, range, set)):
        return list(value)
    return None


def resolve_returned(value: Any) -> Any:
    """What a body returned, with every future replaced by its value."""
    return replaced(value, lambda future: future.result())
