"""Backfills as plain data: what one is to do, and how far it is. What that means is in `engine.backfill`."""

from enum import StrEnum

import msgspec

from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.partitions import Mapping, Slices
from plait.model.policies import Value

WHOLE = 0
"""As the size of a piece: a whole range."""


class BackfillState(StrEnum):
    """What has become of a backfill. It is over when it is a success (all is done, or was skipped on purpose), failed
    (something of it did), or cancelled."""

    RUNNING = "running"
    PAUSED = "paused"
    CANCELLING = "cancelling"
    SUCCESS = "success"
    FAILED = "failed"
    CANCELLED = "cancelled"


OVER = frozenset({BackfillState.SUCCESS, BackfillState.FAILED, BackfillState.CANCELLED})


class Need(Value):
    """A group waits for partitions of group number `group`: those that `mapping` leads to, none for all that it has."""

    group: int
    mapping: Mapping | None = None


class Group(Value):
    """What one run makes: `assets`, or (none) a workflow for dates. `slices`: its partitions, none where there are
    none, which is one run. `targets`: the edges of the ranges of ordinals that are to be made."""

    name: str
    graph: Graph
    targets: tuple[int, ...]
    assets: tuple[str, ...] = ()
    slices: Slices | None = None
    needs: tuple[Need, ...] = ()


class BackfillPlan(Value):
    """What a backfill is to do. `target`: the code location; `size`: partitions a run makes (`WHOLE`: a range);
    `most`: runs at the same time; `backward`: the last partitions first; `session`: whether the process that asked for
    it drives it. `now`: as of when it was planned (epoch seconds). `params`: those of a workflow's runs, as JSON;
    `lengths`: those of its parameters that scopes map over."""

    groups: tuple[Group, ...]
    target: str
    now: float
    size: int = 1
    most: int = 4
    backward: bool = False
    session: bool = False
    params: bytes = b"{}"
    lengths: dict[str, int | list[str]] = {}


class Flight(Value, array_like=True):
    """A run that is on its way: the ordinals from `start` to before `stop` of a group."""

    group: int
    start: int
    stop: int
    run_id: RunId


class Standing(msgspec.Struct):
    """How far a group is: the edges of ranges that are done, that failed, and that were skipped because something that
    they are made from failed; and of how many runs."""

    done: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    runs: int = 0
    runs_failed: int = 0


class Cursor(msgspec.Struct):
    """How far a backfill is, by group. `held`: why groups (by number) cannot go on now."""

    groups: list[Standing]
    flights: list[Flight] = []
    held: dict[int, str] = {}
