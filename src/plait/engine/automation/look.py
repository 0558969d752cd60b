"""One look at all assets that have conditions: which of them are to be made, and where each stands afterwards.

Theory of operation. Looks follow each other; whatever happens between two of them is seen by the later one. A look
evaluates only the assets of which something has changed: a fact about them or about what they are made from, a time
that they wait for; those that saw something momentary (an update, a request) in the look before; and, going
downstream, those above which something is requested in this look. All others would come out as they did. Upstream
assets come first, so that one look requests a whole chain, which one run makes.

A value is a set of the asset's partitions (of an asset without partitions, `{0}` or nothing). What `Since` and `Newly`
remember is kept by the number of their node; below `AnyDeps` and `AllDeps`, also by the asset that was looked at.
"""

import fnmatch
import heapq
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Protocol

import msgspec

from plait.engine.assets.index import AssetIndex
from plait.engine.automation.program import Node, Program, compiled
from plait.engine.partitions import edges
from plait.engine.partitions.answers import MappingUnknown
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.model import automation as model
from plait.model.automation import AssetState, Bounds, Decision

MOST_MISSED = 20
"""Looks that an asset which is held back remembers one by one (C8)."""


class Facts(Protocol):
    """What is known of the assets at a look."""

    def all(self, key: str) -> KeySet:
        """The partitions that are there."""
        ...

    def latest(self, key: str, lookback: float | None) -> KeySet:
        """Those of the latest window, or of so many seconds."""
        ...

    def fact(self, name: str, key: str) -> KeySet:
        """Those that are `missing`, `in_progress`, `failed`, `code_changed`, or `updated` since the look before."""
        ...

    def updated_apart(self, key: str, by: str) -> KeySet:
        """Those that were updated since the look before by runs that do not make asset `by`."""
        ...

    def ready(self, key: str) -> None:
        """Raise MappingUnknown when a custom mapping of an asset has not answered for all partitions that are there."""
        ...

    def shares(self, key: str, other: str) -> bool:
        """Whether one run can make the same partition of both."""
        ...

    def down(self, upstream: str, key: str, keys: KeySet) -> KeySet:
        """The partitions of an asset that are made from these of an upstream one. Raises MappingUnknown when a custom
        mapping has not answered."""
        ...

    def ticked(self, cron: str, tz: str) -> bool:
        """Whether a time of a cron expression has passed since the look before."""
        ...


class Automated:
    """The assets of a graph that have conditions, with these compiled. `deep`: how many steps upstream they look."""

    def __init__(self, index: AssetIndex):
        self.index = index
        self.programs: dict[str, Program] = {
            key: compiled(spec.automation)
            for key, spec in index.specs.items()
            if spec.automation is not None and spec.step
        }
        self.deep = max((program.depth for program in self.programs.values()), default=0)
        self.order = {key: no for no, key in enumerate(index.specs)}
        self.custom: dict[str, list[str]] = {}
        """For each of them, those by whose custom mappings it looks upstream, or that are made together with it."""
        asked = {key for key, spec in index.specs.items() if any(edges.is_asked(dep.mapping) for dep in spec.deps)}
        for key in {*index.completed(asked), *index.below(asked, self.deep)} if asked else ():
            if key in self.programs:
                near = index.above((key,), self.programs[key].depth - 1)
                self.custom[key] = sorted(asked.intersection((*_together_with(index, key), *near)))
        self.crons: dict[tuple[str, str], list[str]] = {}
        """The assets that wait for the times of each cron expression."""
        self.windows: dict[str, frozenset[float | None]] = {}
        """The lookbacks of those that ask for the latest window."""
        for key, program in self.programs.items():
            for cron in program.crons:
                self.crons.setdefault(cron, []).append(key)
            if program.windows:
                self.windows[key] = program.windows


class States:
    """Where all assets stand after a look."""

    def __init__(self, automated: Automated, states: Mapping[str, AssetState]):
        self.of: dict[str, AssetState] = {key: state for key, state in states.items() if key in automated.programs}
        self.again: set[str] = {key for key, state in self.of.items() if state.again}
        """Those that have to be looked at in the next look; so have those that never were, or by another condition."""
        self.held: set[str] = {key for key, state in self.of.items() if state.held}
        """Those that could not be looked at. They are with every look, and do not cause one."""
        for key, program in automated.programs.items():
            known = self.of.get(key)
            if known is None or known.version != program.version:
                self.again.add(key)

    def take(self, after: Mapping[str, AssetState]) -> None:
        """A look has been committed."""
        self.of.update(after)
        self.again.difference_update(after)
        self.again.update(key for key, state in after.items() if state.again)
        self.held.difference_update(after)
        self.held.update(key for key, state in after.items() if state.held)


class Look:
    """One look. `states` are those after the look before.

    Afterwards `requested` has what is to be made, `decisions` and `after` the assets that were looked at.
    """

    def __init__(self, automated: Automated, facts: Facts, states: States, now: float):
        self._automated = automated
        self._index = automated.index
        self._facts = facts
        self._states = states.of
        self._again = states.again
        self._held = states.held
        self._now = now
        self.requested: dict[str, KeySet] = {}
        self.decisions: dict[str, Decision] = {}
        self.after: dict[str, AssetState] = {}
        self._here = _Here("", "", {})

    def run(self, changed: Collection[str], *, everything: bool = False) -> None:
        """Look at what these assets, of which something has changed, are about; with `everything`, at all."""
        programs, order, deep = self._automated.programs, self._automated.order, self._automated.deep
        waiting = set(programs) if everything else self._concerned(changed)
        heap = [(order[key], key) for key in waiting]
        heapq.heapify(heap)
        while heap:
            _, key = heapq.heappop(heap)
            self._evaluate(key, programs[key])
            if key in self.requested:
                for below in self._index.below((key,), deep):
                    if below in programs and below not in waiting:
                        waiting.add(below)
                        heapq.heappush(heap, (order[below], below))
        for key in self._index.below(self.requested, deep):  # of what is upstream it will be said: in the look before
            if key in self.after and not self.after[key].again:
                self.after[key] = msgspec.structs.replace(self.after[key], again=True)

    def _concerned(self, changed: Collection[str]) -> set[str]:
        programs = self._automated.programs
        near = self._index.below(changed, self._automated.deep)
        near.update(changed, self._again, self._held)
        for cron, keys in self._automated.crons.items():
            if self._facts.ticked(*cron):
                near.update(keys)
        return near.intersection(programs)

    def _evaluate(self, key: str, program: Program) -> None:
        known = self._states.get(key)
        if known is not None and known.version != program.version:
            known = None
        old = known.remembered if known is not None and not known.anew else None
        steps = list(known.missed) if known is not None else []
        replayed: Mapping[str, Bounds] | None = None
        if known is not None and (steps or known.anew):  # one after the other: what is now comes last
            now = self._momentary_facts(key, program)
            steps += [now] if now else []
            replayed = {} if known.anew else steps.pop(0)
        self._here = here = _Here(key, program.version, old, replayed)
        there = self._facts.all(key)
        try:
            for each in self._automated.custom.get(key, ()):
                self._facts.ready(each)
            value = self._value(program.root, key, "") & there
        except MappingUnknown as error:
            self._hold(key, program, known, str(error))
            return
        if value.bounds:
            self.requested[key] = value
        self.after[key] = AssetState(
            version=program.version,
            remembered=here.remembered,
            requested=value.bounds,
            again=here.momentary or bool(value.bounds) or bool(steps),
            missed=tuple(steps),
        )
        self.decisions[key] = Decision(
            at=self._now,
            version=program.version,
            requested=value.bounds,
            there=there.bounds,
            results=here.results,
        )

    def _hold(self, key: str, program: Program, known: AssetState | None, why: str) -> None:
        """An asset cannot be looked at now. What is true only in this look is kept for the one that can."""
        missed = known.missed if known is not None else ()
        now = self._momentary_facts(key, program)
        if now:
            missed = (*missed, now)
        if len(missed) > MOST_MISSED:
            missed = (*missed[:-2], _together(*missed[-2:]))
        anew = known is None or known.anew
        remembered = known.remembered if known is not None else {}
        held = AssetState(version=program.version, remembered=remembered, held=why, anew=anew, missed=missed)
        if held != known:
            self.after[key] = held
            there = self._facts.all(key).bounds
            self.decisions[key] = Decision(at=self._now, version=program.version, there=there, held=why)

    def _momentary_facts(self, key: str, program: Program) -> dict[str, Bounds]:
        """What is true in this look only of what an asset's condition may look at."""
        found: dict[str, Bounds] = {}
        for each in (key, *self._index.above((key,), program.depth)):
            for fact, value in (
                ("updated", self._facts.fact("updated", each)),
                ("updated_apart", self._facts.updated_apart(each, key)),
            ):
                if value:
                    found[f"{fact}@{each}"] = value.bounds
        for cron, tz in program.crons:
            if self._facts.ticked(cron, tz):
                found[f"{cron}@{tz}"] = (0, 1)
        return found

    # --- the parts ----------------------------------------------------------------------------------------------------

    def _value(self, node: Node, key: str, by: str) -> KeySet:
        """What a part is true of, of asset `key`; `by` says through which upstream assets it was reached."""
        fact, here = node.fact, self._here
        if node.momentary:
            value = self._momentary(fact, key)
            if value.bounds:
                here.momentary = True
        elif fact:
            value = self._facts.fact(fact, key)
        else:
            value = _PARTS[node.kind](self, node, key, by)
        here.results[node.place + by if by else node.place] = value.bounds
        return value

    def _and(self, node: Node, key: str, by: str) -> KeySet:
        """Once nothing is left, the parts that remember nothing are not looked at any more."""
        value = self._value(node.parts[0], key, by)
        for part in node.parts[1:]:
            if value.bounds or not part.pure:
                value &= self._value(part, key, by)
        return value

    def _or(self, node: Node, key: str, by: str) -> KeySet:
        value = EMPTY
        for part in node.parts:
            value |= self._value(part, key, by)
        return value

    def _not(self, node: Node, key: str, by: str) -> KeySet:
        return self._facts.all(key) - self._value(node.parts[0], key, by)

    def _any_deps(self, node: Node, key: str, by: str) -> KeySet:
        value = EMPTY
        for dep in self._deps(node, key):
            found = self._value(node.parts[0], dep, f"{by}@{dep}")
            if found.bounds:
                value |= self._facts.down(dep, key, found)
        return value

    def _all_deps(self, node: Node, key: str, by: str) -> KeySet:
        value = self._facts.all(key)
        for dep in self._deps(node, key):
            rest = self._facts.all(dep) - self._value(node.parts[0], dep, f"{by}@{dep}")
            if rest.bounds:
                value -= self._facts.down(dep, key, rest)
        return value

    def _latest(self, node: Node, key: str, by: str) -> KeySet:
        assert isinstance(node.condition, model.LatestWindow)
        return self._facts.latest(key, node.condition.lookback)

    def _tick(self, node: Node, key: str, by: str) -> KeySet:
        assert isinstance(node.condition, model.CronTick)
        cron, tz = node.condition.cron, node.condition.tz
        replayed = self._here.replayed
        if not (self._facts.ticked(cron, tz) if replayed is None else f"{cron}@{tz}" in replayed):
            return EMPTY
        self._here.momentary = True
        return self._facts.all(key)

    def _since(self, node: Node, key: str, by: str) -> KeySet:
        place = node.place + by
        trigger = self._value(node.parts[0], key, by)
        value = (self._here.recall(place) | trigger) - self._value(node.parts[1], key, by)
        self._here.remember(place, value)
        return value

    def _newly(self, node: Node, key: str, by: str) -> KeySet:
        place = node.place + by
        part = self._value(node.parts[0], key, by)
        value = part - self._here.recall(place)
        self._here.remember(place, part)
        if value.bounds:
            self._here.momentary = True
        return value

    def _deps(self, node: Node, key: str) -> Collection[str]:
        condition = node.condition
        assert isinstance(condition, (model.AnyDeps, model.AllDeps))  # here and below: the table knows
        deps: Collection[str] = self._index.upstream[key]
        if not (condition.only or condition.ignore) and key not in deps:
            return deps
        if condition.only:
            deps = [dep for dep in deps if _matches(dep, condition.only)]
        if condition.ignore:
            deps = [dep for dep in deps if not _matches(dep, condition.ignore)]
        return [dep for dep in deps if dep != key] if key in deps else deps

    def _momentary(self, fact: str, key: str) -> KeySet:
        """What is true in this look only."""
        root = self._here.key
        match fact:
            case "requested":
                requested = self.requested.get(key)
                return requested if requested is not None and self._facts.shares(key, root) else EMPTY
            case "was_requested":
                state = self._states.get(key)
                return KeySet(state.requested) if state is not None and state.requested else EMPTY
            case "initial":
                if key != root:
                    return EMPTY
                return self._facts.all(key) if self._here.is_first else EMPTY
            case _ if self._here.replayed is not None:
                return KeySet(self._here.replayed.get(f"{fact}@{key}", ()))
            case "updated_apart":
                return self._facts.updated_apart(key, root)
            case _:
                return self._facts.fact(fact, key)


class _Here:
    """The asset whose condition is being evaluated: what it remembers, from the look before (`old`) and for the next
    one; what was momentary in an earlier look that is gone through now (`replayed`)."""

    __slots__ = ("is_first", "key", "momentary", "old", "remembered", "replayed", "results", "version")

    def __init__(
        self, key: str, version: str, old: Mapping[str, Bounds] | None, replayed: Mapping[str, Bounds] | None = None
    ):
        self.replayed = replayed
        self.key = key
        self.version = version
        self.is_first = old is None
        self.old = old or {}
        self.remembered: dict[str, Bounds] = {}
        self.results: dict[str, Bounds] = {}
        self.momentary = False

    def recall(self, place: str) -> KeySet:
        """What was true at this place in the look before."""
        bounds = self.old.get(place)
        return KeySet(bounds) if bounds else EMPTY

    def remember(self, place: str, value: KeySet) -> None:
        """Keep it for the next one."""
        if value:
            self.remembered[place] = value.bounds


_PARTS: dict[type, Callable[[Look, Node, str, str], KeySet]] = {
    model.And: Look._and,  # pyright: ignore[reportPrivateUsage]  here and below: the table is the class's own
    model.Or: Look._or,  # pyright: ignore[reportPrivateUsage]
    model.Not: Look._not,  # pyright: ignore[reportPrivateUsage]
    model.AnyDeps: Look._any_deps,  # pyright: ignore[reportPrivateUsage]
    model.AllDeps: Look._all_deps,  # pyright: ignore[reportPrivateUsage]
    model.LatestWindow: Look._latest,  # pyright: ignore[reportPrivateUsage]
    model.CronTick: Look._tick,  # pyright: ignore[reportPrivateUsage]
    model.Since: Look._since,  # pyright: ignore[reportPrivateUsage]
    model.Newly: Look._newly,  # pyright: ignore[reportPrivateUsage]
}


def _together_with(index: AssetIndex, key: str) -> Collection[str]:
    """An asset, and what each run of it makes with it."""
    step = index.specs[key].step
    return index.made_by[step] if step in index.graph.together else (key,)


def _together(one: Mapping[str, Bounds], other: Mapping[str, Bounds]) -> dict[str, Bounds]:
    """What was momentary in either of two looks."""
    return {what: (KeySet(one.get(what, ())) | KeySet(other.get(what, ()))).bounds for what in sorted({*one, *other})}


def _matches(key: str, patterns: Iterable[str]) -> bool:
    return any(fnmatch.fnmatchcase(key, pattern) for pattern in patterns)
