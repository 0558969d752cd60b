"""Whether an asset is as its code and what it is made from want it, and if not, why.

A materialization has a data version: what its author says; else a hash of the code version and of the data versions of
what it was made from, so that making the same again changes nothing; without a code version, each is a new one. It
remembers the data versions that it was made from.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import StrEnum
from typing import Protocol

import msgspec

from plait.engine.assets.index import AssetIndex
from plait.engine.assets.news import KINDS, History, News
from plait.engine.partitions import edges, mappings
from plait.engine.partitions.answers import MappingUnknown
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.engine.partitions.mappings import AskCode, Sides
from plait.engine.partitions.spaces import Space, parse, space_of
from plait.model import partitions as model
from plait.model.assets import AssetKind
from plait.model.errors import ParameterError
from plait.model.hashes import blake2b
from plait.model.policies import Value
from plait.model.rows import AssetRow


class Status(StrEnum):
    """`missing`: never materialized; `stale`: it would come out differently now; `fresh`: neither."""

    MISSING = "missing"
    STALE = "stale"
    FRESH = "fresh"


class Cause(Value):
    """Why an asset is stale: `kind` is missing, code, data, deps or upstream; `about`: the asset that it comes from.
    `unknown` is none, but that nobody can say: a custom mapping of partitions fails."""

    kind: str
    text: str
    about: str = ""


class Staleness(Value):
    """An asset's partition ("" for an asset without), and why it is not fresh."""

    key: str
    status: Status
    causes: tuple[Cause, ...] = ()


_inputs = msgspec.json.Decoder(dict[str, str])


def version_of(code_version: str, inputs: Mapping[str, str]) -> str:
    """The data version of what this code makes from these data versions (16 hex digits)."""
    text = msgspec.json.encode([code_version, sorted(inputs.items())])
    return blake2b(text, digest_size=8).hexdigest()


def assess(index: AssetIndex, row_of: Callable[[str], AssetRow | None]) -> dict[str, Staleness]:
    """All assets of a graph, by key, upstream ones first. `row_of` gives the latest materialization (or observation)
    of each; of partitioned ones that of the partition that is asked about. What is made from other partitions of an
    asset is looked at by a `Known` only."""
    found: dict[str, Staleness] = {}
    rows = {key: row_of(key) for key in index.specs}
    for key, spec in index.specs.items():
        row = rows[key]
        if spec.kind is not AssetKind.MADE:  # nobody here can make it otherwise
            found[key] = Staleness(key=key, status=Status.FRESH)
        elif row is None:
            found[key] = Staleness(key=key, status=Status.MISSING, causes=(_NEVER,))
        else:
            causes = [*_own(spec.code_version, row), *_from_upstream(index, row, rows, found)]
            if isinstance(row_of, Known):
                causes += row_of.mapped_causes(row)
            stale = any(cause.kind != "unknown" for cause in causes)
            found[key] = Staleness(key=key, status=Status.STALE if stale else Status.FRESH, causes=tuple(causes))
    return found


_NEVER = Cause(kind="missing", text="never materialized")


def _own(code_version: str | None, row: AssetRow) -> tuple[Cause, ...]:
    if code_version == row.code_version:
        return ()
    text = f"code version changed {row.code_version or '(none)'} -> {code_version or '(none)'}"
    return (Cause(kind="code", text=text, about=row.key),)


def _from_upstream(
    index: AssetIndex, row: AssetRow, rows: Mapping[str, AssetRow | None], found: Mapping[str, Staleness]
) -> list[Cause]:
    used = _inputs.decode(row.inputs) if row.inputs else {}
    causes: list[Cause] = []
    mapped = index.mapped(row.key)
    for dep in index.upstream[row.key]:
        if dep in mapped:  # made from several partitions of it, or from another one: no one row tells
            continue
        upstream = rows.get(dep)
        version = upstream.data_version if upstream is not None else None
        above = found.get(dep)
        if version is not None and dep not in used:
            causes.append(Cause(kind="deps", text=f"was not made from {dep} yet", about=dep))
        elif version is not None and version != used[dep]:
            causes.append(Cause(kind="data", text=f"upstream {dep} has newer data version", about=dep))
        elif above is not None and above.status is not Status.FRESH:
            what = "missing" if above.status is Status.MISSING else "stale"
            causes.append(Cause(kind="upstream", text=f"upstream {dep} is {what}", about=dep))
    gone = [dep for dep in used if dep not in index.upstream[row.key]]
    return causes + [Cause(kind="deps", text=f"is not made from {dep} any more", about=dep) for dep in gone]


def changed(index: AssetIndex, row_of: Callable[[str], AssetRow | None]) -> set[str]:
    """The assets that were materialized by another code version than they have now."""
    rows = ((spec, row_of(key)) for key, spec in index.specs.items() if spec.kind is AssetKind.MADE)
    return {spec.key for spec, row in rows if row is not None and row.code_version != spec.code_version}


# --- asking a store ---------------------------------------------------------------------------------------------------


class Keys(Protocol):
    """The keys of dynamic partitions (the port `PartitionStore` has them)."""

    def keys(self, name: str) -> Mapping[str, int]:
        """With their numbers."""
        ...


class Rows(History, Protocol):
    """What is asked of a store of runs (the port `RunStore` has it)."""

    @property
    def partitions(self) -> Keys: ...

    def asset(self, key: str, partition: str) -> AssetRow | None:
        """The latest materialization of one asset's partition."""
        ...


MOST_OTHERS = 100
"""Partitions of an asset that are looked at to find one that is stale, when nobody asks about one (C8)."""


class Known:
    """What is known of assets at a moment: called with a key, it gives the row of the asset; of partitioned ones that
    of `partition` or, where none is meant, of the one that was materialized last, unless another one is stale because
    other partitions that it is made from were made anew. `ask_of` gives who answers for the custom mappings of an
    asset."""

    def __init__(
        self,
        index: AssetIndex,
        rows: Rows,
        partition: str | None,
        now: float,
        ask_of: Callable[[str], AskCode | None] = lambda key: None,
    ):
        self._index = index
        self._rows = rows
        self._partition = partition
        self._now = now
        self._ask_of = ask_of
        self._news = News(rows)
        self._found: dict[str, AssetRow | None] = {}
        self._spaces: dict[str, Space] = {}

    def __call__(self, key: str) -> AssetRow | None:
        """The row of an asset."""
        if key not in self._found:
            self._found[key] = self._row_of(key)
        return self._found[key]

    def _row_of(self, key: str) -> AssetRow | None:
        if self._index.specs[key].partitions is None:
            return self._rows.asset(key, "")
        if self._partition is not None:
            return self._rows.asset(key, self._partition)
        events = self._rows.asset_history(key, kinds=KINDS, limit=1)
        row = self._rows.asset(key, events[0].partition) if events else None
        if row is None or self._is_stale(row):
            return row
        return next((other for other in self._others(key) if self._is_stale(other)), row)

    def _is_stale(self, row: AssetRow) -> bool:
        return any(cause.kind != "unknown" for cause in self.mapped_causes(row))

    def _others(self, key: str) -> Iterator[AssetRow]:
        """Partitions of an asset that were made, and are made from what was made last of others."""
        seen: set[int] = set()
        space = self._space(key)
        for dep, mapping in self._mapped(key):
            try:
                found = mappings.downstream(mapping, self._news.recent(dep, self._space(dep)), self._sides(key, dep))
            except MappingUnknown:  # which is told of the row that is there
                continue
            for no in found.page(0, MOST_OTHERS):
                row = self._rows.asset(key, space.key(no)) if no not in seen else None
                seen.add(no)
                if row is not None:
                    yield row

    def mapped_causes(self, row: AssetRow) -> list[Cause]:
        """Why a partition is stale, as far as it is made from other partitions of an asset than its own."""
        causes: list[Cause] = []
        used = _inputs.decode(row.inputs) if row.inputs else {}
        for dep, mapping in self._mapped(row.key):
            try:
                keys = self._made_from(row, dep, mapping)
            except MappingUnknown as error:
                text = f"nobody can say which partitions of {dep} it is made from: {error}"
                causes.append(Cause(kind="unknown", text=text, about=dep))
                continue
            change = self._news.latest(dep, self._space(dep), keys)
            if change is not None and used.get(dep) != change.mark:
                text = f"upstream {dep} has newer data for {change.text}"
                causes.append(Cause(kind="data", text=text, about=dep))
        return causes

    def _mapped(self, key: str) -> list[tuple[str, model.Mapping]]:
        """The partitioned assets of which an asset is made from other partitions, and how they map."""
        found: list[tuple[str, model.Mapping]] = []
        spec = self._index.specs[key]
        if not self._index.mapped(key):
            return found
        for dep in spec.deps:
            if dep.key in self._index.mapped(key):
                mapping = edges.mapping_of(spec.partitions, self._index.specs[dep.key].partitions, dep.mapping)
                if mapping is not None:
                    found.append((dep.key, mapping))
        return found

    def _made_from(self, row: AssetRow, dep: str, mapping: model.Mapping) -> KeySet:
        up = self._space(dep)
        if self._index.specs[row.key].partitions is None:
            return up.all(self._now).tail(mapping.count) if isinstance(mapping, model.Last) else up.all(self._now)
        try:
            keys = parse(self._space(row.key), row.partition)
        except ParameterError:  # of an older definition
            return EMPTY
        return mappings.upstream(mapping, keys, self._sides(row.key, dep)).keys

    def _sides(self, key: str, dep: str) -> Sides:
        return Sides(self._space(key), self._space(dep), self._now, self._ask_of(key))

    def _space(self, key: str) -> Space:
        if key not in self._spaces:
            spec = self._index.specs[key].partitions
            assert spec is not None  # only partitioned assets are mapped
            self._spaces[key] = space_of(edges.slices_of(spec), self._rows.partitions.keys)
        return self._spaces[key]


def states(index: AssetIndex, row_of: Callable[[str], AssetRow | None]) -> dict[str, Callable[[], set[str]]]:
    """The answers for what a selection may ask of a database (`selection.STATES`)."""

    def having(status: Status) -> set[str]:
        return {key for key, each in assess(index, row_of).items() if each.status is status}

    return {
        "changed": lambda: changed(index, row_of),
        "missing": lambda: having(Status.MISSING),
        "stale": lambda: having(Status.STALE) | having(Status.MISSING),
    }
