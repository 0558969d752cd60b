"""Skips: branches, optional outputs, short-circuits. Airflow: core-concepts/dags ("Branching"), operators/python
(ShortCircuitOperator); Dagster: ops with optional outputs."""

import pytest

from plait.model.graph import GroupSpec, MapSpec, OutputSpec, OverLiteral, OverOutput
from plait.model.policies import TriggerRule as T
from tests.unit.engine.world import World, bad, dag, many, ok, optional, skip

ALL_DONE = {"trigger_rule": T.ALL_DONE}
TWO = MapSpec(sources=(OverLiteral(length=2),))


def states(graph, script, **more):
    return World(graph, **more).play(script).states


def test_a_skip_goes_down_the_chain():
    assert states(dag("a > b > c"), {"a": skip()}) == {"a": "skipped", "b": "skipped", "c": "skipped"}


def test_a_skip_stops_at_a_rule_that_takes_it():
    world = World(dag("a > b > c", {"c": ALL_DONE})).play({"a": skip()})
    assert world.states == {"a": "skipped", "b": "skipped", "c": "success"}
    assert world.row.state == "success"


# --- branches ---------------------------------------------------------------------------------------------------------


def test_a_branch_skips_what_it_did_not_choose():
    said = states(dag("choose > x, y, z"), {"choose": ok(branch=("y",))})
    assert said == {"choose": "success", "x": "skipped", "y": "success", "z": "skipped"}


def test_choosing_nothing_skips_all():
    assert states(dag("choose > x, y"), {"choose": ok(branch=())}) == {
        "choose": "success",
        "x": "skipped",
        "y": "skipped",
    }


def test_not_chosen_skips_whatever_the_rule_but_not_what_is_further_down():
    graph = dag(
        "choose > x > end; choose > y > end", {"x": ALL_DONE, "end": {"trigger_rule": T.NONE_FAILED_MIN_ONE_SUCCESS}}
    )
    assert states(graph, {"choose": ok(branch=("y",))}) == {
        "choose": "success", "x": "skipped", "y": "success", "end": "success",
    }  # fmt: skip


def test_the_join_of_a_branch_is_skipped_by_the_default_rule():
    assert states(dag("choose > x, y > end"), {"choose": ok(branch=("y",))})["end"] == "skipped"


def test_what_lies_below_the_branch_and_below_a_chosen_one_is_not_skipped_by_the_branch():
    graph = dag("choose > x > end; choose > end", {"end": {"trigger_rule": T.NONE_FAILED}})
    assert states(graph, {"choose": ok(branch=("x",))})["end"] == "success"
    assert states(graph, {"choose": ok(branch=())})["end"] == "skipped"


def test_a_branch_may_choose_a_group_by_its_key():
    group = GroupSpec(key="g")
    graph = dag("choose > g.a > g.b; choose > x", {"g.a": {"group": "g"}, "g.b": {"group": "g"}}, groups=[group])
    assert states(graph, {"choose": ok(branch=("g",))}) == {
        "choose": "success", "g.a": "success", "g.b": "success", "x": "skipped",
    }  # fmt: skip


def test_a_group_is_who_lies_in_it_not_whose_name_begins_so():
    groups = [GroupSpec(key="g"), GroupSpec(key="inner", parent="g")]
    graph = dag("choose > a, g.x", {"a": {"group": "inner"}}, groups=groups)
    assert states(graph, {"choose": ok(branch=("g",))}) == {"choose": "success", "a": "success", "g.x": "skipped"}


def test_a_chosen_group_leads_to_what_is_below_it():
    graph = dag("choose > g.a > end; choose > end", {"g.a": {"group": "g"}}, groups=[GroupSpec(key="g")])
    assert states(graph, {"choose": ok(branch=("g",))})["end"] == "success"


def test_a_branch_in_a_mapped_group_chooses_for_its_own_element():
    graph = dag(
        "g.choose > g.x, g.y > end",
        {
            "g.choose": {"group": "g"},
            "g.x": {"group": "g"},
            "g.y": {"group": "g"},
            "end": {"trigger_rule": T.NONE_FAILED},
        },
        groups=[GroupSpec(key="g", mapping=TWO)],
    )
    said = states(graph, {"g.choose[0]": ok(branch=("g.x",)), "g.choose[1]": ok(branch=("g.y",))})
    assert (said["g.x[0]"], said["g.y[0]"], said["g.x[1]"], said["g.y[1]"]) == (
        "success",
        "skipped",
        "skipped",
        "success",
    )
    assert said["end"] == "success"


def test_a_branch_that_did_not_choose_a_mapped_task_skips_all_of_it():
    graph = dag("choose > m > end; choose > x", {"m": {"mapping": TWO}, "end": ALL_DONE})
    said = states(graph, {"choose": ok(branch=("x",))})
    assert said == {"choose": "success", "x": "success", "m[0]": "skipped", "m[1]": "skipped", "end": "success"}


# --- optional outputs -------------------------------------------------------------------------------------------------


def test_an_output_that_is_not_emitted_skips_what_hangs_on_it():
    graph = dag("a:x > b > c; a:y > d", {"a": {"outputs": optional("x", "y")}})
    assert states(graph, {"a": ok(emitted=("y",))}) == {
        "a": "success", "b": "skipped", "d": "success", "c": "skipped",
    }  # fmt: skip


def test_optional_outputs_are_not_emitted_unless_they_are_said_to_be():
    assert states(dag("a:x > b", {"a": {"outputs": optional("x")}}), {})["b"] == "skipped"


def test_a_required_output_that_is_missing_fails_the_task_by_its_retry_policy():
    world = World(dag("a > b")).play({"a": ok(emitted=())})
    assert world.states == {"a": "failed", "b": "upstream_failed"}
    assert world.task("a").error.text.startswith("OutputMissing: required output 'result' was not emitted")


def test_a_dynamic_output_may_be_emitted_under_no_key():
    outputs = (OutputSpec(name="parts", dynamic=True, measured=True),)
    graph = dag(
        "a", {"a": {"outputs": outputs}, "m": {"mapping": MapSpec(sources=(OverOutput(task="a", output="parts"),))}}
    )
    assert states(graph, {"a": ok(emitted=(), lengths={"parts": []})}) == {"a": "success", "m": "skipped"}


def test_a_fan_in_runs_with_what_exists():
    graph = dag(
        "a:x, b:x > end",
        {"a": {"outputs": optional("x")}, "b": {"outputs": optional("x")}, "end": {"trigger_rule": T.ANY_INPUT}},
    )
    emitted = ok(emitted=("x",))
    assert states(graph, {"a": emitted})["end"] == "success"
    assert states(graph, {})["end"] == "skipped"
    assert states(graph, {"a": emitted, "b": bad()})["end"] == "upstream_failed"


def test_an_edge_of_order_does_not_care_what_is_emitted():
    assert states(dag("a > b", {"a": {"outputs": optional("x")}}), {"a": ok(emitted=())})["b"] == "success"


# --- short-circuits ---------------------------------------------------------------------------------------------------

CHAIN = dag("sc > a > b > end; other > end", {"end": ALL_DONE})


def test_a_short_circuit_skips_all_that_is_below_whatever_its_rule():
    said = states(CHAIN, {"sc": ok(short_circuit="all")})
    assert said == {"sc": "success", "a": "skipped", "b": "skipped", "end": "skipped", "other": "success"}


def test_a_short_circuit_that_respects_rules_skips_only_what_is_next():
    said = states(CHAIN, {"sc": ok(short_circuit="direct")})
    assert said == {"sc": "success", "a": "skipped", "b": "skipped", "end": "success", "other": "success"}


@pytest.mark.parametrize("how", ["all", "direct"])
def test_a_short_circuit_leaves_teardowns_alone(how: str):
    graph = dag("sc > a > t", {"t": {"teardown": True, "counts": False, "trigger_rule": T.ALL_DONE}})
    assert states(graph, {"sc": ok(short_circuit=how)}) == {"sc": "success", "a": "skipped", "t": "success"}


@pytest.mark.parametrize("how", ["all", "direct"])
def test_a_short_circuit_in_a_mapped_group_stays_in_its_element(how: str):
    graph = dag(
        "g.sc > g.a > g.b > end",
        {key: {"group": "g"} for key in ("g.sc", "g.a")} | {"g.b": {"group": "g"} | ALL_DONE, "end": ALL_DONE},
        groups=[GroupSpec(key="g", mapping=TWO)],
    )
    said = states(graph, {"g.sc[0]": ok(short_circuit=how)})
    assert said["g.a[0]"] == "skipped"
    assert said["g.b[0]"] == ("skipped" if how == "all" else "success")
    assert (said["g.a[1]"], said["g.b[1]"], said["end"]) == ("success", "success", "success")


def test_elements_of_one_mapped_task_do_not_cut_those_of_another():
    graph = dag("m > n > end", {"m": {"mapping": TWO}, "n": {"mapping": TWO} | ALL_DONE, "end": ALL_DONE})
    said = states(graph, {"m[0]": ok(short_circuit="all")})
    assert (said["n[0]"], said["n[1]"], said["end"]) == ("success", "success", "success")


def test_a_short_circuit_goes_on_below_what_would_have_been_mapped():
    graph = dag("sc > a; m > end", {"m": {"mapping": MapSpec(sources=(OverOutput(task="a"),))}, "end": ALL_DONE})
    assert states(graph, {"sc": ok(short_circuit="all"), "a": many(3)}) == {
        "sc": "success", "a": "skipped", "m": "skipped", "end": "skipped",
    }  # fmt: skip


def test_what_was_cut_stays_cut_after_a_restart():
    world = World(dag("sc > a > m > end; slow > end", {"m": {"mapping": TWO}, "end": ALL_DONE}))
    world.dispatch()
    world.finish(world.task("sc"), ok(short_circuit="all"))
    world.take_over()
    assert world.play().states["end"] == "skipped"
