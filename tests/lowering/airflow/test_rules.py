"""Airflow: trigger rules, branches, short circuits, task groups.

Sources: `semantics/airflow.md` ("Operators and their kwargs", trigger_rule values; the example DAGs of the wheel);
Airflow 3.3 documentation, core-concepts/dags, "Control flow" and "Trigger rules"; where the text leaves a combination
open, `airflow/ti_deps/deps/trigger_rule_dep.py` of 3.3.2. States of whole example DAGs are those that real 3.3.2 gave
(`conformance/airflow/example_dags_3.3.2_states.json`).
"""

import pytest

from plait.model.graph import GroupSpec
from plait.model.outcome import Outcome
from plait.testing import World
from tests.lowering.building import FAILS, OK, SKIPS, chooses, dag, rule

RULES = (
    "all_success", "all_failed", "all_done", "all_done_min_one_success", "all_skipped", "one_success", "one_failed",
    "one_done", "none_failed", "none_failed_min_one_success", "none_skipped", "always",
)  # fmt: skip
FATES = {"success": OK, "failed": FAILS, "skipped": SKIPS}
RUNS, SKIPPED, UPSTREAM = "success", "skipped", "upstream_failed"

WHAT_RUNS = {
    ("success", "success"): {
        "all_success": RUNS, "all_failed": SKIPPED, "all_done": RUNS, "all_done_min_one_success": RUNS,
        "all_skipped": SKIPPED, "one_success": RUNS, "one_failed": SKIPPED, "one_done": RUNS, "none_failed": RUNS,
        "none_failed_min_one_success": RUNS, "none_skipped": RUNS, "always": RUNS,
    },
    ("success", "failed"): {
        "all_success": UPSTREAM, "all_failed": SKIPPED, "all_done": RUNS, "all_done_min_one_success": RUNS,
        "all_skipped": SKIPPED, "one_success": RUNS, "one_failed": RUNS, "one_done": RUNS, "none_failed": UPSTREAM,
        "none_failed_min_one_success": UPSTREAM, "none_skipped": RUNS, "always": RUNS,
    },
    ("failed", "failed"): {
        "all_success": UPSTREAM, "all_failed": RUNS, "all_done": RUNS, "all_done_min_one_success": UPSTREAM,
        "all_skipped": SKIPPED, "one_success": UPSTREAM, "one_failed": RUNS, "one_done": RUNS, "none_failed": UPSTREAM,
        "none_failed_min_one_success": UPSTREAM, "none_skipped": RUNS, "always": RUNS,
    },
    ("success", "skipped"): {
        "all_success": SKIPPED, "all_failed": SKIPPED, "all_done": RUNS, "all_done_min_one_success": SKIPPED,
        "all_skipped": SKIPPED, "one_success": RUNS, "one_failed": SKIPPED, "one_done": RUNS, "none_failed": RUNS,
        "none_failed_min_one_success": RUNS, "none_skipped": SKIPPED, "always": RUNS,
    },
    ("failed", "skipped"): {
        "all_success": UPSTREAM, "all_failed": SKIPPED, "all_done": RUNS, "all_done_min_one_success": SKIPPED,
        "all_skipped": SKIPPED, "one_success": UPSTREAM, "one_failed": RUNS, "one_done": RUNS, "none_failed": UPSTREAM,
        "none_failed_min_one_success": UPSTREAM, "none_skipped": SKIPPED, "always": RUNS,
    },
    ("skipped", "skipped"): {
        "all_success": SKIPPED, "all_failed": SKIPPED, "all_done": RUNS, "all_done_min_one_success": SKIPPED,
        "all_skipped": RUNS, "one_success": SKIPPED, "one_failed": SKIPPED, "one_done": SKIPPED, "none_failed": RUNS,
        "none_failed_min_one_success": SKIPPED, "none_skipped": SKIPPED, "always": RUNS,
    },
}  # fmt: skip


@pytest.mark.parametrize("fates", WHAT_RUNS, ids=" and ".join)
def test_every_trigger_rule_once_in_a_dag(fates):
    """trigger_rule_dep.py, `_evaluate_direct_relatives`: what each of the twelve rules makes of two upstream tasks.

    Airflow looks at all upstream that are done when it looks. Both ends come in one tick here too, so that a rule
    which decides on the first of them (all_success on a skip, on a failure) has only one answer.
    """
    text = "; ".join(f"one, two > {name}" for name in RULES)
    world = World()
    run = world.start(dag(text, {name: rule(name) for name in RULES}), {"one": None, "two": None})
    for key, fate in zip(("one", "two"), fates, strict=True):
        world.executor.answer(run.execution(key), FATES[fate])
    world.settle()
    expected = dict(WHAT_RUNS[fates])
    assert {name: run.states[name] for name in RULES} == expected


def test_a_leaf_with_upstream_failed_fails_the_run():
    """core-concepts/dag-run, "DAG run status": the leaves decide, and upstream_failed is a failed state."""
    run = World().start(dag("a > b > c"), {"a": FAILS})
    assert (run.states, run.state) == ({"a": "failed", "b": "upstream_failed", "c": "upstream_failed"}, "failed")


def test_a_skipped_leaf_is_a_success():
    """core-concepts/dag-run: a run is successful if its leaves are success or skipped."""
    run = World().start(dag("a > b"), {"a": SKIPS})
    assert (run.states, run.state) == ({"a": "skipped", "b": "skipped"}, "success")


def test_branch_then_all_done():
    """core-concepts/dags, "Branching": what is not chosen is skipped, and an all_done join runs after all of it."""
    run = World().start(dag("pick > left, right > join", {"join": rule("all_done")}), {"pick": chooses("left")})
    assert run.states == {"pick": "success", "left": "success", "right": "skipped", "join": "success"}


def test_a_join_that_the_branch_leads_to_directly_is_not_skipped():
    """core-concepts/dags, "Branching": a task downstream of the chosen one is not skipped, even if the branch itself
    leads to it ("branch >> [a, join]; a >> join"); with the other choice it is."""
    made = dag("pick > left, right, join; left > join", {"join": rule("none_failed_min_one_success")})
    assert World().start(made, {"pick": chooses("left")}).states["join"] == "success"
    assert World().start(made, {"pick": chooses("right")}).states == {
        "pick": "success", "left": "skipped", "right": "success", "join": "skipped"
    }  # fmt: skip


def test_a_branch_that_chooses_nothing_skips_everything_below_it():
    """`@task.branch` that returns None skips all that is directly downstream (core-concepts/dags, "Branching")."""
    run = World().start(dag("pick > left, right > join", {"join": rule("none_failed")}), {"pick": Outcome(branch=())})
    assert run.states == {"pick": "success", "left": "skipped", "right": "skipped", "join": "success"}


def test_a_branch_chooses_a_task_group():
    """`@task.branch` may return the id of a task group: its tasks run (core-concepts/dags, "Branching")."""
    groups = (GroupSpec(key="etl"), GroupSpec(key="etl.inner", parent="etl"))
    options = {"etl.load": {"group": "etl"}, "etl.inner.check": {"group": "etl.inner"}}
    made = dag("pick > etl.load, other; etl.load > etl.inner.check", options, groups=groups)
    run = World().start(made, {"pick": chooses("etl")})
    assert run.states == {
        "pick": "success", "etl.load": "success", "etl.inner.check": "success", "other": "skipped"
    }  # fmt: skip


def test_example_nested_branch_dag():
    """example_nested_branch_dag.py, observed on 3.3.2."""
    text = "branch_1 > true_1 > join_1; branch_1 > false_1 > branch_2 > true_2, false_2 > join_2 > false_3 > join_1"
    joins = {key: rule("none_failed_min_one_success") for key in ("join_1", "join_2")}
    run = World().start(dag(text, joins), {"branch_1": chooses("true_1"), "branch_2": chooses("true_2")})
    done = {"branch_1", "true_1", "join_1"}
    assert run.states == {key: "success" if key in done else "skipped" for key in run.states}
    assert (len(run.states), run.state) == (9, "success")


def test_example_skip_dag():
    """example_skip_dag.py, observed on 3.3.2: a skip goes through all_success, not through one_success."""
    text = "skip_1, true_1 > all_success > final_1; skip_2, true_2 > one_success > final_2"
    run = World().start(dag(text, {"one_success": rule("one_success")}), {"skip_1": SKIPS, "skip_2": SKIPS})
    assert run.states == {
        "skip_1": "skipped", "true_1": "success", "all_success": "skipped", "final_1": "skipped",
        "skip_2": "skipped", "true_2": "success", "one_success": "success", "final_2": "success",
    }  # fmt: skip


def test_latest_only_skips_direct_downstream_whatever_its_rule():
    """LatestOnlyOperator on a run that is not the latest (core-concepts/dags, "Latest only"): task1 is directly below
    it and skipped, task3 by its rule, task4 (all_done) runs. It is a branch that chooses nothing."""
    text = "latest_only > task1 > task3, task4; task2 > task3, task4"
    run = World().start(dag(text, {"task4": rule("all_done")}), {"latest_only": Outcome(branch=())})
    assert run.states == {
        "latest_only": "success", "task1": "skipped", "task3": "skipped", "task4": "success", "task2": "success"
    }  # fmt: skip


def test_a_short_circuit_skips_everything_below_it_whatever_the_rules():
    """ShortCircuitOperator, ignore_downstream_trigger_rules=True, its default (howto/operator/python)."""
    made = dag("check > a > b > c; d > c", {"c": rule("all_done")})
    run = World().start(made, {"check": Outcome(short_circuit="all")})
    assert run.states == {"check": "success", "a": "skipped", "b": "skipped", "c": "skipped", "d": "success"}


def test_a_short_circuit_that_respects_trigger_rules_skips_direct_downstream_only():
    """ShortCircuitOperator, ignore_downstream_trigger_rules=False (howto/operator/python)."""
    made = dag("check > a > b > c; d > c", {"c": rule("all_done")})
    run = World().start(made, {"check": Outcome(short_circuit="direct")})
    assert run.states == {"check": "success", "a": "skipped", "b": "skipped", "c": "success", "d": "success"}


def test_a_task_group_waits_for_all_leaves_of_the_one_before():
    """`first >> second` between groups: the leaves of one are upstream of the roots of the other (core-concepts/dags,
    "TaskGroups"). A join between them (a node that is done at once) keeps it linear in the number of tasks."""
    groups = (GroupSpec(key="first"), GroupSpec(key="second"))
    options = {key: {"group": key.partition(".")[0]} for key in ("first.a", "first.b", "second.c", "second.d")}
    text = "first.a, first.b > join > second.c, second.d"
    made = dag(text, {**options, "join": {"runner": "noop"}}, groups=groups)
    run = World().start(made, {"first.b": None})
    assert run.states == {
        "first.a": "success", "first.b": "dispatched", "join": "pending", "second.c": "pending", "second.d": "pending"
    }  # fmt: skip
    run.answer("first.b", FAILS)
    assert (run.states["join"], run.states["second.c"], run.state) == ("upstream_failed", "upstream_failed", "failed")


def test_all_done_min_one_success_in_a_group_join():
    """core-concepts/dags, "Trigger rules", all_done_min_one_success: everything is done and something succeeded."""
    made = dag("a, b > join", {"join": rule("all_done_min_one_success")})
    world = World()
    run = world.start(made, {"a": OK, "b": None})
    assert run.states["join"] == "pending"
    run.answer("b", FAILS)
    assert run.states["join"] == "success"
