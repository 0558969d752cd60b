"""Prefect: concurrency.

Source: `semantics/prefect.md`, "Scheduling, deployments, queues, concurrency", and the complaint about deadlocks with
nested submits and bounded pools (no. 14 of its table).
"""

import pytest

from plait.model.graph import TaskSpec
from plait.model.policies import Collision, LimitUse, RunPolicy
from plait.testing import Body, World
from tests.lowering.building import OK, flow

POOL = (LimitUse(key="pool:work"),)


def test_a_body_that_blocks_on_children_in_a_full_pool_gives_its_slot_back():
    """The deadlock of #17060, #14143, #18121: flow and children share a pool of one. A body that waits holds no slot,
    and gets one again before it goes on."""

    def body(body: Body):
        yield [body.submit(TaskSpec(key="child", limits=POOL), number) for number in range(3)]
        yield body.submit(TaskSpec(key="last", limits=POOL))

    world = World()
    world.limit(pool__work=1)
    run = world.start(flow(limits=POOL), {"flow": body, "child": None})
    assert (run.live, [slot.no for slot in world.store.slots()]) == (["flow", "child"], [run.executions("child")[0].no])
    for _ in range(3):
        assert len(run.live) == 2
        run.answer("child")
    assert run.state == "success"
    assert run.order == ["flow", "child", "child", "child", "last"]


def test_two_such_flows_share_the_pool():
    """The same with two flows that start in the same moment."""

    def body(body: Body):
        yield [body.submit(TaskSpec(key="child", limits=POOL), number) for number in range(2)]

    world = World()
    world.limit(pool__work=1)
    first = world.start(flow(limits=POOL), {"flow": body, "child": None})
    second = world.start(flow(limits=POOL), {"flow": body, "child": None})
    assert (first.state, second.states) == ("running", {"flow": "ready"})
    while world.executor.live:
        for run in (first, second):
            if "child" in run.live:
                run.answer("child")
    assert (first.state, second.state) == ("success", "success")


def test_a_nested_body_gives_its_slot_back_too():
    """A subflow in a pool of one: parent and child both wait, the grandchild runs."""

    def parent(body: Body):
        yield body.submit(TaskSpec(key="sub", runner="flow", limits=POOL))

    def sub(body: Body):
        yield body.submit(TaskSpec(key="inner", limits=POOL))

    world = World()
    world.limit(pool__work=1)
    run = world.start(flow(limits=POOL), {"flow": parent, "sub": sub})
    assert (run.order, run.state) == (["flow", "sub", "inner"], "success")


def test_tag_limits():
    """ "Tag limits": a limit `tag:<name>` counts the task runs of all flows that have the tag; a tag without one
    costs nothing."""

    def body(body: Body):
        task = TaskSpec(key="query", limits=(LimitUse(key="tag:db"), LimitUse(key="tag:free")))
        yield [body.submit(task, number) for number in range(3)]

    world = World()
    world.limit(tag__db=2)
    run = world.start(flow(), {"flow": body, "query": None})
    assert run.live == ["flow", "query", "query"]
    run.answer("query")
    assert run.live == ["flow", "query", "query"]


def test_a_task_needs_all_of_its_tags():
    """ "Tag limits": a task needs a slot of each of its tags, or it waits and holds none."""

    def body(body: Body):
        both = TaskSpec(key="both", limits=(LimitUse(key="tag:a"), LimitUse(key="tag:b")))
        yield [body.submit(TaskSpec(key="one", limits=(LimitUse(key="tag:a"),))), body.submit(both)]

    world = World()
    world.limit(tag__a=1, tag__b=1)
    run = world.start(flow(), {"flow": body, "one": None})
    assert ([slot.key for slot in world.store.slots()], run.task("both").state.value) == (["tag:a"], "ready")
    run.answer("one")
    assert run.state == "success"


def test_a_limit_of_nothing_aborts():
    """ "Tag limits": limit 0 aborts, because it would wait for ever."""

    def body(body: Body):
        yield body.submit(TaskSpec(key="query", limits=(LimitUse(key="tag:off"),)))

    world = World()
    world.limit(tag__off=0)
    run = world.start(flow(), {"flow": body})
    assert run.task("query").state.value == "failed"
    assert run.task("query").error.text == "LimitError: 1 slots of the tag 'off' are asked for, which has 0"
    assert run.state == "success"


@pytest.mark.parametrize(
    ("collision", "states"),
    [
        (Collision.ENQUEUE, ["running", "queued"]),
        (Collision.SKIP, ["running", "cancelled"]),
        (Collision.CANCEL, ["cancelled", "running"]),
    ],
    ids=["ENQUEUE", "CANCEL_NEW", "plait's own: the newest wins"],
)
def test_deployment_concurrency(collision, states):
    """ "Deployment concurrency_limit": ENQUEUE: AwaitingConcurrencySlot; CANCEL_NEW: Cancelled."""
    world = World()
    made = flow(policy=RunPolicy(max_active_runs=1, collision=collision))
    runs = [world.start(made, {"flow": None}) for _ in range(2)]
    assert [run.state for run in runs] == states


def test_an_enqueued_run_starts_when_its_predecessor_ends():
    """ "Deployment concurrency_limit": slots are handed over, nobody polls."""
    world = World()
    made = flow(policy=RunPolicy(max_active_runs=1))
    first, second = (world.start(made, {"flow": None}) for _ in range(2))
    first.answer("flow")
    assert (first.state, second.state, second.begun_at("flow")) == ("success", "running", [0])
    second.answer("flow", OK)
    assert world.store.slots() == []
