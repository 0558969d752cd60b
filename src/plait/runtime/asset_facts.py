"""What is known of deployed assets at a look of their automations (the port `Facts` of `engine.automation.look`)."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from plait.engine import schedules
from plait.engine.assets.index import AssetIndex
from plait.engine.partitions import edges, mappings
from plait.engine.partitions.answers import MappingUnknown
from plait.engine.partitions.keysets import EMPTY, KeySet, joined
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import MultiSpace, Space, WindowSpace, parse, space_of
from plait.model.assets import AssetKind
from plait.model.errors import DefinitionError, UserError
from plait.model.hashes import blake2b
from plait.model.rows import AssetEventRow, RunRow
from plait.model.schedules import Cron
from plait.model.states import RUN_TERMINAL, RunState
from plait.ports import RunStore

WHOLE = KeySet.span(0, 1)
"""The one partition of an asset without partitions."""
OPEN = [state.value for state in RunState if state not in RUN_TERMINAL]
MOST_OPEN = 10_000


@dataclass
class Happened:
    """What has happened since the look before: updates by asset, each with the run that made it, and what is open."""

    updates: dict[str, list[tuple[KeySet, str]]] = field(default_factory=dict[str, list[tuple[KeySet, str]]])
    in_progress: dict[str, KeySet] = field(default_factory=dict[str, KeySet])
    before: float = 0.0


class AssetFacts:
    """Reads the store, and remembers what it has read; `forget` is told of what has changed."""

    def __init__(
        self,
        store: RunStore,
        index: AssetIndex,
        locations: Mapping[str, str],
        ask_of: Callable[[str], AskCode | None] = lambda key: None,
    ):
        self._ask_of = ask_of
        """Who answers for the custom mappings of an asset: always the same one, which knows what `ready` has asked."""
        self._ready: dict[str, KeySet] = {}
        """The partitions for which all custom mappings of an asset have answered."""
        self._store = store
        self._index = index
        self._locations = locations
        self._spaces: dict[str, Space] = {}
        """By the definition, as text; those that the store keeps keys of anew at each look."""
        self._made: dict[str, KeySet] = {}
        self._failed: dict[str, KeySet] = {}
        self._old_code: dict[str, KeySet] = {}
        self._all: dict[str, KeySet] = {}
        self._there: dict[str, KeySet] = {}
        """The partitions of each definition at the look before."""
        self._targets: dict[str, frozenset[str]] = {}
        self._ticks: dict[tuple[str, str], bool] = {}
        self.broken: set[str] = set()
        """The assets without partitions whose last run failed."""
        self.now = 0.0
        self._happened = Happened()
        self._text = {
            key: msgspec.json.encode(spec.partitions).decode() if spec.partitions is not None else ""
            for key, spec in index.specs.items()
        }

    # --- the moment of a look -----------------------------------------------------------------------------------------

    def at(self, now: float, happened: Happened) -> None:
        """The facts of a look: at this moment, after these things have happened."""
        self.now = now
        self._happened = happened
        self._all.clear()
        self._ticks.clear()
        self._spaces.clear()

    def forget(self, keys: Iterable[str]) -> None:
        """Something has changed of these: they are read again."""
        partitioned = False
        for key in keys:
            partitioned = partitioned or bool(self._text.get(key))
            for known in (self._made, self._failed, self._old_code):
                known.pop(key, None)
        if partitioned:
            while self._store.partitions.compact():
                pass

    def grown(self) -> set[str]:
        """The partitioned assets of which other partitions are there than at the look before. (The first look knows
        none, and looks at all.)"""
        texts = set(self._text.values()) - {""}
        there = {text: self._space(text).all(self.now) for text in texts}
        moved = {text for text, keys in there.items() if text in self._there and self._there[text] != keys}
        self._there = there
        return {key for key, text in self._text.items() if text in moved}

    def next_window(self, keys: Iterable[str]) -> float | None:
        """When the next window of one of these assets ends."""
        times: list[float] = []
        for text in {self._text[key] for key in keys} - {""}:
            space = self._space(text)
            parts = space.parts.values() if isinstance(space, MultiSpace) else (space,)
            for each in parts:
                if isinstance(each, WindowSpace):
                    current = each.overlapping(self.now, self.now + 1e-3)
                    times.append(each.window(current.first)[1])
        return min(times, default=None)

    def targets(self, run: RunRow | None) -> frozenset[str]:
        """The assets that a run makes."""
        if run is None:
            return frozenset()
        if run.graph_hash not in self._targets:
            graph = self._store.load_graph(run.graph_hash)
            outputs = (output for node in graph.nodes for output in node.outputs) if graph is not None else ()
            self._targets[run.graph_hash] = frozenset(each.asset for each in outputs if each.asset is not None)
        return self._targets[run.graph_hash]

    def named(self, key: str, partition: str | None) -> KeySet:
        """The partitions of an asset that a run or an event is about."""
        if not self._text.get(key):
            return WHOLE
        if not partition:
            return EMPTY
        try:
            return parse(self.space(key), partition)
        except UserError:  # of an older definition
            return EMPTY

    # --- the port -----------------------------------------------------------------------------------------------------

    def all(self, key: str) -> KeySet:
        """The partitions that are there."""
        text = self._text[key]
        if not text:
            return WHOLE
        if text not in self._all:
            self._all[text] = self._space(text).all(self.now)
        return self._all[text]

    def latest(self, key: str, lookback: float | None) -> KeySet:
        """Those of the latest window, or of the windows that have ended in the last seconds."""
        if not self._text[key]:
            return WHOLE
        space = self.space(key)
        if isinstance(space, WindowSpace):
            return self._recent(space, lookback)
        if isinstance(space, MultiSpace):
            sets = {
                name: self._recent(part, lookback) if isinstance(part, WindowSpace) else part.all(self.now)
                for name, part in space.parts.items()
            }
            return space.product(sets)
        return self.all(key)

    def _recent(self, space: WindowSpace, lookback: float | None) -> KeySet:
        there = space.all(self.now)
        if lookback is None:
            return there.tail(1)
        return there & space.overlapping(self.now - lookback, self.now)

    def fact(self, name: str, key: str) -> KeySet:
        """A plain fact about an asset."""
        match name:
            case "missing":
                if self._index.specs[key].kind is not AssetKind.MADE:
                    return EMPTY
                return self.all(key) - self._materialized(key)
            case "in_progress":
                return self._happened.in_progress.get(key, EMPTY)
            case "failed":
                return self._failures(key)
            case "code_changed":
                return self._by_old_code(key)
            case _:
                return _union(keys for keys, _ in self._happened.updates.get(key, ()))

    def updated_apart(self, key: str, by: str) -> KeySet:
        """What was updated by runs that do not make asset `by`."""
        updates = self._happened.updates.get(key)
        if not updates:
            return EMPTY
        return _union(keys for keys, run in updates if by not in self._run_targets(run))

    def shares(self, key: str, other: str) -> bool:
        """Whether one run can make the same partition of both: they are of one code location, with equal partitions."""
        return self._text[key] == self._text[other] and self._locations.get(key) == self._locations.get(other)

    def ready(self, key: str) -> None:
        """Ask the custom mappings of an asset about its partitions. Raises MappingUnknown until all have answered."""
        new = self.all(key) - self._ready.get(key, EMPTY)
        if not new:
            return
        spec = self._index.specs[key]
        for dep in spec.deps:
            above = self._index.specs[dep.key].partitions
            if spec.partitions is not None and above is not None and edges.is_asked(dep.mapping):
                mapping = edges.mapping_of(spec.partitions, above, dep.mapping)
                assert mapping is not None  # the upstream asset has partitions
                mappings.upstream(mapping, new, self._sides(dep.key, key))
        self._ready[key] = self.all(key)

    def _sides(self, upstream: str, key: str) -> Sides:
        return Sides(self.space(key), self.space(upstream), self.now, self._ask_of(key))

    def down(self, upstream: str, key: str, keys: KeySet) -> KeySet:
        """The partitions that are made from upstream ones. Where partitions do not fit together, all. Raises
        MappingUnknown where only user code knows, and has not answered."""
        if not self._text[upstream] or not self._text[key]:
            return self.all(key)
        spec, above = self._index.specs[key], self._index.specs[upstream]
        dep = next(dep for dep in spec.deps if dep.key == upstream)
        try:
            mapping = edges.mapping_of(spec.partitions, above.partitions, dep.mapping)
            assert mapping is not None  # the upstream asset has partitions
            return mappings.downstream(mapping, keys, self._sides(upstream, key))
        except MappingUnknown:
            raise
        except DefinitionError:
            return self.all(key)

    def ticked(self, cron: str, tz: str) -> bool:
        """Whether a time has passed since the look before."""
        if (cron, tz) not in self._ticks:
            coming = schedules.upcoming(Cron(cron=cron, tz=tz), self._happened.before, 1)
            self._ticks[cron, tz] = bool(coming) and coming[0] <= self.now
        return self._ticks[cron, tz]

    # --- reading ------------------------------------------------------------------------------------------------------

    def space(self, key: str) -> Space:
        """How an asset's partitions are numbered."""
        return self._space(self._text[key])

    def _space(self, text: str) -> Space:
        if text not in self._spaces:
            spec: dict[str, Any] = msgspec.json.decode(text)
            self._spaces[text] = space_of(edges.slices_of(spec), self._store.partitions.keys)
        return self._spaces[text]

    def _materialized(self, key: str) -> KeySet:
        if key not in self._made:
            if self._text[key]:
                self._made[key] = self._chunks(key, failed=False)
            else:
                self._made[key] = WHOLE if self._store.asset(key, "") is not None else EMPTY
        return self._made[key]

    def _failures(self, key: str) -> KeySet:
        if not self._text[key]:
            return WHOLE if key in self.broken else EMPTY
        if key not in self._failed:
            self._failed[key] = self._chunks(key, failed=True)
        return self._failed[key]

    def _chunks(self, key: str, *, failed: bool) -> KeySet:
        chunks = self._store.partitions.chunks(key, self.space(key).name)
        return joined([(each.chunk, each.data) for each in chunks if each.failed is failed])

    def _by_old_code(self, key: str) -> KeySet:
        if key not in self._old_code:
            version = self._index.specs[key].code_version
            old = [row for row in self._store.assets([key]) if row.code_version != version]
            self._old_code[key] = _union(self.named(key, row.partition) for row in old)
        return self._old_code[key]

    def _run_targets(self, run_id: str) -> frozenset[str]:
        if run_id not in self._targets:
            self._targets[run_id] = self.targets(self._store.get_run(run_id))  # type: ignore[arg-type]  it is one
        return self._targets[run_id]


def _union(sets: Iterable[KeySet]) -> KeySet:
    found = EMPTY
    for each in sets:
        found |= each
    return found


def mark_of(row: AssetEventRow) -> bytes:
    """What tells an update from all others (8 bytes)."""
    text = msgspec.msgpack.encode((row.key, row.partition, row.at, row.run_id, row.no))
    return blake2b(text, digest_size=8).digest()
