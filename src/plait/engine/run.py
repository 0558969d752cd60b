"""The Run aggregate: one run's task runs, gates and counters, changed only by the engine, in O(degree) per stimulus.

What a decision produced lies in four lists that the shell takes after each step: `events` (to record), `touched`
(task runs whose rows changed), `attempts` and `scopes_out` (rows to add), `commands` (to carry out once all that is
committed).

Priorities: `ready` is one heap per executor name; `dispatch` (decide.py) pops from it as long as the executor has room.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable
from typing import Any

from plait.engine.plan import FeedPlan, NodePlan, Plan
from plait.engine.rules import Gate
from plait.model.commands import Command
from plait.model.errors import InvalidTransition
from plait.model.events import Event
from plait.model.ids import MapElement, MapPath, RunId, TaskNo, Token, token
from plait.model.outcome import ErrorInfo, LogSpan, Outcome, Stored, Verdict
from plait.model.policies import Value
from plait.model.rows import AssetEventRow, AssetRow, AttemptRow, ScopeRow
from plait.model.states import LIVE, TASK_TRANSITIONS, TERMINAL, RunState, TaskState

STORY_LENGTH = 16


Place = tuple[str | MapPath, ...]
"""Where a task run stands: see `Run.place`."""


class Asked(Value):
    """What a pause asks people for: the JSON Schema of the input (none: anything), and a text."""

    schema: dict[str, Any] | None = None
    prompt: str = ""


class Control(Value):
    """What the engine keeps of an outcome, and needs again after a restart.

    Of a success: which outputs were emitted, how long they are, which branch was chosen, what is short-circuited. Of a
    skip by a short-circuit that skips everything below: the number of mapped scopes in which that lies (`cut`), because
    it goes no further than its own element. Of a wait: the `trigger` of a deferral, or what a pause `asked`. Of what
    ended a wait: what the next execution gets to `resume` with, until it has an outcome. Of code that begins again
    after each wait: the name of the `wait` that it is in, and the `answers` to those before.
    """

    emitted: tuple[str, ...] | None = None
    lengths: dict[str, int | list[str]] = {}
    branch: tuple[str, ...] | None = None
    short_circuit: str | None = None
    cut: int | None = None
    trigger: dict[str, Any] | None = None
    asked: Asked | None = None
    resume: Any = None
    wait: str | None = None
    answers: dict[str, dict[str, Any]] = {}


_NOTHING = Control()
_GOING_ON = frozenset({Verdict.DEFER, Verdict.PAUSE, Verdict.RESCHEDULE, Verdict.FAILED, Verdict.CRASHED})
"""The verdicts after which an execution may follow."""


class TaskRun:
    """One (node, map path, generation). `attempt` counts tries from 1, 0 before the first; `token` fences the current
    execution. `unexpanded` marks the stand-in of a mapped node whose scope has no elements yet. `interrupted` marks
    what died with its owner: nobody was told, a new owner goes on with it. `lost` marks a body's child that a new
    owner took over: it waits until the replayed body asks for it again. `recorded` counts, while a body is replayed,
    the children of each task that were recorded before and not asked for again."""

    __slots__ = (
        "allow_failure", "attempt", "blocked", "cached", "child", "control", "current", "dependents", "error",
        "executions", "finished_at", "first_started_at", "gates", "generation", "granted", "has_row", "interrupted",
        "kids", "log", "lost", "name", "no", "node", "outputs", "parent", "parent_attempt", "path", "persisted",
        "reason", "recorded", "rolled_back", "staged", "started_at", "state", "story", "token", "touched",
        "unexpanded", "unstored", "upstream", "wait_until", "watching",
    )  # fmt: skip

    def __init__(self, no: TaskNo, node: NodePlan, path: MapPath, generation: int = 0):
        self.no = no
        self.node = node
        self.path = path
        self.generation = generation
        self.state = TaskState.PENDING
        self.attempt = 0
        self.token = Token(0)
        self.executions = 0
        self.gates: tuple[Gate[TaskRun], ...] = ()
        self.unexpanded = len(path) < node.depth
        self.story: tuple[str, ...] = ()
        self.control: Control | None = None
        self.error: ErrorInfo | None = None
        self.outputs: dict[str, Stored] | None = None
        self.log: LogSpan | None = None
        self.reason = ""
        self.name: str | None = None
        self.wait_until: float | None = None
        self.first_started_at: float | None = None
        self.started_at: float | None = None
        self.finished_at: float | None = None
        # of a flow's child (or a hook)
        self.parent: TaskNo | None = None
        self.parent_attempt = 0
        self.child: str | None = None
        self.upstream: tuple[TaskNo, ...] = ()
        self.allow_failure: tuple[TaskNo, ...] = ()
        self.dependents: dict[TaskNo, TaskRun] | None = None
        self.staged: str | None = None
        # of a body
        self.kids: list[TaskRun] | None = None
        self.recorded: dict[str, int] | None = None
        # marks
        self.current = True
        self.touched = self.has_row = self.granted = self.blocked = self.lost = self.interrupted = False
        self.cached = self.persisted = self.unstored = self.rolled_back = False
        self.watching: set[int] | None = None

    @property
    def key(self) -> str:
        """The node's key."""
        return self.node.key

    @property
    def terminal(self) -> bool:
        """Whether its state is final."""
        return self.state in TERMINAL

    @property
    def cut(self) -> int | None:
        """In how many mapped scopes a short-circuit lies that skips this and everything below it, if one does."""
        control = self.control
        if control is None or (control.cut is None and control.short_circuit != "all"):
            return None
        return control.cut if control.cut is not None else self.node.depth

    @property
    def resume(self) -> Any:
        """What its next execution goes on with, none for one that begins at the beginning."""
        control = self.control
        if control is None or not control.answers:
            return control.resume if control is not None else None
        told: dict[str, Any] = control.resume or {}
        return {**told, "answers": control.answers}

    @property
    def answers(self) -> dict[str, dict[str, Any]]:
        """What ended the waits of its attempt, by their names."""
        return self.control.answers if self.control is not None else {}

    def label(self) -> str:
        """How errors name it: `load[2, eu] (generation 1)`."""
        path = f"[{', '.join(map(str, self.path))}]" if self.path else ""
        return f"{self.key}{path}" + (f" (generation {self.generation})" if self.generation else "")


class Run:
    """One run of one version of one graph."""

    def __init__(self, run_id: RunId, plan: Plan, *, epoch: int = 1):
        self.run_id = run_id
        self.plan = plan
        self.epoch = epoch
        self.state = RunState.QUEUED
        self.reason = ""
        self.started_at: float | None = None
        self.finished_at: float | None = None
        self.param_lengths: dict[str, int | list[str]] = {}
        # task runs
        self.tasks: dict[TaskNo, TaskRun] = {}
        self.index: dict[tuple[str, MapPath], TaskRun] = {}
        self.generations: dict[tuple[str, MapPath], int] = {}
        """Of each place that was cleared: the generation that is made there next."""
        self.child_generations: dict[Place, int] = {}
        """The same of children and hooks that made way."""
        self.children: dict[tuple[TaskNo, str], TaskRun] = {}
        self.child_nodes: dict[str, NodePlan] = {}
        self.gates: dict[tuple[int, int, MapPath], Gate[TaskRun]] = {}
        self.expanded: dict[tuple[str, MapPath], tuple[MapElement, ...]] = {}
        self.awaiting: dict[str, set[MapPath]] = {}
        self.transactions: dict[str, dict[TaskNo, None]] = {}
        self.next_no = 0
        self.executions = 0
        self.open = 0
        # dispatch
        self.ready: dict[str | None, list[tuple[int, TaskNo]]] = {}
        self.parked: dict[str, list[tuple[int, TaskNo]]] = {}
        self.active = 0
        self.active_of: dict[str, int] = {}
        self.settled: deque[TaskRun] = deque()
        self.failed: TaskRun | None = None
        self.ending: RunState | None = None
        self.hooks_started = False
        # what the shell takes
        self.changed = False
        self.events: list[Event] = []
        self.touched: list[TaskRun] = []
        self.attempts: list[tuple[TaskNo, AttemptRow]] = []
        self.scopes_out: list[ScopeRow] = []
        self.assets: list[AssetRow] = []
        self.asset_events: list[AssetEventRow] = []
        self.released: list[int] = []
        self.commands: list[Command] = []

    # --- making task runs --------------------------------------------------------------------------------------------

    def add_task(self, node: NodePlan, path: MapPath) -> TaskRun:
        """A new task run of a node of the graph, current from now on."""
        task = TaskRun(TaskNo(self.next_no), node, path, self.generations.get((node.key, path), 0))
        self.next_no += 1
        self.adopt(task)
        self.index[node.key, path] = task
        return task

    def adopt(self, task: TaskRun) -> None:
        """Count a task run among this run's."""
        self.tasks[task.no] = task
        if task.state not in TERMINAL:
            self.open += 1

    def forget(self, task: TaskRun) -> None:
        """Drop a task run from memory: its row, if there is one, is the truth."""
        del self.tasks[task.no]
        if self.index.get((task.key, task.path)) is task:
            del self.index[task.key, task.path]
        if task.state not in TERMINAL:
            self.open -= 1

    def gate(self, node: NodePlan, depth: int, prefix: MapPath) -> Gate[TaskRun]:
        """The gate of a node's edges of one depth at one path prefix; made with all of these edges pending."""
        key = (node.index, depth, prefix)
        gate = self.gates.get(key)
        if gate is None:
            gate = self.gates[key] = Gate(*node.gate_sizes[depth])
        return gate

    def feed_gate(self, feed: FeedPlan, prefix: MapPath) -> Gate[TaskRun]:
        """The gate that counts the instances of a map source below one path prefix."""
        key = (feed.index, feed.common, prefix)
        gate = self.gates.get(key)
        if gate is None:
            gate = self.gates[key] = Gate(1)
        return gate

    # --- changing them -----------------------------------------------------------------------------------------------

    def move(self, task: TaskRun, state: TaskState) -> None:
        """The only way a task run's state changes: by the table, counting what is live and open."""
        before = task.state
        if state not in TASK_TRANSITIONS[before]:
            raise InvalidTransition(f"{self.run_id} {task.label()}", before, state, task.story)
        task.story = (*task.story[-STORY_LENGTH:], state.value)
        task.state = state
        if before in LIVE:
            if state not in LIVE:
                self.count_live(task, -1)
        elif state in LIVE:
            self.count_live(task, 1)
        if state in TERMINAL:
            self.open -= 1
            if state is TaskState.FAILED or state is TaskState.CRASHED:
                self.failed = task
        if state is not TaskState.READY or before is not TaskState.PENDING:
            # a row is made at dispatch: that a task run is ready for the first time is derived when a run is restored
            self.touch(task)

    def count_live(self, task: TaskRun, step: int) -> None:
        """Count a task run that became live, or stopped to be. A body's work are its children: they count, not it."""
        if not task.node.body:
            self.active += step
        if task.node.max_active:
            self.active_of[task.key] = self.active_of.get(task.key, 0) + step
            if step < 0:
                self.unpark(task.key)

    def unpark(self, key: str) -> None:
        """One of a node's task runs left its place: the first that `max_active` held back gets in line again."""
        waiting = self.parked.get(key)
        while waiting:
            entry = heapq.heappop(waiting)
            task = self.tasks.get(entry[1])
            if task is not None and task.state is TaskState.READY:
                heapq.heappush(self.ready.setdefault(task.node.spec.executor, []), entry)
                return
        self.parked.pop(key, None)

    def touch(self, task: TaskRun) -> None:
        """Its row has changed."""
        if not task.touched:
            task.touched = task.has_row = True
            self.touched.append(task)

    def next_token(self) -> Token:
        """The token of the next execution: greater than all before, whatever process ran them."""
        self.executions += 1
        return token(self.epoch, self.executions)

    def keep_outcome(self, task: TaskRun, outcome: Outcome) -> None:
        """Take over what the engine and the row need of an outcome."""
        task.started_at = outcome.started_at or task.started_at
        if task.first_started_at is None:
            task.first_started_at = task.started_at
        task.finished_at = outcome.finished_at or None
        task.log = outcome.log
        task.error = outcome.error
        if outcome.name is not None:
            task.name = outcome.name
        if outcome.outputs:
            task.outputs = outcome.outputs
        if outcome.emitted is not None or outcome.lengths or outcome.branch is not None or outcome.short_circuit:
            task.control = Control(
                emitted=outcome.emitted,
                lengths=outcome.lengths,
                branch=outcome.branch,
                short_circuit=outcome.short_circuit,
            )
        elif task.control is not None:  # a row keeps what it has where nothing is written over it
            kept = task.answers if outcome.verdict in _GOING_ON else {}
            task.control = Control(answers=kept) if kept else _NOTHING
        task.cached = outcome.cached
        task.persisted = outcome.persisted
        task.unstored = outcome.unstored

    # --- looking -----------------------------------------------------------------------------------------------------

    def current(self, key: str, path: MapPath = ()) -> TaskRun | None:
        """The current generation of (node, path)."""
        return self.index.get((key, path))

    def place(self, task: TaskRun) -> Place:
        """What stays the same from one generation to the next: node and map path; of a child, those of its body and the
        replay keys down to it. Its parents have to be there."""
        if task.child is None:
            return task.key, task.path
        if task.parent is None:
            return task.key, task.path, task.child
        return *self.place(self.tasks[task.parent]), task.child

    def of_node(self, key: str) -> Iterable[TaskRun]:
        """All current task runs of a node, in no order."""
        return [task for task in self.tasks.values() if task.key == key and task.parent is None]

    def has_output(self) -> bool:
        """Whether a decision left anything to write or to do."""
        return bool(self.events or self.touched or self.commands or self.changed or self.released)
