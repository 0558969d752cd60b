"""A worker process of a simulation: the real agent, with pools of simulated processes."""

from collections.abc import Callable, Sequence
from functools import partial

from plait.adapters.workers.agent import Agent
from plait.model.errors import StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId, Token
from plait.model.outcome import Outcome
from plait.model.wire import Execution, Finished
from plait.ports import Capabilities, Capture, Executor, Kill, ReportSink
from plait.testing.simulation.flows import FlowParty
from plait.testing.simulation.loop import POOL, Host, Party
from plait.testing.simulation.network import Bus, SimulatedWires
from plait.testing.simulation.processes import Place as ExecutionPlace
from plait.testing.simulation.processes import SimulatedProcesses, UserCode
from plait.testing.simulation.schedulers import MAIN, Place
from plait.testing.simulation.storage import Connection
from plait.worker import endings

LOOK_AT_OWNERS = 15.0
RECONNECT = 1.0


class FlowProcesses:
    """The processes in which a worker runs bodies of flows (the port `Executor`), each a party of its own."""

    def __init__(self, worker: "WorkerParty", place: Place, code: UserCode, graphs: Callable[[str], Graph]):
        self.capabilities = Capabilities(kill=Kill.PROCESS, capture=Capture.NONE, placement="process", takes_runs=True)
        self._worker = worker
        self._place = place
        self._code = code
        self._graphs = graphs
        self._of: dict[ExecutionPlace, FlowParty] = {}
        self._idle: list[FlowParty] = []
        self._sink: ReportSink | None = None

    def start(self, sink: ReportSink) -> None:
        """Remember where to report."""
        self._sink = sink

    def capacity(self) -> int:
        """There is always one more."""
        return 1 << 20

    def submit(self, executions: Sequence[Execution]) -> None:
        """Each goes to a process, warm or new."""
        for execution in executions:
            place = execution.run.run_id, execution.token
            self._idle = [each for each in self._idle if each.alive and not each.lost]
            if self._idle and self._worker.loop.rng.random() < 0.5:
                process = self._idle.pop()
            else:
                process = FlowParty(self._place, self._worker.host, self._code, on_end=self._died)
            self._of[place] = process
            process.run(execution, self._graphs(execution.run.workflow), self._ended)

    def cancel(self, run_id: RunId, token: Token, reason: str) -> None:
        """Kill its process."""
        process = self._of.get((run_id, token))
        if process is not None:
            self._worker.loop.kill(process, "a cancel")

    def adopt(self, run_id: RunId) -> list[Token]:
        """Bodies are not adopted."""
        return []

    def stop(self, grace: float = 5.0) -> None:
        """Kill them all."""
        for process in [*self._of.values(), *self._idle]:
            self._worker.loop.kill(process, "the end of its worker")

    def orphaned(self) -> None:
        """Their worker has died: they end a moment later."""
        loop = self._worker.loop
        for process in [*self._of.values(), *self._idle]:
            process.do(MAIN, partial(loop.kill, process, "the death of its worker"), loop.rng.choice((0.0, 0.1, 2.0)))

    def _ended(self, process: FlowParty, execution: Execution, outcome: Outcome) -> None:
        self._idle.append(process)
        self._report(execution, outcome)

    def _died(self, process: FlowParty) -> None:
        execution = process.execution
        if execution is not None:
            self._report(execution, endings.crashed("the worker process was killed by SIGKILL"))

    def _report(self, execution: Execution, outcome: Outcome) -> None:
        place = execution.run.run_id, execution.token
        self._of.pop(place, None)
        self._place.witness.ledger.comes_to(*place, outcome.verdict.value)
        report = Finished(execution.run.run_id, execution.no, execution.token, outcome)
        self._worker.do(POOL, lambda: self._tell(report), 0.001, f"says that the process of {place} is done")

    def _tell(self, report: Finished) -> None:
        assert self._sink is not None  # it is started before anything is submitted
        self._sink.report([report])


class WorkerParty(Party):
    """`plait worker`."""

    def __init__(
        self,
        place: Place,
        host: Host,
        code: UserCode,
        graphs: Callable[[str], Graph],
        *,
        workers: int,
        on_end: Callable[["WorkerParty"], None],
    ):
        super().__init__(place.loop, "worker", host)
        self._on_end = on_end
        self._store = Connection(place.loop, self, place.store, place.witness).as_store()
        self._bus = Bus(place.network, self)
        self.tasks: list[SimulatedProcesses] = []
        self.flows: list[FlowProcesses] = []
        self._wires = SimulatedWires(place.network, self, lambda: self.agent.turn())  # noqa: PLW0108  there is no agent yet

        def tasks(target: str) -> Executor:
            self.tasks.append(SimulatedProcesses(self, code, place.witness.ledger, workers))
            return self.tasks[-1]

        def flows(target: str) -> Executor:
            self.flows.append(FlowProcesses(self, place, code, graphs))
            return self.flows[-1]

        self.agent = Agent(self.name, make_tasks=tasks, make_flows=flows, workers=workers, flows=8, wires=self._wires)
        self.do(MAIN, self._start)

    def _start(self) -> None:
        self.agent.start()
        self._bus.subscribe(self._heard)
        self._look()

    def _heard(self, topic: str) -> None:
        if topic == "owner":
            self.do(MAIN, self._connect)

    def _look(self) -> None:
        self._connect()
        self.do(MAIN, self._look, LOOK_AT_OWNERS if self.agent.connected else RECONNECT)

    def _connect(self) -> None:
        try:
            self.agent.connect(row.address for row in self._store.owners() if row.address)
        except StoreError as error:
            self.loop.note(self.name, f"goes on after: {error}")

    def stop(self) -> None:
        """End in order."""
        self.agent.stop(0.0)
        self.exit()

    def on_cut(self) -> None:
        """What it had sent is lost."""
        for tasks in self.tasks:
            tasks.doubt()

    def on_death(self) -> None:
        """Its sockets are closed, its processes end soon after; somebody starts another one."""
        self.on_cut()
        self._bus.close()
        self._wires.die()
        for flows in self.flows:
            flows.orphaned()
        self._on_end(self)
