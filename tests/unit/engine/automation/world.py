"""A small world of assets for conditions: what has happened to them, look by look."""

from collections.abc import Iterable

from plait.engine.assets.index import AssetIndex
from plait.engine.automation.look import Automated, Look, States
from plait.engine.partitions.keysets import EMPTY, KeySet
from plait.model.automation import AssetState, Condition, Decision
from tests.unit.engine.assets.graphs import index, spec

ONE = KeySet.span(0, 1)


class AssetWorld:
    """Assets with conditions. `parts`: how many partitions each has; equal partitions are made from each other, all of
    them from (and for) an asset without."""

    def __init__(
        self, edges: dict[str, Iterable[str]], conditions: dict[str, Condition], parts: dict[str, int] | None = None
    ):
        self.parts = parts or {}
        self.index: AssetIndex = index(
            *(spec(key, *above, automation=conditions.get(key)) for key, above in edges.items())
        )
        keys = list(edges)
        self.materialized = dict.fromkeys(keys, EMPTY)
        self.running: dict[str, dict[str, KeySet]] = {}
        self.broken = dict.fromkeys(keys, EMPTY)
        self.code = dict.fromkeys(keys, EMPTY)
        self.fresh: list[tuple[str, KeySet, frozenset[str]]] = []
        self.ticks: set[str] = set()
        self.automated = Automated(self.index)
        self.kept = States(self.automated, {})
        self.changed: set[str] = set()
        self.window = 0
        self.decisions: dict[str, Decision] = {}
        self.looked_at: set[str] = set()
        self.looks = 0

    # --- what happens -------------------------------------------------------------------------------------------------

    def update(self, key: str, keys: KeySet | None = None, *, by: Iterable[str] = ()) -> None:
        """An asset is materialized, by a run that makes these."""
        keys = self.all(key) if keys is None else keys
        self.materialized[key] |= keys
        self.broken[key] -= keys
        self.code[key] -= keys
        self.fresh.append((key, keys, frozenset(by) or frozenset({key})))
        self.changed.add(key)

    def begin(self, run: str, keys: dict[str, KeySet]) -> None:
        """A run begins."""
        self.running[run] = keys
        self.changed |= set(keys)

    def end(self, run: str, *, ok: bool = True) -> None:
        """A run ends; what it has not made has failed."""
        keys = self.running.pop(run)
        for key, part in keys.items():
            if ok:
                self.update(key, part, by=keys)
            else:
                self.broken[key] |= part
            self.changed.add(key)

    def change_code(self, key: str) -> None:
        self.code[key] = self.materialized[key]
        self.changed.add(key)

    def tick(self, cron: str) -> None:
        self.ticks.add(cron)

    def grow(self, key: str) -> None:
        """A new partition is there."""
        self.parts[key] += 1
        self.changed.add(key)

    # --- looks --------------------------------------------------------------------------------------------------------

    def look(self, *, everything: bool = False) -> dict[str, KeySet]:
        """One look; what it requests. What is requested is not made: `begin` does that."""
        self.looks += 1
        look = Look(self.automated, self, self.kept, float(self.looks))
        look.run(self.changed, everything=everything)
        self.kept.take(look.after)
        self.decisions.update(look.decisions)
        self.looked_at = set(look.after)
        self.fresh, self.ticks, self.changed = [], set(), set()
        return look.requested

    def requested(self) -> list[str]:
        """The keys that a look requests."""
        return sorted(self.look())

    def settle(self) -> list[str]:
        """Look and make what is requested at once, until nothing is requested any more; what was made, in order."""
        made: list[str] = []
        while True:
            requested = self.look()
            if requested:
                self.begin(f"run {self.looks}", requested)
                made += sorted(requested)
                self.look()
                self.end(next(iter(self.running)))
            elif not any(state.again for state in self.states.values()) and not self.fresh:
                return made

    # --- facts --------------------------------------------------------------------------------------------------------

    def all(self, key: str) -> KeySet:
        return KeySet.span(0, self.parts.get(key, 1))

    def latest(self, key: str, lookback: float | None) -> KeySet:
        return self.all(key).tail(1 if lookback is None else int(lookback))

    def fact(self, name: str, key: str) -> KeySet:
        match name:
            case "missing":
                return self.all(key) - self.materialized[key]
            case "in_progress":
                return self._union(run[key] for run in self.running.values() if key in run)
            case "failed":
                return self.broken[key]
            case "code_changed":
                return self.code[key]
            case "updated":
                return self._union(keys for other, keys, _ in self.fresh if other == key)
        raise AssertionError(name)

    def updated_apart(self, key: str, by: str) -> KeySet:
        return self._union(keys for other, keys, made in self.fresh if other == key and by not in made)

    def shares(self, key: str, other: str) -> bool:
        return self.parts.get(key) == self.parts.get(other)

    def ready(self, key: str) -> None:
        pass

    def down(self, upstream: str, key: str, keys: KeySet) -> KeySet:
        if (upstream in self.parts) == (key in self.parts):
            return keys & self.all(key)
        return self.all(key) if keys else EMPTY

    def ticked(self, cron: str, tz: str) -> bool:
        return cron in self.ticks

    @staticmethod
    def _union(sets: Iterable[KeySet]) -> KeySet:
        found = EMPTY
        for each in sets:
            found |= each
        return found

    @property
    def states(self) -> dict[str, AssetState]:
        """Where the assets stand."""
        return self.kept.of
