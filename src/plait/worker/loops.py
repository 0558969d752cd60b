"""What code that is not async has to know of event loops.

asyncio is a quarter of what it costs to start a script, and most scripts have nothing async. So nobody imports it here:
where it has not been imported, no loop runs and nothing was cancelled by one.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio


def running_loop() -> "asyncio.AbstractEventLoop | None":
    """The event loop that runs in this thread, if one does."""
    get: Any = getattr(sys.modules.get("asyncio.events"), "_get_running_loop", None)
    return get() if get is not None else None


def is_cancellation(error: BaseException) -> bool:
    """Whether it is the CancelledError of asyncio."""
    return isinstance(error, getattr(sys.modules.get("asyncio.exceptions"), "CancelledError", ()))
