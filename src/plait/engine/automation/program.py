"""Conditions, compiled: a tree of numbered nodes, which know what an evaluation has to know of them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

import msgspec

from plait.model import automation as model
from plait.model.automation import Condition
from plait.model.hashes import blake2b

MOMENTARY = frozenset({"updated", "updated_apart", "requested", "was_requested", "initial"})
"""Facts that are true in one look only: who saw them has to look again."""


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """A part of a condition. `place` is its number, in the order in which the parts are written; one that is `pure`
    remembers nothing, so that it need not be looked at where it makes no difference; of facts, `momentary` ones are
    true in one look only."""

    place: str
    kind: type
    condition: Condition
    parts: tuple["Node", ...]
    pure: bool
    fact: str = ""
    momentary: bool = False


@dataclass(frozen=True)
class Program:
    """A compiled condition. `version`: a hash of what it says; `depth`: how many steps upstream it looks; `crons`: the
    times that it waits for; `windows`: the lookbacks of its latest windows."""

    root: Node
    version: str
    depth: int
    crons: frozenset[tuple[str, str]] = field(default=frozenset())
    windows: frozenset[float | None] = field(default=frozenset())


@lru_cache(maxsize=4096)
def compiled(condition: Condition) -> Program:
    """The program of a condition, made once."""
    nodes = list(parts_of(condition))
    return Program(
        root=_node(condition, [0]),
        version=blake2b(msgspec.json.encode(condition), digest_size=8).hexdigest(),
        depth=_depth(condition),
        crons=frozenset((each.cron, each.tz) for each in nodes if isinstance(each, model.CronTick)),
        windows=frozenset(each.lookback for each in nodes if isinstance(each, model.LatestWindow)),
    )


def parts_of(condition: Condition) -> Iterator[Condition]:
    """A condition and all of its parts, as they are numbered."""
    yield condition
    for part in model.children(condition):
        yield from parts_of(part)


def _node(condition: Condition, count: list[int]) -> Node:
    no = count[0]
    count[0] += 1
    parts = tuple(_node(part, count) for part in model.children(condition))
    pure = all(part.pure for part in parts) and not isinstance(condition, model.Since | model.Newly)
    fact = condition.fact if isinstance(condition, model.Is) else ""
    return Node(str(no), type(condition), condition, parts, pure, fact, fact in MOMENTARY)


def _depth(condition: Condition) -> int:
    below = max((_depth(part) for part in model.children(condition)), default=0)
    return below + isinstance(condition, model.AnyDeps | model.AllDeps)
