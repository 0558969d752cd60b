"""A world for runs: the real scheduler, a store in memory, a clock that jumps, and executions that end by script.

Theory of operation. One thread, no waiting: `settle` pumps the scheduler, plays the bodies and answers what the
scripts answer, until nothing happens any more at this moment; `advance` and `run_out` then jump to the next timer and
settle again. So a run of days takes milliseconds and is the same each time. After every step the invariants of every
hosted run are checked, and that the slots in the store are those that the limits know of.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from plait.adapters.stores.memory import MemoryStore
from plait.engine import schedules
from plait.engine.decide import Decision
from plait.engine.invariants import check_run
from plait.engine.run import TaskRun
from plait.model.errors import EngineError
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo, Token
from plait.model.outcome import Outcome
from plait.model.rows import DeploymentRow, LimitRow, OwnerRow, PublishedRow
from plait.model.wire import Execution
from plait.runtime.firing import Firing
from plait.runtime.hosted import Hosted
from plait.runtime.node_runs import NodeRuns
from plait.runtime.own_triggers import OwnTriggers
from plait.runtime.scheduler import RunRequest, Scheduler
from plait.testing.bodies import PlayedBody
from plait.testing.clock import START, FakeClock
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds
from plait.testing.runs import Answer, WorldRun

Order = Callable[[list[Execution]], Iterable[Execution]]
MOST_STEPS = 100_000
LEASE = 30.0


class World:
    """Runs, and the time that passes for them.

    `room`: how many executions the executor takes at once. `order`: in which order live executions are answered, by
    default as they were handed out; `one_by_one`: each in a step of its own.
    """

    def __init__(
        self,
        *,
        start: float = START,
        room: int = 1 << 20,
        order: Order = list,
        one_by_one: bool = False,
    ):
        self.began = start
        self.clock = FakeClock(start)
        self.store = MemoryStore()
        self.runs: dict[RunId, WorldRun] = {}
        self.taken_at: dict[tuple[RunId, Token], float] = {}
        self.triggers: dict[tuple[RunId, TaskNo], dict[str, Any]] = {}
        """The event waits of deferred task runs."""
        self._workflows: dict[str, tuple[Graph, Mapping[str, Answer]]] = {}
        self._ids = CountedIds()
        self._room = room
        self._order = order
        self._one_by_one = one_by_one
        self._bodies: dict[tuple[RunId, Token], PlayedBody] = {}
        self._seen = 0
        self._owners = 0
        self.executor, self.scheduler = self._made([])

    def _made(self, taken: list[Execution]) -> tuple[ScriptedExecutor, Scheduler]:
        self._owners += 1
        executor = ScriptedExecutor(self._script, clock=self.clock, room=self._room)
        executor.taken = taken
        scheduler = Scheduler(
            store=self.store,
            clock=self.clock,
            ids=self._ids,
            executors={"work": executor},
            default_executor="work",
            owner=f"owner-{self._owners}",
        )
        executor.start(scheduler)
        runs = NodeRuns(scheduler, self._request_of)
        OwnTriggers(scheduler, runs, self._start_trigger)
        self.firing = Firing(scheduler)
        self.firing.look()
        scheduler.observers.append(self._observe)
        scheduler.set_limits([])
        self._bodies.clear()
        self._renew(scheduler.owner)
        return executor, scheduler

    def _observe(self, hosted: Hosted, decision: Decision) -> None:
        if decision.assets:
            self.firing.wake()

    def _request_of(self, workflow: str) -> RunRequest | None:
        known = self._workflows.get(workflow)
        return RunRequest(graph=known[0]) if known is not None else None

    def _renew(self, owner: str) -> None:
        now = self.clock.now()
        self.store.renew(OwnerRow(owner=owner, host="world", pid=1, started=now, lease_until=now + LEASE))

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start(
        self, graph: Graph, script: Mapping[str, Answer] | None = None, *, params: Any = None, **more: Any
    ) -> WorldRun:
        """Start a run and let the world settle. `more` are fields of `RunRequest`: logical_date, partition, lengths."""
        run_id = self._ids.run_id()
        made = self.runs[run_id] = WorldRun(self, run_id, script or {})
        request = RunRequest(graph=graph, params=msgspec.json.encode(params or {}), run_id=run_id, **more)
        self.scheduler.create(request)
        self.settle()
        return made

    def offer(self, graph: Graph, script: Mapping[str, Answer] | None = None) -> None:
        """Deploy a workflow, so that tasks of other runs start it, and its triggers: times, updates, events."""
        self._workflows[graph.name] = (graph, script or {})
        now = self.clock.now()
        self.store.save_graph(graph.hash(), graph)
        row = DeploymentRow(workflow=graph.name, kind=graph.kind, target="", graph_hash=graph.hash(), updated_at=now)
        with self.store.transaction() as tx:
            known, last = tx.triggers(graph.name), tx.last_signal()
            tx.deploy(row, schedules.redeploy(graph.name, graph.triggers, known, now, last))
        self.firing.look()

    def publish(self, name: str, data: Any = None) -> None:
        """Publish an event, and let the world settle."""
        with self.store.transaction() as tx:
            id = self._ids.run_id()
            tx.publish(PublishedRow(id=id, name=name, at=self.clock.now(), data=msgspec.json.encode(data)))
        self.firing.wake()
        self.settle()

    def runs_of(self, workflow: str) -> list[WorldRun]:
        """All runs of a workflow, oldest first."""
        rows = self.store.list_runs(workflow=workflow, limit=1_000_000)
        return [self._run_of(row.run_id) for row in reversed(rows)]

    def limit(self, **sizes: int) -> None:
        """Declare limits: `limit(pool__warehouse=2)` is `pool:warehouse`."""
        rows = [LimitRow(key=key.replace("__", ":", 1), slots=slots) for key, slots in sizes.items()]
        self.scheduler.set_limits(rows)

    def crash(self) -> None:
        """The process that hosts the runs is killed: what it had decided and not committed, and what ran, is gone.
        There is a new one, which owns nothing yet."""
        dead = self.scheduler.owner
        self.executor, self.scheduler = self._made(self.executor.taken)
        self.triggers.clear()
        self.store.sweep([dead], "its process was killed", self.clock.now())

    # --- time ---------------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Let everything happen that happens at this moment."""
        for _ in range(MOST_STEPS):
            self.scheduler.on_time()
            self.scheduler.flush()
            self.scheduler.pump()
            self._note_taken()
            self.check()
            if not (self._play_bodies() or self._answer() or self._fire()):
                return
        raise EngineError(f"the world does not come to rest after {MOST_STEPS} steps")

    def _fire(self) -> bool:
        now, at = self.clock.now(), self.firing.next_at
        if at is None or at > now:
            return False
        self.firing.fire(now)
        return True

    def _next_timer(self) -> float | None:
        times = (self.scheduler.next_timer(), self.firing.next_at)
        return min((at for at in times if at is not None), default=None)

    def advance(self, seconds: float) -> None:
        """Let so much time pass, with everything that happens meanwhile."""
        until = self.clock.now() + seconds
        self.settle()
        while (at := self._next_timer()) is not None and at <= until:
            self.clock.jump(max(at, self.clock.now()))
            self.settle()
        self.clock.jump(until)
        self.settle()

    def run_out(self, most: float = 10 * 365 * 86400.0) -> None:
        """Let time pass until nothing waits for it any more (at most `most` seconds)."""
        until = self.clock.now() + most
        self.settle()
        while (at := self._next_timer()) is not None and at <= until:
            self.clock.jump(max(at, self.clock.now()))
            self.settle()
        self.check_rows()

    # --- a step -------------------------------------------------------------------------------------------------------

    def _script(self, execution: Execution) -> Outcome | None:
        place = (execution.run.run_id, execution.token)
        if place in self._bodies:
            return self._bodies[place].outcome
        return self._run_of(execution.run.run_id).plays(execution)

    def _run_of(self, run_id: RunId) -> WorldRun:
        known = self.runs.get(run_id)
        if known is None:  # a run that another run, or a trigger, has started
            workflow = self.scheduler.hosted(run_id).graph.name
            known = self.runs[run_id] = WorldRun(self, run_id, self._workflows.get(workflow, (None, {}))[1])
        return known

    def _note_taken(self) -> None:
        for execution in self.executor.taken[self._seen :]:
            self.taken_at[execution.run.run_id, execution.token] = self.clock.now()
            body = self._run_of(execution.run.run_id).body_of(execution.key)
            if body is not None:
                place = (execution.run.run_id, execution.token)
                self._bodies[place] = PlayedBody(self.scheduler, execution, body)
        self._seen = len(self.executor.taken)

    def _play_bodies(self) -> bool:
        moved = False
        for place, body in list(self._bodies.items()):
            if place not in self.executor.live:
                del self._bodies[place]
            else:
                moved = body.go_on() or moved
        return moved

    def _answer(self) -> bool:
        among: Sequence[Execution] = list(self._order(list(self.executor.live.values())))
        if not self._one_by_one:
            return self.executor.play(among) > 0
        return any(self.executor.play([execution]) for execution in among)

    def _start_trigger(self, hosted: Hosted, task: TaskRun, trigger: dict[str, Any] | None) -> None:
        place = (hosted.run.run_id, task.no)
        if trigger is None:
            self.triggers.pop(place, None)
        else:
            self.triggers[place] = trigger

    # --- what must hold -----------------------------------------------------------------------------------------------

    def check(self) -> None:
        """Raise what made a run fail in its scheduler, or the first invariant that does not hold."""
        for hosted in list(self.scheduler.runs.values()):
            if hosted.error is not None:
                raise hosted.error
            check_run(hosted.run)
        held = {
            (use.key, run_id, no): use.slots
            for (run_id, no), uses in self.scheduler.limits.held.items()
            for use in uses
        }
        stored = {
            (slot.key, slot.run_id, slot.no): slot.slots
            for slot in self.store.slots()
            if slot.run_id in self.scheduler.runs
        }
        if held != stored:
            raise EngineError(f"the limits say that {held} is held, the store says {stored}")

    def check_rows(self) -> None:
        """Raise EngineError where the stored rows do not say what the hosted runs are (C1)."""
        for run_id, hosted in self.scheduler.runs.items():
            row = self.store.get_run(run_id)
            if row is None or row.state != hosted.run.state.value:
                raise EngineError(f"run {run_id} is {hosted.run.state.value}, its row says {row and row.state}")
            for stored in self.store.tasks(run_id):
                task = hosted.run.tasks.get(stored.no)
                if task is None or task.state.value != stored.state:
                    raise EngineError(
                        f"task run {stored.no} of {run_id} is {task and task.state}, its row {stored.state}"
                    )
