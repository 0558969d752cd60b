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
from itertools import islice

import msgspec

from plait.engine.partitions import mappings
from plait.engine.partitions.answers import is_custom
from plait.engine.partitions.keysets import KeySet
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import DynamicKeys, MultiSpace, Space, WindowSpace, pieces, space_of, text_of
from plait.model.backfills import OVER, BackfillPlan, BackfillState, Cursor, Flight, Group, Need, Standing
from plait.model.errors import UsageError
from plait.model.ids import RunId
from plait.model.partitions import InTime
from plait.model.policies import Value
from plait.model.rows import BackfillRow

AT_ONCE = 50
"""Runs that one step makes at most (C8)."""
LOOKED_AT = 200
"""Pieces of a group that one step looks at, before it takes the time to look at all."""


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


def _targets(group: Group) -> KeySet:
    return KeySet(group.targets)


def _keys_of(flight: Flight) -> KeySet:
    return KeySet((flight.start, flight.stop))


class Backfill:
    """A backfill at work: its plan, its cursor, and how the partitions of its groups are numbered."""

    def __init__(
        self,
        plan: BackfillPlan,
        cursor: Cursor,
        *,
        dynamic: DynamicKeys | None = None,
        ask: AskCode | None = None,
        held: Mapping[int, str] | None = None,
    ):
        self.held = dict(held or {})
        """Why the custom mappings of groups have no answers: nothing of these begins."""
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
        total = len(_targets(self.plan.groups[group]))
        return Progress(total=total, done=done, failed=failed, skipped=skipped, running=running)

    def left(self, group: int) -> KeySet:
        """What of a group is not begun as yet."""
        standing = self.cursor.groups[group]
        gone = KeySet(standing.done) | KeySet(standing.failed) | KeySet(standing.skipped)
        flights = KeySet.ranges_of((each.start, each.stop) for each in self.cursor.flights if each.group == group)
        return _targets(self.plan.groups[group]) - gone - flights

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

    def runs(self, group: int) -> int:
        """How many runs a group takes in all."""
        keys, space, size = _targets(self.plan.groups[group]), self._spaces[group], self.plan.size
        if isinstance(space, MultiSpace):
            return sum(1 for _ in pieces(space, keys, size or max(1, len(keys))))
        return sum(-((start - stop) // (size or stop - start)) for start, stop in keys.ranges)

    def ends(self, group: int) -> tuple[str | None, str | None] | None:
        """The texts of the partitions with which a group begins and ends, none for one with nothing to do."""
        keys = _targets(self.plan.groups[group])
        if not keys:
            return None
        edges = [KeySet.span(no, no + 1) for no in (keys.first, keys.last)]
        first, last = (self.text(group, edge) for edge in (reversed(edges) if self._is_backward(group) else edges))
        return first, last

    def ranges(self, group: int, most: int = 10) -> list[str]:
        """The first ranges of what a group is to make, as partition texts."""
        return self.ranges_of(group, _targets(self.plan.groups[group]), most)

    def ranges_of(self, group: int, keys: KeySet, most: int = 10) -> list[str]:
        """The first ranges of some ordinals of a group, as partition texts."""
        space = self._spaces[group]
        if space is None:
            return []
        return [text_of(space, piece) for piece in islice(pieces(space, keys, max(1, len(keys))), most)]

    def begin_of(self, start: Start) -> float | None:
        """The moment at which the window of a run begins, none for what is not in time."""
        space = self._spaces[start.group]
        return space.window(start.start)[0] if isinstance(space, WindowSpace) else None

    # --- what ends ----------------------------------------------------------------------------------------------------

    def ended(self, flight: Flight, *, ok: bool) -> None:
        """A run is over. What is made from what failed is skipped."""
        self.cursor.flights.remove(flight)
        standing = self.cursor.groups[flight.group]
        standing.runs += 1
        if ok:
            standing.done = (KeySet(standing.done) | _keys_of(flight)).bounds
            return
        standing.runs_failed += 1
        standing.failed = (KeySet(standing.failed) | _keys_of(flight)).bounds
        self._skip_below(flight.group, _keys_of(flight))

    def skip_again(self) -> None:
        """Skip what is made from what failed before its mapping had answered."""
        for number, standing in enumerate(self.cursor.groups):
            gone = KeySet(standing.failed) | KeySet(standing.skipped)
            below = (need for each in self.plan.groups for need in each.needs if need.group == number)
            if gone and any(is_custom(need.mapping) for need in below):
                self._skip_below(number, gone)

    def _skip_below(self, group: int, keys: KeySet) -> None:
        waiting = [(group, keys)]
        while waiting:
            group, keys = waiting.pop()
            for below, each in enumerate(self.plan.groups):
                for need in each.needs:
                    if need.group == group and below not in self.held:
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
        if number in self.held:
            return
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
        targets = _targets(self.plan.groups[need.group])
        needed = self._needed(number, need, piece) & targets
        if need.group == number:
            needed -= piece
        return needed.issubset(done)

    def _needed(self, number: int, need: Need, piece: KeySet) -> KeySet:
        sides = self._sides(number, need)
        if need.mapping is None or sides is None:
            return _targets(self.plan.groups[need.group])
        return mappings.upstream(need.mapping, piece, sides).keys

    def _made_from(self, number: int, need: Need, keys: KeySet) -> KeySet:
        sides = self._sides(number, need)
        if need.mapping is None or sides is None:
            return _targets(self.plan.groups[number])
        return mappings.downstream(need.mapping, keys, sides)

    def _sides(self, number: int, need: Need) -> Sides | None:
        down, up = self._spaces[number], self._spaces[need.group]
        return Sides(down, up, self.plan.now, self._ask) if down is not None and up is not None else None


CUT = 1000
"""Backwards, so many ordinals are cut into pieces at a time."""


def moved_to(row: BackfillRow, state: BackfillState, now: float) -> BackfillRow:
    """A backfill that somebody pauses, lets go on, or cancels. Raises UsageError when it is over."""
    if BackfillState(row.state) in OVER:
        raise UsageError(f"backfill {row.id} is over: it is {row.state}")
    if row.state == BackfillState.CANCELLING.value and state is not BackfillState.CANCELLING:
        raise UsageError(f"backfill {row.id} is being cancelled")
    return msgspec.structs.replace(row, state=state.value, updated_at=now)


def groups_of(
    names: Sequence[str], needs: Mapping[str, Mapping[str, bool]], alike: Mapping[str, object]
) -> list[list[str]]:
    """Assets (upstream ones first) as groups that one run makes each. `needs`: what each waits for, of these, and
    whether that may be made by the same run; `alike`: what assets have in common that may be made by one run, none for
    one that is alone. Groups come in an order in which none waits for a later one."""
    groups: list[list[str]] = []
    kinds: list[object] = []
    place: dict[str, int] = {}
    for name in names:
        above = ((other, together) for other, together in needs[name].items() if other != name)
        first = max((place[other] + (not together) for other, together in above), default=0)
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
