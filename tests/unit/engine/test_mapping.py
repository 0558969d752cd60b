"""Mapping: where elements come from, how scopes nest, what joins and what aggregates.

Airflow: authoring-and-scheduling/dynamic-task-mapping; Dagster: dynamic outputs by key.
"""

import pytest

from plait.model.events import ScopeExpanded
from plait.model.graph import Edge, GroupSpec, MapSource, MapSpec, OutputSpec, OverLiteral, OverOutput, OverParam
from plait.model.policies import LimitUse, RetryPolicy, RunPolicy
from plait.model.policies import TriggerRule as T
from plait.model.stimuli import ClearRequested
from tests.unit.engine.world import World, bad, dag, many, ok, skip


def over(*sources: str | int | MapSource, **more) -> dict[str, MapSpec]:
    """The mapping of a task: over an upstream's output, or over so many literal elements."""
    return {"mapping": MapSpec(sources=tuple(map(_source, sources)), **more)}


def _source(source: str | int | MapSource) -> MapSource:
    if isinstance(source, str):
        return OverOutput(task=source)
    return OverLiteral(length=source) if isinstance(source, int) else source


def group(key: str, *sources: str | int | MapSource, parent: str | None = None, **more) -> GroupSpec:
    return GroupSpec(key=key, parent=parent, mapping=over(*sources, **more)["mapping"])


def paths(world: World, key: str) -> list[tuple]:
    return [path for name, path in world.run.index if name == key]


# --- where elements come from -----------------------------------------------------------------------------------------


def test_over_something_known():
    world = World(dag("a > m > z", {"m": over(3)}))
    assert paths(world, "m") == [(0,), (1,), (2,)]
    assert world.states["m[0]"] == "pending"
    assert world.play().states == {
        "a": "success",
        "z": "success",
        "m[0]": "success",
        "m[1]": "success",
        "m[2]": "success",
    }


def test_over_the_keys_of_a_dict():
    world = World(dag("m", {"m": over(OverLiteral(keys=("eu", "us")))}))
    assert paths(world, "m") == [("eu",), ("us",)]
    assert world.events_of(ScopeExpanded) == [ScopeExpanded(scope="m", path=(), length=2, keys=("eu", "us"))]


def test_over_what_an_upstream_returned():
    world = World(dag("a > m > z", {"m": over("a")}))
    assert world.states == {"a": "ready", "m": "pending", "z": "pending"}
    world.do("a", outcome=many(2))
    assert world.states == {"a": "success", "z": "pending", "m[0]": "ready", "m[1]": "ready"}
    assert world.play().states["z"] == "success"


def test_over_a_dict_or_a_dynamic_output_that_an_upstream_returned():
    outputs = (OutputSpec(name="parts", dynamic=True, measured=True),)
    graph = dag("a > z", {"a": {"outputs": outputs}, "m": over(OverOutput(task="a", output="parts"))})
    world = World(graph).play({"a": many(["x", "y"], "parts")})
    assert paths(world, "m") == [("x",), ("y",)]


def test_over_a_parameter():
    world = World(dag("m", {"m": over(OverParam(name="days"))}), lengths={"days": 2}).play()
    assert paths(world, "m") == [(0,), (1,)]
    world = World(dag("m", {"m": over(OverParam(name="days"))}))
    assert (world.states, world.row.state) == ({"m": "failed"}, "failed")
    assert world.task("m").error.text == "MappingError: parameter 'days' is not a list or a dict to map over"


def test_product_and_zip():
    graph = dag("", {"p": over(2, 3), "z": over(3, OverLiteral(keys=("a", "b", "c")), how="zip")})
    world = World(graph).play()
    assert paths(world, "p") == [(i,) for i in range(6)]
    assert paths(world, "z") == [(0,), (1,), (2,)]


def test_zip_needs_equal_lengths():
    world = World(dag("a", {"z": over("a", 3, how="zip")})).play({"a": many(2)})
    assert world.states["z"] == "failed"
    assert world.task("z").error.message == "lists of different lengths to map over: 2, 3"


def test_more_elements_than_the_limit_fail_it():
    world = World(dag("a > m > z", {"m": over("a", limit=2)})).play({"a": many(3)})
    assert world.states == {"a": "success", "m": "failed", "z": "upstream_failed"}
    assert world.task("m").error.message == "3 elements to map over, more than the limit of 2"
    assert World(dag("a", {"m": over("a", limit=2)})).play({"a": many(2)}).row.state == "success"


def test_keys_must_differ():
    world = World(dag("a", {"m": over("a")})).play({"a": many(["x", "x"])})
    assert world.task("m").error.message == "two elements to map over have the same key"


@pytest.mark.parametrize("known", [True, False])
def test_nothing_to_map_over_skips(known: bool):
    graph = dag("a > m > z", {"m": over(0 if known else "a")})
    world = World(graph).play({"a": many(0)})
    assert world.states == {"a": "success", "m": "skipped", "z": "skipped"}
    assert world.task("m").reason == "mapped over nothing"


@pytest.mark.parametrize(
    ("outcome", "state", "below"),
    [
        (bad(), "upstream_failed", "upstream_failed"),
        (skip(), "skipped", "skipped"),
        (ok(emitted=()), "skipped", "skipped"),
        (ok(), "failed", "upstream_failed"),
    ],
)
def test_a_source_that_has_no_elements(outcome, state, below):
    outputs = (OutputSpec(required=False),)
    world = World(dag("a; m > z", {"a": {"outputs": outputs}, "m": over("a")})).play({"a": outcome})
    assert (world.states["m"], world.states["z"]) == (state, below)


def test_one_of_two_sources_that_fails_ends_it_without_waiting_for_the_other():
    world = World(dag("a, b", {"m": over("a", "b")}))
    world.dispatch()
    world.finish(world.task("b"), bad())
    assert world.states["m"] == "upstream_failed"


# --- joining and aggregating ------------------------------------------------------------------------------------------


def test_a_rule_looks_at_all_elements():
    graph = dag("m > good; m > any", {"m": over(3), "any": {"trigger_rule": T.ONE_SUCCESS}})
    world = World(graph).play({"m[1]": bad()})
    assert (world.states["good"], world.states["any"]) == ("upstream_failed", "success")


def test_over_the_output_of_a_mapped_task():
    world = World(dag("m > n > z", {"m": over(3), "n": over("m")})).play()
    assert paths(world, "n") == [(0,), (1,), (2,)]
    world = World(dag("m", {"m": over(3), "n": over("m")})).play({"m[0]": skip()})
    assert paths(world, "n") == [(0,), (1,)], "over its successes"
    world = World(dag("m", {"m": over(3), "n": over("m")})).play({"m": skip()})
    assert world.states["n"] == "skipped"
    world = World(dag("m", {"m": over(3), "n": over("m")})).play({"m": bad()})
    assert world.states["n"] == "upstream_failed"


def test_tasks_of_a_mapped_group_join_by_their_element():
    graph = dag(
        "src; g.a > g.b > end",
        {"g.a": {"group": "g"}, "g.b": {"group": "g"}, "end": {"trigger_rule": T.ALL_DONE}},
        groups=[group("g", "src")],
    )
    world = World(graph).play({"src": many(2), "g.a[0]": bad()})
    assert world.states == {
        "src": "success", "end": "success",
        "g.a[0]": "failed", "g.a[1]": "success", "g.b[0]": "upstream_failed", "g.b[1]": "success",
    }  # fmt: skip


def test_rules_in_a_mapped_group_look_at_their_own_element():
    rule = {"group": "g", "trigger_rule": T.ONE_FAILED}
    graph = dag("g.a > g.undo", {"g.a": {"group": "g"}, "g.undo": rule}, groups=[group("g", 3)])
    world = World(graph).play({"g.a[1]": bad()})
    assert [world.states[f"g.undo[{i}]"] for i in range(3)] == ["skipped", "success", "skipped"]


def test_a_rule_over_edges_from_inside_and_from_outside():
    graph = dag("out > g.b; g.a > g.b", {"g.a": {"group": "g"}, "g.b": {"group": "g"}}, groups=[group("g", 2)])
    world = World(graph)
    world.dispatch()
    world.finish(world.task("g.a", 0))
    assert world.states["g.b[0]"] == "pending"
    world.finish(world.task("out"))
    assert (world.states["g.b[0]"], world.states["g.b[1]"]) == ("ready", "pending")


def test_a_chain_of_mapped_groups_waits_for_all_of_the_one_before():
    graph = dag("g.a > h.b", {"g.a": {"group": "g"}, "h.b": {"group": "h"}}, groups=[group("g", 2), group("h", 2)])
    world = World(graph)
    world.dispatch()
    world.finish(world.task("g.a", 0))
    assert world.states["h.b[0]"] == world.states["h.b[1]"] == "pending"
    world.finish(world.task("g.a", 1))
    assert world.states["h.b[0]"] == world.states["h.b[1]"] == "ready"


def test_a_mapped_group_whose_source_fails_ends_as_a_whole():
    graph = dag(
        "src; g.a > g.b > end",
        {"g.a": {"group": "g"}, "g.b": {"group": "g", "trigger_rule": T.ALL_DONE}, "end": {}},
        groups=[group("g", "src")],
    )
    world = World(graph).play({"src": bad()})
    assert world.states == {
        "src": "failed", "g.a": "upstream_failed", "g.b": "upstream_failed", "end": "upstream_failed",
    }  # fmt: skip


def test_setup_and_teardown_of_each_element():
    tasks = {
        "g.s": {"group": "g", "setup": True},
        "g.a": {"group": "g"},
        "g.t": {"group": "g", "teardown": True, "counts": False, "trigger_rule": T.ALL_DONE_SETUP_SUCCESS},
    }
    world = World(dag("g.s !> g.a > g.t; g.s !> g.t", tasks, groups=[group("g", 2)])).play(
        {"g.s[0]": bad(), "g.a[1]": bad()}
    )
    assert [world.states[f"g.{key}[0]"] for key in "sat"] == ["failed", "upstream_failed", "upstream_failed"]
    assert [world.states[f"g.{key}[1]"] for key in "sat"] == ["success", "failed", "success"]


def test_a_mapped_setup_guards_what_is_outside():
    graph = dag("s !> a", {"s": over(3)})
    assert World(graph).play().states["a"] == "success"
    assert World(graph).play({"s[2]": bad()}).states["a"] == "upstream_failed"


# --- nesting ----------------------------------------------------------------------------------------------------------

NESTED = dag(
    "src; g.list > end",
    {"g.list": {"group": "g"}, "g.each": {"group": "g", **over("g.list")}, "end": {}},
    groups=[group("g", "src")],
    edges=(Edge(upstream="g.each", downstream="end"),),
)


def test_a_map_in_a_mapped_group():
    world = World(NESTED).play({"src": many(2), "g.list[0]": many(2), "g.list[1]": many(["x"])})
    assert paths(world, "g.each") == [(0, 0), (0, 1), (1, "x")]
    assert world.states["end"] == "success"


def test_inner_maps_expand_when_their_own_source_is_known():
    world = World(NESTED)
    world.do("src", outcome=many(2))
    world.dispatch()
    world.finish(world.task("g.list", 1), many(1))
    assert paths(world, "g.each") == [(0,), (1, 0)]
    world.finish(world.task("g.list", 0), many(0))
    assert world.states["g.each[0]"] == "skipped"
    world.play()
    assert world.states["end"] == "skipped", "one of what is above it was skipped"


def test_nested_groups():
    graph = dag(
        "o.a > o.i.b > o.c > end",
        {"o.a": {"group": "o"}, "o.i.b": {"group": "o.i"}, "o.c": {"group": "o"}},
        groups=[group("o", 2), group("o.i", 3, parent="o")],
    )
    world = World(graph).play({"o.i.b[0,1]": bad()})
    assert len(paths(world, "o.i.b")) == 6
    assert (world.states["o.c[0]"], world.states["o.c[1]"], world.states["end"]) == (
        "upstream_failed", "success", "upstream_failed",
    )  # fmt: skip


def test_a_mapped_task_in_two_groups_leaves_both():
    graph = dag(
        "o.i.b > end",
        {"o.i.b": {"group": "o.i", **over(2)}},
        groups=[group("o", 2), group("o.i", 2, parent="o")],
    )
    world = World(graph).play()
    assert len(paths(world, "o.i.b")) == 8
    assert world.states["end"] == "success"


def test_an_inner_scope_over_something_outside():
    graph = dag(
        "src",
        {"g.m": {"group": "g", **over("src")}},
        groups=[group("g", 2)],
    )
    world = World(graph)
    assert paths(world, "g.m") == [(0,), (1,)]
    world.play({"src": many(2)})
    assert paths(world, "g.m") == [(0, 0), (0, 1), (1, 0), (1, 1)]


# --- bounds -----------------------------------------------------------------------------------------------------------


def most_live(world: World, room: int = 100) -> int:
    most = 0
    while not world.over:
        world.dispatch(room)
        most = max(most, len(world.live()))
        world.finish(world.live()[0])
    return most


def test_concurrency_within_one_mapped_task():
    world = World(dag("m, x", {"m": over(5, concurrency=2)}))
    world.dispatch()
    assert [task.key for task in world.live()] == ["x", "m", "m"]
    assert most_live(world) == 3


def test_all_free_places_are_filled_at_once():
    world = World(dag("m", {"m": over(9, concurrency=3)}))
    for expected in (3, 3, 3):
        handed = world.dispatch()
        assert len(handed) == expected
        for task in handed:
            world.finish(task)
    assert world.over


def test_concurrency_of_a_mapped_group_bounds_each_of_its_tasks():
    graph = dag("g.a > g.b", {"g.a": {"group": "g"}, "g.b": {"group": "g"}}, groups=[group("g", 4, concurrency=1)])
    world = World(graph)
    world.dispatch()
    assert [task.label() for task in world.live()] == ["g.a[0]"]
    assert most_live(world) <= 2


def test_a_place_is_not_lost_with_who_was_about_to_take_it():
    from plait.model.stimuli import MarkRequested

    world = World(dag("m", {"m": over(4, concurrency=1)}))
    world.do("m", 0)
    world.say(MarkRequested(no=world.task("m", 1).no, state="skipped"))
    assert world.play().states == {"m[0]": "success", "m[1]": "skipped", "m[2]": "success", "m[3]": "success"}


def test_a_retry_gives_its_place_to_another():
    world = World(dag("m", {"m": {**over(2, concurrency=1), "retry": RetryPolicy(limit=1, delays=(60.0,))}}))
    world.do("m", 0, outcome=bad())
    assert [task.label() for task in world.dispatch()] == ["m[1]"]
    assert world.play().row.state == "success"


def test_live_task_runs_of_a_run_are_bounded():
    world = World(dag("a, b, c, d, e", policy=RunPolicy(max_active_tasks=2)))
    assert most_live(world) == 2


def test_bounds_add_up():
    graph = dag("m, x, y", {"m": over(3, concurrency=1)}, policy=RunPolicy(max_active_tasks=2))
    assert most_live(World(graph)) == 2


def test_who_is_more_important_goes_first_and_then_who_is_older():
    graph = dag("a, b, c, d", {"c": {"priority": 5}, "d": {"priority": 9}})
    world = World(graph)
    assert [world.dispatch(1)[0].key for _ in range(4)] == ["d", "c", "a", "b"]


def test_executors_have_their_own_lines():
    world = World(dag("a, b", {"b": {"executor": "gpu"}}))
    assert [task.key for task in world.dispatch()] == ["a"]
    assert [task.key for task in world.dispatch(executor="gpu")] == ["b"]
    assert world.dispatch(executor="nowhere") == []


def test_slots_are_taken_by_each_element():
    world = World(dag("m", {"m": {**over(4), "limits": (LimitUse(key="pool:x", slots=2),)}}), sizes={"pool:x": 5})
    assert len(world.dispatch()) == 2
    assert world.play().row.state == "success"


def test_mapped_work_goes_on_with_a_new_owner():
    world = World(NESTED)
    world.do("src", outcome=many(2))
    world.dispatch()
    world.finish(world.task("g.list", 0), many(2))
    world.take_over()
    world.do("g.each", 0, 1)
    world.take_over(died=True)
    world.play({"g.list": many(0)})
    assert world.states["g.each[0,1]"] == "success"
    assert world.task("g.each", 0, 1).executions == 1
    assert world.states["g.each[1]"] == "skipped"


def test_elements_of_a_scope_that_ended_are_not_made_later():
    """Cancelled while nobody knew the elements, and cleared in part: it ends, whatever that is."""
    from plait.model.stimuli import CancelRequested

    world = World(NESTED)
    world.do("src", outcome=many(2))
    world.dispatch()
    world.say(CancelRequested())
    for task in world.live():
        world.finish(task, many(2))
    assert world.row.state == "cancelled"
    world.say(ClearRequested(tasks=("g.each",), path=(0,), downstream=False))
    world.play()
    assert (world.states["g.each[0,0]"], world.states["g.each[1]"]) == ("success", "cancelled")
