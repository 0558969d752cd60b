"""Kills at random, under load."""

import random
import time
from collections.abc import Callable

from tests import pg
from tests.service.kills.driver import POINTS, VICTIMS, Driver, Kill, Story

NAMES = ("scheduler-0", "scheduler-1", "worker-0", "worker-1")
WORK: tuple[tuple[str, dict[str, int]], ...] = (
    ("chain", {}), ("fan", {"n": 30}), ("fan", {"n": 200}), ("narrow", {}), ("walk", {"n": 5}), ("walk", {"n": 20}),
)  # fmt: skip
"""What is asked for, and how much of it."""
OPEN = 5
"""Runs that are under way at any time."""
RESTART_EACH = 5
"""Strikes, of which one (the third) restarts the database."""
LAST = 60
"""The last commit at which one may kill itself: most are reached before they are killed otherwise."""


class Storm:
    """Two schedulers, two workers, a few runs at any time, and what a seed draws: which runs, and who is killed when.
    `restart_database`: stops the database, in order or not, and starts it again."""

    def __init__(self, driver: Driver, seed: int, *, restart_database: Callable[[], None] | None = None):
        self.driver = driver
        self.draw = random.Random(seed)
        self._pause = self.draw.choice((0.3, 0.7, 0.7, 2.0))
        """Seconds between two strikes, on average: some come before what was started is there."""
        self._restart_database = restart_database
        self._strikes = 0
        self._armed: dict[str, tuple[int, str]] = {}
        """Who is to kill itself: since which start, at which commit."""

    def blow(self, kills: int) -> Story:
        """At least so many kills, then a calm in which everything has to end."""
        while len(self.driver.story.kills) < kills:
            self._ask()
            self._start_the_dead()
            time.sleep(self.draw.expovariate(1 / self._pause))  # the moment of the next kill, not a wait for anything
            self._strike()
        self.driver.until(self._is_over, "the end of all runs")
        return self.driver.check(sum(name.startswith("worker") for name in NAMES))

    def _is_over(self) -> bool:
        """Whether all runs have ended. Some may still have to kill themselves, and are started again as ever."""
        self._start_the_dead(armed=False)
        return not self.driver.open_runs()

    def _ask(self) -> None:
        while len(self.driver.open_runs()) < OPEN:
            name, size = self.draw.choice(WORK)
            self.driver.ask(name, **size, seconds=self.draw.choice((0.0, 0.0, 0.005, 0.05)))

    def _start_the_dead(self, *, armed: bool = True) -> None:
        """Every other one kills itself at some commit."""
        self._note_deaths()
        for name in NAMES:
            if self.driver.is_up(name):
                continue
            self._note_deaths()
            point = ""
            if armed and self.draw.random() < 0.5:
                point = f"{self.draw.choice(POINTS)}:{self.draw.randint(1, LAST)}"
            self._armed.pop(name, None)
            start = self.driver.start(name, point=point)
            if point:
                self._armed[name] = start, point

    def _note_deaths(self) -> None:
        """Of those who have killed themselves."""
        for name, (start, point) in list(self._armed.items()):
            if self.driver.has_died(start):
                del self._armed[name]
                self.driver.record(start, "flow" if name.startswith("worker") else "scheduler", point)

    def _strike(self) -> None:
        self._strikes += 1
        if self._restart_database is not None and self._strikes % RESTART_EACH == 3:
            self.driver.story.kills.append(Kill("database", time.time()))
            self._restart_database()
            return
        victim = self.draw.choices(VICTIMS, (4, 3, 3, 1))[0]
        if victim == "everything":
            self.driver.kill(*NAMES, victim=victim)
        elif victim == "flow":
            self.driver.kill_a_body(self.draw.choice)
        else:
            name = self.draw.choice([name for name in NAMES if name.startswith(victim)])
            if self.driver.is_up(name):
                self.driver.kill(name, victim=victim)


def restarts(server: pg.Server, seed: int) -> Callable[[], None]:
    """Restarts a server: after a stop in order, or after one as of a power failure."""
    draw = random.Random(seed)

    def restart() -> None:
        server.tell(draw.choice(("stop", "crash")))
        server.tell("start")

    return restart
