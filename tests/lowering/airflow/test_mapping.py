"""Airflow: dynamic task mapping.

Sources: `semantics/airflow.md` ("TaskFlow, dependencies, runtime": expand, partial, expand_kwargs, task groups);
Airflow 3.3 documentation, authoring-and-scheduling/dynamic-task-mapping; core 3.3.2 `models/taskmap.py`.
"""

import pytest

from plait.model.graph import (
    RESULT,
    Element,
    FromOutput,
    GroupSpec,
    MapSpec,
    OutputSpec,
    OverLiteral,
    OverOutput,
)
from plait.model.outcome import Outcome, Stored
from plait.model.wire import Execution
from plait.testing import World
from tests.lowering.building import FAILS, OK, SKIPS, dag, many, rule


def over(*tasks: str, **more: object) -> dict[str, MapSpec]:
    """`.expand(x=task1.output, y=task2.output)`."""
    return {"mapping": MapSpec(sources=tuple(OverOutput(task=task) for task in tasks), **more)}


def literal(length: int, **more: object) -> dict[str, MapSpec]:
    """`.expand(x=[...])` with a list in the file."""
    return {"mapping": MapSpec(sources=(OverLiteral(length=length),), **more)}


def test_expand_over_a_list_that_is_known_at_parse_time():
    """dynamic-task-mapping, "Simple mapping": map indexes from 0, one task instance each, in their order."""
    run = World().start(dag("add_one > sum_it", {"add_one": literal(3)}))
    assert run.order == ["add_one[0]", "add_one[1]", "add_one[2]", "sum_it"]


def test_expand_over_a_dict_has_map_indexes_too():
    """dynamic-task-mapping: a dict is mapped over its items; the map index is a number, the value a (key, value) pair.
    The worker reports the dict's length, not its keys."""
    made = dag("get > use", {"use": {**over("get"), "inputs": {"pair": Element(scope="use")}}})
    run = World().start(made, {"get": many(2)})
    assert [execution.upstream["@use/0"].at for execution in run.executions("use", 0) + run.executions("use", 1)] == [
        0,
        1,
    ]


def test_expand_over_several_arguments_is_their_product():
    """dynamic-task-mapping, "Repeated mapping / Mapping over multiple parameters": the last argument runs fastest."""
    options = {"use": {**over("x", "y"), "inputs": {"x": Element(scope="use"), "y": Element(scope="use", source=1)}}}
    run = World().start(dag("x, y > use", options), {"x": many(2), "y": many(3)})
    pairs = [
        (execution.upstream["@use/0"].at, execution.upstream["@use/1"].at)
        for index in range(6)
        for execution in run.executions("use", index)
    ]
    assert pairs == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (1, 2)]


def test_zip_of_two_outputs_is_a_list_of_its_own():
    """dynamic-task-mapping, "Combining upstream data (aka 'zipping')": `a.zip(b)` is as long as the shorter of the two
    (with `fillvalue` the longer), `a.concat(b)` as both. The values decide, so a small task of the dialect's makes the
    list, in the worker, and what is mapped over is its output."""
    made = dag("a, b > use__zip > use", {"use__zip": {"runner": "airflow.zip"}, "use": over("use__zip")})
    run = World().start(made, {"a": many(4), "b": many(3), "use__zip": many(min(4, 3))})
    assert [key for key in run.states if key.startswith("use[")] == ["use[0]", "use[1]", "use[2]"]


def test_expand_kwargs_over_a_list_of_dicts():
    """dynamic-task-mapping, "Assigning multiple parameters to a non-TaskFlow operator": one source, whose elements are
    dicts of arguments; the worker opens them."""
    made = dag("get > use", {"use": {**over("get"), "inputs": {"**": Element(scope="use")}}})
    run = World().start(made, {"get": many(2)})
    assert (run.states["use[0]"], run.states["use[1]"], run.state) == ("success", "success", "success")


def test_expand_over_a_mapped_tasks_output():
    """dynamic-task-mapping, "Task-generated mapping" and example_task_mapping_second_order: as many again."""
    made = dag("get_nums > times_2 > add_10", {"times_2": over("get_nums"), "add_10": over("times_2")})
    run = World().start(made, {"get_nums": many(3)})
    assert run.states == {
        "get_nums": "success",
        **{f"times_2[{i}]": "success" for i in range(3)},
        **{f"add_10[{i}]": "success" for i in range(3)},
    }


def test_a_failed_element_fails_the_mapping_over_its_task():
    """A mapped task's trigger rule is asked before it is expanded (trigger_rule_dep.py): with all_success and one
    failed element above, the unmapped task instance is upstream_failed, and nothing is expanded."""
    made = dag("get > first > second", {"first": over("get"), "second": over("first")})
    run = World().start(made, {"get": many(3), "first": lambda e: FAILS if e.path == (1,) else OK})
    assert run.states["second"] == "upstream_failed"
    assert [key for key in run.states if key.startswith("second")] == ["second"]


def test_a_mapping_with_all_done_goes_over_what_succeeded():
    """The list of a mapped task's results holds those that there are (task-sdk `LazyXComSequence`)."""
    made = dag("get > first > second", {"first": over("get"), "second": {**over("first"), **rule("all_done")}})
    run = World().start(made, {"get": many(3), "first": lambda e: FAILS if e.path == (1,) else OK})
    assert [key for key in run.states if key.startswith("second")] == ["second[0]", "second[1]"]


def test_a_reduction_gets_the_values_in_the_order_of_the_map_indexes():
    """dynamic-task-mapping, "Simple mapping": results come in the order of the indexes, whenever they ended."""
    made = dag("get > use > reduce", {"use": over("get"), "reduce": {"inputs": {"all": FromOutput(task="use")}}})

    def value(execution: Execution) -> Outcome:
        return Outcome(outputs={RESULT: Stored(format="json", data=str(execution.path[0]).encode())})

    world = World(order=lambda live: sorted(live, key=lambda e: e.path, reverse=True), one_by_one=True)
    run = world.start(made, {"get": many(3), "use": value})
    values = run.executions("reduce")[0].upstream["use/result"].many
    assert [value.data for value in values or () if value is not None] == [b"0", b"1", b"2"]


def test_an_empty_list_skips_the_mapped_task_and_what_is_below_it():
    """dynamic-task-mapping, "Mapping with non-TaskFlow": a mapped task over nothing is skipped (taskmap.py: a length
    below 1)."""
    run = World().start(dag("get > use > reduce", {"use": over("get")}), {"get": many(0)})
    assert (run.states, run.state) == ({"get": "success", "use": "skipped", "reduce": "skipped"}, "success")


@pytest.mark.parametrize("upstream", [FAILS, SKIPS], ids=["failed", "skipped"])
def test_a_mapping_over_what_never_comes(upstream):
    """taskmap.py: without a length the unmapped task instance is upstream_failed; a skip goes through it."""
    run = World().start(dag("get > use > reduce", {"use": over("get")}), {"get": upstream})
    state = "upstream_failed" if upstream is FAILS else "skipped"
    assert (run.states["use"], run.states["reduce"]) == (state, state)


def test_what_cannot_be_mapped_over_fails():
    """dynamic-task-mapping: only a list or a dict can be mapped over; UnmappableXComTypePushed otherwise."""
    run = World().start(dag("get > use", {"use": over("get")}), {"get": OK})
    assert run.states["use"] == "failed"


def test_max_map_length_fails_the_mapped_task():
    """dynamic-task-mapping, "Placing limits on mapped tasks": [core] max_map_length (1024)."""
    run = World().start(dag("get > use", {"use": over("get", limit=1024)}), {"get": many(1025)})
    assert run.states["use"] == "failed"
    assert "limit of 1024" in run.task("use").reason


def test_max_active_tis_per_dagrun_bounds_one_mapped_task():
    """dynamic-task-mapping, "Placing limits on mapped tasks": max_active_tis_per_dagrun."""
    world = World()
    run = world.start(dag("get > use", {"use": over("get", concurrency=2)}), {"get": many(5), "use": None})
    assert run.live == ["use[0]", "use[1]"]
    run.answer("use", path=(1,))
    assert run.live == ["use[0]", "use[2]"]


# --- mapped groups ----------------------------------------------------------------------------------------------------

GROUP = (GroupSpec(key="file", mapping=MapSpec(sources=(OverOutput(task="list"),))),)


def in_group(*tasks: str, **more: dict[str, object]) -> dict[str, dict[str, object]]:
    """Tasks of the group `file`, with further options."""
    return {f"file.{task}": {"group": "file", **more.get(task, {})} for task in tasks}


def test_a_mapped_group_applies_its_trigger_rules_per_index():
    """dynamic-task-mapping, "Mapping over a task group" and "Depth-first execution": each index goes its own way; a
    task in the group looks at the upstream of its own index only."""
    options = in_group("load", "clean", "fix", clean=rule("all_success"), fix=rule("all_failed"))
    made = dag("list > file.load > file.clean, file.fix; file.clean > report", options, groups=GROUP)
    run = World().start(made, {"list": many(3), "file.load": lambda e: FAILS if e.path == (1,) else OK})
    assert {key: state for key, state in run.states.items() if key.startswith("file.")} == {
        "file.load[0]": "success", "file.load[1]": "failed", "file.load[2]": "success",
        "file.clean[0]": "success", "file.clean[1]": "upstream_failed", "file.clean[2]": "success",
        "file.fix[0]": "skipped", "file.fix[1]": "success", "file.fix[2]": "skipped",
    }  # fmt: skip
    assert run.states["report"] == "upstream_failed"


def test_a_mapped_group_runs_depth_first():
    """dynamic-task-mapping, "Depth-first execution": index 0 goes on while index 1 is still at its first task."""
    made = dag("list > file.load > file.clean > report", in_group("load", "clean"), groups=GROUP)
    run = World().start(made, {"list": many(2), "file.load": None})
    run.answer("file.load", path=(0,))
    assert (run.states["file.clean[0]"], run.states["file.load[1]"]) == ("success", "dispatched")
    assert (run.states["file.clean[1]"], run.states["report"]) == ("pending", "pending")


def test_a_join_below_a_mapped_group_counts_all_indexes():
    """dynamic-task-mapping, "Mapping over a task group": what is below the group depends on all of its indexes."""
    options = {**in_group("load"), "report": rule("none_failed_min_one_success"), "alarm": rule("one_failed")}
    made = dag("list > file.load > report, alarm", options, groups=GROUP)
    run = World().start(made, {"list": many(3), "file.load": lambda e: SKIPS if e.path == (0,) else OK})
    assert (run.states["report"], run.states["alarm"]) == ("success", "skipped")


def test_a_mapped_task_in_a_mapped_group():
    """Nested: a task that expands over an output of its own group's index (one more element of the map path)."""
    options = in_group("parts", "part", part=over("file.parts"))
    made = dag("list > file.parts > file.part > report", options, groups=GROUP)
    run = World().start(made, {"list": many(2), "file.parts": lambda e: many(1 + int(e.path[0]))})
    assert [key for key in run.states if key.startswith("file.part[")] == [
        "file.part[0, 0]", "file.part[1, 0]", "file.part[1, 1]"
    ]  # fmt: skip
    assert run.state == "success"


def test_multiple_outputs_of_a_taskflow_task():
    """`-> dict` or multiple_outputs=True: each key is an XCom of its own (core-concepts/taskflow). Outputs that need
    not be there, under edges that only order: what is missing is None downstream, and skips nothing."""
    made = dag(
        "split > use",
        {
            "split": {"outputs": (OutputSpec(), *(OutputSpec(name=key, required=False) for key in ("a", "b")))},
            "use": {"inputs": {"a": FromOutput(task="split", output="a"), "b": FromOutput(task="split", output="b")}},
        },
    )
    one = Stored(format="json", data=b"1")
    run = World().start(made, {"split": Outcome(emitted=(RESULT, "a"), outputs={"a": one})})
    upstream = run.executions("use")[0].upstream
    assert (upstream["split/a"].one, upstream["split/b"].one, run.state) == (one, None, "success")
