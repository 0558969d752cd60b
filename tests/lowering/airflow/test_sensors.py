"""Airflow: sensors, deferrals, waits for other DAGs.

Sources: `semantics/airflow.md` ("Operators and their kwargs", "Rare, so later"); Airflow 3.3 documentation,
core-concepts/sensors ("Timeouts"), authoring-and-scheduling/deferring, howto/operator/external_task_sensor; task-sdk
1.3.2 `bases/sensor.py`; core 3.3.2 `jobs/scheduler_job_runner.py` (`check_trigger_timeouts`).
"""

import pytest

from plait.model.graph import WatchSpec
from plait.model.outcome import Outcome, RetryVerdict, Verdict
from plait.model.policies import LimitUse
from plait.model.wire import Execution
from plait.testing import World, WorldRun, failure
from tests.lowering.building import FAILS, HOUR, MINUTE, NEVER_AGAIN, OK, SKIPS, dag, hook, retries

TODAY, YESTERDAY = "2026-03-28T00:00:00+00:00", "2026-03-27T00:00:00+00:00"


def every(world: World, seconds: float):
    """A sensor that never sees what it looks for."""
    return lambda execution: Outcome(verdict=Verdict.RESCHEDULE, until=world.clock.now() + seconds)


def test_a_rescheduled_sensor_burns_no_attempt_and_times_out_from_its_first_poke():
    """core-concepts/sensors, "Timeouts": in mode reschedule the timeout counts from the first poke, over all of them;
    a sensor that times out is not retried."""
    world = World()
    run = world.start(
        dag("wait > load", {"wait": {"wait_timeout": HOUR, **retries(3, 60)}}), {"wait": every(world, 1500)}
    )
    world.run_out()
    assert run.begun_at("wait") == [0, 1500, 3000, 3600]
    assert run.states == {"wait": "failed", "load": "upstream_failed"}
    assert run.task("wait").attempt == 1


def test_a_sensors_retry_after_an_error_keeps_the_first_pokes_time():
    """core-concepts/sensors, "Timeouts": an error of the poke is retried, and the timeout is not reset by that."""
    world = World()

    def poke(execution: Execution) -> Outcome:
        if world.clock.now() == world.began:
            return FAILS
        return Outcome(verdict=Verdict.RESCHEDULE, until=world.clock.now() + 1200)

    run = world.start(dag("wait", {"wait": {"wait_timeout": HOUR, **retries(2, 600)}}), {"wait": poke})
    world.run_out()
    assert run.begun_at("wait") == [0, 600, 1800, 3000, 3600]
    assert (run.states, run.task("wait").attempt) == ({"wait": "failed"}, 2)


def test_soft_fail_skips_a_sensor_that_times_out_and_what_is_below_it():
    """bases/sensor.py: soft_fail turns AirflowSensorTimeout into AirflowSkipException."""
    world = World()
    options = {"wait": {"wait_timeout": HOUR, "soft_fail": True}}
    run = world.start(dag("wait > load", options), {"wait": every(world, 600)})
    world.run_out()
    assert (run.states, run.state) == ({"wait": "skipped", "load": "skipped"}, "success")


def test_never_fail_skips_a_sensor_whose_poke_raises():
    """bases/sensor.py: never_fail (and soft_fail on AirflowFailException) is told by the worker as a skip."""
    run = World().start(dag("wait > load", {"wait": retries(3, 60)}), {"wait": SKIPS})
    assert run.states == {"wait": "skipped", "load": "skipped"}


def test_a_sensor_in_poke_mode_holds_its_slot():
    """core-concepts/sensors: mode poke takes up a worker slot for its whole time. It is one long execution."""
    world = World()
    world.limit(pool__default_pool=1)
    uses = {"limits": (LimitUse(key="pool:default_pool"),)}
    run = world.start(dag("wait, load", {"wait": uses, "load": uses}), {"wait": None})
    world.advance(HOUR)
    assert run.states == {"wait": "dispatched", "load": "ready"}
    run.answer("wait")
    assert run.state == "success"


# --- deferring --------------------------------------------------------------------------------------------------------


def deferral(world: World, resumed: Outcome = OK, **more: float) -> tuple[WorldRun, list[object]]:
    """A deferrable operator: its first execution defers, the one that resumes ends like that."""
    told: list[object] = []

    def operator(execution: Execution) -> Outcome:
        if execution.resume is None:
            return Outcome(verdict=Verdict.DEFER, trigger={"kind": "event", "path": "DateTimeTrigger"}, **more)
        told.append(execution.resume)
        return resumed

    world.limit(pool__default_pool=1)
    options = {"wait": {"limits": (LimitUse(key="pool:default_pool"),), **retries(1, 300)}}
    return world.start(dag("wait > load", options), {"wait": operator}), told


def test_a_deferral_frees_its_slot_and_resumes_with_the_event():
    """authoring-and-scheduling/deferring: the task leaves its worker and its slot; when the trigger fires it is
    scheduled again and `execute_complete` gets the event. It is the same try."""
    world = World()
    run, told = deferral(world)
    assert run.states["wait"] == "deferred"
    assert (world.store.slots(), list(world.triggers.values())) == ([], [{"kind": "event", "path": "DateTimeTrigger"}])
    run.fire("wait", {"moment": 1})
    assert told == [{"event": {"moment": 1}, "error": None}]
    assert (run.task("wait").attempt, run.state) == (1, "success")


def test_a_deferral_that_times_out_fails_by_the_retry_policy():
    """scheduler_job_runner.py `check_trigger_timeouts`: the task is scheduled again with an error, which its worker
    raises (TaskDeferralTimeout); so retries apply, and a new try defers anew."""
    world = World()
    run, told = deferral(world, FAILS, timeout=HOUR)
    world.run_out()
    assert (len(told), run.task("wait").attempt) == (2, 2)
    assert run.begun_at("wait") == [0, HOUR, HOUR + 300, 2 * HOUR + 300]
    assert run.states == {"wait": "failed", "load": "upstream_failed"}


def test_a_deferrable_sensor_that_times_out_is_not_retried():
    """bases/sensor.py, `resume_execution`: TaskDeferralTimeout becomes AirflowSensorTimeout, which forces a failure."""
    world = World()
    run, _ = deferral(world, failure("AirflowSensorTimeout: late", retry=RetryVerdict.NEVER), timeout=HOUR)
    world.run_out()
    assert (run.states["wait"], run.task("wait").attempt) == ("failed", 1)


def test_a_trigger_that_fails_resumes_with_its_error():
    """authoring-and-scheduling/deferring: a trigger that raises makes its task fail with TaskDeferralError."""
    world = World()
    run, told = deferral(world, NEVER_AGAIN)
    run.fire("wait", error="ValueError: no such job")
    assert told == [{"event": None, "error": "ValueError: no such job"}]
    assert run.states["wait"] == "failed"


# --- other DAGs -------------------------------------------------------------------------------------------------------


def sensor(**more: object) -> dict[str, object]:
    """An ExternalTaskSensor on upstream.final, with allowed, failed and skipped states."""
    watch = WatchSpec(
        subject="task",
        workflow="upstream",
        task="final",
        states=("success",),
        failing=("failed",),
        skipping=("skipped",),
    )
    return {"runner": "noop", "watches": (watch,), "hooks": (hook("failed"),), **more}


@pytest.mark.parametrize(
    ("fate", "expected", "state"),
    [
        (OK, {"wait": "success", "load": "success"}, "success"),
        (FAILS, {"wait": "failed", "load": "upstream_failed"}, "failed"),
        (SKIPS, {"wait": "skipped", "load": "skipped"}, "success"),
    ],
)
def test_an_external_task_sensor_has_states_that_allow_fail_and_skip(fate, expected, state):
    """howto/operator/external_task_sensor: allowed_states, failed_states, skipped_states. A failed one fails the
    sensor itself, with its callbacks."""
    world = World()
    run = world.start(dag("wait > load", {"wait": sensor()}), logical_date=TODAY)
    world.start(dag("final", name="upstream"), {"final": fate}, logical_date=TODAY)
    assert (run.states, run.state) == (expected, state)
    assert run.hooks == (["wait:on_failed:0"] if fate is FAILS else [])


def test_an_external_task_sensor_that_comes_late_finds_what_is_done():
    """The external task ended before the sensor began: it is satisfied at its first poke; here at once."""
    world = World()
    world.start(dag("final", name="upstream"), logical_date=TODAY)
    assert world.start(dag("wait > load", {"wait": sensor()}), logical_date=TODAY).state == "success"


def test_execution_delta_looks_at_an_earlier_date():
    """howto/operator/external_task_sensor: `execution_delta=timedelta(days=1)` means the other DAG's run of the day
    before."""
    watch = WatchSpec(subject="task", workflow="upstream", task="final", offset=24 * HOUR)
    world = World()
    run = world.start(dag("wait", {"wait": {"runner": "noop", "watches": (watch,)}}), logical_date=TODAY)
    world.start(dag("final", name="upstream"), logical_date=TODAY)
    assert run.states == {"wait": "pending"}
    world.start(dag("final", name="upstream"), logical_date=YESTERDAY)
    assert run.states == {"wait": "success"}


def test_an_external_dag_sensor_waits_for_the_whole_run():
    """ExternalTaskSensor without an external_task_id: the state of the DAG run counts."""
    watch = WatchSpec(subject="run", workflow="upstream", failing=("failed",))
    world = World()
    run = world.start(dag("wait", {"wait": {"runner": "noop", "watches": (watch,)}}), logical_date=TODAY)
    upstream = world.start(dag("a > b", name="upstream"), {"b": None}, logical_date=TODAY)
    assert run.states == {"wait": "pending"}
    upstream.answer("b")
    assert run.states == {"wait": "success"}


@pytest.mark.parametrize(("soft", "state"), [(False, "failed"), (True, "skipped")])
def test_an_external_task_sensor_times_out(soft, state):
    """core-concepts/sensors, "Timeouts": 7 days by default; here an hour. soft_fail skips instead."""
    world = World()
    options = {"wait": sensor(wait_timeout=HOUR, soft_fail=soft)}
    run = world.start(dag("wait > load", options), logical_date=TODAY)
    world.advance(59 * MINUTE)
    assert run.states["wait"] == "pending"
    world.advance(MINUTE)
    assert (run.states["wait"], run.row.finished_at) == (state, world.clock.now())


def test_a_restart_does_not_prolong_an_external_task_sensors_time():
    """C6: a new scheduler goes on where the old one was; the limit counts from the first look."""
    world = World()
    run = world.start(dag("wait", {"wait": sensor(wait_timeout=HOUR)}), logical_date=TODAY)
    world.advance(40 * MINUTE)
    world.crash()
    world.advance(10 * MINUTE)
    run.resume()
    world.run_out()
    assert (run.states, world.clock.now()) == ({"wait": "failed"}, world.began + HOUR)
