"""Waits between two executions of one attempt (sensors, deferrals, pauses for input), and waits for other runs."""

import pytest

from plait.model import stimuli as s
from plait.model.commands import AddWatch, Execute, StartTrigger
from plait.model.graph import WatchSpec
from plait.model.outcome import TOO_LATE, Outcome, Verdict
from plait.model.policies import LimitUse, RetryPolicy
from plait.model.states import TaskState as S
from tests.unit.engine.world import World, again, bad, dag, defer, ok, pause


def every(seconds: float, world: World, times: int):
    """A sensor that finds nothing `times` times, and looks every so many seconds."""
    count = iter(range(times))
    return lambda task: again(world.now + seconds) if next(count, None) is not None else ok()


# --- looking again ----------------------------------------------------------------------------------------------------


def test_looking_again_uses_no_attempt_and_holds_no_slot():
    world = World(dag("a", {"a": {"limits": (LimitUse(key="pool:x"),)}}), sizes={"pool:x": 1})
    task = world.do("a", outcome=again(world.now + 30))
    assert (task.state, world.slots, task.wait_until) == (S.RESCHEDULED, {}, world.now + 30)
    world.play({"a": every(30, world, 5)})
    assert (task.state, task.attempt, task.executions) == (S.SUCCESS, 1, 7)


def test_a_sensor_times_out_from_its_first_look_after_a_last_one():
    world = World(dag("a", {"a": {"wait_timeout": 100.0, "retry": RetryPolicy(limit=3)}}))
    looks = []

    def look(task):
        looks.append(world.now - 1000)
        return again(world.now + 30)

    world.play({"a": look})
    assert looks == [0, 30, 60, 90, 100]
    assert (world.states["a"], world.task("a").attempt) == ("failed", 1)
    assert world.task("a").error.text.startswith("WaitTimeout: no success for longer than it may")


def test_a_last_look_may_succeed():
    world = World(dag("a", {"a": {"wait_timeout": 100.0}})).play(
        {"a": lambda task: ok() if world_is_late(task) else again(1e9)}
    )
    assert (world.states["a"], world.now) == ("success", 1100.0)


def world_is_late(task) -> bool:
    return task.executions > 1


def test_retrying_does_not_reset_the_time_limit_of_a_sensor():
    world = World(dag("a", {"a": {"wait_timeout": 100.0, "retry": RetryPolicy(limit=5, delays=(70.0,))}}))
    world.play({"a": [again(1030.0), bad(), again(1130.0)]})
    assert (world.states["a"], world.now, world.task("a").attempt) == ("failed", 1100.0, 2)


def test_a_sensor_may_be_skipped_when_it_times_out():
    world = World(dag("a", {"a": {"wait_timeout": 10.0, "soft_fail": True}})).play({"a": lambda task: again(1e9)})
    assert world.states["a"] == "skipped"


# --- deferring --------------------------------------------------------------------------------------------------------


def deferred(**more) -> tuple[World, object]:
    world = World(
        dag("a > b", {"a": {"limits": (LimitUse(key="pool:x"),), "retry": RetryPolicy(limit=1)}}), sizes={"pool:x": 1}
    )
    return world, world.do("a", outcome=defer(**more))


def test_a_deferral_resumes_with_what_arrived():
    world, task = deferred()
    assert (task.state, world.slots) == (S.DEFERRED, {})
    assert world.commands_of(StartTrigger) == [StartTrigger(no=task.no, trigger={"kind": "file"})]
    world.say(s.TriggerFired(no=task.no, payload={"path": "x"}))
    assert [t.key for t in world.dispatch()] == ["a"]
    assert world.commands_of(Execute)[-1].resume == {"event": {"path": "x"}, "error": None}
    world.finish(task)
    assert (task.state, task.attempt, task.executions) == (S.SUCCESS, 1, 2)


def test_a_resume_that_was_handed_back_is_offered_with_the_same_payload():
    world, task = deferred()
    world.say(s.TriggerFired(no=task.no, payload=1))
    world.dispatch()
    world.say(s.ExecutionReturned(no=task.no, token=task.token))
    world.dispatch()
    assert [command.resume for command in world.commands_of(Execute)] == [None, *[{"event": 1, "error": None}] * 2]


def test_a_resume_survives_its_owner():
    world, task = deferred()
    world.say(s.TriggerFired(no=task.no, payload=1))
    world.take_over()
    world.dispatch()
    assert world.commands_of(Execute)[-1].resume == {"event": 1, "error": None}
    world.take_over(died=True)
    world.dispatch()
    assert world.commands_of(Execute)[-1].resume == {"event": 1, "error": None}
    assert world.task("a").attempt == 1


def test_a_retry_begins_at_the_beginning():
    world, task = deferred()
    world.say(s.TriggerFired(no=task.no, payload=1))
    world.dispatch()
    world.finish(task, bad())
    world.jump(0)
    world.dispatch()
    assert (world.commands_of(Execute)[-1].resume, task.attempt) == (None, 2)


def test_a_deferral_that_takes_too_long_resumes_with_an_error():
    world, task = deferred(timeout=50.0)
    world.jump(50)
    assert world.commands_of(StartTrigger)[-1] == StartTrigger(no=task.no, trigger=None)
    world.say(s.TriggerFired(no=task.no))
    world.dispatch()
    assert world.commands_of(Execute)[-1].resume == {"event": None, "error": TOO_LATE}
    world.finish(task, bad())
    assert (task.state, task.attempt) == (S.RETRY_WAIT, 1)


def test_the_time_limit_of_an_earlier_wait_does_not_end_a_later_one():
    world, task = deferred(timeout=50.0)
    world.say(s.TriggerFired(no=task.no))
    world.dispatch()
    world.finish(task, defer())
    world.say(s.TimerFired(kind="defer_timeout", no=task.no))
    world.jump(100)
    assert task.state is S.DEFERRED


def test_a_trigger_is_started_again_for_a_new_owner():
    world, _ = deferred(timeout=50.0)
    world.jump(20)
    world.take_over()
    assert world.commands_of(StartTrigger)[-1].trigger == {"kind": "file"}
    assert world.states["a"] == "deferred"
    world.jump(30)
    assert world.states["a"] == "ready"


# --- code that begins again after each wait ---------------------------------------------------------------------------


def awaits(wait: str, **trigger: object) -> Outcome:
    """The function stands at its wait of this name."""
    return Outcome(verdict=Verdict.DEFER, trigger={"kind": "file", **trigger}, wait=wait)


def asks(wait: str, timeout: float | None = None) -> Outcome:
    return Outcome(verdict=Verdict.PAUSE, schema={"type": "integer"}, prompt="How many?", wait=wait, timeout=timeout)


def resumes(world: World) -> list[object]:
    return [command.resume for command in world.commands_of(Execute)]


def test_each_execution_finds_what_ended_all_waits_before_it():
    world = World(dag("a"))
    task = world.do("a", outcome=awaits("one"))
    world.say(s.TriggerFired(no=task.no, payload=1))
    world.do("a", outcome=asks("two"))
    assert task.control.asked.prompt == "How many?"
    world.take_over()
    world.say(s.InputReceived(no=task.no, data=2))
    world.take_over()
    world.do("a", outcome=Outcome(verdict=Verdict.RESCHEDULE, until=world.now + 1))
    world.jump(1)
    world.finish(world.start("a"))
    answers = {"one": {"event": 1, "error": None}, "two": {"input": 2}}
    one = {"answers": {"one": answers["one"]}}
    assert resumes(world) == [None, one, {"answers": answers}, {"answers": answers}]
    task = world.task("a")
    assert (task.state, task.attempt, task.answers) == (S.SUCCESS, 1, {})


def test_a_retry_waits_again_but_does_not_ask_people_again():
    world = World(dag("a", {"a": {"retry": RetryPolicy(limit=2)}}))
    task = world.do("a", outcome=asks("one"))
    world.say(s.InputReceived(no=task.no, data=5))
    world.do("a", outcome=awaits("two"))
    world.say(s.TriggerFired(no=task.no, payload="x"))
    world.do("a", outcome=bad())
    world.jump(0)
    world.say(s.ExecutionLost(no=world.start("a").no, token=task.token, reason="SIGSEGV"))
    world.jump(0)
    world.start("a")
    assert resumes(world)[-2:] == [{"answers": {"one": {"input": 5}}}] * 2
    assert task.attempt == 3


def test_code_that_asked_hears_itself_that_nobody_answered():
    world = World(dag("a"))
    task = world.do("a", outcome=asks("one", timeout=60.0))
    world.jump(60)
    world.dispatch()
    assert resumes(world)[-1] == {"answers": {"one": {"event": None, "error": TOO_LATE}}}
    assert task.state is S.DISPATCHED


def test_what_comes_too_late_for_a_wait_ends_no_later_one():
    world = World(dag("a"))
    task = world.do("a", outcome=awaits("one"))
    first = task.token
    world.say(s.TriggerFired(no=task.no, token=first))
    world.do("a", outcome=awaits("two"))
    world.say(s.TriggerFired(no=task.no, token=first))
    assert task.state is S.DEFERRED
    world.say(s.TriggerFired(no=task.no, token=task.token))
    world.do("a", outcome=asks("three"))
    world.say(s.InputReceived(no=task.no, token=first))
    assert task.state is S.PAUSED
    world.say(s.InputReceived(no=task.no, token=task.token))
    assert task.state is S.READY


# --- a point in time --------------------------------------------------------------------------------------------------


def until(at: float, timeout: float | None = None) -> Outcome:
    return Outcome(verdict=Verdict.DEFER, trigger={"kind": "time", "at": at}, timeout=timeout)


def test_a_point_in_time_needs_no_trigger():
    world = World(dag("a"))
    task = world.do("a", outcome=until(world.now + 60))
    world.jump(59)
    assert task.state is S.DEFERRED
    world.take_over()
    world.jump(1)
    world.dispatch()
    assert resumes(world)[-1] == {"event": world.now, "error": None}
    assert world.commands_of(StartTrigger) == []


def test_a_point_in_time_may_lie_behind_the_time_limit_or_in_the_past():
    world = World(dag("a, b"))
    late = world.do("a", outcome=until(world.now + 60, timeout=10))
    past = world.do("b", outcome=until(world.now - 60))
    world.jump(0)
    assert (late.state, past.state) == (S.DEFERRED, S.READY)
    world.jump(10)
    world.dispatch()
    assert {"event": None, "error": TOO_LATE} in resumes(world)
    world.finish(late, awaits("file"))
    world.jump(100)
    assert late.state is S.DEFERRED, "the timer of the wait before changes nothing"


# --- pausing for input ------------------------------------------------------------------------------------------------


def test_a_pause_goes_on_with_the_input():
    world = World(dag("a > b"))
    task = world.do("a", outcome=pause())
    assert (task.state, world.row.state) == (S.PAUSED, "running")
    world.say(s.InputReceived(no=task.no, data={"go": True}))
    world.say(s.InputReceived(no=task.no, data={"go": False}))
    world.dispatch()
    assert world.commands_of(Execute)[-1].resume == {"input": {"go": True}}
    assert (world.play().row.state, task.attempt) == ("success", 1)


def test_an_answer_is_not_lost_with_the_owner():
    world = World(dag("a"))
    world.say(s.InputReceived(no=world.do("a", outcome=pause()).no, data="yes"))
    world.take_over()
    world.dispatch()
    assert world.commands_of(Execute)[-1].resume == {"input": "yes"}


def test_a_pause_that_nobody_answers_fails():
    world = World(dag("a"))
    task = world.do("a", outcome=pause(timeout=3600.0))
    world.jump(3600)
    assert (task.state, task.error.text) == (S.FAILED, "WaitTimeout: paused for longer than it may")


@pytest.mark.parametrize("outcome", [again(2000.0), defer(), pause()])
def test_a_wait_asked_for_while_the_run_is_cancelled_ends_at_once(outcome):
    world = World(dag("a"))
    task = world.start("a")
    world.say(s.CancelRequested())
    world.finish(task, outcome)
    assert (task.state, world.row.state) == (S.CANCELLED, "cancelled")


@pytest.mark.parametrize("outcome", [again(2000.0), defer(timeout=9.0), pause(timeout=9.0)])
def test_a_wait_is_over_when_the_run_is_cancelled(outcome):
    world = World(dag("a > b"))
    world.do("a", outcome=outcome)
    world.say(s.CancelRequested(reason="enough"))
    assert (world.states, world.row.state, world.row.reason) == (
        {"a": "cancelled", "b": "cancelled"},
        "cancelled",
        "enough",
    )
    world.jump(10_000)
    assert world.row.state == "cancelled"


# --- watches ----------------------------------------------------------------------------------------------------------

WATCHED = dag("a > b", {"b": {"depends_on_past": True, "watches": (WatchSpec(subject="run", workflow="other"),)}})


def test_a_task_waits_for_what_it_watches_before_it_asks_for_anything_else():
    world = World(WATCHED)
    assert world.commands_of(AddWatch) == []
    world.do("a")
    asked = world.commands_of(AddWatch)
    assert [(command.index, command.spec.subject) for command in asked] == [(0, "past"), (1, "run")]
    no = world.task("b").no
    world.say(s.WatchFired(no=no, index=0))
    world.say(s.WatchFired(no=no, index=0))
    assert world.states["b"] == "pending"
    world.say(s.WatchFired(no=no, index=1))
    assert world.play().states["b"] == "success"


def test_a_watch_that_can_no_longer_come_true_fails_the_task():
    world = World(WATCHED)
    world.do("a")
    world.say(s.WatchFired(no=world.task("b").no, index=0, ok=False))
    assert (world.states["b"], world.row.state) == ("upstream_failed", "failed")


def test_watches_begin_again_with_a_new_owner():
    world = World(WATCHED)
    world.do("a")
    world.say(s.WatchFired(no=world.task("b").no, index=0))
    world.take_over()
    assert [command.index for command in world.commands_of(AddWatch)] == [0, 1, 0, 1]
    for index in (0, 1):
        world.say(s.WatchFired(no=world.task("b").no, index=index))
    assert world.play().row.state == "success"


def test_each_element_of_a_mapped_task_watches_its_own_past():
    from plait.model.graph import MapSpec, OverLiteral

    world = World(dag("m", {"m": {"depends_on_past": True, "mapping": MapSpec(sources=(OverLiteral(length=2),))}}))
    assert [command.path for command in world.commands_of(AddWatch)] == [(0,), (1,)]
