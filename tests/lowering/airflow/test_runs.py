"""Airflow: runs of one DAG beside and after each other, clears, retries, callbacks, triggered DAGs.

Sources: `semantics/airflow.md` (DAG and default_args histograms); Airflow 3.3 documentation, core-concepts/dags
("Control flow", "Depends on past"), core-concepts/dag-run ("Re-run tasks"), core-concepts/tasks; core 3.3.2
`models/dagrun.py`, `models/taskinstance.py`, `ti_deps/deps/prev_dagrun_dep.py`.
"""

import pytest

from plait.model.graph import WatchSpec
from plait.model.outcome import Outcome, Verdict
from plait.model.policies import LimitUse, RunPolicy
from plait.model.stimuli import MarkRequested
from plait.model.wire import Execution
from plait.testing import World, WorldRun
from tests.lowering.building import DAY, FAILS, HOUR, NEVER_AGAIN, OK, SKIPS, dag, hook, retries

DATES = [f"2026-03-{day:02}T00:00:00+00:00" for day in (26, 27, 28)]
DEPENDS_ON_PAST = {"watches": (WatchSpec(subject="past", states=("success", "skipped")),)}
"""Airflow's depends_on_past: nothing makes it fail, it waits until the task of the run before is well."""


# --- one run after the other ------------------------------------------------------------------------------------------


def test_depends_on_past_over_three_runs():
    """core-concepts/dags, "Depends on past"; prev_dagrun_dep.py: a task runs only if it succeeded or was skipped in the
    run before. After a failure the next run waits, and goes on when that failure has been cleared."""
    world = World()
    made = dag("load > report", {"load": DEPENDS_ON_PAST})
    first = world.start(made, {"load": [FAILS, OK]}, logical_date=DATES[0])
    second, third = (world.start(made, logical_date=date) for date in DATES[1:])
    world.advance(30 * DAY)
    assert [run.states["load"] for run in (first, second, third)] == ["failed", "pending", "pending"]
    assert (first.state, second.state, third.state) == ("failed", "running", "running")
    first.clear("load")
    assert [run.state for run in (first, second, third)] == ["success"] * 3
    assert [run.begun_at("load")[-1] for run in (second, third)] == [30 * DAY, 30 * DAY]


def test_depends_on_past_lets_the_first_run_and_skips_pass():
    """prev_dagrun_dep.py: no earlier run, or the earlier one was skipped: the dependency is met."""
    world = World()
    made = dag("load", {"load": DEPENDS_ON_PAST})
    assert world.start(made, {"load": SKIPS}, logical_date=DATES[0]).states == {"load": "skipped"}
    assert world.start(made, logical_date=DATES[1]).states == {"load": "success"}


def test_wait_for_downstream_waits_for_what_is_below_the_task_in_the_run_before():
    """core-concepts/tasks: wait_for_downstream (which implies depends_on_past) also waits for the tasks directly below
    the earlier instance."""
    below = WatchSpec(subject="past", task="report", states=("success", "skipped"))
    world = World()
    made = dag("load > report", {"load": {"watches": (*DEPENDS_ON_PAST["watches"], below)}})
    first = world.start(made, {"report": None}, logical_date=DATES[0])
    second = world.start(made, logical_date=DATES[1])
    assert (first.states["load"], second.states["load"]) == ("success", "pending")
    first.answer("report")
    assert second.state == "success"


def test_max_active_runs_queues_the_others_in_their_order():
    """DAG(max_active_runs=1), 25r/230f: further runs are queued and start one by one."""
    world = World()
    made = dag("load", policy=RunPolicy(max_active_runs=1))
    runs = [world.start(made, {"load": None}, logical_date=date) for date in DATES]
    assert [run.state for run in runs] == ["running", "queued", "queued"]
    runs[0].answer("load")
    assert [run.state for run in runs] == ["success", "running", "queued"]
    runs[1].answer("load", FAILS)
    assert [run.state for run in runs] == ["success", "failed", "running"]


def test_a_cleared_run_is_queued_again():
    """core-concepts/dag-run, "Re-run tasks": a cleared DAG run goes back to queued, and max_active_runs holds for
    it."""
    world = World()
    made = dag("load > report", policy=RunPolicy(max_active_runs=1))
    first = world.start(made, {"load": [FAILS, OK]}, logical_date=DATES[0])
    second = world.start(made, {"load": None}, logical_date=DATES[1])
    first.clear("load")
    assert (first.state, second.state) == ("queued", "running")
    second.answer("load")
    assert (first.state, second.state) == ("success", "success")


def test_a_run_is_cleared_in_a_process_that_has_not_seen_its_workflow():
    """The same, days later: the limit of active runs is in the definition, not in the process that declared it."""
    world = World()
    made = dag("load", policy=RunPolicy(max_active_runs=1))
    run = world.start(made, {"load": [FAILS, OK]}, logical_date=DATES[0])
    world.crash()
    run.resume()
    run.clear("load")
    assert (run.states, run.state, world.store.slots()) == ({"load": "success"}, "success", [])


def test_a_cleared_run_that_is_queued_can_be_cancelled_and_survives_a_restart():
    """C6, and the same section: a queued run is like any other."""
    world = World()
    made = dag("load", policy=RunPolicy(max_active_runs=1))
    first = world.start(made, {"load": [FAILS, OK]}, logical_date=DATES[0], session=False)
    second = world.start(made, {"load": None}, logical_date=DATES[1], session=False)
    first.clear("load")
    world.crash()
    second.resume()
    first.resume()
    assert (first.state, second.state) == ("queued", "running")
    first.cancel()
    assert (first.states, first.state, second.state) == ({"load": "cancelled"}, "cancelled", "running")


def test_max_active_tis_per_dag_counts_over_all_runs():
    """max_active_tis_per_dag (2r, 5r on @task; task_concurrency before): so many instances of the task at once, over
    all runs of the DAG. A limit of the task's own, with the size in the definition."""
    world = World()
    use = LimitUse(key="task:etl.load", size=1)
    made = dag("load", {"load": {"limits": (use,)}}, name="etl")
    first, second = (world.start(made, {"load": None}, logical_date=date) for date in DATES[:2])
    assert (first.states, second.states) == ({"load": "dispatched"}, {"load": "ready"})
    first.answer("load")
    assert second.states == {"load": "dispatched"}


def test_max_active_tasks_of_a_run():
    """DAG(max_active_tasks=2) in Airflow 3: task instances at once in one run (the number of live executions)."""
    run = World().start(dag("a, b, c", policy=RunPolicy(max_active_tasks=2)), {"a": None, "b": None, "c": None})
    assert run.live == ["a", "b"]
    run.answer("a")
    assert run.live == ["b", "c"]


def test_dagrun_timeout_fails_the_run_and_ends_what_is_open():
    """DAG(dagrun_timeout=...), 11r/68f: the run is failed, unfinished tasks become skipped (scheduler_job_runner.py).
    plait's word for them is cancelled; the table of states in docs/design/lowering.md maps it."""
    world = World()
    made = dag("slow > after; fast", policy=RunPolicy(timeout=HOUR), hooks=(hook("failed"),))
    run = world.start(made, {"slow": None})
    world.advance(HOUR)
    assert run.states == {"slow": "cancelled", "after": "cancelled", "fast": "success"}
    assert (run.state, run.row.reason) == ("failed", "timed out after 3600 s")
    assert run.hooks == ["workflow:on_failed:0"]


def test_fail_fast_ends_the_run_at_its_first_failure():
    """DAG(fail_fast=True): what runs is failed, what waits is skipped (taskinstance.py `_stop_remaining_tasks`)."""
    run = World().start(dag("bad; slow > after", policy=RunPolicy(fail_fast=True)), {"bad": FAILS, "slow": None})
    assert run.states == {"bad": "failed", "slow": "cancelled", "after": "cancelled"}
    assert run.state == "failed"


def test_fail_fast_waits_for_the_last_retry():
    """A task that is up for retry has not failed."""
    world = World()
    made = dag("bad, slow", {"bad": retries(1, 60)}, policy=RunPolicy(fail_fast=True))
    run = world.start(made, {"bad": FAILS, "slow": None})
    assert run.states == {"bad": "retry_wait", "slow": "dispatched"}
    world.advance(60)
    assert run.states == {"bad": "failed", "slow": "cancelled"}


def test_max_consecutive_failed_dag_runs_pauses_the_dag():
    """DAG(max_consecutive_failed_dag_runs=2), 3r/17f: after so many failed runs in a row the DAG is paused: what its
    schedule makes is held back, what a person starts runs."""
    world = World()
    made = dag("load", policy=RunPolicy(pause_after_failures=2))
    fates = [FAILS, OK, FAILS, FAILS]
    for fate in fates:
        world.start(made, {"load": fate}, triggered=True)
    assert world.start(made, triggered=True).state == "queued"
    assert world.start(made, {"load": FAILS}).state == "failed"
    world.scheduler.pause_workflow("workflow", paused=False)
    world.settle()
    assert [run.state for run in world.runs_of("workflow")] == [
        "failed", "success", "failed", "failed", "success", "failed"
    ]  # fmt: skip


# --- clears -----------------------------------------------------------------------------------------------------------


def test_clear_of_a_subtree():
    """core-concepts/dag-run, "Re-run tasks": the cleared task and what is downstream run again, as a further try; the
    rest keeps its state."""
    run = World().start(dag("a > b > c, d > e; a > f"), {"c": [FAILS, OK]})
    assert run.state == "failed"
    run.clear("c")
    assert run.order == ["a", "b", "f", "c", "d", "c", "e"]
    assert (run.state, run.task("c").generation, run.task("a").generation) == ("success", 1, 0)
    assert [row.state for row in run.stored("c")] == ["failed", "success"]


def test_clear_with_only_failed_leaves_successes_alone():
    """The same section, "Failed": only failed and upstream_failed instances."""
    run = World().start(dag("a, b > c"), {"b": [FAILS, OK]})
    run.clear(only_failed=True)
    assert (run.order, run.state) == (["a", "b", "b", "c"], "success")


def test_marking_a_task_success_lets_what_is_below_run():
    """A person marks a failing task as success in the UI; its process is killed, the rest goes on."""
    run = World().start(dag("slow > after"), {"slow": None})
    run.tell(MarkRequested(no=run.task("slow").no, state="success"))
    assert (run.states, run.live, run.state) == ({"slow": "success", "after": "success"}, [], "success")


# --- tries ------------------------------------------------------------------------------------------------------------


def test_airflow_fail_exception_is_not_retried():
    """core-concepts/tasks, "Special exceptions": AirflowFailException fails the task whatever retries are left."""
    run = World().start(dag("a", {"a": retries(3, 60)}), {"a": NEVER_AGAIN})
    assert (run.states, run.task("a").attempt) == ({"a": "failed"}, 1)


def test_airflow_skip_exception_skips():
    """core-concepts/tasks, "Special exceptions": AirflowSkipException."""
    assert World().start(dag("a > b"), {"a": SKIPS}).states == {"a": "skipped", "b": "skipped"}


def test_exponential_backoff_has_a_cap():
    """retry_exponential_backoff with max_retry_delay (semantics/airflow.md, default_args keys)."""
    world = World()
    run = world.start(dag("a", {"a": retries(4, 60, factor=2.0, cap=200.0)}), {"a": FAILS})
    world.run_out()
    assert run.begun_at("a") == [0, 60, 180, 380, 580]


def test_a_timeout_of_the_task_is_retried():
    """execution_timeout (9r/32f): AirflowTaskTimeout is a failure as any other."""
    world = World()
    late = Outcome(verdict=Verdict.FAILED, error=None)
    run = world.start(dag("a", {"a": {"timeout": 60.0, **retries(1, 5)}}), {"a": [late, OK]})
    world.run_out()
    assert (run.executions("a")[0].timeout, run.states, run.task("a").attempt) == (60.0, {"a": "success"}, 2)


def test_a_task_that_is_killed_is_retried():
    """A worker that dies (a zombie in Airflow's words) fails its try, and the policy decides."""
    world = World()
    run = world.start(dag("a", {"a": retries(1, 5)}), {"a": None})
    world.executor.die(run.execution("a"))
    assert run.states == {"a": "retry_wait"}
    world.advance(5)
    world.executor.die(run.execution("a"))
    world.settle()
    assert (run.states, run.state) == ({"a": "crashed"}, "failed")


# --- pools ------------------------------------------------------------------------------------------------------------


def test_a_pool_with_slots_and_priorities():
    """core-concepts/pools: tasks take pool_slots of the pool; the one with the higher priority_weight goes first."""
    world = World()
    world.limit(pool__warehouse=2)

    def task(priority: int, slots: int = 1) -> dict[str, object]:
        return {"priority": priority, "limits": (LimitUse(key="pool:warehouse", slots=slots),)}

    options = {"low": task(1), "high": task(10), "wide": task(5, 2), "mid": task(3)}
    run = world.start(dag("low, high, wide, mid", options), dict.fromkeys(options))
    assert run.live == ["high"]  # the wide one is next: nothing narrower overtakes it, or it would never start
    run.answer("high")
    assert run.live == ["wide"]
    run.answer("wide")
    assert run.live == ["mid", "low"]


def test_a_task_that_asks_for_more_than_the_pool_has_is_refused():
    """core-concepts/pools: such a task would wait for ever in Airflow; plait says so when the run is made."""
    world = World()
    world.limit(pool__warehouse=2)
    with pytest.raises(Exception, match="3 slots of the pool 'warehouse' are asked for, which has 2"):
        world.start(dag("wide", {"wide": {"limits": (LimitUse(key="pool:warehouse", slots=3),)}}))


# --- callbacks --------------------------------------------------------------------------------------------------------


def test_callbacks_of_tasks_and_runs():
    """on_failure_callback, on_success_callback, on_retry_callback (10r/143f in default_args; 5r/106f on DAGs): recorded
    executions of their own, which change no state."""
    world = World()
    calls = {"hooks": (hook("failed"), hook("success"), hook("retry"), hook("skipped"))}
    options = dict.fromkeys(("good", "bad", "none"), calls) | {"bad": {**calls, **retries(1, 5)}}
    made = dag("good, bad, none", options, hooks=(hook("success"), hook("failed")))
    run = world.start(made, {"bad": FAILS, "none": SKIPS, "workflow:on_failed:1": FAILS})
    world.run_out()
    assert run.hooks == [
        "good:on_success:1", "bad:on_retry:2", "none:on_skipped:3", "bad:on_failed:0", "workflow:on_failed:1"
    ]  # fmt: skip
    assert run.state == "failed"


def test_upstream_failed_calls_no_callback():
    """A task that never ran has nothing to call back for."""
    run = World().start(dag("bad > after", {"after": {"hooks": (hook("failed"),)}}), {"bad": FAILS})
    assert (run.states["after"], run.hooks) == ("upstream_failed", [])


# --- other DAGs -------------------------------------------------------------------------------------------------------


def triggers(wait: bool, fate: Outcome = OK) -> tuple[World, WorldRun, list[object]]:
    """A TriggerDagRunOperator: its worker renders conf and date, and asks for the run by deferring to it."""
    told: list[object] = []

    def operator(execution: Execution) -> Outcome:
        if execution.resume is None:
            wanted = {"kind": "run", "workflow": "target", "params": {"day": 1}, "wait": wait}
            return Outcome(verdict=Verdict.DEFER, trigger=wanted)
        told.append(execution.resume["event"]["state"])
        return FAILS if told[-1] in ("failed", "cancelled") else OK

    world = World()
    world.offer(dag("work", name="target"), {"work": None})
    run = world.start(dag("trigger > after", name="controller"), {"trigger": operator})
    (target,) = world.runs_of("target")
    if wait:
        assert run.states == {"trigger": "deferred", "after": "pending"}
    else:
        assert run.state == "success"
    target.answer("work", fate)
    return world, run, told


@pytest.mark.parametrize(("fate", "state"), [(OK, "success"), (FAILS, "failed")])
def test_trigger_dagrun_waits_for_completion(fate, state):
    """TriggerDagRunOperator(wait_for_completion=True) (12r/36f): it ends as its allowed and failed states say."""
    world, run, told = triggers(True, fate)
    assert (run.states["trigger"], run.state, told) == (state, state, [state])
    (target,) = world.runs_of("target")
    assert (target.row.params, target.row.parent) == (b'{"day":1}', f"{run.run_id}/{run.task('trigger').no}")


def test_trigger_dagrun_that_does_not_wait():
    """TriggerDagRunOperator's default: it succeeds as soon as the run is made."""
    world, run, told = triggers(False, FAILS)
    assert (run.state, told, len(world.runs_of("target"))) == ("success", ["running"], 1)


def test_a_restart_does_not_trigger_twice():
    """C6: the run that was started is found by its parent."""
    world = World()
    world.offer(dag("work", name="target"), {"work": None})
    wanted = {"kind": "run", "workflow": "target"}
    defers = Outcome(verdict=Verdict.DEFER, trigger=wanted)
    run = world.start(dag("trigger", name="controller"), {"trigger": [defers, OK]}, session=False)
    (target,) = world.runs_of("target")
    world.crash()
    target.resume()
    run.resume()
    assert len(world.runs_of("target")) == 1
    target.answer("work")
    assert (target.state, run.state) == ("success", "success")
