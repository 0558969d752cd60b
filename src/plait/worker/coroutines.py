"""Running a coroutine to its end from code that is not async."""

import asyncio
import contextvars
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def complete(coroutine: Coroutine[Any, Any, Any]) -> Any:
    """Run a coroutine to its end on an event loop of its own; beside one that runs in this thread (a notebook's) in
    another thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    context = contextvars.copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="plait-coroutine") as thread:
        return thread.submit(context.run, asyncio.run, coroutine).result()
