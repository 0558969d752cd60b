"""Policies of tasks and runs, as plain data: trigger rules, retries, limits, caching, outcome rules."""

from enum import StrEnum
from typing import dataclass_transform

import msgspec


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(msgspec.field,))
class Value(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of all plain values: frozen, keyword-only, defaults left out on the wire."""


class TriggerRule(StrEnum):
    """When a task may start, given its edges.

    The names and meanings are Airflow's (https://airflow.apache.org/docs/apache-airflow/stable/core-concepts/dags.html,
    "Trigger Rules"); `all_done_setup_success` is the rule of its teardown tasks, `any_input` is Dagster's fan-in (runs
    with what exists, is skipped when all are missing).
    """

    ALL_SUCCESS = "all_success"
    ALL_FAILED = "all_failed"
    ALL_DONE = "all_done"
    ALL_DONE_MIN_ONE_SUCCESS = "all_done_min_one_success"
    ALL_DONE_SETUP_SUCCESS = "all_done_setup_success"
    ALL_SKIPPED = "all_skipped"
    ONE_SUCCESS = "one_success"
    ONE_FAILED = "one_failed"
    ONE_DONE = "one_done"
    NONE_FAILED = "none_failed"
    NONE_FAILED_MIN_ONE_SUCCESS = "none_failed_min_one_success"
    NONE_SKIPPED = "none_skipped"
    ANY_INPUT = "any_input"
    ALWAYS = "always"


class Jitter(StrEnum):
    """How a retry delay is spread: `none`; `full` draws from 0 to the delay; `plus_minus` from 0 to twice the delay;
    `factor` stretches the delay by up to `RetryPolicy.jitter_factor` of itself."""

    NONE = "none"
    FULL = "full"
    PLUS_MINUS = "plus_minus"
    FACTOR = "factor"


class RetryPolicy(Value):
    """How often a failed attempt is tried again, and after how long.

    `limit`: retries after the first attempt. `delays`: seconds before each retry; the last one repeats. `factor`: each
    further retry multiplies the delay by it. `cap`: the longest delay in seconds. `on_crash`: whether an attempt whose
    worker died counts and is retried by the same policy. A condition on the error and a callable delay are answered in
    the worker, where the exception lives, and travel in the outcome (`Outcome.retry`).
    """

    limit: int = 0
    delays: tuple[float, ...] = (0.0,)
    factor: float = 1.0
    cap: float | None = None
    jitter: Jitter = Jitter.NONE
    jitter_factor: float = 0.0
    on_crash: bool = True


class LimitUse(Value):
    """What a task takes of a limit while it runs: `slots` of the limit named `key` (`pool:warehouse`, `tag:db`).

    `size`: of a limit that the definition itself declares (so many of this task, over all runs); none for one that is
    declared elsewhere.
    """

    key: str
    slots: int = 1
    size: int | None = None


class Collision(StrEnum):
    """What happens to a run that would exceed its workflow's `max_active_runs`: it waits in line (`enqueue`), is
    cancelled at once (`skip`), or takes the place of the oldest running one, which is cancelled (`cancel`)."""

    ENQUEUE = "enqueue"
    SKIP = "skip"
    CANCEL = "cancel"


class OutcomeRule(StrEnum):
    """What decides a run's final state: its leaves (Airflow), any failure (Dagster), or its body (Prefect)."""

    LEAVES = "leaves"
    ANY_FAILURE = "any_failure"
    BODY = "body"


class FlowReplay(StrEnum):
    """Which finished children a *retried* flow body gets back instead of running them again: `all` (Prefect 2),
    those whose result was `persisted` (Prefect 3), `none`. After a crash, recorded children always come back."""

    ALL = "all"
    PERSISTED = "persisted"
    NONE = "none"


class CachePolicy(Value):
    """Which parts make up a task's cache key, and how long a cached result is good.

    `inputs`, `source`, `run`: whether the input values, the task's source code, the run's id are part of the key.
    `exclude`: names of inputs that do not count. `key_fn`: the key is computed by user code in the worker.
    `expires`: seconds after which a cached result is not used. `refresh`: run, and overwrite what was cached.
    """

    inputs: bool = True
    source: bool = True
    run: bool = False
    exclude: tuple[str, ...] = ()
    key_fn: bool = False
    expires: float | None = None
    refresh: bool = False


class RunPolicy(Value):
    """Policies of a whole workflow.

    `max_active_runs`: runs at once, `collision` for the one too many. `max_active_tasks`: live executions per run.
    `timeout`: seconds from the start after which a run fails. `fail_fast`: the first failed task ends the run.
    `pause_after_failures`: after so many failed runs in a row the workflow is paused. `reruns`: how often a run that
    would fail runs its failures and what is below them again (`rerun_whole`: everything).
    """

    max_active_runs: int | None = None
    collision: Collision = Collision.ENQUEUE
    max_active_tasks: int | None = None
    timeout: float | None = None
    fail_fast: bool = False
    pause_after_failures: int | None = None
    reruns: int = 0
    rerun_whole: bool = False
