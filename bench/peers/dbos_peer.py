"""DBOS: workflows and steps in this process, recorded in SQLite."""

from common import Times, fib, options
from dbos import DBOS, DBOSConfig

config: DBOSConfig = {"name": "peer", "system_database_url": "sqlite:///dbos.sqlite", "run_admin_server": False}
DBOS(config=config)


@DBOS.step()
def step(n: int) -> int:
    """One step."""
    return fib(n)


@DBOS.workflow()
def chain(n: int, count: int) -> int:
    """Steps one after the other."""
    for _ in range(count):
        last = step(n)
    return last


@DBOS.workflow()
def one(n: int) -> int:
    """A workflow of one step."""
    return step(n)


def many(count: int) -> None:
    """Workflows at once, each of one step: DBOS runs steps of one workflow one after the other."""
    for handle in [DBOS.start_workflow(one, 10) for _ in range(count)]:
        handle.get_result()


def main() -> None:
    """Measure."""
    asked = options()
    DBOS.launch()
    times = Times(asked, "steps and workflows in one process, recorded in SQLite")
    times.take("chain40", lambda: chain(10, 40))
    times.take("long10", lambda: chain(33, 10))
    times.take("parallel200", lambda: many(200))
    times.take("fan", lambda: many(asked["fan"]))
    DBOS.destroy()


if __name__ == "__main__":
    main()
