"""Partitions for people: how many of an asset are materialized, failed, in progress and missing, and pages of them.

Nothing here lists partitions: status is sets of ranges, which the store keeps in chunks; what is in progress are the
partitions of open runs.
"""

from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from plait.engine.partitions.keysets import EMPTY, KeySet, joined
from plait.engine.partitions.spaces import Space, parse, space_of, text_of
from plait.model.errors import UserError
from plait.model.partitions import Slices
from plait.model.rows import PartitionMark
from plait.model.states import RUN_TERMINAL, RunState
from plait.ports import Clock, RunStore

MOST_OPEN = 10_000
"""Open runs that are looked at for what is in progress."""
OPEN = [state.value for state in RunState if state not in RUN_TERMINAL]


class Status(StrEnum):
    """What is known of a partition: it was materialized; its last run failed; a run is at it; nothing."""

    MATERIALIZED = "materialized"
    FAILED = "failed"
    IN_PROGRESS = "in_progress"
    MISSING = "missing"


class StatusSets(msgspec.Struct, frozen=True):
    """The partitions of an asset that are there, and which of them are in which state; no two of these overlap."""

    space: Space
    all: KeySet
    materialized: KeySet
    failed: KeySet
    in_progress: KeySet

    @property
    def missing(self) -> KeySet:
        """Those of which nothing is known."""
        return self.all - self.materialized - self.failed - self.in_progress

    def of(self, status: Status) -> KeySet:
        """Those in a state."""
        found: KeySet = getattr(self, status.value)
        return found

    def status(self, ordinal: int) -> Status:
        """The state of one."""
        known = (Status.MATERIALIZED, Status.FAILED, Status.IN_PROGRESS)
        return next((each for each in known if ordinal in self.of(each)), Status.MISSING)


class PartitionCounts(msgspec.Struct, kw_only=True):
    """How many partitions an asset has, by state."""

    asset: str
    total: int
    materialized: int
    failed: int
    in_progress: int
    missing: int


class PartitionView(msgspec.Struct, kw_only=True):
    """A partition of an asset."""

    key: str
    status: str


class PartitionPage(msgspec.Struct, kw_only=True):
    """Some partitions of an asset, of `total` in all; `ranges` are all of them, as texts, where these are few."""

    asset: str
    counts: PartitionCounts
    total: int
    offset: int
    partitions: list[PartitionView]
    ranges: list[str] = []


class PartitionStatus:
    """Reads what is known of the partitions of assets."""

    def __init__(self, store: RunStore, clock: Clock):
        self._store = store
        self._clock = clock

    def spaces(self, definitions: Mapping[str, Slices]) -> dict[str, Space]:
        """How the partitions of each asset are numbered."""
        keys: dict[str, Mapping[str, int]] = {}

        def dynamic(name: str) -> Mapping[str, int]:
            if name not in keys:
                keys[name] = self._store.partitions.keys(name)
            return keys[name]

        known: dict[Slices, Space] = {}
        return {
            asset: known[slices] if slices in known else known.setdefault(slices, space_of(slices, dynamic))
            for asset, slices in definitions.items()
        }

    def sets(self, spaces: Mapping[str, Space]) -> dict[str, StatusSets]:
        """The state of all partitions of these assets."""
        self._settle(spaces)
        now = self._clock.now()
        busy = self._in_progress(spaces)
        found: dict[str, StatusSets] = {}
        for asset, space in spaces.items():
            everything = space.all(now)
            chunks = self._store.partitions.chunks(asset, space.name)
            ok, failed = (joined([(c.chunk, c.data) for c in chunks if c.failed is want]) for want in (False, True))
            at = busy.get(asset, EMPTY) & everything
            found[asset] = StatusSets(space, everything, (ok & everything) - at, (failed & everything) - at, at)
        return found

    def counts(self, spaces: Mapping[str, Space]) -> list[PartitionCounts]:
        """How many partitions of these assets are in which state. Where all that is known is of partitions that are
        there, which is so but after a definition was cut short, nothing but numbers is read."""
        self._settle(spaces)
        sizes = self._store.partitions.sizes(list(spaces))
        busy = self._in_progress(spaces)
        now = self._clock.now()
        totals: dict[int, int] = {}
        found: list[PartitionCounts] = []
        for asset, space in spaces.items():
            if id(space) not in totals:
                totals[id(space)] = len(space.all(now))
            total = totals[id(space)]
            ok = sizes.get((asset, space.name, False), 0)
            failed = sizes.get((asset, space.name, True), 0)
            if busy.get(asset) or ok + failed > total:
                found.append(counts_of(asset, self.sets({asset: space})[asset]))
            else:
                found.append(
                    PartitionCounts(
                        asset=asset, total=total, materialized=ok, failed=failed, in_progress=0,
                        missing=total - ok - failed,
                    )
                )  # fmt: skip
        return found

    def page(
        self,
        asset: str,
        space: Space,
        *,
        status: Sequence[Status] = (),
        text: str | None = None,
        offset: int = 0,
        limit: int = 100,
        newest: bool = False,
    ) -> PartitionPage:
        """Partitions of an asset, in order or `newest` first: of those that `text` names, those in these states."""
        sets = self.sets({asset: space})[asset]
        chosen = parse(space, text) & sets.all if text else sets.all
        if status:
            wanted = EMPTY
            for each in status:
                wanted |= sets.of(each)
            chosen &= wanted
        start = len(chosen) - offset - limit if newest else offset
        part = list(chosen.page(start, limit if start >= 0 else max(0, limit + start)))
        shown = reversed(part) if newest else part
        ranges = [text_of(space, KeySet(each)) for each in chosen.ranges] if len(chosen.bounds) <= 40 else []
        return PartitionPage(
            asset=asset,
            counts=counts_of(asset, sets),
            total=len(chosen),
            offset=offset,
            partitions=[PartitionView(key=space.key(no), status=sets.status(no).value) for no in shown],
            ranges=ranges,
        )

    # --- what is known ------------------------------------------------------------------------------------------------

    def _settle(self, spaces: Mapping[str, Space]) -> None:
        """Put what runs have said into chunks. An asset whose partitions are numbered otherwise than before, or were
        materialized by an older plait, is counted anew, once."""
        partitions = self._store.partitions
        known = partitions.spaces(list(spaces))
        for asset, space in spaces.items():
            if known.get(asset) != space.name:
                partitions.settle(asset, self._marks(asset, space), space.name)
        while partitions.compact():
            pass

    def _marks(self, asset: str, space: Space) -> list[PartitionMark]:
        ranges: list[tuple[int, int]] = []
        for row in self._store.assets([asset]):
            try:
                ranges += parse(space, row.partition).ranges if row.partition else []
            except UserError:  # of an older definition
                continue
        return [
            PartitionMark(asset=asset, space=space.name, failed=False, start=start, stop=stop)
            for start, stop in KeySet.ranges_of(ranges).ranges
        ]

    def _in_progress(self, spaces: Mapping[str, Space]) -> dict[str, KeySet]:
        """The partitions of runs that are open."""
        found: dict[str, KeySet] = {}
        graphs: dict[str, frozenset[str]] = {}
        for row in self._store.list_runs(states=OPEN, limit=MOST_OPEN):
            if row.partition is None or row.kind != "assets":
                continue
            if row.graph_hash not in graphs:
                graph = self._store.load_graph(row.graph_hash)
                outputs = (output for node in graph.nodes for output in node.outputs) if graph is not None else ()
                graphs[row.graph_hash] = frozenset(output.asset for output in outputs if output.asset is not None)
            for asset in graphs[row.graph_hash].intersection(spaces):
                found[asset] = found.get(asset, EMPTY) | _named(spaces[asset], row.partition)
        return found


def counts_of(asset: str, sets: StatusSets) -> PartitionCounts:
    """How many there are in each state."""
    total = len(sets.all)
    ok, failed, busy = len(sets.materialized), len(sets.failed), len(sets.in_progress)
    return PartitionCounts(
        asset=asset, total=total, materialized=ok, failed=failed, in_progress=busy, missing=total - ok - failed - busy
    )


def _named(space: Space, text: str) -> KeySet:
    try:
        return parse(space, text)
    except UserError:  # of an older definition
        return EMPTY


def texts(space: Space, keys: KeySet, most: int = 20) -> list[str]:
    """The first ranges of a set, as texts."""
    return [text_of(space, KeySet(each)) for each in keys.ranges[:most]]


def slices_of(spec: object) -> Slices:
    """A definition from plain data."""
    found: Slices = msgspec.convert(spec, Slices)
    return found
