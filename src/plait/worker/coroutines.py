"""Running a coroutine to its end from code that is not async."""

import contextvars
from collections.abc import Coroutine
from typing import Any

from plait.worker.loops import running_loop


def complete(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on an event loop of its own; beside one that runs in this thread (a notebook's) in
    another thread."""
    import asyncio  # here: see `worker.loops`

    if running_loop() is None:
        return asyncio.run(coroutine)
    from concurrent.futures import ThreadPoolExecutor

    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="plait-coroutine") as thread:
        return thread.submit(context.run, asyncio.run, coroutine).result()
