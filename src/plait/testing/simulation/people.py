"""Those who use a simulated service: they deploy, start runs, and ask things of them, through the same services as the
command line."""

from collections.abc import Callable, Sequence
from random import Random

from plait.engine import schedules
from plait.model.errors import StoreError
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.rows import DeploymentRow, PublishedRow
from plait.model.states import RUN_TERMINAL, RunState
from plait.model.stimuli import (
    CancelRequested,
    ClearRequested,
    InputReceived,
    PauseRequested,
    ResumeRequested,
    Stimulus,
)
from plait.runtime.run_request import RunRequest, first_row
from plait.services import inbox
from plait.testing.simulation.loop import Host, Party
from plait.testing.simulation.network import Bus
from plait.testing.simulation.schedulers import MAIN, Place
from plait.testing.simulation.storage import Connection

TARGET = "/simulated/code"


class Person(Party):
    """One command that somebody gives: a process of its own, which may die in its middle."""

    def __init__(self, place: Place, host: Host, what: Callable[["Person"], object]):
        super().__init__(place.loop, "person", host)
        self.place = place
        self._what = what
        self._store = Connection(place.loop, self, place.store, place.witness).as_store()
        self._bus = Bus(place.network, self)
        self.do(MAIN, self._act)

    def _act(self) -> None:
        try:
            self._what(self)
        except StoreError as error:  # it says so, and ends
            self.loop.note(self.name, f"gives up: {error}")
        self.exit()

    # --- definitions --------------------------------------------------------------------------------------------------

    def deploy(self, graph: Graph) -> None:
        """Deploy a workflow, as `services.deployments` does: its code may be as it was, or not."""
        now = self.clock.now()
        self._store.save_graph(graph.hash(), graph)
        triggers = schedules.redeploy(graph.name, graph.triggers, (), now)
        row = DeploymentRow(
            workflow=graph.name, kind=graph.kind, target=TARGET, graph_hash=graph.hash(), updated_at=now
        )
        with self._store.transaction() as tx:
            tx.deploy(row, triggers)
        self._bus.publish("definitions")

    def undeploy(self, workflows: Sequence[str]) -> None:
        """Take workflows out of service: time starts no more runs of them."""
        with self._store.transaction() as tx:
            tx.undeploy(workflows)
        self._bus.publish("definitions")

    # --- runs ---------------------------------------------------------------------------------------------------------

    def start(self, graph: Graph) -> None:
        """Ask for a run, as `plait runs start` does."""
        run_id = self.place.ids.run_id()
        request = RunRequest(graph=graph, run_id=run_id, target=TARGET, session=False)
        self._store.save_graph(graph.hash(), graph)
        with self._store.transaction() as tx:
            tx.create_run(first_row(request, run_id, graph.hash(), None, self.clock.now()))
        self._bus.publish("runs")

    def publish(self, name: str) -> None:
        """Publish an event, as `plait events publish` does."""
        row = PublishedRow(id=self.place.ids.run_id(), name=name, at=self.clock.now(), data=b"{}")
        with self._store.transaction() as tx:
            tx.publish(row)
        self._bus.publish("events")

    def say(self, run_id: RunId, stimulus: Stimulus) -> None:
        """Ask something of a run."""
        self.loop.note(self.name, f"says {type(stimulus).__name__} to {run_id}")
        inbox.say(self._store, run_id, stimulus, lambda: self._bus.publish("inbox"))

    def ask_something(self, rng: Random) -> None:
        """Ask anything of any run."""
        runs = self.place.store.run_rows
        if not runs:
            return
        run_id = rng.choice(list(runs))
        rows = runs[run_id]
        draw = rng.random()
        if draw < 0.3:
            self.say(run_id, CancelRequested(reason="somebody wants it"))
        elif draw < 0.6:
            self.say(run_id, ClearRequested(only_failed=rng.random() < 0.5, tasks=self._some(rng, run_id)))
        elif draw < 0.8:
            self.say(run_id, PauseRequested())
        elif rows.run.state == RunState.PAUSED.value:
            self.say(run_id, ResumeRequested())

    def _some(self, rng: Random, run_id: RunId) -> tuple[str, ...]:
        graph = self.place.witness.runs[run_id].graph if run_id in self.place.witness.runs else None
        if graph is None or rng.random() < 0.5:
            return ()
        return (rng.choice(graph.nodes).key,)

    # --- the end ------------------------------------------------------------------------------------------------------

    def help(self) -> None:
        """Let go on what waits for people: paused runs, and tasks that ask for something."""
        for run_id, rows in list(self.place.store.run_rows.items()):
            if rows.run.state in RUN_TERMINAL:
                continue
            if rows.run.state == RunState.PAUSED.value:
                self.say(run_id, ResumeRequested())
            for row in list(rows.tasks.values()):
                if row.state == "paused" and row.current:
                    self.say(run_id, InputReceived(no=row.no, data="yes"))
