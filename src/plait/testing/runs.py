"""A run in a world: what became of it, and what a test does to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from plait.adapters.stores.memory import MemoryStore
from plait.engine.run import Run, TaskRun
from plait.model.events import Event
from plait.model.ids import RunId, Token
from plait.model.outcome import Outcome
from plait.model.rows import RunRow, TaskRow
from plait.model.stimuli import (
    CancelRequested,
    ClearRequested,
    InputReceived,
    Stimulus,
    TriggerFired,
)
from plait.model.wire import Execution
from plait.runtime.rows import decode_event
from plait.runtime.scheduler import Scheduler
from plait.testing.bodies import MakesBody, is_body
from plait.testing.executors import ScriptedExecutor

E = TypeVar("E")
Element = int | str
Answer = Outcome | None | Sequence[Outcome] | Callable[[Execution], Outcome | None] | MakesBody
"""What the executions of one task come to: always the same; nothing by itself (`HOLD`); one after the other, the last
one again and again; what a function says; for a body, its script."""


class Stage(Protocol):
    """What a run needs of the world that it is in."""

    scheduler: Scheduler
    store: MemoryStore
    executor: ScriptedExecutor
    taken_at: dict[tuple[RunId, Token], float]
    began: float

    def settle(self) -> None:
        """Let everything that can happen now happen."""
        ...


class WorldRun:
    """One run, by its id: it is the same object for a run that crashed and was resumed."""

    def __init__(self, world: Stage, run_id: RunId, script: Mapping[str, Answer]):
        self.world = world
        self.run_id = run_id
        self.script = dict(script)

    # --- what it is ---------------------------------------------------------------------------------------------------

    @property
    def run(self) -> Run:
        """The aggregate."""
        return self.world.scheduler.hosted(self.run_id).run

    @property
    def row(self) -> RunRow:
        """The run's row, as it is stored."""
        row = self.world.store.get_run(self.run_id)
        if row is None:
            raise LookupError(f"run {self.run_id} is not stored")
        return row

    @property
    def state(self) -> str:
        """Its state, as it is stored."""
        return self.row.state

    @property
    def states(self) -> dict[str, str]:
        """The states of the graph's task runs: `{"load": "success", "load[0]": ...}`. A body's children and hooks are
        left out."""
        found = sorted(self.run.index.items(), key=lambda item: item[1].no)
        return {label(key, path): task.state.value for (key, path), task in found}

    @property
    def children(self) -> dict[str, str]:
        """The states of bodies' children, by their replay keys; hooks are left out."""
        return {
            key: task.state.value for (_, key), task in self.run.children.items() if task.node.spec.runner != "hook"
        }

    @property
    def hooks(self) -> list[str]:
        """The hooks that were called, in order: `load:on_failed:0`."""
        return [e.key for e in self.world.executor.taken if e.run.run_id == self.run_id and e.runner == "hook"]

    def task(self, key: str, *path: Element) -> TaskRun:
        """The current task run of a node, or the latest child of that name."""
        task = self.run.current(key, path)
        if task is None:
            named = [task for task in self.run.tasks.values() if task.key == key and task.path == path]
            if not named:
                raise LookupError(f"run {self.run_id} has no task run {label(key, path)}")
            task = max(named, key=lambda found: found.no)
        return task

    def executions(self, key: str, *path: Element) -> list[Execution]:
        """All executions that were handed out for a task, oldest first."""
        return [e for e in self.world.executor.taken if (e.run.run_id, e.key, e.path) == (self.run_id, key, path)]

    @property
    def order(self) -> list[str]:
        """In which order its task runs were handed out."""
        return [label(e.key, e.path) for e in self.world.executor.taken if e.run.run_id == self.run_id]

    @property
    def live(self) -> list[str]:
        """What an executor has of it now."""
        return [label(e.key, e.path) for e in self.world.executor.live.values() if e.run.run_id == self.run_id]

    def begun_at(self, key: str, *path: Element) -> list[float]:
        """When its executions were handed out, in seconds since the world began."""
        taken = self.world.taken_at
        return [taken[e.run.run_id, e.token] - self.world.began for e in self.executions(key, *path)]

    def events(self, kind: type[E]) -> list[E]:
        """What was recorded of one kind."""
        return [event for event in self.history if isinstance(event, kind)]

    @property
    def history(self) -> list[Event]:
        """Everything that was recorded."""
        return [decode_event(row) for row in self.world.store.events(self.run_id, limit=1_000_000)]

    def stored(self, key: str, *path: Element) -> list[TaskRow]:
        """The rows of a task, of all generations."""
        rows = self.world.store.tasks(self.run_id, current=False)
        return [row for row in rows if (row.key, tuple(row.path)) == (key, path)]

    # --- what is done to it -------------------------------------------------------------------------------------------

    def tell(self, stimulus: Stimulus) -> None:
        """Say something to the run; what is wrong with it is raised."""
        self.world.scheduler.ask(self.run_id, stimulus)
        self.world.settle()

    def answer(self, key: str, outcome: Outcome | None = None, path: tuple[Element, ...] = ()) -> None:
        """A live execution of a task ends by hand; then the world settles."""
        self.world.executor.answer(self.execution(key, *path), outcome)
        self.world.settle()

    def execution(self, key: str, *path: Element) -> Execution:
        """The live execution of a task."""
        for execution in self.world.executor.live.values():
            if (execution.run.run_id, execution.key, execution.path) == (self.run_id, key, path):
                return execution
        raise LookupError(f"{label(key, path)} of run {self.run_id} has no live execution; live: {self.live}")

    def fire(self, key: str, payload: Any = None, *, error: str | None = None, path: tuple[Element, ...] = ()) -> None:
        """The event that a deferred task waits for arrives."""
        self.tell(TriggerFired(no=self.task(key, *path).no, payload=payload, error=error))

    def give_input(self, key: str, data: Any) -> None:
        """A person answers a pause."""
        self.tell(InputReceived(no=self.task(key).no, data=data))

    def clear(self, *tasks: str, only_failed: bool = False, downstream: bool = True) -> None:
        """Run these (or all) again."""
        self.tell(ClearRequested(tasks=tasks, only_failed=only_failed, downstream=downstream))

    def cancel(self, *, state: str = "cancelled") -> None:
        """End it."""
        self.tell(CancelRequested(state=state))

    def resume(self) -> None:
        """Go on with it, in the present scheduler, after a crash of the one before."""
        self.world.scheduler.adoption.resume(self.run_id)
        self.world.scheduler.pump()
        self.world.settle()

    def body_of(self, key: str) -> MakesBody | None:
        """The script of a body, none for a task that is none."""
        said = self.script.get(key)
        return said if is_body(said) else None  # type: ignore[return-value]  # a generator function makes a body

    def plays(self, execution: Execution) -> Outcome | None:
        """What its script says of an execution: a success, unless it says otherwise."""
        said = self.script.get(execution.key, Outcome())
        if said is None or isinstance(said, Outcome):
            return said
        if callable(said):
            return said(execution)  # type: ignore[return-value]  # bodies are not asked here
        turn = self.executions(execution.key, *execution.path).index(execution)
        return said[min(turn, len(said) - 1)]


def label(key: str, path: Sequence[Element]) -> str:
    """`load`, `load[2]`, `load[2, eu]`."""
    return f"{key}[{', '.join(map(str, path))}]" if path else key
