"""Setups, teardowns and the outcome of a run. Airflow: howto/setup-and-teardown; core-concepts/dag-run."""

import pytest

from plait.model.graph import GroupSpec
from plait.model.policies import OutcomeRule, RunPolicy
from plait.model.policies import TriggerRule as T
from plait.model.stimuli import MarkRequested
from tests.unit.engine.world import World, bad, dag, ok, skip

TEARDOWN = {"teardown": True, "counts": False, "trigger_rule": T.ALL_DONE_SETUP_SUCCESS}
SCOPE = dag("s !> a > t; s !> t", {"s": {"setup": True}, "t": TEARDOWN})


@pytest.mark.parametrize(
    ("script", "states", "run"),
    [
        ({}, ("success", "success", "success"), "success"),
        ({"a": bad()}, ("success", "failed", "success"), "failed"),
        ({"s": bad()}, ("failed", "upstream_failed", "upstream_failed"), "failed"),
        ({"s": skip()}, ("skipped", "skipped", "skipped"), "success"),
        ({"t": bad()}, ("success", "success", "failed"), "success"),
    ],
)
def test_setup_and_teardown(script, states, run):
    world = World(SCOPE).play(script)
    assert (world.states["s"], world.states["a"], world.states["t"], world.row.state) == (*states, run)


def test_a_teardown_that_is_told_to_count_does():
    graph = dag("s !> a > t; s !> t", {"s": {"setup": True}, "t": TEARDOWN | {"counts": True}})
    assert World(graph).play({"t": bad()}).row.state == "failed"


def test_a_setup_must_succeed_whatever_the_rule_of_the_work():
    graph = dag("s !> a; x > a", {"a": {"trigger_rule": T.ALL_DONE}})
    assert World(graph).play({"s": bad()}).states["a"] == "upstream_failed"
    assert World(graph).play({"x": bad()}).states["a"] == "success"


@pytest.mark.parametrize("rule", sorted(set(T) - {T.ALL_DONE_SETUP_SUCCESS}))
def test_work_that_has_only_a_setup_above_it_runs_whatever_its_rule(rule: T):
    assert World(dag("s !> a", {"a": {"trigger_rule": rule}})).play().states["a"] == "success"


def test_a_setup_does_not_wait_for_the_other_setups_to_fail():
    world = World(dag("s1, s2 !> a"))
    world.dispatch()
    world.finish(world.task("s1"), bad())
    assert world.states["a"] == "upstream_failed"


def test_groups_are_names_and_nothing_else():
    graph = dag("g.a > g.b > c", {"g.a": {"group": "g"}, "g.b": {"group": "g"}}, groups=[GroupSpec(key="g")])
    assert World(graph).play().states == {"g.a": "success", "g.b": "success", "c": "success"}


# --- outcome rules ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(OutcomeRule.LEAVES, "success"), (OutcomeRule.ANY_FAILURE, "failed"), (OutcomeRule.BODY, "failed")],
)
def test_a_failure_in_the_middle(outcome: OutcomeRule, state: str):
    graph = dag("load > notify", {"notify": {"trigger_rule": T.ALL_DONE}}, outcome=outcome)
    world = World(graph).play({"load": bad()})
    assert (world.states, world.row.state) == ({"load": "failed", "notify": "success"}, state)


def test_skipped_leaves_are_a_success():
    assert World(dag("a > b")).play({"a": skip()}).row.state == "success"


def test_upstream_failed_leaves_are_a_failure():
    assert World(dag("a > b")).play({"a": bad()}).row.state == "failed"


def test_a_run_without_tasks_succeeds():
    world = World(dag())
    assert (world.row.state, world.row.started_at, world.row.finished_at) == ("success", world.now, world.now)


def test_tasks_without_code_need_no_worker():
    world = World(dag("a > b > c", {key: {"runner": "noop"} for key in "abc"}))
    assert (world.states, world.row.state) == ({"a": "success", "b": "success", "c": "success"}, "success")
    assert not world.commands_of(type(None))


def test_the_reason_of_a_failed_run_names_what_failed():
    assert World(dag("a, b, c, d > e")).play({key: bad() for key in "abcd"}).row.reason == "4 failed: a, b, c, ..."


def test_the_first_failure_ends_a_run_that_is_to_fail_fast():
    world = World(dag("a, b > c; d > e", policy=RunPolicy(fail_fast=True)))
    world.dispatch()
    world.finish(world.task("a"), bad())
    assert world.row.state == "cancelling"
    assert world.states == {
        "a": "failed",
        "b": "dispatched",
        "c": "upstream_failed",
        "d": "dispatched",
        "e": "cancelled",
    }
    world.finish(world.task("b"))
    world.finish(world.task("d"), bad())
    assert (world.row.state, world.row.reason) == ("failed", "a failed, and the run is to fail fast")


def test_to_fail_fast_waits_for_the_last_attempt():
    from plait.model.policies import RetryPolicy

    world = World(dag("a, b", {"a": {"retry": RetryPolicy(limit=1)}}, policy=RunPolicy(fail_fast=True)))
    world.play({"a": [bad(), ok()]})
    assert world.row.state == "success"


def test_a_teardown_does_not_end_a_run_that_is_to_fail_fast():
    graph = dag("a > t; a > b", {"t": TEARDOWN, "b": {}}, policy=RunPolicy(fail_fast=True))
    world = World(graph).play({"t": bad()})
    assert (world.states["b"], world.row.state) == ("success", "success")


def test_a_failure_by_hand_ends_it_too():
    world = World(dag("a, b", policy=RunPolicy(fail_fast=True)))
    world.say(MarkRequested(no=world.task("a").no, state="failed"))
    assert (world.states["b"], world.row.state) == ("cancelled", "failed")
