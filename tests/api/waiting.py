"""What the tests of waits and questions share."""

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

from plait import trigger
from plait.engine.asks import questions
from plait.runtime.session import Session


@trigger
async def arrives(number: int, after: float = 0.01) -> dict[str, int]:
    """An event that comes."""
    await asyncio.sleep(after)
    return {"number": number}


@trigger
async def never() -> None:
    """One that does not."""
    await asyncio.Event().wait()


@trigger
async def raises(text: str) -> None:
    """One that fails."""
    raise ValueError(text)


def until(holds: Callable[[], Any], seconds: float = 20.0) -> Any:
    """Wait until something holds, and return it."""
    deadline = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < deadline, "it does not come to hold"
        time.sleep(0.005)
    return found


def in_background(call: Callable[[], Any]) -> Callable[[], Any]:
    """Call something in a thread; returns what waits for its value."""
    came: list[Any] = []
    thread = threading.Thread(target=lambda: came.append(call()), daemon=True)
    thread.start()

    def result() -> Any:
        thread.join(30)
        return came[0]

    return result


def asks(session: Session, name: str) -> str | None:
    """The id of the newest run, if a question of this name is asked in it."""
    for row in session.store.list_runs(limit=1):
        if name in [question.task for question in questions(session.store.tasks(row.run_id))]:
            return row.run_id
    return None


def asked(session: Session, state: str = "paused") -> str:
    """The id of the newest run, as soon as one of its tasks is in this state."""

    def look() -> str | None:
        for row in session.store.list_runs(limit=1):
            if any(each.state == state for each in session.store.tasks(row.run_id)):
                return row.run_id
        return None

    return until(look)
