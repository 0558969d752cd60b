"""Threads that a flow's body starts are in its scope: what they call is recorded, what they print lands in its log.

Python 3.14 has a switch for it (`-X thread_inherit_context`); before that a thread begins with an empty context. So
while a body runs, the start of a thread and the work given to a ThreadPoolExecutor take the context along. Code that
is not in a flow is not affected.
"""

import contextvars
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from plait.authoring.scope import current_scope

_OWN = "plait-"
"""How the names of plait's own threads begin: they serve many runs."""
_lock = threading.Lock()
_installed = False


def inherit_scope() -> None:
    """From now on, threads inherit the scope of the flow that starts them."""
    global _installed  # noqa: PLW0603  once a process, as the classes that are changed
    with _lock:
        if _installed:
            return
        _installed = True
        threading.Thread.start = _starting(threading.Thread.start)  # pyright: ignore[reportAttributeAccessIssue]  only `self`
        ThreadPoolExecutor.submit = _submitting(ThreadPoolExecutor.submit)


def _inherits() -> bool:
    return getattr(current_scope(), "inherited_by_threads", False)


def _starting(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    @functools.wraps(start)
    def start_in_context(self: threading.Thread) -> None:
        if _inherits() and not self.name.startswith(_OWN):
            self.run = functools.partial(contextvars.copy_context().run, self.run)
        start(self)

    return start_in_context


def _submitting(submit: Callable[..., Future[Any]]) -> Callable[..., Future[Any]]:
    @functools.wraps(submit)
    def submit_in_context(
        self: ThreadPoolExecutor, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Future[Any]:
        if not _inherits():
            return submit(self, fn, *args, **kwargs)
        context = contextvars.copy_context()
        # The pool's thread serves others as well: it begins with an empty context, and each work brings its own.
        return contextvars.Context().run(submit, self, context.run, fn, *args, **kwargs)

    return submit_in_context
