"""One simulation, from its seed to its end."""

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from random import Random

import msgspec

from plait.engine.schedule_specs import TIMED
from plait.model.errors import PlaitError
from plait.model.graph import Graph
from plait.model.rows import LimitRow
from plait.model.states import RUN_TERMINAL
from plait.testing.clock import START
from plait.testing.ids import CountedIds
from plait.testing.simulation import shapes
from plait.testing.simulation.faults import NONE, Faults, draw
from plait.testing.simulation.flows import FlowParty
from plait.testing.simulation.loop import Breach, Host, Loop, Party
from plait.testing.simulation.network import Network
from plait.testing.simulation.people import Person
from plait.testing.simulation.processes import UserCode
from plait.testing.simulation.scenarios import SCENARIOS, Scenario
from plait.testing.simulation.schedulers import MAIN, Place, SchedulerParty
from plait.testing.simulation.shared import SharedStore
from plait.testing.simulation.witness import Witness
from plait.testing.simulation.workers import WorkerParty

PATIENCE = 1800.0
"""Simulated seconds within which everything comes to rest once nothing goes wrong any more."""
SLICE = 5.0
AFTERMATH = 90.0
"""Simulated seconds for which late reports may still come."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a seed. `breach`: the invariant that did not hold, none if all did; `story`: the last steps."""

    scenario: str
    seed: int
    faults: Faults
    breach: str | None
    story: str
    steps: int
    runs: int
    seconds: float
    digest: int


class Nature(Party):
    """Whatever happens by itself. Nothing kills it."""


class World:
    """Everything that there is in one simulation."""

    def __init__(self, scenario: Scenario, seed: int, faults: Faults):
        self.scenario = scenario
        self.loop = Loop(seed, faults)
        rng = self.loop.rng
        store = SharedStore()
        self.witness = Witness(self.loop, store)
        self.place = Place(self.loop, store, self.witness, Network(self.loop), CountedIds())
        self.hosts = [Host("one"), Host("two")]
        self.code = UserCode(rng, scenario.habits)
        self.nature = Nature(self.loop, "nature", self.hosts[0])
        self.loop.alive.clear()
        self._healing = False
        self._runs_wanted = 0
        store.save_limits([LimitRow(key=key, slots=size) for key, size in shapes.SIZES.items()])
        self.graphs = {graph.name: graph for graph in scenario.deploys(rng)}
        for _ in range(rng.randint(*scenario.schedulers)):
            self._scheduler(rng.choice(self.hosts))
        for _ in range(rng.randint(*scenario.workers)):
            self._worker(rng.choice(self.hosts))
        self._plan_people(rng)
        self._plan_faults(faults)

    # --- processes ----------------------------------------------------------------------------------------------------

    def _scheduler(self, host: Host) -> None:
        SchedulerParty(self.place, host, on_end=self._again)

    def _worker(self, host: Host) -> None:
        WorkerParty(
            self.place, host, self.code, self.graphs.__getitem__, workers=self.scenario.processes, on_end=self._again
        )

    def _again(self, party: Party) -> None:
        """A service has ended: somebody starts it again."""
        begin = self._scheduler if isinstance(party, SchedulerParty) else self._worker
        rng = self.loop.rng
        delay = 1.0 if self._healing else rng.choice((0.1, 2.0, 30.0))
        self.nature.do("start", partial(begin, party.host), delay, f"starts a process in place of {party.name}")

    def _some_party(self, kinds: tuple[type[Party], ...]) -> Party | None:
        found = [party for party in self.loop.alive.values() if isinstance(party, kinds)]
        return self.loop.rng.choice(found) if found else None

    # --- people -------------------------------------------------------------------------------------------------------

    def person(self, what: Callable[[Person], object]) -> None:
        """Somebody gives a command."""
        Person(self.place, self.hosts[0], what)

    def _plan_people(self, rng: Random) -> None:
        scenario = self.scenario
        for graph in self.graphs.values():
            self._deploy(graph)
        startable = [graph for graph in self.graphs.values() if not graph.triggers and graph.name != "inner"]
        for _ in range(rng.randint(*scenario.starts)):
            graph = rng.choice(startable)
            self._later(lambda person, graph=graph: person.start(graph), scenario.seconds * 0.6, f"starts {graph.name}")
        for _ in range(rng.randint(*scenario.asks)):
            self._later(lambda person: person.ask_something(rng), scenario.seconds, "asks for something")
        for _ in range(rng.randint(*scenario.publishes) if scenario.publishes is not None else 0):
            self._later(lambda person: person.publish(shapes.EVENT), scenario.seconds * 0.8, "publishes an event")
        for _ in range(rng.randint(0, scenario.redeploys)):
            graph = rng.choice(list(self.graphs.values()))
            self._later(lambda person, graph=graph: person.deploy(graph), scenario.seconds, f"deploys {graph.name}")

    def _deploy(self, graph: Graph) -> None:
        """Until it is there."""

        def look() -> None:
            if self.place.store.definitions.deployment(graph.name) is None:
                self.person(lambda person: person.deploy(graph))
                self.nature.do("deploy", look, 1.0)

        look()

    def _later(self, what: Callable[[Person], object], within: float, told: str) -> None:
        delay = self.loop.rng.uniform(0.0, within)
        self.nature.do("people", lambda: self.person(what), delay, f"somebody {told}")

    # --- faults from outside ------------------------------------------------------------------------------------------

    def _plan_faults(self, faults: Faults) -> None:
        for every, strike in (
            (faults.kill, self._kill),
            (faults.freeze, self._freeze),
            (faults.jump, self._jump),
            (faults.outage, self._outage),
            (faults.restart, self._restart),
            (faults.blackout, self._blackout),
        ):
            if every:
                self._strike(every, strike)

    def _strike(self, every: float, strike: Callable[[Random], None]) -> None:
        def act() -> None:
            if not self._healing:
                strike(self.loop.rng)
                self._strike(every, strike)

        self.nature.do("fault", act, self.loop.rng.expovariate(1.0 / every), "something goes wrong")

    def _kill(self, rng: Random) -> None:
        party = self._some_party((SchedulerParty, WorkerParty, FlowParty))
        if party is not None:
            self.loop.kill(party, "a moment like any other")

    def _freeze(self, rng: Random) -> None:
        party = self._some_party((SchedulerParty, WorkerParty, FlowParty))
        if party is not None:
            party.frozen_until = self.loop.now + rng.choice((1.0, 25.0, 60.0))
            self.loop.note(party.name, f"is frozen until {party.frozen_until - START:.3f}")

    def _jump(self, rng: Random) -> None:
        host = rng.choice(self.hosts)
        host.offset += rng.choice((-3.0, -0.5, 5.0, 120.0))
        self.loop.note(host.name, f"its clock is {host.offset:+g} s off")

    def _outage(self, rng: Random) -> None:
        self.loop.outage_until = self.loop.now + rng.choice((0.2, 3.0, 15.0))
        self.loop.note("store", f"is not there until {self.loop.outage_until - START:.3f}")

    def _blackout(self, rng: Random) -> None:
        self.loop.outage_until = self.loop.now + rng.choice((30.0, 50.0, 120.0))
        self.loop.note("store", f"is not there until {self.loop.outage_until - START:.3f}")

    def _restart(self, rng: Random) -> None:
        party = self._some_party((SchedulerParty, WorkerParty))
        if isinstance(party, SchedulerParty | WorkerParty):
            party.do(MAIN, party.stop, what="is told to end")

    # --- the whole ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Let it all happen; then nothing goes wrong any more, and everything comes to rest."""
        self.loop.run(START + self.scenario.seconds)
        self.heal()
        until = self.loop.now + PATIENCE
        while self.loop.now < until:
            self.loop.run(self.loop.now + SLICE)
            self.person(lambda person: person.help())
            if self.at_rest():
                break
        else:
            raise Breach(f"F25: after {PATIENCE:g} s without a fault: {self.unrest()}")
        self.loop.run(self.loop.now + AFTERMATH)
        if not self.at_rest():
            raise Breach(f"what was at rest is not any more: {self.unrest()}")
        self._check_all()

    def heal(self) -> None:
        """From now on nothing goes wrong."""
        self.loop.note("nature", "HEALS EVERYTHING")
        self._healing = True
        self.loop.faults = NONE
        self.loop.outage_until = 0.0
        for host in self.hosts:
            host.offset = 0.0
        for party in self.loop.alive.values():
            party.frozen_until = 0.0
        if any(trigger.kind in TIMED for graph in self.graphs.values() for trigger in graph.triggers):
            self.person(lambda person: person.undeploy(list(self.graphs)))

    def at_rest(self) -> bool:
        """Whether nothing is left to do."""
        return not self.unrest()

    def unrest(self) -> str:
        """What is left to do."""
        store = self.place.store
        runs = [f"run {run_id} is {rows.run.state}" for run_id, rows in store.run_rows.items()
                if rows.run.state not in RUN_TERMINAL]  # fmt: skip
        slots = [f"{place} is held" for place in store.slot_rows]
        requests = [f"request {number} to run {row.run_id} is undecided" for number, row in store.inbox_rows.items()]
        signals = [f"signal {number} of {row.subject} is not counted" for number, row in store.signal_rows.items()]
        return "; ".join(runs + slots + requests + signals)

    def _check_all(self) -> None:
        self.witness.counts.check(self.place.store)
        for number, (run_id, stimulus) in self.witness.requests.items():
            if number not in self.witness.decided:
                raise Breach(f"request {number} ({type(stimulus).__name__}) to run {run_id} is lost")
        for run_id, rows in self.place.store.run_rows.items():
            if rows.run.state == "crashed" and self.witness.errors < 5:
                raise Breach(f"run {run_id} was given up: {rows.run.reason}")


def simulate(name: str, seed: int, faults: Faults | None = None) -> Result:
    """Run one seed of a scenario; faults are drawn from the seed unless they are given."""
    scenario = SCENARIOS[name]
    drawn = faults if faults is not None else draw(Random(seed * 31 + 7))
    breach: str | None = None
    with _logging() as handler:
        world = World(scenario, seed, drawn)
        handler.world = world
        try:
            world.run()
            if world.loop.breach is not None:
                raise world.loop.breach
        except Breach as found:
            breach = str(found)
    loop = world.loop
    return Result(
        scenario=name,
        seed=seed,
        faults=drawn,
        breach=breach,
        story=loop.story() if breach is not None else "",
        steps=loop.steps,
        runs=len(world.place.store.run_rows),
        seconds=loop.now - START,
        digest=hash((loop.steps, loop.now)),
    )


class _Handler(logging.Handler):
    """What plait logs is part of the story. An exception that is logged is a defect, unless it is one of plait's own
    that says what went wrong outside."""

    def __init__(self) -> None:
        super().__init__(logging.INFO)
        self.world: World | None = None

    def emit(self, record: logging.LogRecord) -> None:
        """Note it."""
        if self.world is None:
            return
        loop = self.world.loop
        loop.note("log", record.getMessage())
        error = record.exc_info[1] if record.exc_info else None
        if record.name == "plait.watchdog" and "TimerFired" not in record.getMessage():  # clocks may jump
            loop.breach = loop.breach or Breach(f"the watchdog has found a defect: {record.getMessage()}")
        if error is not None and not isinstance(error, PlaitError) and loop.breach is None:
            loop.breach = Breach(f"{record.getMessage()}: {type(error).__name__}: {error}")
            loop.breach.__cause__ = error


@contextmanager
def _logging() -> Iterator[_Handler]:
    logger = logging.getLogger("plait")
    handler = _Handler()
    before = logger.level, logger.propagate, logger.handlers
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    try:
        yield handler
    finally:
        logger.level, logger.propagate, logger.handlers = before
