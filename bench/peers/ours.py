"""The same work on plait, for the same table: a session on SQLite with synchronous=FULL, two warm worker processes."""

from bench.cases import chain, fan
from bench.cases.scene import Scene, once
from bench.measure import Figure

REPEATS = 5
FAN = 10_000


def ours() -> dict[str, Figure]:
    """Seconds of each work; `fan_rate` is in tasks a second."""
    found: dict[str, Figure] = {}
    with Scene() as scene:
        for name, n, steps in (("chain40", 10, 40), ("long10", 33, 10)):
            file = scene.file(name, chain.FILE.format(n=n, steps=steps))
            session, workflow = scene.session(target=file), scene.workflow(file, "chain")
            found[name] = Figure(tuple(once(session, workflow) for _ in range(REPEATS))[1:])
        file = scene.file("fan", fan.FILE)
        session, workflow = scene.session(target=file), scene.workflow(file, "fan")
        for name, count in (("parallel200", 200), ("fan", FAN)):
            found[name] = Figure(tuple(once(session, workflow, {"n": count}) for _ in range(REPEATS))[1:])
    found["fan_rate"] = Figure(tuple(FAN / seconds for seconds in found["fan"].values))
    return found
