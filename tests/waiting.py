"""Waiting in tests: for a condition, with a deadline; never for a time."""

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 45.0
"""Seconds after which a test gives up; a machine that is busy needs some."""


def wait_until(condition: Callable[[], Any], what: str, patience: float = PATIENCE) -> None:
    """Look until the condition is true; after `patience` seconds the test fails, and says what did not happen."""
    until = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < until, f"it did not come to {what}"
        time.sleep(0.01)
