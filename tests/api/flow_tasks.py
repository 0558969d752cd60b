"""Tasks that several files of tests call in flows."""

import asyncio
from typing import Any

from plait import task


@task
def twice(x: int) -> int:
    return 2 * x


@task
def collect(*values: Any, **named: Any) -> Any:
    return [values, named]


@task
def broken(x: Any = None) -> None:
    raise OSError("broken", x)


@task
async def later(x: int) -> int:
    await asyncio.sleep(0.01)
    return 2 * x
