"""Looks against a naive evaluator, which looks at all assets each time, one partition after the other, as the words of
`model.automation` say; and as few assets are looked at as have to be."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from plait.engine.partitions.keysets import KeySet
from plait.model import automation as model
from plait.model.automation import Condition
from tests.unit.engine.automation.world import AssetWorld


class Naive:
    """Evaluates conditions as they are defined. What was true in the look before is kept by (root, part, asset,
    partition)."""

    def __init__(self, world: AssetWorld):
        self.world = world
        self.before: dict[Any, bool] = {}
        self.now: dict[Any, bool] = {}
        self.requested: dict[str, set[int]] = {}
        self.was: dict[str, set[int]] = {}
        self.known: set[str] = set()

    def look(self) -> dict[str, set[int]]:
        self.now, self.requested = {}, {}
        for key, spec in self.world.index.specs.items():
            if spec.automation is not None:
                self.root = key
                numbers = iter(range(1000))
                tree = self.numbered(spec.automation, numbers)
                found = {no for no in self.world.all(key) if self.true(tree, key, no, ())}
                if found:
                    self.requested[key] = found
        self.before, self.was = self.now, self.requested
        self.known |= {key for key, spec in self.world.index.specs.items() if spec.automation is not None}
        return self.requested

    def numbered(self, condition: Condition, numbers) -> Any:
        no = next(numbers)
        return no, condition, [self.numbered(part, numbers) for part in model.children(condition)]

    def true(self, tree: Any, key: str, no: int, way: tuple[str, ...]) -> bool:
        number, condition, parts = tree
        place = (self.root, number, way, key, no)
        values = [] if isinstance(condition, model.AnyDeps | model.AllDeps) else [
            self.true(part, key, no, way) for part in parts
        ]  # fmt: skip
        match condition:
            case model.Is():
                return self.fact(condition.fact, key, no)
            case model.CronTick():
                return condition.cron in self.world.ticks
            case model.LatestWindow():
                return no in self.world.latest(key, condition.lookback)
            case model.And():
                return all(values)
            case model.Or():
                return any(values)
            case model.Not():
                return not values[0]
            case model.Newly():
                self.now[place] = values[0]
                return values[0] and not self.before.get(place, False)
            case model.Since():
                self.now[place] = (self.before.get(place, False) or values[0]) and not values[1]
                return self.now[place]
            case _:
                pairs = [
                    self.true(parts[0], dep, above, (*way, dep))
                    for dep in self.world.index.upstream[key]
                    for above in self.world.all(dep)
                    if no in self.world.down(dep, key, KeySet.span(above, above + 1))
                ]
                return any(pairs) if isinstance(condition, model.AnyDeps) else all(pairs)

    def fact(self, fact: str, key: str, no: int) -> bool:
        match fact:
            case "initial":
                return key == self.root and key not in self.known
            case "requested":
                return self.world.shares(key, self.root) and no in self.requested.get(key, ())
            case "was_requested":
                return no in self.was.get(key, ())
            case "updated_apart":
                return no in self.world.updated_apart(key, self.root)
            case _:
                return no in self.world.fact(fact, key)


KEYS = "abcd"
LEAVES = st.one_of(
    st.sampled_from(model.FACTS).map(lambda fact: model.Is(fact=fact)),
    st.just(model.CronTick(cron="0 6 * * *")),
    st.just(model.LatestWindow()),
)
CONDITIONS = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        st.tuples(inner, inner).map(lambda two: model.And(parts=two)),
        st.tuples(inner, inner).map(lambda two: model.Or(parts=two)),
        inner.map(lambda one: model.Not(part=one)),
        inner.map(lambda one: model.Newly(part=one)),
        st.tuples(inner, inner).map(lambda two: model.Since(trigger=two[0], reset=two[1])),
        inner.map(lambda one: model.AnyDeps(part=one)),
        inner.map(lambda one: model.AllDeps(part=one)),
    ),
    max_leaves=6,
)
READY = st.sampled_from([model.eager(), model.on_cron("0 6 * * *"), model.on_missing()])
SOME = st.sampled_from([None, KeySet.span(0, 1), KeySet.span(1, 2), KeySet.of([0, 2])])
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("update"), st.sampled_from(KEYS), SOME),
        st.tuples(st.just("begin"), st.none(), st.none()),
        st.tuples(st.just("end"), st.booleans(), st.none()),
        st.tuples(st.just("code"), st.sampled_from(KEYS), st.none()),
        st.tuples(st.just("tick"), st.none(), st.none()),
        st.tuples(st.just("grow"), st.none(), st.none()),
        st.tuples(st.just("look"), st.none(), st.none()),
        st.tuples(st.just("look"), st.none(), st.none()),
    ),
    min_size=4,
    max_size=20,
)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[dict[str, list[str]], dict[str, Condition], dict[str, int]]:
    edges = {
        key: sorted(draw(st.sets(st.sampled_from(KEYS[:no]), max_size=2))) if no else [] for no, key in enumerate(KEYS)
    }
    conditions = {key: draw(READY | CONDITIONS) for key in KEYS if draw(st.integers(0, 3))}
    parts = {key: 3 for key in KEYS if draw(st.booleans())}
    return edges, conditions, parts


@settings(max_examples=150, deadline=None)
@given(worlds(), STEPS)
def test_looks_request_what_the_words_say(made, steps):
    edges, conditions, parts = made
    world = AssetWorld(edges, conditions, dict(parts))
    naive = Naive(world)
    for what, first, second in [*steps, ("look", None, None), ("look", None, None)]:
        match what:
            case "update":
                world.update(first, second & world.all(first) if second is not None else None)
            case "begin" if world.states:
                keys = {key: KeySet(state.requested) for key, state in world.states.items() if state.requested}
                world.begin(f"run {len(world.running)} {world.looks}", keys)
            case "end" if world.running:
                world.end(next(iter(world.running)), ok=first)
            case "code":
                world.change_code(first)
            case "tick":
                world.tick("0 6 * * *")
            case "grow":
                for key in list(world.parts):
                    world.grow(key)
            case "look":
                expected = naive.look()
                assert {key: set(keys) for key, keys in world.look().items()} == expected
            case _:
                pass


@settings(max_examples=60, deadline=None)
@given(worlds(), st.lists(st.tuples(st.sampled_from(KEYS), SOME), max_size=6))
def test_looking_at_everything_comes_to_the_same(made, updates):
    edges, conditions, parts = made
    one, other = AssetWorld(edges, conditions, dict(parts)), AssetWorld(edges, conditions, dict(parts))
    for key, keys in updates:
        for world in (one, other):
            world.update(key, keys & world.all(key) if keys is not None else None)
        assert one.look() == other.look(everything=True)
        assert one.look() == other.look(everything=True)


def test_only_what_an_update_concerns_is_looked_at():
    edges = {"a": (), "b": ("a",), "c": ("b",), "x": (), "y": ("x",)}
    world = AssetWorld(edges, dict.fromkeys("bcy", model.eager()))
    for key in "abcxy":
        world.update(key)
    world.look()
    world.look()
    world.look()
    assert world.looked_at == set()
    world.update("x")
    world.look()
    assert world.looked_at == {"y"}
    world.update("b")
    world.look()
    assert world.looked_at == {"b", "c", "y"}


def test_what_was_requested_upstream_in_the_look_before_is_seen():
    conditions = {"b": model.CronTick(cron="0 6 * * *"), "c": model.AnyDeps(part=model.WAS_REQUESTED)}
    world = AssetWorld({"b": (), "c": ("b",)}, conditions)
    world.look()
    world.look()
    world.tick("0 6 * * *")
    assert world.requested() == ["b"]
    assert world.requested() == ["c"]
    assert world.requested() == []
