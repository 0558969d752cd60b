"""What people ask of a run: cancel, pause, mark, time limits; and hooks, assets and checks on its way."""

import pytest

from plait.model import stimuli as s
from plait.model.commands import CancelExecution, Execute, ReleaseSlots, RunEnded, SetTimer, StartTrigger
from plait.model.errors import EngineError, UsageError
from plait.model.events import AssetRecorded, CheckRecorded
from plait.model.graph import CodeRef, HookSpec, MapSpec, OverOutput
from plait.model.outcome import AssetEvent, CheckResult
from plait.model.policies import LimitUse, RetryPolicy, RunPolicy
from tests.unit.engine.world import World, again, bad, dag, defer, never, ok, pause

CODE = CodeRef(location="flow.py", name="tell")


def hook(on: str) -> HookSpec:
    return HookSpec(on=on, code=CODE)


def test_an_unknown_stimulus_is_our_fault():
    with pytest.raises(EngineError, match="does not know int"):
        World(dag("a")).say(3)  # type: ignore[arg-type]  # on purpose


# --- cancel -----------------------------------------------------------------------------------------------------------


def test_cancelling_a_queued_run():
    world = World(dag("a"), admit=False)
    world.say(s.CancelRequested())
    assert (world.row.state, world.states) == ("cancelled", {})
    world.say(s.RunAdmitted())
    assert (world.row.state, world.states) == ("cancelled", {})


def test_cancelling_a_queued_run_after_a_restart():
    world = World(dag("a"), admit=False)
    world.take_over()
    world.say(s.CancelRequested())
    assert world.row.state == "cancelled"


def test_a_queued_run_is_admitted_after_a_restart():
    world = World(dag("a > b"), admit=False)
    world.take_over()
    assert (world.row.state, world.row.started_at) == ("queued", None)
    world.say(s.RunAdmitted())
    assert world.play().row.state == "success"


def test_slots_of_a_run_that_was_cancelled_before_it_was_admitted_go_back():
    world = World(dag("a", policy=RunPolicy(max_active_runs=1)), admit=False)
    world.say(s.CancelRequested())
    world.commands.clear()
    world.say(s.RunAdmitted())
    assert world.commands_of(ReleaseSlots) == [ReleaseSlots(no=-1)]


def test_cancelling_ends_what_waits_at_once_and_what_is_live_by_its_report():
    limits = {"limits": (LimitUse(key="pool:x"),)}
    world = World(dag("live; ready; a > pending; b; c", {"ready": limits, "live": limits}), sizes={"pool:x": 1})
    world.do("b", outcome=again(2000.0))
    world.do("c", outcome=bad())
    world.say(s.CancelRequested(reason="by me"))
    assert world.states == {
        "live": "dispatched", "ready": "cancelled", "a": "dispatched", "pending": "cancelled", "b": "cancelled",
        "c": "failed",
    }  # fmt: skip
    assert world.row.state == "cancelling"
    live = world.task("live")
    assert CancelExecution(no=live.no, token=live.token, reason="by me") in world.commands
    world.finish(live)
    world.finish(world.task("a"), bad())
    assert (world.states["live"], world.states["a"]) == ("success", "failed")
    assert (world.row.state, world.row.reason) == ("cancelled", "by me")
    assert world.commands[-1] == RunEnded(state="cancelled")


def test_a_failure_while_cancelling_is_not_retried():
    world = World(dag("a", {"a": {"retry": RetryPolicy(limit=5)}}))
    task = world.start("a")
    world.say(s.CancelRequested())
    world.finish(task, bad())
    assert (world.states["a"], world.row.state) == ("failed", "cancelled")


@pytest.mark.parametrize("said", [s.ExecutionReturned, s.ExecutionLost])
def test_a_live_execution_may_come_back_or_be_lost_while_cancelling(said):
    world = World(dag("a"))
    task = world.start("a")
    world.say(s.CancelRequested())
    more = {"reason": "killed"} if said is s.ExecutionLost else {}
    world.say(said(no=task.no, token=task.token, **more))
    assert (world.row.state, task.terminal) == ("cancelled", True)


def test_cancelling_twice_asks_the_executors_twice():
    world = World(dag("a"))
    world.start("a")
    world.say(s.CancelRequested())
    world.say(s.CancelRequested(reason="now!"))
    assert len(world.commands_of(CancelExecution)) == 2
    assert world.row.state == "cancelling"


def test_a_run_that_is_over_cannot_be_cancelled():
    world = World(dag("a")).play()
    world.say(s.CancelRequested())
    assert world.row.state == "success"


def test_nothing_expands_while_cancelling():
    world = World(dag("a", {"m": {"mapping": MapSpec(sources=(OverOutput(task="a"),))}}))
    task = world.start("a")
    world.say(s.CancelRequested())
    world.finish(task, ok(lengths={"result": 3}))
    assert (world.states, world.row.state) == ({"a": "success", "m": "cancelled"}, "cancelled")


def test_a_cancel_survives_the_owner():
    world = World(dag("a > b"))
    world.start("a")
    world.say(s.CancelRequested(reason="by me"))
    world.take_over()
    assert (world.states, world.row.state, world.row.reason) == (
        {"a": "cancelled", "b": "cancelled"},
        "cancelled",
        "by me",
    )


def test_a_time_limit_that_was_reached_survives_the_owner():
    world = World(dag("a > b", policy=RunPolicy(timeout=60.0)))
    world.start("a")
    world.jump(60)
    assert world.row.state == "cancelling"
    world.take_over()
    assert world.row.state == "failed"


# --- pause ------------------------------------------------------------------------------------------------------------


def test_a_paused_run_starts_nothing_new():
    world = World(dag("a > b; c", {"c": {"retry": RetryPolicy(limit=1, delays=(5.0,))}}))
    world.start("a")
    world.finish(world.task("c"), bad())
    world.say(s.PauseRequested())
    world.finish(world.task("a"))
    world.jump(5)
    assert world.dispatch_all() == []
    assert (world.states, world.row.state) == ({"a": "success", "b": "ready", "c": "ready"}, "paused")
    world.say(s.ResumeRequested())
    assert world.play().row.state == "success"


def test_a_paused_run_ends_when_it_goes_on():
    world = World(dag("a"))
    world.start("a")
    world.say(s.PauseRequested())
    world.finish(world.task("a"))
    assert world.row.state == "paused"
    world.say(s.ResumeRequested())
    assert world.row.state == "success"


def test_a_pause_survives_the_owner():
    world = World(dag("a > b"))
    world.do("a")
    world.say(s.PauseRequested())
    world.take_over()
    assert (world.row.state, world.dispatch()) == ("paused", [])
    world.say(s.ResumeRequested())
    assert world.play().row.state == "success"


def test_a_paused_run_can_be_cancelled():
    world = World(dag("a"))
    world.say(s.PauseRequested())
    world.say(s.CancelRequested())
    assert world.row.state == "cancelled"


# --- time limit of the run --------------------------------------------------------------------------------------------


def test_a_run_that_takes_too_long_fails():
    world = World(dag("a > b", policy=RunPolicy(timeout=60.0)))
    task = world.start("a")
    world.jump(59)
    world.say(s.TimerFired(kind="timeout"))
    assert world.row.state == "running"
    world.jump(1)
    assert world.row.state == "cancelling"
    world.finish(task)
    assert (world.row.state, world.row.reason) == ("failed", "timed out after 60 s")


def test_the_time_limit_goes_on_with_a_new_owner():
    world = World(dag("a", policy=RunPolicy(timeout=60.0)))
    world.jump(20)
    world.take_over()
    assert world.commands_of(SetTimer)[-1].at == 1060.0


# --- marks ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", ["success", "failed", "skipped"])
@pytest.mark.parametrize("before", ["pending", "ready", "live", "retry", "rescheduled", "deferred", "paused"])
def test_a_mark_decides_in_any_state(state: str, before: str):
    graph = dag(
        "z > a > b" if before == "pending" else "a > b",
        {"a": {"retry": RetryPolicy(limit=1, delays=(9.0,)), "limits": (LimitUse(key="pool:x"),)}},
    )
    world = World(graph, sizes={"pool:x": 1})
    waits = {"retry": bad(), "rescheduled": again(2e3), "deferred": defer(timeout=9.0), "paused": pause()}
    if before in waits:
        world.do("a", outcome=waits[before])
    elif before == "live":
        world.start("a")
    task = world.task("a")
    token = task.token
    world.say(s.MarkRequested(no=task.no, state=state))
    assert world.states["a"] == state
    assert world.slots == {}
    if before == "live":
        assert world.commands_of(CancelExecution)[-1].token == token
    if before == "deferred":
        assert world.commands_of(StartTrigger)[-1].trigger is None
    world.say(s.ExecutionFinished(no=task.no, token=token, outcome=bad()))
    world.say(s.TriggerFired(no=task.no))
    assert world.states["a"] == state
    below = {"success": "success", "failed": "upstream_failed", "skipped": "skipped"}[state]
    assert world.play().states["b"] == below


def test_what_cannot_be_marked_is_told():
    world = World(dag("a; z", {"m": {"mapping": MapSpec(sources=(OverOutput(task="a"),))}}))
    world.do("z")
    for no, state, said in [
        (world.task("z").no, "failed", "z is success already"),
        (world.task("a").no, "running", "a task run cannot be marked 'running'"),
        (world.task("m").no, "success", "m has no elements yet"),
        (99, "success", "no current task run 99"),
    ]:
        with pytest.raises(UsageError, match=said):
            world.say(s.MarkRequested(no=no, state=state))


# --- hooks ------------------------------------------------------------------------------------------------------------


def hooks_of(world: World) -> list[tuple[str, str]]:
    return [(t.key, t.state.value) for t in sorted(world.run.tasks.values(), key=lambda t: t.no) if t.node.hook]


def test_hooks_are_task_runs_that_do_not_count():
    graph = dag("a > b", {"a": {"hooks": (hook("failed"), hook("success"))}}, hooks=(hook("failed"),))
    world = World(graph)
    world.do("a", outcome=bad())
    assert hooks_of(world) == [("a:on_failed:0", "ready")]
    world.dispatch()
    assert world.commands_of(Execute)[-1].resume == {"state": "failed", "task": "a"}
    world.finish(world.task("a:on_failed:0"), bad())
    assert (world.row.state, hooks_of(world)[1:]) == ("running", [("test:on_failed:0", "ready")])
    world.play()
    assert world.commands_of(Execute)[-1].resume == {"state": "failed", "task": None}
    assert world.row.state == "failed"


def test_a_hook_is_called_for_each_retry():
    graph = dag("a", {"a": {"hooks": (hook("retry"),), "retry": RetryPolicy(limit=2)}})
    world = World(graph).play({"a": [bad(), bad(), ok()]})
    assert hooks_of(world) == [("a:on_retry:0", "success")] * 2


def test_hooks_of_a_run_come_before_its_final_state():
    world = World(dag("a", hooks=(hook("success"),)))
    world.do("a")
    assert world.row.state == "running"
    world.play()
    assert (world.row.state, hooks_of(world)) == ("success", [("test:on_success:0", "success")])


def test_hooks_are_called_when_a_run_is_cancelled():
    graph = dag("a > b", {"a": {"hooks": (hook("cancelled"),)}}, hooks=(hook("cancelled"),))
    world = World(graph)
    task = world.start("a")
    world.say(s.CancelRequested())
    world.finish(task, again(2000.0))
    assert hooks_of(world) == [("a:on_cancelled:0", "ready")]
    world.play()
    assert (world.row.state, [state for _, state in hooks_of(world)]) == ("cancelled", ["success", "success"])


def test_a_second_cancel_ends_the_hooks_too():
    world = World(dag("a", hooks=(hook("cancelled"),)))
    world.say(s.CancelRequested())
    world.dispatch()
    world.say(s.CancelRequested())
    assert world.commands_of(CancelExecution)[-1].no == world.task("test:on_cancelled:0").no
    world.finish(world.task("test:on_cancelled:0"), never())
    assert world.row.state == "cancelled"


def test_a_hook_that_has_begun_is_not_ended_by_the_first_cancel():
    world = World(dag("a; b", {"a": {"hooks": (hook("success"),)}}))
    world.do("a")
    world.dispatch()
    world.say(s.CancelRequested())
    assert hooks_of(world) == [("a:on_success:0", "dispatched")]


@pytest.mark.parametrize("died", [False, True])
def test_hooks_are_called_at_least_once(died: bool):
    graph = dag("a", {"a": {"hooks": (hook("success"),)}}, hooks=(hook("success"),))
    world = World(graph)
    world.do("a")
    world.dispatch()
    world.take_over(died=died)
    world.dispatch()
    assert world.commands_of(Execute)[-1].resume == {"state": "success", "task": "a"}
    world.finish(world.task("a:on_success:0"))
    world.dispatch()
    world.take_over(died=died)
    assert [state for _, state in hooks_of(world)] == ["success", "ready"]
    assert world.play().row.state == "success"
    assert len(hooks_of(world)) == 2, "a hook whose success was recorded is not called again"


def test_a_restart_among_hooks_does_not_change_how_the_run_ends():
    world = World(dag("a", hooks=(hook("failed"),)))
    world.do("a", outcome=bad())
    world.take_over()
    world.say(s.CancelRequested())
    assert (world.row.state, world.row.reason) == ("failed", "1 failed: a")


# --- assets and checks ------------------------------------------------------------------------------------------------


def test_assets_are_recorded_with_what_is_known_of_them():
    world = World(dag("a")).play(
        {"a": ok(assets=(AssetEvent(key="flights", partition="2013", data_version="v1", metadata={"rows": 3}),))}
    )
    assert world.events_of(AssetRecorded) == [AssetRecorded(no=0, key="flights", partition="2013", data_version="v1")]
    row = world.assets[0]
    assert (row.key, row.partition, row.data_version, row.metadata) == ("flights", "2013", "v1", b'{"rows":3}')


@pytest.mark.parametrize(
    ("severity", "blocking", "passed", "states"),
    [
        ("error", True, False, ("failed", "upstream_failed")),
        ("warn", True, False, ("success", "success")),
        ("error", False, False, ("success", "success")),
        ("error", True, True, ("success", "success")),
    ],
)
def test_a_blocking_error_stops_what_is_below(severity, blocking, passed, states):
    check = CheckResult(name="rows", passed=passed, severity=severity, blocking=blocking, asset="flights")
    world = World(dag("a > b", {"a": {"retry": RetryPolicy(limit=3)}}))
    world.play({"a": ok(checks=(check,), assets=(AssetEvent(key="flights"),))})
    assert (world.states["a"], world.states["b"]) == states
    assert world.events_of(CheckRecorded)[0].passed is passed
    assert len(world.assets) == 1, "what was materialized is there, whatever a check says of it"
