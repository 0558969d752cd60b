"""Children of a flow's body: which generation they are when they run again, and whose they are after a clear."""

import pytest

from plait.model import stimuli as s
from plait.model.errors import UsageError
from plait.model.events import TasksCleared
from plait.model.graph import CodeRef, HookSpec
from plait.model.policies import FlowReplay, RetryPolicy
from plait.model.states import TaskState
from tests.unit.engine.test_mapping import over
from tests.unit.engine.world import World, again, bad, dag, defer, ok, pause

FLOW = dag("flow", {"flow": {"runner": "flow"}})
RETRIED = dag("flow", {"flow": {"runner": "flow", "retry": RetryPolicy(limit=1), "replay": FlowReplay.NONE}})


def generations(world: World, key: str) -> list[tuple[int, str, bool]]:
    """Generation, state and whether it is current, of all rows of a key, in their order."""
    return [(row.generation, row.state, row.current) for row in world.tasks.values() if row.key == key]


def play_body(world: World, outcome=None) -> None:
    """The body calls `extract`, which calls `read`; all goes well, but for what the body comes to."""
    body = world.start("flow")
    extract = world.call(body, "extract", options={"runner": "flow"})
    world.start("extract")
    world.call(extract, "read")
    world.do("read")
    world.finish(extract)
    world.finish(body, outcome)


@pytest.mark.parametrize("restart", [False, True])
def test_a_cleared_flow_runs_its_children_as_a_new_generation(restart: bool):
    world = World(FLOW)
    for _ in range(2):
        play_body(world)
        world.say(s.ClearRequested())
        if restart:
            world.take_over()
    play_body(world)
    for key in ("flow", "extract", "read"):
        assert generations(world, key) == [(0, "success", False), (1, "success", False), (2, "success", True)]


@pytest.mark.parametrize("restart", [False, True])
def test_a_child_that_runs_anew_after_a_clear_and_in_a_retry(restart: bool):
    world = World(RETRIED)
    play_body(world)
    world.say(s.ClearRequested())
    play_body(world, bad())
    world.jump(0)
    if restart:
        world.take_over()
    play_body(world)
    assert generations(world, "extract") == [(0, "success", False), (1, "success", False), (2, "success", True)]
    assert generations(world, "read") == [(0, "success", False), (1, "success", False), (2, "success", True)]


def test_calls_of_the_same_task_are_places_of_their_own():
    world = World(FLOW)
    body = world.start("flow")
    world.call(body, "extract", as_="one")
    world.call(body, "extract", as_="two")
    world.say(s.ClearRequested())
    body = world.start("flow")
    world.call(body, "extract", as_="two")
    world.call(body, "extract", as_="three")
    assert [row.generation for row in world.tasks.values() if row.key == "extract" and row.current] == [1, 0]


def test_hooks_that_are_called_again_are_a_new_generation():
    hook = HookSpec(on="success", code=CodeRef(location="f.py", name="tell"))
    world = World(dag("a", {"a": {"hooks": (hook,)}}, hooks=(hook,))).play()
    world.say(s.ClearRequested())
    world.play()
    assert [row[0] for row in generations(world, "a:on_success:0")] == [0, 1]
    assert [row[0] for row in generations(world, "test:on_success:0")] == [0, 1]


@pytest.mark.parametrize("restart", [False, True])
def test_children_that_succeeded_are_kept_for_a_body_that_runs_again(restart: bool):
    world = World(FLOW)
    play_body(world, bad())
    world.say(s.ClearRequested(only_failed=True))
    if restart:
        world.take_over()
    body = world.start("flow")
    extract = world.call(body, "extract", options={"runner": "flow"})
    assert (extract.state, extract.generation, extract.parent) == (TaskState.SUCCESS, 0, body.no)
    world.finish(body)
    assert world.row.state == "success"


def test_children_of_elements_that_are_made_anew_make_way():
    world = World(dag("src", {"flow": {"runner": "flow", **over("src")}}))
    world.do("src", outcome=ok(lengths={"result": 1}))
    body = world.start("flow", 0)
    world.call(body, "extract")
    world.do("extract")
    world.finish(body, bad())
    world.say(s.ClearRequested(tasks=("src",), downstream=False))
    world.do("src", outcome=bad())
    world.say(s.ClearRequested(only_failed=True))
    told = {no for event in world.events_of(TasksCleared) for no in event.nos}
    assert told == {row.no for row in world.tasks.values() if not row.current}
    world.play({"src": ok(lengths={"result": 1})})
    assert world.task("flow", 0).generation == 1


def test_what_was_recorded_before_it_ran_makes_way_when_it_is_cleared():
    world = World(FLOW)
    play_body(world, bad())
    world.say(s.ClearRequested(only_failed=True))
    world.say(s.ClearRequested())
    assert generations(world, "flow") == [(0, "failed", False), (1, "ready", False)]
    play_body(world)
    assert [row.key for row in world.tasks.values() if row.current] == ["flow", "extract", "read"]


def test_a_clear_tells_only_of_what_is_recorded():
    world = World(dag("a > b"))
    world.say(s.ClearRequested())
    assert world.events_of(TasksCleared) == []
    world.do("a")
    world.say(s.ClearRequested())
    assert world.events_of(TasksCleared) == [TasksCleared(nos=(world.events[-3].no,))]


def test_a_crashed_run_is_not_marked():
    world = World(dag("a > b"))
    world.say(s.OwnerLost(reason="gone"))
    with pytest.raises(UsageError, match="is crashed"):
        world.say(s.MarkRequested(no=world.task("b").no, state="failed"))


@pytest.mark.parametrize(
    ("outcome", "state"),
    [(again(2e3), "cancelled"), (defer(), "cancelled"), (pause(), "cancelled"), (bad(), "failed"), (None, "cancelled")],
)
def test_a_child_that_was_told_to_end_with_its_body_does_not_go_on(outcome, state):
    world = World(FLOW)
    body = world.start("flow")
    child = world.call(body, "extract", options={"retry": RetryPolicy(limit=3)})
    world.dispatch()
    world.finish(body)
    if outcome is not None:
        world.finish(child, outcome)
    else:
        world.say(s.ExecutionReturned(no=child.no, token=child.token))
    assert (child.state.value, world.row.state) == (state, "success")
