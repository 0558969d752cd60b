"""Why something was requested, or not: a decision as a tree of the parts of its condition."""

from collections.abc import Callable
from enum import StrEnum

import msgspec

from plait.engine.automation.program import Node, compiled
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.model import automation as model
from plait.model.automation import Condition, Decision


class Truth(StrEnum):
    """Of all partitions, of some, of none; or it was not looked at, because it made no difference."""

    YES = "yes"
    SOME = "some"
    NO = "no"
    SKIPPED = "skipped"


class Explained(msgspec.Struct, kw_only=True):
    """A part of a condition: what it says, and of which partitions it was true (`count` of `of`; `ranges` as texts). A
    part that looks upstream has one part for each asset that it has looked at (`asset`). `needs_all`: it is true where
    all of its parts are; `negates`: where its part is not."""

    says: str
    truth: Truth
    count: int
    of: int
    label: str = ""
    asset: str | None = None
    ranges: list[str] = []
    parts: list["Explained"] = []
    needs_all: bool = False
    negates: bool = False


_FACTS = {
    "missing": "it is missing",
    "in_progress": "it is being made",
    "failed": "its last run failed",
    "updated": "it was updated since the look before",
    "updated_apart": "it was updated since the look before, by a run that does not make this asset",
    "code_changed": "its code version has changed",
    "requested": "it was requested in this look, in the same run",
    "was_requested": "it was requested in the look before",
    "initial": "it was looked at for the first time",
}


_SAYS: dict[type, str] = {
    model.Since: "the first since the second",
    model.Newly: "this has just become true",
    model.And: "all of these",
    model.Or: "one of these",
    model.Not: "not this",
}


def says(condition: Condition) -> str:
    """What a condition says, in words."""
    match condition:
        case model.Is():
            return _FACTS.get(condition.fact, condition.fact)
        case model.CronTick():
            zone = "" if condition.tz == "UTC" else f" {condition.tz}"
            return f"a time of {condition.cron}{zone} has passed since the look before"
        case model.LatestWindow(lookback=None):
            return "it is in the latest window"
        case model.LatestWindow():
            return f"it is in a window of the last {condition.lookback:g} s"
        case model.AnyDeps():
            return f"some of what it is made from{_which(condition)}"
        case model.AllDeps():
            return f"all of what it is made from{_which(condition)}"
        case _:
            return _SAYS[type(condition)]


def _which(condition: model.AnyDeps | model.AllDeps) -> str:
    only = f", only {', '.join(condition.only)}" if condition.only else ""
    ignored = f", but for {', '.join(condition.ignore)}" if condition.ignore else ""
    return only + ignored


def explain(
    condition: Condition,
    decision: Decision,
    deps: Callable[[str], tuple[str, ...]],
    texts: Callable[[str, KeySet], list[str]],
    key: str,
) -> Explained | None:
    """The tree of a decision; none when the condition has changed since. `deps` gives what an asset is made from,
    `texts` a few ranges of its partitions as texts."""
    program = compiled(condition)
    if program.version != decision.version:
        return None
    return _Explainer(decision, deps, texts).part(program.root, key, "", None)


class _Explainer:
    def __init__(
        self,
        decision: Decision,
        deps: Callable[[str], tuple[str, ...]],
        texts: Callable[[str, KeySet], list[str]],
    ):
        self._results = decision.results
        self._there = KeySet(decision.there)
        self._deps = deps
        self._texts = texts

    def part(self, node: Node, key: str, by: str, asset: str | None) -> Explained:
        """A part, evaluated for asset `key`, which was reached through `by`."""
        bounds = self._results.get(f"{node.place}{by}")
        value = KeySet(bounds or ())
        there = self._there if not by else None
        parts: list[Explained] = []
        for child in node.parts:
            if isinstance(node.condition, model.AnyDeps | model.AllDeps):
                seen = [dep for dep in self._deps(key) if f"{child.place}{by}@{dep}" in self._results]
                parts += [self.part(child, dep, f"{by}@{dep}", dep) for dep in seen]
            elif bounds is not None:
                parts.append(self.part(child, key, by, None))
        return Explained(
            says=says(node.condition),
            truth=_truth(value, there) if bounds is not None else Truth.SKIPPED,
            count=len(value),
            of=len(there) if there is not None else len(value),
            label=node.condition.label,
            asset=asset,
            ranges=self._texts(key, value),
            parts=parts,
            needs_all=isinstance(node.condition, model.And),
            negates=isinstance(node.condition, model.Not),
        )


def _truth(value: KeySet, there: KeySet | None) -> Truth:
    if not value:
        return Truth.NO
    return Truth.YES if there is None or there - value == EMPTY else Truth.SOME


def why_not(tree: Explained) -> list[str]:
    """What kept it from being true of anything, in words: the parts that had to be true, and those that had not to
    be."""
    if tree.truth is not Truth.NO:
        return []
    if tree.negates:
        return [f"not: {_name(tree.parts[0])}"]
    found = [reason for part in tree.parts for reason in why_not(part)] if tree.needs_all else []
    return found or [_name(tree)]


def _name(tree: Explained) -> str:
    return tree.label.replace("_", " ") or tree.says
