"""A week of schedules on simulated time: real services on a real store, restarts, and clocks that are set.

Theory of operation. One thread. Time jumps to whatever is due next in any of the services; each then does what its
threads would do: prolong its lease, fire, report what its (scripted) executor was given. In between, services are
killed (their process is gone, their lease stays) and others begin, computers sleep for hours, and clocks are put back.
The week has both of the autumn's changes to winter time, of Europe and of America.
"""

import random
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from plait.engine import occurrences, schedules
from plait.engine.schedule_specs import spec_of
from plait.model.graph import Graph, TaskSpec
from plait.model.rows import DeploymentRow, RunRow
from plait.model.schedules import Catchup, Cron, Interval, TimedSchedule
from plait.ports import RunStore
from plait.runtime.lease import LEASE_SECONDS, Lease
from plait.runtime.scheduler import Scheduler
from plait.runtime.service import Service
from plait.testing.executors import ScriptedExecutor
from plait.testing.ids import CountedIds

BEGIN = datetime(2026, 10, 25, tzinfo=UTC).timestamp()
END = datetime(2026, 11, 1, 12, tzinfo=UTC).timestamp()
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe")
PAGE = 500


def made(count: int, rng: random.Random) -> dict[str, TimedSchedule]:
    """So many schedules: most of them daily, at times of which many are in the hours that come twice."""
    found: dict[str, TimedSchedule] = {}
    for number in range(count):
        tz, minute = rng.choice(ZONES), rng.randrange(0, 60, 5)
        match rng.randrange(20):
            case 0:
                when: TimedSchedule = Cron(cron=f"{minute} */3 * * *", tz=tz)
            case 1:
                anchor = datetime.fromtimestamp(BEGIN - rng.randrange(86_400), UTC)
                when = Interval(seconds=rng.choice((5_400.0, 28_800.0)), anchor=anchor)
            case 2:
                when = Cron(cron=f"{minute} 2 * * 1-5", tz=tz, jitter=600.0)
            case _:
                when = Cron(cron=f"{minute} {rng.choice((0, 1, 2, 2, 3, 6, 12, 18))} * * *", tz=tz)
        found[f"schedule-{number:04}"] = when
    return found


class SetClock:
    """A clock that is also put back."""

    def __init__(self, at: float):
        self.at = at

    def now(self) -> float:
        """Epoch seconds."""
        return self.at


class Party:
    """A scheduler's process."""

    def __init__(self, week: "Week", number: int):
        self.store = week.open_store()
        self.executor = ScriptedExecutor(clock=week.clock)
        lease = Lease(self.store, week.clock, name=f"scheduler-{number}", host="here", pid=number, alive=week.is_alive)
        self.pid = number
        scheduler = Scheduler(
            store=self.store,
            clock=week.clock,
            ids=week.ids,
            executors={"work": self.executor},
            default_executor="work",
            owner=lease.owner,
        )
        self.executor.start(scheduler)
        self.service = Service(scheduler, lease, publish=week.publish)
        self.service.start()
        self.service.look()

    def act(self) -> None:
        """Do what is due; tasks succeed at once."""
        self.service.on_time()
        while self.executor.play():
            self.service.on_time()


class Week:
    """So many schedulers on a store, and what happens to them."""

    def __init__(self, open_store: Callable[[], RunStore], *, schedulers: int, schedules: int, seed: int):
        self.rng = random.Random(seed)
        self.clock = SetClock(BEGIN)
        self.ids = CountedIds()
        self.open_store = open_store
        self.store = open_store()
        self.schedules = made(schedules, self.rng)
        self._deploy()
        self._numbers = 0
        self._heard: list[str] = []
        self.parties: list[Party] = []
        self.kills = self.sleeps = self.set_back = 0
        for _ in range(schedulers):
            self._begin()

    def _deploy(self) -> None:
        graphs = {
            name: Graph(name=name, nodes=(TaskSpec(key="work"),), triggers=(spec_of(when, Catchup.ALL),))
            for name, when in self.schedules.items()
        }
        for graph in graphs.values():
            self.store.save_graph(graph.hash(), graph)
        with self.store.transaction() as tx:
            for name, graph in graphs.items():
                row = DeploymentRow(workflow=name, kind="dag", target="week.py", graph_hash=graph.hash())
                tx.deploy(row, schedules.redeploy(name, graph.triggers, (), BEGIN))

    def is_alive(self, pid: int) -> bool:
        """Whether that scheduler's process is there."""
        return any(party.pid == pid for party in self.parties) or pid == self._numbers

    def publish(self, topic: str) -> None:
        """A service tells the others."""
        self._heard.append(topic)

    def _begin(self) -> None:
        self._numbers += 1
        self.parties.append(Party(self, self._numbers))

    def run(self) -> None:
        """Let the week pass, and then as much time as the last kill needs to be noticed."""
        while self.clock.at < END:
            times = [at for party in self.parties if (at := party.service.next_timer()) is not None]
            self._go_to(min([*times, self.clock.at + 6 * 3600]))
            if self.rng.random() < 0.04:
                self._something_happens()
        for _ in range(5):
            self._go_to(self.clock.at + LEASE_SECONDS)

    def _go_to(self, at: float) -> None:
        self.clock.at = max(at, self.clock.at)
        for party in self.parties:
            assert party.service.lease.renew(), "a service that lives was taken for dead"
        for party in self.parties:
            assert party.service.beat(), "a service that lives was taken for dead"
            party.act()
        heard, self._heard = list(dict.fromkeys(self._heard)), []
        for topic in heard:
            for party in self.parties:
                party.service.heard(topic)
                party.act()

    def _something_happens(self) -> None:
        match self.rng.choice(("kill", "kill", "kill all", "sleep", "clock")):
            case "sleep":
                self.sleeps += 1
                self.clock.at += self.rng.uniform(600, 5 * 3600)
            case "clock":
                self.set_back += 1
                self.clock.at -= self.rng.uniform(1, 600)
            case what:
                count = len(self.parties)
                killed = self.parties if what == "kill all" else [self.rng.choice(self.parties)]
                self.kills += len(killed)
                for party in killed:
                    party.store.close()
                self.parties = [party for party in self.parties if party not in killed]
                while len(self.parties) < count:
                    self._begin()

    # --- what came of it ----------------------------------------------------------------------------------------------

    def due(self) -> Counter[str]:
        """The runs that there should be: workflow and logical date."""
        found: Counter[str] = Counter()
        for name, when in self.schedules.items():
            at: float | None = BEGIN
            while (at := occurrences.following(when, at)) is not None and at <= self.clock.at:
                if when.jitter and at + when.jitter > self.clock.at:
                    continue  # it may be due or not
                found[f"{name} {schedules.about(when, at).logical_date}"] += 1
        return found

    def runs(self) -> Iterator[RunRow]:
        """All that there are."""
        before = None
        while page := self.store.list_runs(before=before, limit=PAGE):
            yield from page
            before = page[-1].run_id

    def close(self) -> None:
        """Close the stores."""
        for party in self.parties:
            party.store.close()
        self.store.close()
