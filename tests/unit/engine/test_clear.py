"""Running again: which task runs get a new generation, what stays, and what a mapped scope makes of another length."""

import pytest

from plait.model import stimuli as s
from plait.model.commands import CancelExecution, SetTimer, StartTrigger
from plait.model.errors import UsageError
from plait.model.events import TasksCleared
from plait.model.graph import CodeRef, GroupSpec, HookSpec
from plait.model.policies import LimitUse, RetryPolicy, RunPolicy
from plait.model.policies import TriggerRule as T
from tests.unit.engine.test_mapping import NESTED, group, over, paths
from tests.unit.engine.world import World, again, bad, dag, defer, many, ok, pause

CHAIN = dag("a > b > c; x > c")


def cleared(world: World, *keys: str, **more) -> dict[str, str]:
    """Clear, and say which task runs are to run again."""
    before = dict(world.run.index)
    world.say(s.ClearRequested(tasks=keys, **more))
    return {task.label(): task.state.value for place, task in world.run.index.items() if before.get(place) is not task}


@pytest.mark.parametrize(
    ("request_", "again"),
    [
        ({"tasks": ("b",)}, {"b", "c"}),
        ({"tasks": ("b",), "downstream": False}, {"b"}),
        ({"tasks": ("b",), "upstream": True}, {"a", "b", "c"}),
        ({"tasks": ("b",), "upstream": True, "downstream": False}, {"a", "b"}),
        ({"tasks": ("a", "x"), "downstream": False}, {"a", "x"}),
        ({}, {"a", "b", "c", "x"}),
    ],
)
def test_what_is_cleared(request_, again):
    world = World(CHAIN).play()
    world.say(s.ClearRequested(**request_))
    assert {key for key, state in world.states.items() if state != "success"} == again
    assert {key for key in "abcx" if world.task(key).generation} == again
    assert world.row.state == "running"
    world.play()
    assert world.row.state == "success"
    assert {key for key in "abcx" if world.task(key).executions and world.task(key).generation} == again


def test_the_old_generation_stays_in_the_rows():
    world = World(dag("a")).play({"a": bad()})
    world.say(s.ClearRequested())
    world.play()
    assert [(row.generation, row.state, row.current) for row in world.tasks.values()] == [
        (0, "failed", False),
        (1, "success", True),
    ]
    assert world.events_of(TasksCleared) == [TasksCleared(nos=(0,))]
    world.say(s.ClearRequested())
    world.take_over()
    world.play()
    assert world.task("a").generation == 2


def test_a_generation_that_never_ran_is_not_counted():
    world = World(dag("a > b")).play()
    world.say(s.ClearRequested())
    world.say(s.ClearRequested())
    assert (world.task("a").generation, world.task("b").generation) == (1, 1)


def test_only_failures_and_what_is_below_them():
    world = World(dag("a > b > c; x > c; y")).play({"b": bad()})
    assert set(cleared(world, only_failed=True)) == {"b (generation 1)", "c (generation 1)"}
    assert world.play().row.state == "success"


def test_nothing_to_clear_changes_nothing():
    world = World(CHAIN).play()
    assert cleared(world, only_failed=True) == {}
    assert world.row.state == "success"
    world = World(CHAIN, admit=False)
    assert cleared(world) == {}
    assert world.row.state == "queued"


def test_an_unknown_task_is_told():
    with pytest.raises(UsageError, match="'test' has no task 'nobody'"):
        World(CHAIN).say(s.ClearRequested(tasks=("nobody",)))


def test_a_crashed_or_ending_run_is_not_cleared():
    world = World(CHAIN)
    world.start("a")
    world.say(s.CancelRequested())
    with pytest.raises(UsageError, match="is cancelling"):
        world.say(s.ClearRequested())
    world = World(CHAIN)
    world.say(s.OwnerLost(reason="gone"))
    with pytest.raises(UsageError, match="is crashed"):
        world.say(s.ClearRequested())


def test_a_paused_run_stays_paused():
    world = World(CHAIN)
    world.do("a")
    world.say(s.PauseRequested())
    world.say(s.ClearRequested(tasks=("a",)))
    assert (world.row.state, world.dispatch()) == ("paused", [])
    world.say(s.ResumeRequested())
    assert world.play().row.state == "success"


def test_a_run_that_runs_again_gets_its_whole_time():
    world = World(dag("a", policy=RunPolicy(timeout=60.0))).play()
    world.now += 1000
    world.say(s.ClearRequested())
    assert world.commands_of(SetTimer)[-1].at == world.now + 60
    world.start("a")
    world.jump(59)
    assert world.row.state == "running"


def test_an_upstream_that_runs_again_alone_holds_back_what_is_still_pending():
    world = World(dag("a > b > c"))
    world.do("a")
    world.start("b")
    world.say(s.ClearRequested(tasks=("a",), downstream=False))
    world.finish(world.task("b"))
    assert world.states == {"a": "ready", "b": "success", "c": "ready"}
    assert world.play().row.state == "success"


@pytest.mark.parametrize("before", ["ready", "live", "retry", "rescheduled", "deferred", "paused"])
def test_a_clear_in_the_middle_leaves_nothing_behind(before: str):
    waits = {"retry": bad(), "rescheduled": again(2e3), "deferred": defer(timeout=9.0), "paused": pause(timeout=9.0)}
    options = {"retry": RetryPolicy(limit=1, delays=(60.0,)), "limits": (LimitUse(key="pool:x"),)}
    world = World(dag("a > b", {"a": options}), sizes={"pool:x": 1})
    if before == "live":
        world.start("a")
    elif before in waits:
        world.do("a", outcome=waits[before])
    old = world.task("a")
    world.say(s.ClearRequested(tasks=("a",)))
    new = world.task("a")
    assert (new is not old, old.no in world.run.tasks) == (True, False)
    assert set(world.slots) == {new.no}, "the new one has the slot"
    if before == "live":
        assert world.commands_of(CancelExecution)[-1].token == old.token
    if before == "deferred":
        assert world.commands_of(StartTrigger)[-1].trigger is None
    world.say(s.ExecutionFinished(no=old.no, token=old.token, outcome=bad()))
    world.say(s.InputReceived(no=old.no))
    world.jump(100)
    assert world.play().row.state == "success"


def test_hooks_of_a_run_are_called_for_each_end():
    code = CodeRef(location="f.py", name="tell")
    world = World(dag("a", hooks=(HookSpec(on="success", code=code), HookSpec(on="failed", code=code))))
    world.play({"a": bad()})
    world.say(s.ClearRequested())
    world.play()
    called = sorted((row.key, row.state, row.current) for row in world.tasks.values() if row.child)
    assert called == [("test:on_failed:1", "success", False), ("test:on_success:0", "success", True)]


def test_a_clear_while_the_hooks_of_the_end_are_called():
    hook = HookSpec(on="failed", code=CodeRef(location="f.py", name="tell"))
    world = World(dag("a", hooks=(hook,)))
    world.do("a", outcome=bad())
    world.dispatch()
    world.say(s.ClearRequested())
    assert world.commands_of(CancelExecution)[-1].reason == "cleared"
    assert world.play().row.state == "success"


def test_a_rule_is_asked_anew():
    graph = dag("a > undo", {"undo": {"trigger_rule": T.ONE_FAILED}})
    world = World(graph).play({"a": bad()})
    assert world.states["undo"] == "success"
    world.say(s.ClearRequested(tasks=("a",)))
    assert world.play().states["undo"] == "skipped"


def test_a_branch_may_choose_otherwise():
    world = World(dag("choose > x, y")).play({"choose": ok(branch=("x",))})
    world.say(s.ClearRequested(tasks=("choose",)))
    assert world.play({"choose": ok(branch=("y",))}).states == {"choose": "success", "x": "skipped", "y": "success"}


# --- mapping ----------------------------------------------------------------------------------------------------------

MAPPED = dag("src; m > z", {"m": over("src")})


def test_one_element():
    world = World(MAPPED).play({"src": many(3), "m[1]": bad()})
    assert set(cleared(world, "m", path=(1,))) == {"m[1] (generation 1)", "z (generation 1)"}
    assert world.play().states == {
        "src": "success",
        "z": "success",
        "m[0]": "success",
        "m[1]": "success",
        "m[2]": "success",
    }
    assert [world.task("m", i).generation for i in range(3)] == [0, 1, 0]


@pytest.mark.parametrize("length", [0, 1, 3, 5])
@pytest.mark.parametrize("restart", [False, True])
def test_a_source_that_gives_another_length(length: int, restart: bool):
    world = World(MAPPED).play({"src": many(3)})
    world.say(s.ClearRequested(tasks=("src",)))
    assert world.states == {"src": "ready", "m": "pending", "z": "pending"}
    if restart:
        world.take_over()
        assert world.states == {"src": "ready", "m": "pending", "z": "pending"}
    world.play({"src": many(length)})
    assert paths(world, "m") == ([(i,) for i in range(length)] or [()])
    assert [world.task("m", i).generation for i in range(length)] == [1, 1, 1, 0, 0][:length]
    assert world.row.state == "success"


def test_a_source_that_gave_nothing_at_first():
    world = World(MAPPED).play({"src": many(0)})
    world.say(s.ClearRequested(tasks=("src",)))
    world.play({"src": many(2)})
    assert paths(world, "m") == [(0,), (1,)]
    assert world.row.state == "success"


def test_a_source_that_runs_again_alone_leaves_its_elements_alone():
    world = World(MAPPED).play({"src": many(2)})
    assert set(cleared(world, "src", downstream=False)) == {"src (generation 1)"}
    world.play({"src": many(5)})
    assert (paths(world, "m"), world.row.state) == ([(0,), (1,)], "success")


def test_what_is_mapped_over_is_above_and_what_is_mapped_is_below():
    world = World(MAPPED).play({"src": many(2)})
    assert set(cleared(world, "z", upstream=True)) == {"src (generation 1)", "m", "z (generation 1)"}


def test_the_failed_elements_of_a_group():
    graph = dag("g.a > g.b > end", {"g.a": {"group": "g"}, "g.b": {"group": "g"}}, groups=[group("g", 3)])
    world = World(graph).play({"g.a[1]": bad()})
    assert set(cleared(world, only_failed=True)) == {
        "g.a[1] (generation 1)", "g.b[1] (generation 1)", "end (generation 1)",
    }  # fmt: skip
    assert world.play().row.state == "success"


def test_downstream_through_what_is_outside_reaches_all_elements():
    graph = dag("g.a > x > g.b", {"g.a": {"group": "g"}, "g.b": {"group": "g"}}, groups=[group("g", 2)])
    world = World(graph).play()
    assert set(cleared(world, "g.a", path=(0,))) == {
        "g.a[0] (generation 1)", "x (generation 1)", "g.b[0] (generation 1)", "g.b[1] (generation 1)",
    }  # fmt: skip


def test_the_inner_source_of_one_element():
    world = World(NESTED).play({"src": many(2), "g.list": many(2)})
    assert set(cleared(world, "g.list", path=(0,))) == {"g.list[0] (generation 1)", "g.each[0]", "end (generation 1)"}
    assert paths(world, "g.each") == [(0,), (1, 0), (1, 1)]
    world.take_over()
    world.play({"g.list": many(3)})
    assert paths(world, "g.each") == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)] or set(paths(world, "g.each")) == {
        (0, 0), (0, 1), (0, 2), (1, 0), (1, 1),
    }  # fmt: skip
    assert world.row.state == "success"


@pytest.mark.parametrize("restart", [False, True])
def test_the_outer_source_of_a_nested_map(restart: bool):
    world = World(NESTED).play({"src": many(2), "g.list": many(2)})
    world.say(s.ClearRequested(tasks=("src",)))
    if restart:
        world.take_over()
    world.play({"src": many(1), "g.list": many(1)})
    assert set(world.states) == {"src", "end", "g.list[0]", "g.each[0,0]"}
    assert world.row.state == "success"
    if restart:
        world.take_over()
        assert set(world.states) == {"src", "end", "g.list[0]", "g.each[0,0]"}


def test_an_element_of_a_nested_map():
    world = World(NESTED).play({"src": many(2), "g.list": many(2), "g.each[1,0]": bad()})
    assert set(cleared(world, "g.each", path=(1, 0))) == {"g.each[1, 0] (generation 1)", "end (generation 1)"}
    assert world.play().row.state == "success"


def test_an_element_of_the_outer_map_of_a_nested_one():
    world = World(NESTED).play({"src": many(2), "g.list": many(2)})
    assert set(cleared(world, "g.each", path=(1,), downstream=False)) == {
        "g.each[1, 0] (generation 1)", "g.each[1, 1] (generation 1)",
    }  # fmt: skip


def test_stand_ins_run_again_together_because_they_expand_together():
    graph = dag("src; g.a > g.b", {"g.a": {"group": "g"}, "g.b": {"group": "g"}}, groups=[group("g", "src")])
    world = World(graph).play({"src": bad()})
    assert world.states == {"src": "failed", "g.a": "upstream_failed", "g.b": "upstream_failed"}
    assert set(cleared(world, "src", "g.b", downstream=False)) == {
        "src (generation 1)", "g.a (generation 1)", "g.b (generation 1)",
    }  # fmt: skip
    world.play({"src": many(2)})
    assert world.row.state == "success"
    assert paths(world, "g.a") == [(0,), (1,)]


def test_elements_live_in_the_middle():
    world = World(
        dag("src; m > z", {"m": {**over("src", concurrency=1), "limits": (LimitUse(key="p"),)}}), sizes={"p": 1}
    )
    world.do("src", outcome=many(3))
    world.do("m", 0)
    world.start("m", 1)
    world.say(s.ClearRequested(tasks=("src",)))
    assert world.states == {"src": "ready", "m": "pending", "z": "pending"}
    assert world.play({"src": many(2)}).row.state == "success"


def test_groups_of_groups():
    graph = dag("a > g.x > g.y > z", {"g.x": {"group": "g"}, "g.y": {"group": "g"}}, groups=[GroupSpec(key="g")])
    world = World(graph).play()
    assert set(cleared(world, "g.x", downstream=False)) == {"g.x (generation 1)"}
