"""What the scripts of the peers share: the work, how it is timed, and how the result is printed. Imports nothing but
the standard library, and is found beside the scripts."""

import json
import sys
import time
from collections.abc import Callable

REPEATS = 3
CHAIN = ("chain40", 10, 40)
LONG = ("long10", 33, 10)
PARALLEL = ("parallel200", 10, 200)


def fib(n: int) -> int:
    """The work."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


def options() -> dict:
    """What the runner asks for: `fan` (how many tasks), `mode` (how the peer is run), `budget` (seconds for one work,
    after which it is not repeated)."""
    return json.loads(sys.argv[1])


class Times:
    """Measures pieces of work, and says after each what all have taken so far: who is stopped has said something."""

    def __init__(self, asked: dict, how: str, fan: int | None = None):
        self.budget = asked["budget"]
        self.how = how
        self.fan = fan or asked["fan"]
        self.found: dict[str, list[float]] = {}

    def take(self, name: str, work: Callable[[], object], *, warm: bool = True) -> None:
        """Run a piece of work: once to warm up, then three times, fewer when it takes long."""
        begin = time.perf_counter()
        if warm:
            work()
        took = self.found.setdefault(name, [])
        while len(took) < REPEATS:
            before = time.perf_counter()
            work()
            took.append(time.perf_counter() - before)
            self._say()
            if time.perf_counter() - begin + took[-1] > self.budget:
                break

    def told(self, name: str, seconds: float) -> None:
        """A piece of work that the peer itself has timed."""
        self.found.setdefault(name, []).append(seconds)
        self._say()

    def _say(self) -> None:
        """A line for the runner, which reads the last one."""
        sys.stdout.write("\n" + json.dumps({"how": self.how, "fan": self.fan, "seconds": self.found}) + "\n")
        sys.stdout.flush()
