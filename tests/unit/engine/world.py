"""A run under test: terse graphs, a clock that jumps, scripted outcomes, and rows as a shell would write them.

Every step goes through `World.say` or `World.dispatch`. Each checks the run's invariants, that its slots are accounted
for, and that restoring it from its rows gives an equal run; so a test that merely drives a run tests all that too.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from plait.engine.build import restore
from plait.engine.decide import decide, dispatch, take
from plait.engine.invariants import check_run
from plait.engine.limits import LimitBook, Request
from plait.engine.plan import Plan
from plait.engine.rules import Gate
from plait.engine.run import Run, TaskRun
from plait.model import commands as c
from plait.model import events as e
from plait.model import stimuli as s
from plait.model.graph import Edge, Graph, GroupSpec, OutputSpec, TaskSpec
from plait.model.ids import RunId, TaskNo
from plait.model.outcome import ErrorInfo, Outcome, RetryVerdict, Verdict
from plait.model.policies import LimitUse, RunPolicy
from plait.model.rows import AttemptRow, RunRow, ScopeRow, TaskRow
from plait.model.states import LIVE, RUN_TERMINAL, RunState, TaskState
from plait.runtime.rows import decode_event, event_row, task_row, update_run_row

RUN = RunId("run-1")
OWNER = "here"
START = 1_000.0
KEPT = ("outputs", "control", "spec", "error", "log")  # an upsert leaves these as they are where nothing is given

# --- graphs -----------------------------------------------------------------------------------------------------------


def dag(
    text: str = "",
    tasks: Mapping[str, Mapping[str, Any]] | None = None,
    *,
    groups: Iterable[GroupSpec] = (),
    edges: Iterable[Edge] = (),
    policy: RunPolicy | None = None,
    **more: Any,
) -> Graph:
    """A graph out of chains: `dag("a, b > c > d:x > e; s !> c", {"c": {"trigger_rule": ...}})`.

    `d:x > e` is an edge from d's output x, `s !> c` a guard. Tasks that are only in `tasks` are added.
    """
    keys: dict[str, None] = {}
    found: list[Edge] = []
    for chain in filter(None, (part.strip() for part in text.split(";"))):
        before: list[tuple[str, str | None]] = []
        guard = False
        for step in chain.split(">"):
            now = [_named(name) for name in step.rstrip("! ").split(",")]
            keys.update((key, None) for key, _ in now)
            found.extend(
                Edge(upstream=up, downstream=down, output=output, guard=guard)
                for up, output in before
                for down, _ in now
            )
            before, guard = now, step.rstrip().endswith("!")
    options = dict(tasks or {})
    keys.update((key, None) for key in options)
    nodes = tuple(TaskSpec(key=key, **options.get(key, {})) for key in keys)
    return Graph(
        name=more.pop("name", "test"),
        nodes=nodes,
        edges=(*found, *edges),
        groups=tuple(groups),
        policy=policy or RunPolicy(),
        **more,
    )


def _named(text: str) -> tuple[str, str | None]:
    key, _, output = text.strip().partition(":")
    return key, output or None


def optional(*names: str) -> tuple[OutputSpec, ...]:
    """Outputs that need not be emitted."""
    return tuple(OutputSpec(name=name, required=False) for name in names)


# --- outcomes ---------------------------------------------------------------------------------------------------------

ok = Outcome
"""A success: `ok(lengths={"result": 3})`."""


def bad(text: str = "Boom: no", **more: Any) -> Outcome:
    """A failure whose error is `type: message`."""
    kind, _, message = text.partition(": ")
    return Outcome(verdict=Verdict.FAILED, error=ErrorInfo(type=kind, message=message), **more)


def skip() -> Outcome:
    return Outcome(verdict=Verdict.SKIPPED)


def again(until: float) -> Outcome:
    """A sensor that looks again."""
    return Outcome(verdict=Verdict.RESCHEDULE, until=until)


def defer(timeout: float | None = None) -> Outcome:
    return Outcome(verdict=Verdict.DEFER, trigger={"kind": "file"}, timeout=timeout)


def pause(timeout: float | None = None) -> Outcome:
    return Outcome(verdict=Verdict.PAUSE, timeout=timeout)


def never() -> Outcome:
    return bad(retry=RetryVerdict.NEVER)


def many(length: int | list[str], output: str = "result") -> Outcome:
    """A success that can be mapped over."""
    return Outcome(lengths={output: length})


Script = Outcome | list[Outcome] | Callable[[TaskRun], Outcome]

# --- the world --------------------------------------------------------------------------------------------------------


class World:
    """One run, what its shell would keep, and the means to move both."""

    def __init__(
        self,
        graph: Graph,
        *,
        lengths: dict[str, int | list[str]] | None = None,
        sizes: Mapping[str, int] | None = None,
        admit: bool = True,
        check: bool = True,
    ):
        self.graph = graph
        self.plan = Plan(graph)
        self.now = START
        self.check = check
        self.run = Run(RUN, self.plan)
        self.row = RunRow(
            run_id=RUN,
            workflow=graph.name,
            kind=graph.kind,
            graph_hash=graph.hash(),
            state=self.run.state.value,
            created_at=self.now,
            owner=OWNER,
            extra={"lengths": lengths or {}},
        )
        self.tasks: dict[int, TaskRow] = {}
        self.scopes: dict[tuple[str, tuple[int | str, ...]], ScopeRow] = {}
        self.attempts: list[AttemptRow] = []
        self.events: list[e.Event] = []
        self.commands: list[c.Command] = []
        self.assets: list[Any] = []
        self.timers: dict[tuple[str, int | None], c.SetTimer] = {}
        self.slots: dict[int, tuple[LimitUse, ...]] = {}
        self.book = LimitBook()
        for key, size in (sizes or {}).items():
            self.book.resize(key, size)
        if admit:
            self.say(s.RunAdmitted(lengths=lengths or {}))

    # moving

    def say(self, stimulus: s.Stimulus) -> None:
        """Decide a stimulus, write what it leaves, carry out what a shell does at once, check everything."""
        try:
            decide(self.run, stimulus, self.now)
        finally:
            self.flush()

    def dispatch(self, room: int = 1_000_000, executor: str | None = None) -> list[TaskRun]:
        """Hand out what is ready."""
        handed = dispatch(self.run, executor, room, self.now)
        self.flush()
        return handed

    def dispatch_all(self) -> list[TaskRun]:
        """Hand out what is ready, whatever its executor."""
        return [task for name in list(self.run.ready) for task in self.dispatch(executor=name)]

    def flush(self) -> None:
        """Write rows, carry out commands, grant slots, until nothing is left; then check."""
        while True:
            self._write()
            request = next(self.book.grantable(), None)
            if request is None:
                break
            self.book.granted(request)
            no = TaskNo(request.owner[1])
            self.slots[no] = request.uses
            decide(self.run, s.SlotsGranted(no=no), self.now)
        if self.check:
            self.verify()

    def _write(self) -> None:
        decision = take(self.run)
        for task in decision.touched:
            self._upsert(task_row(task))
        for scope in decision.scopes:
            self.scopes[scope.scope, scope.path] = scope
        if decision.changed:
            self.row = update_run_row(self.row, self.run, OWNER)
        self.attempts.extend(attempt for _, attempt in decision.attempts)
        self.assets.extend(decision.assets)
        self.events.extend(decode_event(event_row(event, 0, self.now)) for event in decision.events)
        for no in decision.released:
            self.slots.pop(no, None)
        for command in decision.commands:
            self.commands.append(command)
            self._carry_out(command)

    def _upsert(self, row: TaskRow) -> None:
        before = self.tasks.get(row.no)
        if before is not None:
            kept = {name: getattr(before, name) for name in KEPT if getattr(row, name) is None}
            row = msgspec.structs.replace(row, **kept)
        self.tasks[row.no] = row

    def _carry_out(self, command: c.Command) -> None:
        match command:
            case c.SetTimer():
                self.timers[command.kind, command.no] = command
            case c.RequestSlots():
                self.book.request((RUN, command.no), command.uses, command.priority)
            case c.ReleaseSlots():
                self.book.release((RUN, command.no))
            case c.RunEnded():
                assert not self.slots, f"the run is over and holds {self.slots}"
                self.timers.clear()
            case _:
                pass

    # time

    def jump(self, seconds: float) -> None:
        """Let time pass: fire, in order, every timer that comes due."""
        end = self.now + seconds
        while (timer := self.next_timer()) is not None and timer.at <= end:
            self.now = max(self.now, timer.at)
            del self.timers[timer.kind, timer.no]
            self.say(s.TimerFired(kind=timer.kind, no=timer.no, generation=timer.generation))
        self.now = end

    def next_timer(self) -> c.SetTimer | None:
        return min(self.timers.values(), key=lambda timer: timer.at, default=None)

    # executions

    def task(self, key: str, *path: int | str) -> TaskRun:
        """The current task run of a node, or the newest child of that key."""
        found = self.run.current(key, path)
        if found is None:
            children = [task for task in self.run.tasks.values() if task.key == key and task.child is not None]
            found = max(children, key=lambda task: task.no)
        return found

    def live(self) -> list[TaskRun]:
        return [task for task in self.run.tasks.values() if task.state in LIVE]

    def start(self, key: str, *path: int | str) -> TaskRun:
        """Hand out until this one is live, and let its worker begin."""
        self.dispatch_all()
        task = self.task(key, *path)
        assert task.state in LIVE, f"{task.label()} is {task.state.value}"
        self.say(s.ExecutionStarted(no=task.no, token=task.token))
        return task

    def finish(self, task: TaskRun, outcome: Outcome | None = None) -> None:
        """A live execution reports."""
        self.say(s.ExecutionFinished(no=task.no, token=task.token, outcome=outcome or ok()))

    def do(self, key: str, *path: int | str, outcome: Outcome | None = None) -> TaskRun:
        """Start one task run and finish it."""
        task = self.start(key, *path)
        self.finish(task, outcome)
        return task

    def play(self, script: Mapping[str, Script] | None = None, *, steps: int = 10_000) -> "World":
        """Run until nothing moves: what is not in the script succeeds; a list has one outcome an execution."""
        lists = {key: list(value) for key, value in (script or {}).items() if isinstance(value, list)}
        for _ in range(steps):
            self.dispatch_all()
            live = self.live()
            for task in live:
                if task.state in LIVE:
                    self.finish(task, _scripted(task, script or {}, lists))
            if not live:
                timer = self.next_timer()
                if timer is None or self.over:
                    return self
                self.jump(timer.at - self.now)
        raise AssertionError("it never ends")

    # children

    def call(self, parent: TaskRun, key: str, *upstream: TaskRun, **more: Any) -> TaskRun:
        """A body calls a task; `call(body, "extract")` twice is the same replay key."""
        spec = more.pop("spec", None) or TaskSpec(key=key, **more.pop("options", {}))
        name = more.pop("as_", key)
        nos = tuple(task.no for task in upstream)
        self.say(s.ChildSubmitted(parent=parent.no, spec=spec, key=name, upstream=nos, **more))
        return self.run.children[parent.no, name]

    # looking

    @property
    def over(self) -> bool:
        return self.run.state in RUN_TERMINAL

    @property
    def states(self) -> dict[str, str]:
        """The state of every current task run of the graph, by its label."""
        return {
            f"{key}[{','.join(map(str, path))}]" if path else key: task.state.value
            for (key, path), task in sorted(self.run.index.items(), key=lambda item: item[1].no)
        }

    def events_of(self, kind: type) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]

    def commands_of(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]

    # restarting

    def restored(self, epoch: int | None = None) -> Run:
        """The run as its rows tell."""
        return restore(
            self.plan, self.row, self.tasks.values(), self.scopes.values(), epoch=epoch or self.row.epoch, now=self.now
        )

    def take_over(self, *, died: bool = False, kept: Sequence[TaskRun] = ()) -> None:
        """The owner dies and another process goes on from the rows; `died`: somebody noticed in between. What is `kept`
        goes on in workers, with its slots."""
        if died:
            self.say(s.OwnerLost(reason="the session died"))
        epoch = self.row.epoch + 1
        self.run = self.restored(epoch)
        self.row = msgspec.structs.replace(self.row, epoch=epoch)
        self.book.forget_run(RUN)
        self.slots = {task.no: self.slots[task.no] for task in kept if task.no in self.slots}
        for no, uses in self.slots.items():
            self.book.granted(Request((RUN, no), uses, 0))
        self.timers.clear()
        self.say(s.OwnerChanged(epoch=epoch, kept=tuple(task.token for task in kept)))

    # checking

    def verify(self) -> None:
        """The invariants, the slots, and that the rows tell the same run."""
        self.verify_run()
        granted = {task.no for task in self.run.tasks.values() if task.granted}
        assert set(self.slots) == granted, f"slot rows of {set(self.slots)}, granted to {granted}"
        assert {no for _, no in self.book.held} == granted, f"the book holds {self.book.held}"

    def verify_run(self) -> None:
        """The invariants, and that the rows tell the same run."""
        check_run(self.run)
        mine, theirs = picture(self.run), picture(self.restored())
        assert mine == theirs, difference(mine, theirs)

    def folded(self) -> dict[int, str]:
        """The state of each task run as its events tell."""
        states: dict[int, str] = {}
        for event in self.events:
            match event:
                case e.TaskDispatched():
                    states[event.no] = TaskState.DISPATCHED.value
                case e.TaskFinished() | e.TaskWaits() | e.TaskResolved():
                    states[event.no] = event.state
                case e.TasksCleared():
                    for no in event.nos:
                        states.pop(no, None)
                case _:
                    pass
        return states


def _scripted(task: TaskRun, script: Mapping[str, Script], lists: dict[str, list[Outcome]]) -> Outcome:
    label = f"{task.key}[{','.join(map(str, task.path))}]"
    for name in (label, task.key):
        if name in lists:
            return lists[name].pop(0) if lists[name] else ok()
        found = script.get(name)
        if found is not None and not isinstance(found, list):
            return found if isinstance(found, Outcome) else found(task)
    return ok()


# --- comparing two runs -----------------------------------------------------------------------------------------------


def picture(run: Run) -> dict[str, Any]:
    """What two runs must have in common to be the same run.

    Left out is what only a process knows (granted slots, a blocked body, open watches) and what is derived: being ready
    for the first time is being pending, once the run is restored, and a gate is made when it is looked at.
    """
    sizes = [node.gate_sizes for node in run.plan.nodes.values()]
    gates = {
        (index, depth, prefix): _counts(gate)
        for (index, depth, prefix), gate in run.gates.items()
        if _counts(gate) != _counts(Gate(*sizes[index][depth]) if index >= 0 else Gate(1))
    }
    return {
        "run": (
            run.state,
            run.reason,
            run.started_at,
            run.finished_at,
            run.ending if run.state not in _ENDED else None,
        ),
        "tasks": {_place(task): _picture(task) for task in run.tasks.values()},
        "gates": gates,
        "expanded": run.expanded,
        "awaiting": {key: set(prefixes) for key, prefixes in run.awaiting.items() if prefixes},
        "generations": run.generations,
        "open": run.open,
        "active": run.active,
        "active_of": {key: count for key, count in run.active_of.items() if count},
        "kids": {task.no: [kid.no for kid in task.kids if kid.current] for task in run.tasks.values() if task.kids},
    }


def _counts(gate: Gate[TaskRun]) -> tuple[int, ...]:
    return tuple(getattr(gate, name) for name in gate.__slots__ if name != "members")


_ENDED = RUN_TERMINAL | {RunState.RUNNING, RunState.PAUSED}


def _place(task: TaskRun) -> tuple[Any, ...]:
    return (task.key, task.path, task.parent, task.child, task.no if task.child is not None else None)


def _picture(task: TaskRun) -> dict[str, Any]:
    first = task.state in (TaskState.PENDING, TaskState.READY) and not task.executions
    again_ready = task.state is TaskState.READY and task.executions
    control = msgspec.json.encode(task.control) if task.control is not None else b"{}"
    seen = {
        "generation": task.generation,
        "state": "pending" if first or again_ready else task.state.value,
        "attempt": task.attempt,
        "token": task.token,
        "executions": task.executions,
        "unexpanded": task.unexpanded,
        "control": control,
        "wait_until": task.wait_until,
        "times": (task.first_started_at, task.started_at, task.finished_at),
        "reason": task.reason,
        "child": (task.parent_attempt, task.upstream, task.staged is not None, task.rolled_back),
        "marks": (task.cached, task.persisted, task.unstored, task.current, task.interrupted),
        "gates": len(task.gates) if task.child is None else None,
    }
    if not first or task.child is not None:
        seen["no"] = task.no
    if task.state in (TaskState.FAILED, TaskState.CRASHED):
        seen["error"] = task.error.text if task.error is not None else None
    return seen


def difference(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> str:
    """What the restored run has otherwise."""
    lines: list[str] = []
    for name, value in mine.items():
        other = theirs[name]
        if value == other:
            continue
        if isinstance(value, dict):
            lines.extend(
                f"{name} {key}: {value.get(key)} restored as {other.get(key)}"
                for key in {**value, **other}
                if value.get(key) != other.get(key)
            )
        else:
            lines.append(f"{name}: {value} restored as {other}")
    return "\n".join(lines)
