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
    """Measures pieces of work, and keeps what they took."""

    def __init__(self, budget: float):
        self.budget = budget
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
            if time.perf_counter() - begin + took[-1] > self.budget:
                break

    def told(self, name: str, seconds: float) -> None:
        """A piece of work that the peer itself has timed."""
        self.found.setdefault(name, []).append(seconds)

    def print(self, how: str, fan: int) -> None:
        """The one line that the runner reads."""
        sys.stdout.write("\n" + json.dumps({"how": how, "fan": fan, "seconds": self.found}) + "\n")
        sys.stdout.flush()
