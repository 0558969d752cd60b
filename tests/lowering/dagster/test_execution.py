"""Dagster: order, priorities, pools, retries, re-execution, hooks.

Source: `semantics/dagster.md`, "Execution order in-process", "Queue & limits", "Retries", "Re-execution", "Hooks",
"Executors".
"""

import itertools

from plait.model.outcome import RetryVerdict, Verdict
from plait.model.policies import Jitter, LimitUse, RunPolicy
from plait.testing import World, failure
from tests.lowering.building import FAILS, HOUR, NEVER_AGAIN, OK, hook, job, retries

# --- order ------------------------------------------------------------------------------------------------------------


def test_priorities():
    """ "Execution order": ready steps by `dagster/priority`, highest first; equal ones in the order of the graph, into
    which the dialect puts them by their keys."""
    options = {"a": {}, "b": {}, "urgent": {"priority": 10}, "later": {"priority": -1}}
    world = World(room=1)
    run = world.start(job("a, b, urgent, later", options))
    assert run.order == ["urgent", "a", "b", "later"]


def test_a_priority_counts_among_what_is_ready():
    """The same: a high priority does not overtake its own upstream, and is first once it is ready."""
    world = World(room=1)
    run = world.start(job("a > urgent; b > last", {"urgent": {"priority": 5}}))
    assert run.order == ["a", "urgent", "b", "last"]


def test_max_concurrent_of_an_executor():
    """ "Executors": multiprocess max_concurrent: so many steps of one run at once."""
    run = World().start(job("a, b, c", policy=RunPolicy(max_active_tasks=2)), dict.fromkeys("abc"))
    assert run.live == ["a", "b"]


def test_concurrency_pools():
    """ "Queue & limits": op slots of a pool, claimed per step, over all runs; a pool without a limit bounds nothing
    (Dagster's pools need not be declared: their keys are `concurrency:<name>`, which plait takes as it comes)."""
    options = {"a": {"limits": (LimitUse(key="concurrency:db"), LimitUse(key="concurrency:free"))}}
    world = World()
    world.limit(concurrency__db=1)
    first, second = (world.start(job("a", options), {"a": None}) for _ in range(2))
    assert (first.states, second.states) == ({"a": "dispatched"}, {"a": "ready"})
    first.answer("a")
    assert second.states == {"a": "dispatched"}


def test_the_slots_of_a_dead_process_are_free_again():
    """ "Queue & limits": slots of dead runs are freed only with run_monitoring in Dagster; here with the lease."""
    options = {"a": {"limits": (LimitUse(key="concurrency:db"),)}}
    world = World()
    world.limit(concurrency__db=1)
    first = world.start(job("a", options), {"a": None})
    world.crash()
    second = world.start(job("a", options), {"a": None})
    assert (first.state, second.states) == ("crashed", {"a": "dispatched"})


def test_max_runtime_ends_a_run():
    """`dagster/max_runtime` (50 uses): the run is failed when it takes longer."""
    world = World()
    run = world.start(job("slow > after", policy=RunPolicy(timeout=HOUR)), {"slow": None})
    world.run_out()
    assert (run.state, run.row.reason) == ("failed", "timed out after 3600 s")


# --- retries ----------------------------------------------------------------------------------------------------------


def exponential(limit: int, delay: float) -> tuple[float, ...]:
    """Dagster's EXPONENTIAL backoff: (2^n - 1) times the delay, as a list."""
    return tuple((2**n - 1) * delay for n in range(1, limit + 1))


def test_an_exponential_backoff():
    """ "Retries": EXPONENTIAL `(2^n - 1)*d`."""
    world = World()
    run = world.start(job("a", {"a": retries(3, *exponential(3, 10))}), {"a": FAILS})
    world.run_out()
    assert run.begun_at("a") == [0, 10, 40, 110]


def test_a_linear_backoff():
    """ "Retries": LINEAR `n*d`."""
    world = World()
    run = world.start(job("a", {"a": retries(3, 10, 20, 30)}), {"a": FAILS})
    world.run_out()
    assert run.begun_at("a") == [0, 10, 30, 60]


def test_jitter():
    """ "Retries": FULL `rand*delay`, PLUS_MINUS `delay +- d`: from nothing to twice the delay."""
    for jitter, most in ((Jitter.FULL, 10), (Jitter.PLUS_MINUS, 20)):
        world = World()
        run = world.start(job("a", {"a": retries(5, 10.0, jitter=jitter)}), {"a": FAILS})
        world.run_out()
        times = run.begun_at("a")
        gaps = [after - before for before, after in itertools.pairwise(times)]
        assert all(0 <= gap <= most for gap in gaps)
        assert len(set(gaps)) == 5


def test_a_failure_that_allows_no_retries():
    """ "Retries": `Failure(allow_retries=False)` stops."""
    run = World().start(job("a", {"a": retries(3, 10)}), {"a": NEVER_AGAIN})
    assert (run.states, run.task("a").attempt) == ({"a": "failed"}, 1)


def test_retry_requested_is_independent_of_the_policy():
    """ "Retries": `RetryRequested(max_retries=2, seconds_to_wait=5)`, on an op without a policy."""
    asked = failure("RetryRequested: not yet", retry=RetryVerdict.ALWAYS, retry_limit=2, retry_delay=5.0)
    world = World()
    run = world.start(job("a > b"), {"a": asked})
    world.run_out()
    assert (run.begun_at("a"), run.states) == ([0, 5, 10], {"a": "failed", "b": "upstream_failed"})


def test_waiting_steps_do_not_block_others():
    """ "Retries": waiting steps do not block others."""
    world = World(room=1)
    run = world.start(job("a, b", {"a": retries(1, 60)}), {"a": [FAILS, OK]})
    assert run.states == {"a": "retry_wait", "b": "success"}
    world.advance(60)
    assert run.state == "success"


# --- re-execution -----------------------------------------------------------------------------------------------------


def test_a_retry_from_failure_runs_failed_and_downstream_only():
    """ "Re-execution": ReexecutionOptions.from_failure runs failed + downstream only; the values of what is not run
    again are those of the run before."""
    run = World().start(job("a > bad > below > further; a > good"), {"bad": [FAILS, OK]})
    run.clear(only_failed=True)
    assert run.order == ["a", "bad", "good", "bad", "below", "further"]
    assert run.state == "success"


def test_a_retry_from_failure_runs_again_what_was_skipped_below_it():
    """The same: a step below the failed one that had run already (by another input) runs again with it."""
    made = job("bad > cleanup > last; good > cleanup", {"cleanup": {"trigger_rule": "all_done"}})
    run = World().start(made, {"bad": [FAILS, OK]})
    run.clear(only_failed=True)
    assert run.order[3:] == ["last", "bad", "cleanup", "last"]


def test_run_level_retries_from_failure():
    """ "Re-execution": run_retries.max_retries; the default strategy is FROM_FAILURE. The run goes on as a further
    generation of its failures, instead of ending."""
    run = World().start(job("a > bad > below", policy=RunPolicy(reruns=2)), {"bad": [FAILS, FAILS, OK]})
    assert (run.order, run.state) == (["a", "bad", "bad", "bad", "below"], "success")
    assert run.task("bad").generation == 2


def test_run_level_retries_of_all_steps():
    """ "Re-execution": `dagster/retry_strategy` ALL_STEPS (57 uses of the tag)."""
    policy = RunPolicy(reruns=1, rerun_whole=True)
    run = World().start(job("a > bad > below", policy=policy), {"bad": [FAILS, OK]})
    assert (run.order, run.state) == (["a", "bad", "a", "bad", "below"], "success")


def test_run_level_retries_run_out_and_count_those_by_hand():
    """ "Re-execution": counted over the run group, including manual retries."""
    run = World().start(job("bad > below", policy=RunPolicy(reruns=1)), {"bad": [FAILS, FAILS, FAILS, OK]})
    assert (run.order, run.state) == (["bad", "bad"], "failed")
    run.clear(only_failed=True)
    assert (run.order, run.state) == (["bad", "bad", "bad"], "failed")


def test_a_run_that_is_cancelled_is_not_retried():
    """A cancel is no failure."""
    run = World().start(job("a", policy=RunPolicy(reruns=3)), {"a": None})
    run.cancel()
    assert (run.order, run.state) == (["a"], "cancelled")


def test_a_run_level_retry_waits_for_steps_that_still_run():
    """A run fails at its end, so its retry begins there."""
    run = World().start(job("bad, slow", policy=RunPolicy(reruns=1)), {"bad": [FAILS, OK], "slow": None})
    assert run.states == {"bad": "failed", "slow": "dispatched"}
    run.answer("slow")
    assert (run.order, run.state) == (["bad", "slow", "bad"], "success")


# --- hooks ------------------------------------------------------------------------------------------------------------


def test_success_and_failure_hooks():
    """ "Hooks": per step; they do not fire on retried attempts (HOOK_SKIPPED)."""
    world = World()
    hooks = {"hooks": (hook("success"), hook("failed"))}
    run = world.start(job("a > b", {"a": {**hooks, **retries(1, 5)}, "b": hooks}), {"a": FAILS})
    world.run_out()
    assert run.hooks == ["a:on_failed:1"]


def test_a_hook_that_fails_fails_nothing():
    """ "Hooks": HOOK_ERRORED; the step and the run keep their states."""
    run = World().start(job("a", {"a": {"hooks": (hook("success"),)}}), {"a:on_success:0": FAILS})
    assert (run.states, run.state) == ({"a": "success"}, "success")


def test_a_step_whose_process_dies():
    """ "Executors": one process per step; a crash is a STEP_FAILURE, which the retry policy may try again."""
    world = World()
    run = world.start(job("a > b", {"a": retries(1, 0)}), {"a": [failure(verdict=Verdict.CRASHED), OK]})
    world.run_out()
    assert (run.task("a").attempt, run.state) == (2, "success")
