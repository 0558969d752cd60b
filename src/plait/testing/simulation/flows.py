"""A process that runs bodies of flows in a simulation: it takes the run over, as
`runtime.flow_runner` does with a session."""

from collections.abc import Callable, Sequence
from random import Random
from zlib import crc32

from plait.engine.run import TaskRun
from plait.model.errors import EngineError, StaleToken, StoreError
from plait.model.graph import Graph, TaskSpec
from plait.model.ids import TOKEN_BITS, RunId, Token
from plait.model.outcome import Outcome
from plait.model.policies import LimitUse, RetryPolicy
from plait.model.states import RUN_TERMINAL
from plait.model.wire import Execution, Finished
from plait.ports import Capabilities, Capture, Kill, ReportSink
from plait.runtime.callees import HOST
from plait.runtime.hosted import Hosted
from plait.runtime.lease import RENEW_SECONDS, Returns, look_around
from plait.runtime.scheduler import Scheduler
from plait.testing.bodies import Body, BodyScript, PlayedBody
from plait.testing.outcomes import failure
from plait.testing.simulation.loop import LEASE, Host
from plait.testing.simulation.outside import Door
from plait.testing.simulation.processes import SimulatedProcesses, UserCode
from plait.testing.simulation.schedulers import MAIN, OwnerParty, Place
from plait.testing.simulation.witness import Ledger
from plait.worker import endings

BODY = "body"
Ended = Callable[["FlowParty", Execution, Outcome], None]


def script(body: Body) -> BodyScript:
    """A body that is the same each time for one run: a few stages of children, of which some fail."""
    rng = Random(crc32(body.run_id.encode()))
    before: list[TaskRun] = []
    for stage in range(rng.randint(1, 3)):
        limits = (LimitUse(key="pool:small"),) if rng.random() < 0.3 else ()
        spec = TaskSpec(key=f"child{stage}", retry=RetryPolicy(limit=rng.randint(0, 2), delays=(1.0,)), limits=limits)
        linked = before if rng.random() < 0.5 else []
        children = [body.submit(spec, number, allow_failure=linked) for number in range(rng.randint(1, 3))]
        if rng.random() < 0.7:
            yield children
        before = children
    yield before
    attempt = body.task.attempt
    return failure("ValueError: body") if Random(crc32(f"{body.run_id}{attempt}".encode())).random() < 0.3 else None


class Bodies:
    """The executor on which bodies run in their own process (the port `Executor`)."""

    def __init__(self, process: "FlowParty", ledger: Ledger):
        self.capabilities = Capabilities(kill=Kill.COOPERATIVE, capture=Capture.NONE, placement="here")
        self._process = process
        self._ledger = ledger
        self._sink: ReportSink | None = None
        self._bodies: dict[tuple[RunId, Token], tuple[Execution, PlayedBody]] = {}

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = sink

    def capacity(self) -> int:
        """As many as there are."""
        return 1 << 20

    def submit(self, executions: Sequence[Execution]) -> None:
        """Begin to play them."""
        for execution in executions:
            self._ledger.begins(execution)
            played = PlayedBody(self._process.scheduler, execution, script)
            self._bodies[execution.run.run_id, execution.token] = (execution, played)
        self._process.go_on_soon()

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """A body ends when it looks up next."""
        found = self._bodies.pop((run_id, token), None)
        if found is not None:
            outcome = endings.cancelled(reason)
            self._process.do(BODY, lambda: self._report(found[0], outcome), 0.01, "its body is cancelled")

    def adopt(self, run_id: RunId) -> list[Token]:
        """What is played here."""
        return [token for run, token in self._bodies if run == run_id]

    def stop(self, grace: float = 5.0) -> None:
        """Forget them."""
        self._bodies.clear()

    def play(self) -> None:
        """Let them go on as far as they can."""
        for place, (execution, body) in list(self._bodies.items()):
            try:
                while body.go_on():
                    pass
            except (EngineError, StoreError):  # the run cannot go on here: whoever waits for it hears of that
                self._bodies.pop(place, None)
                continue
            if body.outcome is not None and place in self._bodies:
                del self._bodies[place]
                self._report(execution, body.outcome)

    def _report(self, execution: Execution, outcome: Outcome) -> None:
        self._ledger.comes_to(execution.run.run_id, execution.token, outcome.verdict.value)
        assert self._sink is not None  # it is started before anything is submitted
        self._sink.report([Finished(execution.run.run_id, execution.no, execution.token, outcome)])


class FlowParty(OwnerParty):
    """A worker's process for bodies: hosts the run of each that it gets."""

    def __init__(self, place: Place, host: Host, code: UserCode, *, on_end: Callable[["FlowParty"], None]):
        super().__init__(place, "flow", host)
        self._on_end = on_end
        self._ended: Ended | None = None
        self._opened = False
        self._hosted: Hosted | None = None
        self._playing = False
        self.lost = False
        self._returns = Returns(self.store, self.clock, self.owner, self.bus.publish)
        self._returns.lock = self.lock  # type: ignore[assignment]  # it does what is asked of a lock here
        self._last: tuple[int, int, int, bool] | None = None
        self.execution: Execution | None = None
        ledger = place.witness.ledger
        self._bodies = Bodies(self, ledger)
        self._tasks = SimulatedProcesses(self, code, ledger, 2)
        self.watch(
            Scheduler(
                store=self.store,
                clock=self.clock,
                ids=place.ids,
                executors={
                    "processes": Door(self, self._tasks, place.witness),
                    HOST: Door(self, self._bodies, place.witness),
                },
                default_executor="processes",
                owner=self.owner,
            )
        )

    def run(self, execution: Execution, graph: Graph, ended: Ended) -> None:
        """Run a body, and the run that comes with it."""
        self.execution = execution
        self._ended = ended
        self.do(MAIN, lambda: self._run(execution, graph), 0.01, f"gets the body of {execution.run.run_id}")

    # --- as `FlowRunner` and `Session` --------------------------------------------------------------------------------

    def _run(self, execution: Execution, graph: Graph) -> None:
        run_id = execution.run.run_id
        began = self.clock.now()
        try:
            self._open()
            self.scheduler.set_limits([])
            self._returns.keep(run_id)
            self.scheduler.adoption.resume(run_id, graph=graph, epoch=execution.token >> TOKEN_BITS)
            self.scheduler.pump()
        except StaleToken:
            self._done(Outcome(started_at=began, finished_at=began))
        except Exception as error:  # noqa: BLE001  as the runner does it
            self._give_back(run_id)
            self._done(endings.runner_raised(error, began))
        else:
            self._hosted = self.scheduler.runs.get(run_id)
            self.go_on_soon()

    def _open(self) -> None:
        if self._opened:
            return
        self.lease.renew()
        self.lease.sweep()
        self.scheduler.set_limits([])
        for executor in self.scheduler.executors.values():
            executor.start(self.scheduler)
        self.begin_ticker()
        self.bus.subscribe(self._heard)
        self.do(LEASE, self._beat, RENEW_SECONDS)
        self._opened = True

    def _heard(self, topic: str) -> None:
        self._guarded(lambda: look_around(self.scheduler))

    def _beat(self) -> None:
        if not self._guarded(self._one_beat):
            self.do(LEASE, self._beat, RENEW_SECONDS)

    def _one_beat(self) -> bool:
        self.lost = not self.lease.renew()
        if self.lost:
            self.loop.note(self.name, "has lost its lease")
            return True
        if not self.locked:
            self._returns.settle()
            look_around(self.scheduler)
        self.lease.sweep()
        return False

    def _guarded(self, action: Callable[[], object]) -> object:
        try:
            return action()
        except StoreError as error:
            self.loop.note(self.name, f"goes on after: {error}")
            return None

    def _done(self, outcome: Outcome) -> None:
        execution, ended = self.execution, self._ended
        self.execution = self._ended = self._hosted = None
        assert execution is not None  # it is done once with each
        assert ended is not None
        ended(self, execution, outcome)

    # --- the body -----------------------------------------------------------------------------------------------------

    def go_on_soon(self) -> None:
        """Something has happened: the body may go on, or is over."""
        if not self._playing:
            self._playing = True
            self.do(BODY, self._go_on, 0.001)

    def _go_on(self) -> None:
        self._playing = False
        self._bodies.play()
        if self._hosted is not None and self._hosted.ended.is_set():
            self._finish(self._hosted)

    def _finish(self, hosted: Hosted) -> None:
        """As `FlowRunner._attend` does it."""
        run_id = hosted.run.run_id
        began = self.clock.now()
        if hosted.error is not None and not isinstance(hosted.error, StaleToken):
            self._give_back(run_id)
            self._done(endings.runner_raised(hosted.error, began))
            return
        if hosted.error is not None or hosted.run.state in RUN_TERMINAL:
            self.scheduler.release(run_id)
        else:
            self._give_back(run_id)
        self._done(Outcome(started_at=began, finished_at=began))

    def _give_back(self, run_id: RunId) -> None:
        self._lose_body(run_id)
        self.scheduler.release(run_id)
        self._returns.give_back(run_id)

    def _lose_body(self, run_id: RunId) -> None:
        """This process is done with a run before its body is."""
        if self.place.store.run_rows[run_id].run.owner == self.owner:
            self.place.witness.ledger.lose_body(run_id)

    def look_at_itself(self) -> None:
        """As any owner; and the body may go on."""
        super().look_at_itself()
        if self.execution is not None:
            self.go_on_soon_if_moved()

    def go_on_soon_if_moved(self) -> None:
        """Whoever waits in the body is woken by whatever happened here."""
        if self._hosted is not None and not self._playing and self._moved():
            self.go_on_soon()

    def _moved(self) -> bool:
        assert self._hosted is not None
        tasks = self._hosted.run.tasks.values()
        now = (self._hosted.seq, len(tasks), sum(task.granted for task in tasks), self._hosted.ended.is_set())
        moved, self._last = now != self._last, now
        return moved

    def settled(self, hosted: Hosted) -> bool:
        """Children are added in the background."""
        return not self.scheduler._dirty

    def on_death(self) -> None:
        """Its worker sees it die; the tasks that it ran die with it."""
        self.bus.close()
        self._tasks.doubt()
        if self.execution is not None:
            self._lose_body(self.execution.run.run_id)
        self._on_end(self)
