"""Airflow: setup and teardown.

Source: Airflow 3.3 documentation, howto/setup-and-teardown (its sections are named below); `semantics/airflow.md`,
"TaskFlow, dependencies, runtime" (setup/teardown 4r/12f).

A setup's edges to the tasks of its scope, and to its teardown, are guards: they have to be satisfied whatever the
trigger rule. The teardown has the rule all_done_setup_success, and does not count for the run unless it says so.
"""

import pytest

from plait.model.graph import GroupSpec, MapSpec, OverLiteral
from plait.model.policies import RunPolicy
from plait.testing import World
from tests.lowering.building import FAILS, HOUR, OK, SKIPS, dag, rule

SCOPE = "create !> query, delete; query > delete"
OPTIONS = {"create": {"setup": True}, "delete": {"teardown": True}}


@pytest.mark.parametrize(
    ("script", "expected", "state"),
    [
        ({}, ("success", "success", "success"), "success"),
        ({"query": FAILS}, ("success", "failed", "success"), "failed"),
        ({"create": FAILS}, ("failed", "upstream_failed", "upstream_failed"), "failed"),
        ({"create": SKIPS}, ("skipped", "skipped", "skipped"), "success"),
        ({"delete": FAILS}, ("success", "success", "failed"), "success"),
    ],
    ids=["all well", "work fails", "setup fails", "setup is skipped", "teardown fails"],
)
def test_setup_and_teardown_around_a_failure(script, expected, state):
    """ "Key features": a teardown runs if its setup was successful, even if its work failed, and is ignored for the
    state of the run; if the setup failed or was skipped, so do the work and the teardown."""
    run = World().start(dag(SCOPE, OPTIONS), script)
    assert (tuple(run.states[key] for key in ("create", "query", "delete")), run.state) == (expected, state)


def test_a_teardown_that_counts_fails_the_run():
    """ "Controlling Dag run state": on_failure_fail_dagrun=True."""
    options = {**OPTIONS, "delete": {"teardown": True, "counts": True}}
    assert World().start(dag(SCOPE, options), {"delete": FAILS}).state == "failed"


def test_a_teardown_waits_for_all_of_its_work():
    """ "Trigger rule behavior for teardowns": as long as all upstreams are done and one setup was successful."""
    run = World().start(dag("create !> one, two, delete; one, two > delete", OPTIONS), {"one": FAILS, "two": None})
    assert run.states["delete"] == "pending"
    run.answer("two")
    assert run.states["delete"] == "success"


def test_one_of_several_setups_is_enough_for_their_teardown():
    """ "Setup scope": the teardown will run if at least one of the setups completed successfully."""
    options = {"cluster": {"setup": True}, "bucket": {"setup": True}, "delete": {"teardown": True}}
    run = World().start(dag("cluster, bucket !> query, delete; query > delete", options), {"bucket": FAILS})
    assert run.states == {
        "cluster": "success", "bucket": "failed", "query": "upstream_failed", "delete": "success"
    }  # fmt: skip


def test_work_in_a_scope_needs_its_setup_whatever_its_rule():
    """ "Implicit ALL_SUCCESS constraint": also for a task further down with another trigger rule."""
    made = dag("create !> query, report, delete; query > report > delete", {**OPTIONS, "report": rule("all_done")})
    run = World().start(made, {"create": FAILS})
    assert run.states["report"] == "upstream_failed"
    assert World().start(made, {"query": FAILS}).states["report"] == "success"


def test_what_follows_a_group_ignores_its_teardown():
    """ "Authoring with task groups": `tg >> w2` leaves teardowns out, so w2 does not wait for t1."""
    made = dag("s1 !> w1, t1; w1 > t1, w2", {"s1": {"setup": True}, "t1": {"teardown": True}})
    run = World().start(made, {"t1": None})
    assert (run.states["w2"], run.states["t1"]) == ("success", "dispatched")


def test_clearing_work_clears_its_setup_and_teardown():
    """ "Key features": if you clear a task, its setups and teardowns will be cleared; w4, which is outside of the
    scope, runs again because it is below, and clearing it alone clears neither."""
    made = dag("s1 !> w1, w2, t1; w1 > w2 > t1; w2 > w4", {"s1": {"setup": True}, "t1": {"teardown": True}})
    run = World().start(made)
    run.clear("w2", downstream=False)
    assert run.order[5:] == ["s1", "w2", "t1"]
    assert run.state == "success"
    run.clear("w4")
    assert run.order[8:] == ["w4"]


def test_a_teardown_runs_when_the_run_is_failed_by_hand():
    """ "Side-effect on manual Dag state changes": marked failed or successful, teardowns are still executed, and the
    run ends after them."""
    run = World().start(dag(SCOPE, OPTIONS), {"query": None, "delete": None})
    run.cancel(state="failed")
    assert (run.states, run.state) == (
        {"create": "success", "query": "cancelled", "delete": "dispatched"}, "cancelling"
    )  # fmt: skip
    run.answer("delete")
    assert (run.states["delete"], run.state) == ("success", "failed")


def test_a_teardown_without_a_setup_that_ran_does_not_run_on_a_cancel():
    """The same section: there is nothing to tear down."""
    run = World().start(dag(SCOPE, OPTIONS), {"create": None})
    run.cancel(state="failed")
    assert (run.states["delete"], run.state) == ("upstream_failed", "failed")


def test_a_second_cancel_ends_the_teardown_too():
    """plait's own: whoever asks twice does not want to wait for it."""
    run = World().start(dag(SCOPE, OPTIONS), {"query": None, "delete": None})
    run.cancel()
    run.cancel()
    assert (run.states["delete"], run.state) == ("cancelled", "cancelled")


def test_fail_fast_spares_teardowns():
    """taskinstance.py `_stop_remaining_tasks`: fail_fast stops what is not a teardown."""
    made = dag("create !> query, slow, delete; query, slow > delete; other", OPTIONS, policy=RunPolicy(fail_fast=True))
    run = World().start(made, {"query": FAILS, "slow": None, "other": None})
    assert run.states == {
        "create": "success", "query": "failed", "slow": "cancelled", "delete": "success", "other": "cancelled"
    }  # fmt: skip
    assert run.state == "failed"


def test_a_teardown_outlives_the_process_that_cancelled_its_run():
    """C6: the new scheduler still has to tear down, and knows what the run is to end as."""
    world = World()
    run = world.start(dag(SCOPE, OPTIONS), {"query": None, "delete": None}, session=False)
    run.cancel(state="failed")
    world.crash()
    world.advance(HOUR)
    run.resume()
    run.answer("delete")
    assert (run.states["delete"], run.state) == ("success", "failed")


def test_scopes_in_a_mapped_group_are_per_index():
    """dynamic-task-mapping, "Mapping over a task group", with setup and teardown inside: each index has its own."""
    groups = (GroupSpec(key="g", mapping=MapSpec(sources=(OverLiteral(length=2),))),)
    options = {
        "g.create": {"group": "g", "setup": True},
        "g.query": {"group": "g"},
        "g.delete": {"group": "g", "teardown": True},
    }
    made = dag("g.create !> g.query, g.delete; g.query > g.delete", options, groups=groups)
    run = World().start(made, {"g.create": lambda e: FAILS if e.path == (1,) else OK, "g.query": FAILS})
    assert (run.states["g.delete[0]"], run.states["g.delete[1]"]) == ("success", "upstream_failed")
