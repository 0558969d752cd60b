"""The transactions of a flow's body: which calls belong to one, and what its end waits for."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Protocol

from plait.model.ids import RunId, TaskNo
from plait.model.stimuli import Stimulus, TransactionEnded
from plait.runtime.calls import Calls
from plait.runtime.scheduler import Scheduler

_transaction: ContextVar[str | None] = ContextVar("plait_transaction", default=None)


def current_transaction() -> str | None:
    """The transaction that what is called here belongs to."""
    return _transaction.get()


@contextmanager
def in_transaction(key: str | None) -> Generator[None]:
    """What is called inside belongs to this transaction."""
    before = _transaction.set(key)
    try:
        yield
    finally:
        _transaction.reset(before)


class Home(Protocol):
    """What the transactions of a body ask of its session."""

    scheduler: Scheduler
    calls: Calls

    def post_and_wait(self, run_id: RunId, stimulus: Stimulus) -> None:
        """Say something to a run; returns when what follows from it is committed."""
        ...


class BodyTransactions:
    """Those of one execution of a body."""

    def __init__(self, home: Home, run_id: RunId, no: TaskNo):
        self._home = home
        self._run_id = run_id
        self._no = no
        self._count = 0

    def begin(self, name: str) -> Any:
        """Open a transaction; none inside of an open one, of which it is a part."""
        if _transaction.get() is not None:
            return None
        self._count += 1
        key = f"{self._no}:{name or 'transaction'}:{self._count}"
        return key, _transaction.set(key)

    def close(self, opened: Any) -> str:
        """What is called from now on does not belong to it; returns its key."""
        key, before = opened
        _transaction.reset(before)
        return key

    def end(self, key: str, *, ok: bool) -> None:
        """Commit it, or roll it back; returns when that is recorded, and the functions that undo it were called."""
        staged = list(self._home.scheduler.hosted(self._run_id).run.transactions.get(key, ()))
        self._home.post_and_wait(self._run_id, TransactionEnded(name=key, ok=ok))
        for hook in self._hooks_of(staged, "commit" if ok else "rollback"):
            hook.wait()

    def _hooks_of(self, nos: list[TaskNo], state: str) -> list[threading.Event]:
        """The ends of the hooks that were called for these task runs."""
        scheduler = self._home.scheduler
        ends: list[threading.Event] = []
        with scheduler.lock:
            run = scheduler.hosted(self._run_id).run
            for no in nos:
                for index in range(len(run.tasks[no].node.spec.hooks)):
                    hook = run.children.get((no, f"hook:{state}:{index}"))
                    if hook is not None and not hook.terminal:
                        ends.append(threading.Event())
                        self._home.calls.on_end(self._run_id, hook.no, ends[-1].set)
        return ends
