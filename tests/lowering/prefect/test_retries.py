"""Prefect: retries, timeouts, crashes, caching, hooks.

Source: `semantics/prefect.md`, "Retries, timeouts", "Caching and results", "Flows, params, subflows, hooks", and the
table of switches between 2.x and 3.x.
"""

import pytest

from plait.model.graph import TaskSpec
from plait.model.outcome import ErrorInfo, Outcome, Verdict
from plait.model.policies import CachePolicy, FlowReplay, Jitter, RetryPolicy
from plait.testing import Body, World, failure
from tests.lowering.building import FAILS, MINUTE, NEVER_AGAIN, OK, flow, hook, retries


def calls(*tasks: TaskSpec):
    """A flow that calls these tasks one after the other."""

    def body(body: Body):
        for task in tasks:
            yield body.submit(task)

    return body


def test_retries_with_a_list_of_delays_whose_last_value_repeats():
    """ "Retries, timeouts": retries=n is n+1 attempts; of a list the last value repeats. The seed's extract_data has
    [60, 300, 1800] (seed/cases/prefect/prefect_etl.py)."""
    task = TaskSpec(key="extract_data", **retries(4, 60, 300, 1800))
    world = World()
    run = world.start(flow("etl"), {"etl": calls(task), "extract_data": FAILS})
    world.run_out()
    assert run.begun_at("extract_data") == [0, 60, 360, 360 + 30 * MINUTE, 360 + 60 * MINUTE]
    assert (run.task("extract_data").attempt, run.task("extract_data").state.value) == (5, "failed")


def test_a_jittered_delay_is_the_workers_in_prefect_2():
    """The switches: retry_jitter_factor is applied in 2.x (delay 1 s, factor 0.9 gave 0.09 s) and ignored by 3.x's
    client. The worker of that version draws it, and its delay travels in the outcome."""
    task = TaskSpec(key="extract", **retries(1, 1.0))
    world = World()
    jittered = failure(retry_delay=0.09)
    run = world.start(flow(), {"flow": calls(task), "extract": [jittered, OK]})
    world.run_out()
    assert run.begun_at("extract") == [0, pytest.approx(0.09)]


def test_a_jitter_factor_spreads_the_delay():
    """The same as a policy of plait's own: the delay grows by up to the factor, and a replay draws the same."""
    task = TaskSpec(key="extract", **retries(3, 10.0, jitter=Jitter.FACTOR, jitter_factor=0.5))
    times = []
    for _ in range(2):
        world = World()
        run = world.start(flow(), {"flow": calls(task), "extract": FAILS})
        world.run_out()
        times.append(run.begun_at("extract"))
    gaps = [after - before for before, after in zip(times[0], times[0][1:], strict=False)]
    assert all(10 <= gap <= 15 for gap in gaps)
    assert len(set(gaps)) == 3
    assert times[0] == times[1]


def test_a_retry_condition_that_says_no():
    """retry_condition_fn: falsy, or raising, means no retry; it is asked where the exception is."""
    task = TaskSpec(key="extract", **retries(3, 60))
    run = World().start(flow(), {"flow": calls(task), "extract": NEVER_AGAIN})
    assert (run.task("extract").attempt, run.task("extract").state.value) == (1, "failed")


def test_a_returned_failed_state_is_retried():
    """ "Tasks: `return Failed()`" counts as a retryable failure."""
    task = TaskSpec(key="extract", **retries(1, 0))
    returned = Outcome(verdict=Verdict.FAILED, error=ErrorInfo(type="FailedRun", message="returned a failed state"))
    world = World()
    run = world.start(flow(), {"flow": calls(task), "extract": [returned, OK]})
    world.run_out()
    assert (run.task("extract").attempt, run.state) == (2, "success")


def test_a_timeout_is_retried_and_a_crash_is_not():
    """ "Retries, timeouts": TimedOut is retryable, Crashed is not."""
    policy = RetryPolicy(limit=1, on_crash=False)
    late = failure("TaskTimeout: Task run exceeded timeout of 0.5 second(s)")
    world = World()
    tasks = (TaskSpec(key="late", timeout=0.5, retry=policy), TaskSpec(key="crash", retry=policy))
    script = {"flow": calls(*tasks), "late": late, "crash": failure("KeyboardInterrupt: ", verdict=Verdict.CRASHED)}
    run = world.start(flow(), script)
    world.run_out()
    assert [(run.task(key).state.value, run.task(key).attempt) for key in ("late", "crash")] == [
        ("failed", 2), ("crashed", 1)
    ]  # fmt: skip


def test_retries_belong_to_the_task_and_the_flow_apart():
    """Flow retries accept a number only: the body runs again, with its own attempts."""
    task = TaskSpec(key="extract", **retries(1, 5))
    world = World()

    def body(body: Body):
        extract = body.submit(task)
        yield extract
        return OK if extract.state.value == "success" else FAILS

    run = world.start(flow(**retries(1, 30)), {"flow": body, "extract": [FAILS, FAILS, FAILS, OK]})
    world.run_out()
    assert run.begun_at("extract") == [0, 5, 35, 40]
    assert (run.task("flow").attempt, run.state) == (2, "success")


# --- flow retries and what comes back ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("replay", "persisted", "times"),
    [
        (FlowReplay.ALL, False, 1),
        (FlowReplay.PERSISTED, False, 3),
        (FlowReplay.PERSISTED, True, 1),
    ],
    ids=["Prefect 2", "Prefect 3", "Prefect 3 with persist_result"],
)
def test_a_flow_retry_with_and_without_persisted_results(replay, persisted, times):
    """The switches, `flow(retries)`: in 2.x tasks that were successful are not run again (1 run), in 3.x they are,
    unless their result is persisted (3 runs; with persist_result=True 1)."""

    def body(body: Body):
        yield body.submit("extract")
        return FAILS if body.task.attempt < 3 else OK

    world = World()
    run = world.start(flow(replay=replay, **retries(2, 1)), {"flow": body, "extract": Outcome(persisted=persisted)})
    world.run_out()
    assert (len(run.executions("extract")), run.state) == (times, "success")


def test_a_flow_retry_runs_a_failed_subflow_again_and_reuses_a_completed_one():
    """ "Flows, params, subflows, hooks": on parent retry the completed child is reused from its state, also where tasks
    are run again; the failed child is re-run. A subflow's worker says that its state is kept (`persisted`)."""

    def parent(body: Body):
        good = body.submit(TaskSpec(key="good", runner="flow"))
        bad = body.submit(TaskSpec(key="bad", runner="flow"))
        yield [good, bad]
        return OK if bad.state.value == "success" else FAILS

    def good(body: Body):
        yield body.submit("inner")
        return Outcome(persisted=True)

    world = World()
    run = world.start(flow(**retries(1, 1)), {"flow": parent, "good": good, "bad": [FAILS, OK]})
    world.run_out()
    assert [len(run.executions(key)) for key in ("good", "inner", "bad")] == [1, 1, 2]
    assert run.state == "success"


# --- caching ----------------------------------------------------------------------------------------------------------


def test_a_cached_result_is_a_success_that_did_not_run():
    """ "Caching and results": the second identical call is in state Cached (Completed). The worker finds it under the
    key of the policy; the task run is a success, marked as cached."""
    task = TaskSpec(key="extract", cache=CachePolicy(inputs=True, source=True, run=True))

    def body(body: Body):
        yield body.submit(task, 1)
        yield body.submit(task, 1)

    run = World().start(flow(), {"flow": body, "extract": [OK, Outcome(cached=True)]})
    assert [task.cached for task in run.run.tasks.values() if task.key == "extract"] == [False, True]
    assert run.state == "success"


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_hooks_of_flows_and_tasks():
    """ "Hooks": on_completion, on_failure, on_crashed, on_cancellation. They are of the body's node and of tasks; one
    that fails is recorded, and the rest run."""
    task = TaskSpec(key="extract", hooks=(hook("failed"), hook("success")))
    every = tuple(hook(on) for on in ("success", "failed", "crashed", "cancelled"))
    script = {"flow": calls(task), "extract": FAILS, "flow:on_success:0": FAILS}
    run = World().start(flow(hooks=every), script)
    assert (run.hooks, run.state) == (["extract:on_failed:0", "flow:on_success:0"], "success")


def test_hooks_of_a_cancelled_flow_run_although_its_process_was_killed():
    """ "Hooks": on_cancellation is run by the runner if the process died. Here it is a recorded execution."""
    run = World().start(flow(hooks=(hook("cancelled"),)), {"flow": None})
    run.cancel()
    assert (run.hooks, run.state) == (["flow:on_cancelled:0"], "cancelled")
