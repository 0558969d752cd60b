"""Whether an asset is as its code and what it is made from want it, and if not, why.

A materialization has a data version: what its author says; else a hash of the code version and of the data versions of
what it was made from, so that making the same again changes nothing; without a code version, each is a new one. It
remembers the data versions that it was made from.
"""

import functools
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from typing import Protocol

import msgspec

from plait.engine.assets.index import AssetIndex
from plait.model.assets import AssetKind
from plait.model.hashes import blake2b
from plait.model.policies import Value
from plait.model.rows import AssetEventRow, AssetRow


class Status(StrEnum):
    """`missing`: never materialized; `stale`: it would come out differently now; `fresh`: neither."""

    MISSING = "missing"
    STALE = "stale"
    FRESH = "fresh"


class Cause(Value):
    """Why an asset is stale: `kind` is missing, code, data, deps or upstream; `about`: the asset that it comes from."""

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
    of each; of partitioned ones that of the partition that is asked about."""
    found: dict[str, Staleness] = {}
    rows = {key: row_of(key) for key in index.specs}
    for key, spec in index.specs.items():
        row = rows[key]
        if spec.kind is not AssetKind.MADE:  # nobody here can make it otherwise
            found[key] = Staleness(key=key, status=Status.FRESH)
        elif row is None:
            found[key] = Staleness(key=key, status=Status.MISSING, causes=(_NEVER,))
        else:
            causes = (*_own(spec.code_version, row), *_from_upstream(index, row, rows, found))
            found[key] = Staleness(key=key, status=Status.STALE if causes else Status.FRESH, causes=causes)
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


class Rows(Protocol):
    """What is asked of a store of runs (the port `RunStore` has it)."""

    def asset(self, key: str, partition: str) -> AssetRow | None:
        """The latest materialization of one asset's partition."""
        ...

    def asset_history(self, key: str, *, kinds: Sequence[str] = (), limit: int = 50) -> list[AssetEventRow]:
        """What happened to an asset, newest first."""
        ...


def row_getter(index: AssetIndex, rows: Rows, partition: str | None) -> Callable[[str], AssetRow | None]:
    """Gives what is known of assets: of partitioned ones of this partition or, where none is meant, of the one that was
    materialized last."""

    def row_of(key: str) -> AssetRow | None:
        if index.specs[key].partitions is None:
            return rows.asset(key, "")
        if partition is not None:
            return rows.asset(key, partition)
        events = rows.asset_history(key, kinds=("materialized", "observed"), limit=1)
        return rows.asset(key, events[0].partition) if events else None

    return functools.cache(row_of)


def states(index: AssetIndex, row_of: Callable[[str], AssetRow | None]) -> dict[str, Callable[[], set[str]]]:
    """The answers for what a selection may ask of a database (`selection.STATES`)."""

    def having(status: Status) -> set[str]:
        return {key for key, each in assess(index, row_of).items() if each.status is status}

    return {
        "changed": lambda: changed(index, row_of),
        "missing": lambda: having(Status.MISSING),
        "stale": lambda: having(Status.STALE) | having(Status.MISSING),
    }
