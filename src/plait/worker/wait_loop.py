"""Many triggers on one event loop, each watched: whoever looks from outside sees whether the loop still turns, and
whose turn it is.

Theory of operation. `Marks` are three numbers in memory that is shared with the supervisor (a mapped file between
processes): how often the loop has beaten, how many steps of triggers it has begun, and which trigger is in a step now,
0 for none. A trigger's coroutine, and each task that it starts, is driven by `_watched`, which marks each of its steps.
So if the loop stands still, the mark names who keeps it, also if that is in native code and holds the interpreter.
"""

import asyncio
import contextlib
import contextvars
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any

from plait.authoring.signals import TaskCancelled
from plait.worker.triggers import coroutine_of, event_of

BEAT = 0.25
"""Seconds between two beats."""
MARKS_SIZE = 16

_ENDS = (SystemExit, KeyboardInterrupt, TaskCancelled)
Work = Coroutine[Any, Any, Any] | Generator[Any, None, Any]
Fired = Callable[[int, Any, str | None], None]
"""Told of each trigger that is over: its number, the event, or the error."""

_whose: contextvars.ContextVar[int] = contextvars.ContextVar("plait_trigger")


class Marks:
    """The shared numbers: `beat`, and `turn`, the number of the trigger that is in a step."""

    def __init__(self, memory: Any):
        self._numbers = memoryview(memory)[:MARKS_SIZE].cast("q")

    @property
    def beat(self) -> int:
        """How often the loop has beaten."""
        return self._numbers[0]

    @property
    def turn(self) -> int:
        """Whose step it is."""
        return self._numbers[1]

    def next_beat(self) -> None:
        """The loop turns."""
        self._numbers[0] += 1

    def take_turn(self, number: int) -> int:
        """A step of this trigger begins (or ends, with what was there before); returns what was there."""
        before = self._numbers[1]
        self._numbers[1] = number
        return before

    def close(self) -> None:
        """Let go of the memory."""
        self._numbers.release()


class WaitLoop:
    """Triggers on the running event loop. Make it on that loop; everything is called there."""

    def __init__(self, marks: Marks, fired: Fired):
        self._marks = marks
        self._fired = fired
        self._loop = asyncio.get_running_loop()
        self._loop.set_task_factory(self._make_task)
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._beating: asyncio.TimerHandle | None = None
        self._beat()

    def start(self, number: int, trigger: dict[str, Any]) -> None:
        """Begin to wait."""
        context = contextvars.copy_context()
        context.run(_whose.set, number)
        self._tasks[number] = self._loop.create_task(self._run(number, trigger), context=context)

    def drop(self, number: int) -> None:
        """Nobody waits for it any more."""
        task = self._tasks.pop(number, None)
        if task is not None:
            task.cancel()

    async def close(self) -> None:
        """End everything that has not ended."""
        self._tasks.clear()
        if self._beating is not None:
            self._beating.cancel()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1.0)

    async def _run(self, number: int, trigger: dict[str, Any]) -> None:
        event, error = None, None
        try:
            event = event_of(await coroutine_of(trigger), trigger)
        except asyncio.CancelledError:
            if number not in self._tasks:  # it was dropped
                raise
            error = "CancelledError: it cancelled itself"
        except (Exception, *_ENDS) as raised:  # noqa: BLE001  whatever it is, who waits hears it
            error = f"{type(raised).__name__}: {raised}"
        if self._tasks.pop(number, None) is not None:
            self._fired(number, event, error)

    def _beat(self) -> None:
        self._marks.next_beat()
        self._beating = self._loop.call_later(BEAT, self._beat)

    def _make_task(self, loop: asyncio.AbstractEventLoop, work: Work, **options: Any) -> "asyncio.Task[Any]":
        """Each task that a trigger starts is marked as its own."""
        context = options.get("context")
        number = context.get(_whose) if context is not None else _whose.get(None)
        if number is None or not isinstance(work, types.CoroutineType):
            return asyncio.Task(work, loop=loop, **options)
        task = asyncio.Task(_driven(self._marks, number, work), loop=loop, **options)
        task.add_done_callback(lambda _: work.close())  # one that is cancelled before it begins has not been awaited
        return task


async def _driven(marks: Marks, number: int, coroutine: Coroutine[Any, Any, Any]) -> Any:
    return await _watched(marks, number, coroutine)


@types.coroutine
def _watched(marks: Marks, number: int, coroutine: Coroutine[Any, Any, Any]) -> Generator[Any, Any, Any]:
    """Drive a coroutine, as `await` does, and mark each of its steps."""
    take_turn = marks.take_turn
    value: Any = None
    error: BaseException | None = None
    with contextlib.closing(coroutine):
        while True:
            before = take_turn(number)
            try:
                given = coroutine.send(value) if error is None else coroutine.throw(error)
            except StopIteration as ended:
                return ended.value
            finally:
                take_turn(before)
            value, error = None, None
            try:
                value = yield given
            except BaseException as raised:  # noqa: BLE001  whatever it is (a cancellation), it is the coroutine's
                error = raised
