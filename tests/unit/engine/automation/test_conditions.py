"""What conditions mean, by example."""

import pytest

from plait.engine.automation.explain import Truth, explain, why_not
from plait.engine.automation.look import States
from plait.engine.partitions.keysets import KeySet
from plait.model.automation import (
    CODE_CHANGED,
    FAILED,
    IN_PROGRESS,
    MISSING,
    UPDATED,
    AllDeps,
    And,
    AnyDeps,
    Condition,
    CronTick,
    LatestWindow,
    eager,
    on_cron,
    on_missing,
)
from plait.model.errors import DefinitionError
from tests.unit.engine.automation.world import AssetWorld

DAILY = "0 6 * * *"


def chain(condition: Condition, **more) -> AssetWorld:
    """a > b > c, all of which but `a` have the condition."""
    return AssetWorld({"a": (), "b": ("a",), "c": ("b",)}, {"b": condition, "c": condition}, **more)


# --- eager ------------------------------------------------------------------------------------------------------------


def test_an_update_makes_everything_below_in_one_run():
    world = chain(eager())
    world.update("a")
    assert world.requested() == [], "what was missing before is not made by itself at the first look"
    world.update("a")
    assert world.requested() == ["b", "c"]
    assert world.requested() == [], "nothing is requested twice"


def test_what_one_run_makes_is_not_made_again_for_its_own_updates():
    world = chain(eager())
    world.update("a")
    world.look()
    world.update("a")
    requested = world.look()
    world.begin("run", requested)
    assert world.requested() == []
    world.update("b", by=requested)
    assert world.requested() == [], "c is being made by the same run"
    world.update("c", by=requested)
    world.running.clear()
    assert [world.requested() for _ in range(3)] == [[], [], []]


def test_a_failure_is_not_tried_again_until_something_is_updated():
    world = chain(eager())
    world.update("a")
    world.look()
    world.update("a")
    world.begin("run", world.look())
    world.look()
    world.end("run", ok=False)
    assert [world.requested() for _ in range(3)] == [[], [], []]
    world.update("a")
    assert world.requested() == ["b", "c"]


def test_it_waits_for_what_is_missing_or_being_made():
    world = AssetWorld({"a": (), "x": (), "b": ("a", "x")}, {"b": eager()})
    world.look()
    world.update("a")
    assert world.requested() == [], "x is missing"
    world.begin("other", {"x": world.all("x")})
    assert world.requested() == []
    world.end("other")
    assert world.requested() == ["b"], "the update of a is remembered"


def test_it_waits_while_it_is_made_itself():
    world = chain(eager())
    world.update("a")
    world.look()
    world.begin("by hand", {"b": world.all("b")})
    world.update("a")
    assert world.requested() == []
    world.end("by hand")
    assert world.requested() == ["c"], "b was made since"


def test_a_new_window_is_made_and_older_ones_are_not():
    world = AssetWorld({"a": (), "b": ("a",)}, {"b": eager()}, parts={"a": 3, "b": 3})
    world.update("a")
    world.look()
    world.grow("a")
    world.grow("b")
    assert world.look() == {}
    world.update("a", KeySet.span(3, 4))
    assert world.look() == {"b": KeySet.span(3, 4)}
    world.update("a", KeySet.span(0, 1))
    assert world.look() == {}, "not in the latest window"


def test_older_windows_too_without_that_part():
    world = AssetWorld({"a": (), "b": ("a",)}, {"b": eager().without("in_latest_window")}, parts={"a": 3, "b": 3})
    world.update("a")
    world.look()
    world.update("a", KeySet.of([0, 2]))
    assert world.look() == {"b": KeySet.of([0, 2])}


def test_a_diamond_is_made_once():
    edges = {"a": (), "b": ("a",), "c": ("a",), "d": ("b", "c")}
    world = AssetWorld(edges, dict.fromkeys("bcd", eager()))
    world.update("a")
    world.look()
    world.update("a")
    assert world.settle() == ["b", "c", "d"]


# --- the others -------------------------------------------------------------------------------------------------------


def test_on_cron_waits_for_what_is_upstream_to_be_updated_since():
    world = AssetWorld({"a": (), "x": (), "b": ("a", "x")}, {"b": on_cron(DAILY)})
    world.update("a")
    world.update("x")
    world.look()
    world.update("a")
    assert world.requested() == []
    world.tick(DAILY)
    assert world.requested() == [], "the updates were before"
    world.update("a")
    assert world.requested() == []
    world.update("x")
    assert world.requested() == ["b"]
    world.update("x")
    assert world.requested() == [], "once for each time"


def test_on_cron_of_a_chain_runs_it_at_once():
    world = AssetWorld({"a": (), "b": ("a",)}, {"a": on_cron(DAILY), "b": on_cron(DAILY)})
    world.look()
    world.tick(DAILY)
    assert world.requested() == ["a", "b"]


def test_on_missing():
    world = AssetWorld({"a": (), "b": ("a",)}, {"a": on_missing(), "b": on_missing()}, parts={"a": 1, "b": 1})
    world.look()
    world.grow("a")
    world.grow("b")
    assert world.look() == {"a": KeySet.span(1, 2), "b": KeySet.span(1, 2)}
    assert world.look() == {}


def test_plain_facts_and_what_is_made_of_them():
    world = AssetWorld({"a": ()}, {"a": (FAILED | CODE_CHANGED) & ~IN_PROGRESS})
    world.update("a")
    assert world.requested() == []
    world.change_code("a")
    assert world.requested() == ["a"]
    world.begin("run", {"a": world.all("a")})
    assert world.requested() == []
    world.end("run", ok=False)
    assert world.requested() == ["a"]


def test_since_and_newly():
    world = AssetWorld({"a": ()}, {"a": MISSING.newly_true().since(CronTick(cron=DAILY))})
    assert world.requested() == ["a"]
    assert world.requested() == ["a"], "until the time comes"
    world.tick(DAILY)
    assert world.requested() == []
    assert world.requested() == []


def test_deps_can_be_chosen():
    edges = {"raw": (), "other": (), "b": ("raw", "other")}
    for condition, expected in (
        (AnyDeps(part=UPDATED, only=("r*",)), [[], ["b"]]),
        (AnyDeps(part=UPDATED, ignore=("r*",)), [["b"], []]),
        (AllDeps(part=UPDATED, ignore=("other",)), [[], ["b"]]),
    ):
        world = AssetWorld(edges, {"b": condition})
        world.look()
        found = []
        for key in ("other", "raw"):
            world.update(key)
            found.append(world.requested())
        assert found == expected


def test_two_steps_upstream():
    world = AssetWorld({"a": (), "b": ("a",), "c": ("b",)}, {"c": AnyDeps(part=AnyDeps(part=UPDATED))})
    world.look()
    world.update("a")
    assert world.requested() == ["c"]


def test_all_partitions_of_what_is_upstream():
    world = AssetWorld({"parts": (), "whole": ("parts",)}, {"whole": AllDeps(part=~MISSING)}, parts={"parts": 3})
    world.update("parts", KeySet.span(0, 2))
    assert world.requested() == []
    world.update("parts", KeySet.span(2, 3))
    assert world.requested() == ["whole"]


def test_a_condition_that_changes_begins_anew():
    world = chain(eager())
    world.update("a")
    world.look()
    world.update("a")
    other = chain(eager().without("any_deps_missing"))
    other.kept, other.materialized = States(other.automated, world.states), world.materialized
    other.update("a")
    assert other.requested() == [], "the first look at it"


# --- as data ----------------------------------------------------------------------------------------------------------


def test_parts_are_replaced_and_left_out():
    condition = eager()
    replaced = condition.replace("in_latest_window", LatestWindow(lookback=60.0))
    assert replaced.parts[0] == LatestWindow(lookback=60.0)
    assert replaced.replace(LatestWindow(lookback=60.0), LatestWindow(label="in_latest_window")) == condition
    assert condition.without("any_deps_in_progress").parts == tuple(
        part for part in condition.parts if "any_deps_in_progress" not in str(part)
    )
    with pytest.raises(DefinitionError, match="has no part 'nothing'"):
        condition.replace("nothing", MISSING)
    with pytest.raises(DefinitionError, match="can do without"):
        condition.without("nothing")
    with pytest.raises(DefinitionError, match="& takes a condition, not True"):
        _ = MISSING & True  # type: ignore[operator]


def test_combinations_are_flat():
    assert And(parts=(MISSING, FAILED, UPDATED)) == (MISSING & FAILED & UPDATED)
    assert len((MISSING & FAILED).named("x").__and__(UPDATED).parts) == 2


# --- why --------------------------------------------------------------------------------------------------------------


def why(world: AssetWorld, key: str):
    condition = world.index.specs[key].automation
    assert condition is not None
    tree = explain(condition, world.decisions[key], lambda k: world.index.upstream[k], lambda k, keys: [str(keys)], key)
    assert tree is not None
    return tree


def test_a_decision_is_explained():
    world = AssetWorld({"a": (), "x": (), "b": ("a", "x")}, {"b": eager()})
    world.look()
    world.update("a")
    world.look()
    tree = why(world, "b")
    assert (tree.label, tree.truth) == ("eager", Truth.NO)
    assert why_not(tree) == ["not: any deps missing"]
    missing = tree.parts[2].parts[0]
    assert (missing.label, missing.truth) == ("any_deps_missing", Truth.YES)
    assert [(part.asset, part.truth) for part in missing.parts] == [("a", Truth.NO), ("x", Truth.YES)]
    since = tree.parts[1]
    assert [part.truth for part in since.parts] == [Truth.YES, Truth.NO]
    assert tree.parts[3].truth is Truth.SKIPPED, "after that it makes no difference"


def test_some_partitions():
    world = AssetWorld({"a": ()}, {"a": MISSING}, parts={"a": 4})
    world.update("a", KeySet.span(0, 1))
    world.look()
    tree = why(world, "a")
    assert (tree.truth, tree.count, tree.of) == (Truth.SOME, 3, 4)


def test_a_decision_of_another_condition_is_not_explained():
    world = AssetWorld({"a": ()}, {"a": MISSING})
    world.look()
    assert explain(FAILED, world.decisions["a"], lambda k: (), lambda k, keys: [], "a") is None
