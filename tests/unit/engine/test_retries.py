"""Retries: how often, after how long, what a worker may say about it; and what ends an attempt without a report."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plait.engine.retries import base_delay, retry_delay
from plait.model import stimuli as s
from plait.model.commands import Execute, SetTimer
from plait.model.errors import InvalidTransition
from plait.model.events import ReportRefused, TaskDispatched, TaskFinished
from plait.model.ids import Token
from plait.model.outcome import ErrorInfo, LogSpan, Outcome, RetryVerdict, Verdict
from plait.model.policies import Jitter, RetryPolicy
from plait.model.states import TaskState
from tests.unit.engine.world import World, bad, dag, never, ok, skip


def delays(policy: RetryPolicy, failures: int, **more) -> list[float | None]:
    return [retry_delay(policy, bad(**more), attempt, f"run/1/{attempt}") for attempt in range(1, failures + 1)]


@pytest.mark.parametrize(
    ("policy", "said"),
    [
        (RetryPolicy(), [None]),
        (RetryPolicy(limit=2, delays=(30.0,)), [30, 30, None]),
        (RetryPolicy(limit=4, delays=(1.0, 5.0)), [1, 5, 5, 5, None]),
        (RetryPolicy(limit=5, delays=(2.0,), factor=2.0), [2, 4, 8, 16, 32, None]),
        (RetryPolicy(limit=5, delays=(60.0,), factor=2.0, cap=200.0), [60, 120, 200, 200, 200, None]),
        (RetryPolicy(limit=2, delays=()), [0, 0, None]),
    ],
)
def test_delays(policy: RetryPolicy, said: list[float | None]):
    assert delays(policy, len(said)) == said


def test_the_worker_may_say_how_long():
    policy = RetryPolicy(limit=1, delays=(60.0,), cap=10.0, jitter=Jitter.FULL)
    assert delays(policy, 2, retry_delay=7.5) == [7.5, None]
    assert delays(policy, 1, retry_delay=-3.0) == [0.0]


def test_the_worker_may_say_never():
    assert delays(RetryPolicy(limit=9), 1, retry=RetryVerdict.NEVER) == [None]


def test_the_worker_may_ask_for_more_than_the_policy_has():
    policy = RetryPolicy(limit=0, delays=(5.0,))
    assert delays(policy, 4, retry=RetryVerdict.ALWAYS, retry_limit=2) == [5, 5, None, None]
    assert delays(policy, 4, retry=RetryVerdict.ALWAYS) == [5, 5, 5, 5]


def test_a_crash_may_be_left_out_of_the_policy():
    crash = Outcome(verdict=Verdict.CRASHED)
    assert retry_delay(RetryPolicy(limit=1, on_crash=False), crash, 1, "") is None
    assert retry_delay(RetryPolicy(limit=1), crash, 1, "") == 0.0


LIMITS = {Jitter.NONE: (1.0, 1.0), Jitter.FULL: (0.0, 1.0), Jitter.PLUS_MINUS: (0.0, 2.0), Jitter.FACTOR: (1.0, 1.5)}


@given(st.sampled_from(Jitter), st.text(), st.integers(1, 50), st.sampled_from([None, 100.0]))
def test_jitter_is_bounded_and_drawn_from_its_seed(jitter: Jitter, seed: str, attempt: int, cap: float | None):
    policy = RetryPolicy(limit=99, delays=(3.0,), factor=3.0, cap=cap, jitter=jitter, jitter_factor=0.5)
    low, high = (bound * base_delay(policy, attempt) for bound in LIMITS[jitter])
    said = retry_delay(policy, bad(), attempt, seed)
    assert said is not None
    assert low <= said <= high or said == cap
    assert said == retry_delay(policy, bad(), attempt, seed)


def test_jitter_spreads():
    policy = RetryPolicy(limit=99, delays=(100.0,), jitter=Jitter.FULL)
    drawn = {retry_delay(policy, bad(), 1, str(seed)) for seed in range(100)}
    assert len(drawn) == 100
    assert min(drawn) < 10
    assert max(drawn) > 90


def test_a_huge_delay_stays_finite():
    assert base_delay(RetryPolicy(delays=(1e300,), factor=1e300), 9000) == 1e9


# --- in a run ---------------------------------------------------------------------------------------------------------

TWICE = {"retry": RetryPolicy(limit=2, delays=(60.0,))}


def test_a_retry_waits_and_runs_again():
    world = World(dag("a > b", {"a": TWICE}))
    world.do("a", outcome=bad("OSError: disk", log=LogSpan(segment="s1", offset=7)))
    assert world.states == {"a": "retry_wait", "b": "pending"}
    assert world.commands_of(SetTimer)[-1].at == world.now + 60
    world.jump(59.9)
    assert world.dispatch() == []
    world.jump(0.1)
    assert [task.key for task in world.dispatch()] == ["a"]
    assert world.play().states == {"a": "success", "b": "success"}
    assert (world.task("a").attempt, world.task("a").error) == (2, None)


def test_what_an_attempt_came_to_is_kept():
    world = World(dag("a", {"a": TWICE}))
    world.play({"a": [bad("OSError: one", log=LogSpan(segment="s", offset=1)), bad("OSError: two")]})
    rows = [(row.attempt, row.state, row.finished_at, b"OSError" in (row.error or b"")) for row in world.attempts]
    assert rows == [(1, "failed", 1000.0, True), (2, "failed", 1060.0, True)]
    assert [row.log for row in world.attempts] == [b'{"segment":"s","offset":1}', None]


def test_the_last_failure_is_final():
    world = World(dag("a", {"a": TWICE})).play({"a": bad()})
    assert (world.task("a").attempt, world.states["a"], world.now) == (3, "failed", 1120.0)
    assert [event.attempt for event in world.events_of(TaskDispatched)] == [1, 2, 3]
    assert len(world.events_of(TaskFinished)) == 1


def test_fail_without_retry():
    assert World(dag("a", {"a": TWICE})).play({"a": never()}).task("a").attempt == 1


def test_a_soft_failure_skips():
    soft = {"soft_fail": True}
    assert World(dag("a > b", {"a": soft})).play({"a": bad()}).states == {"a": "skipped", "b": "skipped"}
    assert World(dag("a", {"a": soft})).play({"a": never()}).states == {"a": "failed"}


def test_an_early_or_repeated_timer_changes_nothing():
    world = World(dag("a", {"a": TWICE}))
    task = world.do("a", outcome=bad())
    timer = s.TimerFired(kind="retry", no=task.no)
    world.say(timer)
    assert task.state is TaskState.RETRY_WAIT
    world.jump(60)
    world.say(timer)
    world.dispatch()
    world.say(timer)
    assert (task.state, task.attempt) == (TaskState.DISPATCHED, 2)


def test_a_lost_worker_is_one_crashed_attempt():
    world = World(dag("a", {"a": {"retry": RetryPolicy(limit=1, delays=(5.0,))}}))
    task = world.start("a")
    lost = s.ExecutionLost(no=task.no, token=task.token, reason="killed by signal 11 (segmentation fault)")
    world.say(lost)
    assert task.state is TaskState.RETRY_WAIT
    assert [(row.attempt, row.state) for row in world.attempts] == [(1, "crashed")]
    world.say(lost)
    assert len(world.events_of(ReportRefused)) == 1
    world.jump(5)
    task = world.start("a")
    world.say(s.ExecutionLost(no=task.no, token=task.token, reason="gone"))
    assert (world.states["a"], world.row.state, task.error.text) == ("crashed", "failed", "WorkerDied: gone")


def test_what_was_never_started_costs_no_attempt():
    world = World(dag("a"))
    first = world.dispatch()[0].token
    task = world.task("a")
    world.say(s.ExecutionReturned(no=task.no, token=first))
    assert (task.state, task.attempt) == (TaskState.READY, 0)
    world.dispatch()
    assert (task.attempt, task.executions) == (1, 2)
    assert task.token > first
    world.say(s.ExecutionFinished(no=task.no, token=first, outcome=bad()))
    assert task.state is TaskState.DISPATCHED
    assert world.events_of(ReportRefused) == [ReportRefused(no=task.no, token=first)]
    assert world.play().row.state == "success"


@pytest.mark.parametrize("stimulus", [s.ExecutionReturned, s.ExecutionBlocked, s.ExecutionUnblocked])
def test_a_stale_token_is_refused_and_recorded(stimulus: type):
    world = World(dag("a"))
    world.dispatch()
    task = world.task("a")
    for token in (Token(0), Token(task.token + 1)):
        world.say(stimulus(no=task.no, token=token))
    world.say(stimulus(no=99, token=task.token))
    assert task.state is TaskState.DISPATCHED
    assert len(world.events_of(ReportRefused)) == 3


def test_a_late_start_is_nobodys_business():
    world = World(dag("a"))
    task = world.start("a")
    world.finish(task)
    world.say(s.ExecutionStarted(no=task.no, token=task.token))
    assert (task.state, world.events_of(ReportRefused)) == (TaskState.SUCCESS, [])


def test_terminal_is_terminal_and_the_error_tells_the_story():
    world = World(dag("a", {"a": TWICE})).play({"a": [bad(), ok()]})
    with pytest.raises(InvalidTransition) as error:
        world.run.move(world.task("a"), TaskState.RUNNING)
    assert str(error.value) == (
        "run-1 a cannot go from success to running; its story:\n"
        "  ready\n  dispatched\n  retry_wait\n  ready\n  dispatched\n  success"
    )


def test_a_skip_by_the_worker_is_not_retried():
    assert World(dag("a", {"a": TWICE})).play({"a": skip()}).states == {"a": "skipped"}


def test_a_failure_tells_its_error_and_a_success_after_it_has_none():
    world = World(dag("a", {"a": TWICE})).play({"a": bad("ValueError: bad day")})
    assert world.task("a").error == ErrorInfo(type="ValueError", message="bad day")
    assert world.events_of(TaskFinished)[-1].error == "ValueError: bad day"


def test_every_execution_gets_its_own_token():
    world = World(dag("a, b", {"a": TWICE})).play({"a": [bad(), bad(), ok()]})
    tokens = [command.token for command in world.commands_of(Execute)]
    assert len(tokens) == 4
    assert tokens == sorted(set(tokens))
