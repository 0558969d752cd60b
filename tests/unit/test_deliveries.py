"""What lies in the store's inbox is decided once, durably, and fails no run twice."""

import contextlib

import pytest

from plait.model.errors import EngineError, StoreError
from plait.model.graph import Edge, Graph, TaskSpec
from plait.model.ids import TaskNo
from plait.model.stimuli import (
    CancelRequested,
    ChildSubmitted,
    ClearRequested,
    Stimulus,
    decode_stimulus,
    encode_stimulus,
)
from plait.testing import HOLD, World, WorldRun

GRAPH = Graph(name="w", nodes=(TaskSpec(key="a"), TaskSpec(key="b")), edges=(Edge(upstream="a", downstream="b"),))
POISON = ChildSubmitted(parent=TaskNo(99), spec=TaskSpec(key="x"), key="x")
"""Nobody sends this from outside: its decision raises."""


def say(world: World, run: WorldRun, *stimuli: Stimulus) -> None:
    """Another process leaves something for the run."""
    for stimulus in stimuli:
        world.store.put_inbox(run.run_id, encode_stimulus(stimulus))


def look(world: World) -> None:
    """The owner looks into its inbox, as its lease does."""
    scheduler = world.scheduler
    with scheduler.lock:
        for row in world.store.read_inbox(scheduler.owner):
            scheduler.deliver(row)


def lying(world: World) -> list[Stimulus]:
    return [decode_stimulus(row.data) for row in world.store.read_inbox(world.scheduler.owner)]


def resume(world: World, run: WorldRun) -> None:
    """The process is killed, and the next one goes on with the run."""
    world.crash()
    world.scheduler.adoption.resume(run.run_id)
    world.settle()


def test_what_others_say_is_decided_and_gone_with_what_it_led_to():
    world = World()
    run = world.start(GRAPH, {"a": HOLD})
    say(world, run, CancelRequested(reason="enough"))
    look(world)
    assert lying(world), "it stays until it is decided"
    world.settle()
    assert (run.state, run.row.reason) == ("cancelled", "enough")
    assert lying(world) == []


def test_what_is_seen_again_before_it_is_decided_is_decided_once():
    world = World()
    run = world.start(GRAPH)
    say(world, run, ClearRequested(tasks=("b",)))
    for _ in range(3):
        look(world)
    world.settle()
    look(world)
    world.settle()
    assert run.state == "success"
    assert run.task("b").generation == 1


def test_what_leads_to_nothing_is_gone_too(caplog):
    world = World()
    run = world.start(GRAPH)
    events = len(world.store.events(run.run_id))
    say(world, run, CancelRequested(reason="too late"), ClearRequested(tasks=("nobody",)))
    look(world)
    world.settle()
    assert lying(world) == []
    assert run.state == "success"
    assert len(world.store.events(run.run_id)) == events
    assert "nobody" in caplog.text


def test_it_is_decided_by_the_next_owner_when_the_commit_fails(monkeypatch):
    world = World()
    run = world.start(GRAPH, {"a": HOLD})
    say(world, run, CancelRequested(reason="enough"))
    look(world)

    @contextlib.contextmanager
    def full():
        raise StoreError("the disk is full")
        yield

    with monkeypatch.context() as broken:
        broken.setattr(world.store, "transaction", full)
        world.scheduler.pump()
    with pytest.raises(StoreError, match="disk is full"):
        world.check()
    look(world)
    assert lying(world) == [CancelRequested(reason="enough")]
    resume(world, run)
    assert run.state == "running"
    look(world)
    world.settle()
    assert run.state == "cancelled"
    assert lying(world) == []


def test_it_is_decided_by_the_next_owner_when_the_process_is_killed_before():
    world = World()
    run = world.start(GRAPH, {"a": HOLD})
    say(world, run, CancelRequested(reason="enough"))
    look(world)
    resume(world, run)
    look(world)
    world.settle()
    assert run.state == "cancelled"


def test_what_makes_a_run_fail_does_so_once(caplog):
    world = World()
    run = world.start(GRAPH, {"a": HOLD})
    say(world, run, POISON, CancelRequested(reason="enough"))
    look(world)
    with pytest.raises(EngineError):
        world.settle()
    assert lying(world) == [CancelRequested(reason="enough")], "what had come later waits for the next owner"
    assert f"run {run.run_id} is dropped: it made the run fail" in caplog.text
    resume(world, run)
    look(world)
    world.settle()
    assert run.state == "cancelled"


def test_what_cannot_be_read_is_dropped(caplog):
    world = World()
    run = world.start(GRAPH, {"a": HOLD})
    for data in (b"{", b'{"type": "SaidByANewerVersion"}', b""):
        world.store.put_inbox(run.run_id, data)
    say(world, run, CancelRequested(reason="enough"))
    look(world)
    world.settle()
    assert lying(world) == []
    assert run.state == "cancelled"
    assert "cannot be read" in caplog.text


def test_what_comes_after_the_run_was_forgotten_is_dropped(caplog):
    world = World()
    run = world.start(GRAPH)
    world.scheduler.release(run.run_id)
    say(world, run, CancelRequested(reason="too late"))
    look(world)
    assert lying(world) == []
    assert f"run {run.run_id} is dropped" in caplog.text


def test_a_run_that_is_taken_over_in_between_decides_once():
    """What was delivered to the run as it was hosted before is decided by the run as it is hosted now."""
    world = World()
    run = world.start(GRAPH)
    say(world, run, ClearRequested(tasks=("b",)))
    look(world)
    world.scheduler.adoption.resume(run.run_id)
    look(world)
    world.settle()
    assert run.task("b").generation == 1
    assert lying(world) == []
