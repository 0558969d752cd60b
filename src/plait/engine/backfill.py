"""A backfill: runs for many partitions (or dates), some at a time, in an order, and where it stands.

Theory of operation. A plan never changes. It has groups, upstream ones first: what one run makes, for which partitions
(`targets`), and on which partitions of other groups (or of its own) each one waits. The cursor has, for each group, the
sets that are done, failed, or skipped, and the runs that are on their way (`flights`). All of them are ranges, so a
cursor is small however far it is. Everything else follows: what is left, what is ready, whether it is over.

Who moves a backfill on reads plan and cursor in a transaction, which gives it to one process, decides (`step`), makes
the runs, and writes the cursor in the same transaction. So a process may die at any moment: the runs are there and in
the cursor, or neither. No run is made twice, and its occurrence (`occurrence_of`) would refuse it (F9, F23).
"""

from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

import msgspec

from plait.engine.partitions import mappings
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import DynamicKeys, Space, pieces, space_of, text_of
from plait.model.graph import Graph
from plait.model.ids import RunId
from plait.model.partitions import InTime, Slices
from plait.model.partitions import Mapping as PartitionMapping
from plait.model.policies import Value

AT_ONCE = 50
"""Runs that one step makes at most (C8)."""
LOOKED_AT = 200
"""Pieces of a group that one step looks at, before it takes the time to look at all."""
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
    mapping: PartitionMapping | None = None


class Group(Value):
    """What one run makes: `assets`, or (none) a workflow for dates. `slices`: its partitions, none where there are
    none, which is one run. `targets`: the edges of the ranges of ordinals that are to be made."""

    name: str
    graph: Graph
    targets: tuple[int, ...]
    assets: tuple[str, ...] = ()
    slices: Slices | None = None
    needs: tuple[Need, ...] = ()

    @property
    def keys(self) -> KeySet:
        """What is to be made."""
        return KeySet(self.targets)


class BackfillPlan(Value):
    """What a backfill is to do. `target`: the code location; `size`: partitions a run makes (`WHOLE`: a range);
    `most`: runs at the same time; `backward`: the last partitions first; `session`: whether the process that asked for
    it drives it. `now`: as of when it was planned (epoch seconds). `params`: those of a workflow's runs, as JSON."""

    groups: tuple[Group, ...]
    target: str
    now: float
    size: int = 1
    most: int = 4
    backward: bool = False
    session: bool = False
    params: bytes = b"{}"
    tags: tuple[str, ...] = ()


class Flight(Value, array_like=True):
    """A run that is on its way: the ordinals from `start` to before `stop` of a group."""

    group: int
    start: int
    stop: int
    run_id: RunId

    @property
    def keys(self) -> KeySet:
        """What it is to make."""
        return KeySet((self.start, self.stop))


class Standing(msgspec.Struct):
    """How far a group is: the edges of ranges that are done, that failed, and that were skipped because something that
    they are made from failed; and of how many runs."""

    done: tuple[int, ...] = ()
    failed: tuple[int, ...] = ()
    skipped: tuple[int, ...] = ()
    runs: int = 0
    runs_failed: int = 0


class Cursor(msgspec.Struct):
    """How far a backfill is, by group."""

    groups: list[Standing]
    flights: list[Flight] = []


class Start(Value):
    """A run to be made: of a group, for these ordinals; `text` is its partition."""

    group: int
    start: int
    stop: int
    text: str | None


class Progress(msgspec.Struct, frozen=True):
    """How far a group is, in partitions."""

    total: int
    done: int
    failed: int
    skipped: int
    running: int

    @property
    def left(self) -> int:
        """Not begun as yet."""
        return self.total - self.done - self.failed - self.skipped - self.running


_plans = msgspec.msgpack.Decoder(BackfillPlan)
_cursors = msgspec.msgpack.Decoder(Cursor)
encode = msgspec.msgpack.encode


def decode(plan: bytes, cursor: bytes) -> tuple[BackfillPlan, Cursor]:
    """A plan and a cursor as a store keeps them."""
    return _plans.decode(plan), _cursors.decode(cursor)


def begin(plan: BackfillPlan) -> Cursor:
    """Where a backfill begins."""
    return Cursor(groups=[Standing() for _ in plan.groups])


def occurrence_of(backfill: str, start: Start) -> str:
    """What a run of a backfill is called: no two runs are of one."""
    return f"backfill:{backfill}:{start.group}:{start.start}-{start.stop}"


class Backfill:
    """A backfill at work: its plan, its cursor, and how the partitions of its groups are numbered."""

    def __init__(
        self,
        plan: BackfillPlan,
        cursor: Cursor,
        *,
        dynamic: DynamicKeys | None = None,
        ask: AskCode | None = None,
    ):
        self.plan = plan
        self.cursor = cursor
        self._ask = ask
        self._spaces: list[Space | None] = [
            space_of(group.slices, dynamic) if group.slices is not None else None for group in plan.groups
        ]

    # --- how far it is ------------------------------------------------------------------------------------------------

    def progress(self, group: int) -> Progress:
        """How far a group is."""
        standing = self.cursor.groups[group]
        done, failed, skipped = (len(KeySet(each)) for each in (standing.done, standing.failed, standing.skipped))
        running = sum(flight.stop - flight.start for flight in self.cursor.flights if flight.group == group)
        total = len(self.plan.groups[group].keys)
        return Progress(total=total, done=done, failed=failed, skipped=skipped, running=running)

    def left(self, group: int) -> KeySet:
        """What of a group is not begun as yet."""
        standing = self.cursor.groups[group]
        gone = KeySet(standing.done) | KeySet(standing.failed) | KeySet(standing.skipped)
        flights = KeySet.ranges_of((each.start, each.stop) for each in self.cursor.flights if each.group == group)
        return self.plan.groups[group].keys - gone - flights

    def state(self, state: BackfillState) -> BackfillState:
        """What a backfill in this state is now."""
        if self.cursor.flights or state in OVER:
            return state
        if state is BackfillState.CANCELLING:
            return BackfillState.CANCELLED
        if any(self.left(group) for group in range(len(self.plan.groups))):
            return state
        failed = any(standing.failed or standing.skipped for standing in self.cursor.groups)
        return BackfillState.FAILED if failed else BackfillState.SUCCESS

    def text(self, group: int, keys: KeySet) -> str | None:
        """The partition text of some ordinals of a group."""
        space = self._spaces[group]
        return text_of(space, keys) if space is not None else None

    # --- what ends ----------------------------------------------------------------------------------------------------

    def ended(self, flight: Flight, *, ok: bool) -> None:
        """A run is over. What is made from what failed is skipped."""
        self.cursor.flights.remove(flight)
        standing = self.cursor.groups[flight.group]
        standing.runs += 1
        if ok:
            standing.done = (KeySet(standing.done) | flight.keys).bounds
            return
        standing.runs_failed += 1
        standing.failed = (KeySet(standing.failed) | flight.keys).bounds
        self._skip_below(flight.group, flight.keys)

    def _skip_below(self, group: int, keys: KeySet) -> None:
        waiting = [(group, keys)]
        while waiting:
            group, keys = waiting.pop()
            for below, each in enumerate(self.plan.groups):
                for need in each.needs:
                    if need.group == group:
                        skipped = self._made_from(below, need, keys) & self.left(below)
                        if skipped:
                            standing = self.cursor.groups[below]
                            standing.skipped = (KeySet(standing.skipped) | skipped).bounds
                            waiting.append((below, skipped))

    # --- what is next -------------------------------------------------------------------------------------------------

    def starts(self, most: int = AT_ONCE) -> list[Start]:
        """The runs that can begin now, in order; groups that are further down come first, so that what has begun is
        finished before more is begun."""
        room = min(most, self.plan.most - len(self.cursor.flights))
        found: list[Start] = []
        for looked_at in (LOOKED_AT, None):
            for group in reversed(range(len(self.plan.groups))):
                for start in self._ready(group, looked_at):
                    if len(found) >= room:
                        return found
                    found.append(start)
            if found or self.cursor.flights:
                break
        return found

    def began(self, start: Start, run_id: RunId) -> None:
        """A run was made."""
        flight = Flight(group=start.group, start=start.start, stop=start.stop, run_id=run_id)
        self.cursor.flights.append(flight)

    def _ready(self, number: int, looked_at: int | None) -> Iterator[Start]:
        group = self.plan.groups[number]
        done = {need.group: KeySet(self.cursor.groups[need.group].done) for need in group.needs}
        for count, piece in enumerate(self._pieces(number)):
            if looked_at is not None and count >= looked_at:
                return
            if all(self._is_there(number, need, piece, done[need.group]) for need in group.needs):
                yield Start(group=number, start=piece.first, stop=piece.last + 1, text=self.text(number, piece))

    def _pieces(self, number: int) -> Iterator[KeySet]:
        """What is left of a group, run by run, in the order in which it is to be made."""
        left, space = self.left(number), self._spaces[number]
        if space is None:
            yield from left.pieces(1)
            return
        size = self.plan.size or max(1, len(left))
        if not self._is_backward(number):
            yield from pieces(space, left, size)
            return
        for start, stop in reversed(left.ranges):
            for at in range(stop, start, -max(size, CUT)):
                part = KeySet.span(max(start, at - max(size, CUT)), at)
                yield from reversed(list(pieces(space, part, size)))

    def _is_backward(self, number: int) -> bool:
        """What is made from its own past goes forward, whatever is wanted; what is made from its future, backward."""
        for need in self.plan.groups[number].needs:
            if need.group == number and isinstance(need.mapping, InTime):
                return need.mapping.first >= 0
        return self.plan.backward

    def _is_there(self, number: int, need: Need, piece: KeySet, done: KeySet) -> bool:
        """Whether what a piece is made from is done, as far as this backfill makes it."""
        targets = self.plan.groups[need.group].keys
        needed = self._needed(number, need, piece) & targets
        if need.group == number:
            needed -= piece
        return needed.issubset(done)

    def _needed(self, number: int, need: Need, piece: KeySet) -> KeySet:
        sides = self._sides(number, need)
        if need.mapping is None or sides is None:
            return self.plan.groups[need.group].keys
        return mappings.upstream(need.mapping, piece, sides).keys

    def _made_from(self, number: int, need: Need, keys: KeySet) -> KeySet:
        sides = self._sides(number, need)
        if need.mapping is None or sides is None:
            return self.plan.groups[number].keys
        return mappings.downstream(need.mapping, keys, sides)

    def _sides(self, number: int, need: Need) -> Sides | None:
        down, up = self._spaces[number], self._spaces[need.group]
        return Sides(down, up, self.plan.now, self._ask) if down is not None and up is not None else None


CUT = 1000
"""Backwards, so many ordinals are cut into pieces at a time."""


def groups_of(names: Sequence[str], needs: Mapping[str, Sequence[str]], alike: Mapping[str, object]) -> list[list[str]]:
    """Assets (upstream ones first) as groups that one run makes each. `needs`: what each waits for, of these; `alike`:
    what assets have in common that may be made by one run, none for one that is alone. Groups come in an order in which
    none waits for a later one."""
    groups: list[list[str]] = []
    kinds: list[object] = []
    place: dict[str, int] = {}
    for name in names:
        first = max((place[other] for other in needs[name] if other != name), default=0)
        kind = alike[name]
        fits = (no for no in range(first, len(groups)) if kind is not None and kinds[no] == kind)
        number = next(fits, None)
        if number is None:
            number = len(groups)
            groups.append([])
            kinds.append(kind)
        groups[number].append(name)
        place[name] = number
    return groups
