"""How often things go wrong in a simulation."""

from random import Random

import msgspec


class Faults(msgspec.Struct, frozen=True, kw_only=True):
    """What goes wrong. The first group are probabilities, each at every place where it can happen.

    At an await point of a process (before and after whatever it asks of store, executor or bus): `crash`, it is killed;
    `switch`, others go on before it does; `stall`, it stands still for a while, as in a long pause of its machine.
    Of the store: `refused`, nothing was done; `conflict`, a transaction is rolled back in its middle; `unknown`, it was
    done, and the answer is lost. Of messages on the bus: `lost`, `late`, `twice`. Of reports of executions: `repeated`,
    they come again later, or with another outcome. Of links between schedulers and workers: `cut`, at each message.
    Of processes that run user code: `dies`, `given_back`.

    The second group are mean seconds between two of a kind, 0 for never: `kill` a process from outside, `freeze` one,
    `jump` of a machine's clock, `outage` of the store, `restart` of a process in order, `blackout`: an outage that is
    longer than a lease.
    """

    crash: float = 0.0
    switch: float = 0.0
    stall: float = 0.0
    refused: float = 0.0
    conflict: float = 0.0
    unknown: float = 0.0
    lost: float = 0.0
    late: float = 0.0
    twice: float = 0.0
    repeated: float = 0.0
    cut: float = 0.0
    dies: float = 0.0
    given_back: float = 0.0

    kill: float = 0.0
    freeze: float = 0.0
    jump: float = 0.0
    outage: float = 0.0
    restart: float = 0.0
    blackout: float = 0.0


NONE = Faults()

_PER_PLACE = {
    "crash": 0.01,
    "switch": 0.1,
    "stall": 0.005,
    "refused": 0.01,
    "conflict": 0.02,
    "unknown": 0.01,
    "lost": 0.3,
    "late": 0.3,
    "twice": 0.2,
    "repeated": 0.1,
    "cut": 0.01,
    "dies": 0.1,
    "given_back": 0.1,
}
_BETWEEN = {"kill": 10.0, "freeze": 15.0, "jump": 20.0, "outage": 30.0, "restart": 20.0, "blackout": 100.0}


def draw(rng: Random, share: float = 0.4) -> Faults:
    """Faults for one seed: each kind with probability `share`, more or less often. So there are seeds with a few kinds,
    in which these come alone, and seeds with many."""
    found: dict[str, float] = {}
    for name, most in _PER_PLACE.items():
        if rng.random() < share:
            found[name] = most * rng.choice((0.1, 0.3, 1.0))
    for name, mean in _BETWEEN.items():
        if rng.random() < share:
            found[name] = mean * rng.choice((0.3, 1.0, 3.0))
    return Faults(**found)
