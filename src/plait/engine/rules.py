"""Trigger rules as a table over counts of edge states.

Each rule looks at a `Gate` and says `None` (wait), `READY`, or the terminal state that the task takes without
running. The meanings are Airflow's (core-concepts/dags, "Trigger Rules"); a rule answers as soon as the counts decide
it.
"""

from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from plait.model.policies import TriggerRule
from plait.model.states import TaskState

M = TypeVar("M")
NEVER_CUT = 1 << 30

READY, SKIPPED, UPSTREAM_FAILED, REMOVED = (
    TaskState.READY,
    TaskState.SKIPPED,
    TaskState.UPSTREAM_FAILED,
    TaskState.REMOVED,
)
Answer = TaskState | None


class Gate(Generic[M]):
    """Counts of the edges that come in at one depth and path prefix, and the task runs that look at them.

    `total` edges, of which `done` have a final state, split by state. Guards are counted apart: they must be satisfied
    whatever the rule. `cut_depth`: in how few mapped scopes a short-circuit lies that cut one of the edges.
    """

    __slots__ = (
        "cut", "cut_depth", "done", "failed", "guard_done", "guard_failed", "guard_skipped", "guard_total", "members",
        "not_chosen", "removed", "skipped", "success", "total", "upstream_failed",
    )  # fmt: skip

    def __init__(self, total: int = 0, guard_total: int = 0) -> None:
        self.total = total
        self.guard_total = guard_total
        self.done = self.success = self.failed = self.upstream_failed = self.skipped = self.removed = 0
        self.not_chosen = self.cut = self.guard_done = self.guard_failed = self.guard_skipped = 0
        self.cut_depth = NEVER_CUT
        self.members: list[M] = []

    def add(self, other: "Gate[M]") -> None:
        """Add another gate's counts to this one's."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.cut_depth = min(self.cut_depth, other.cut_depth)


_COUNTS = tuple(name for name in Gate.__slots__ if name not in ("cut_depth", "members"))


def merged(gates: Sequence[Gate[M]]) -> Gate[M]:
    """One gate with the counts of all of these."""
    if len(gates) == 1:
        return gates[0]
    whole = Gate[M]()
    for gate in gates:
        whole.add(gate)
    return whole


def _all_success(c: Gate[Any]) -> Answer:
    if c.failed or c.upstream_failed:
        return UPSTREAM_FAILED
    if c.skipped:
        return SKIPPED
    if c.done < c.total:
        return None
    return REMOVED if c.removed and not c.success else READY


def _all_failed(c: Gate[Any]) -> Answer:
    if c.success or c.skipped:
        return SKIPPED
    return READY if c.done == c.total else None


def _all_done(c: Gate[Any]) -> Answer:
    return READY if c.done == c.total else None


def _all_done_min_one_success(c: Gate[Any]) -> Answer:
    # For this rule a skipped task is not done: Airflow skips what is below it (ti_deps/deps/trigger_rule_dep.py).
    if c.skipped:
        return SKIPPED
    if c.done < c.total:
        return None
    return READY if c.success else UPSTREAM_FAILED


def _all_done_setup_success(c: Gate[Any]) -> Answer:
    # The setups of a teardown come in as guards: one of them that succeeded is enough, once all is done.
    if c.done < c.total or c.guard_done < c.guard_total:
        return None
    if c.guard_total and c.guard_skipped == c.guard_total:
        return SKIPPED
    if c.guard_total and c.guard_failed + c.guard_skipped == c.guard_total:
        return UPSTREAM_FAILED
    return READY


def _all_skipped(c: Gate[Any]) -> Answer:
    if c.success or c.failed or c.upstream_failed:
        return SKIPPED
    return READY if c.done == c.total else None


def _one_success(c: Gate[Any]) -> Answer:
    if c.success:
        return READY
    if c.done < c.total:
        return None
    return SKIPPED if c.done == c.skipped else UPSTREAM_FAILED


def _one_failed(c: Gate[Any]) -> Answer:
    if c.failed or c.upstream_failed:
        return READY
    return SKIPPED if c.done == c.total else None


def _one_done(c: Gate[Any]) -> Answer:
    if c.success or c.failed:
        return READY
    return SKIPPED if c.done == c.total else None


def _none_failed(c: Gate[Any]) -> Answer:
    if c.failed or c.upstream_failed:
        return UPSTREAM_FAILED
    return READY if c.done == c.total else None


def _none_failed_min_one_success(c: Gate[Any]) -> Answer:
    if c.failed or c.upstream_failed:
        return UPSTREAM_FAILED
    if c.done < c.total:
        return None
    return READY if c.success else SKIPPED


def _none_skipped(c: Gate[Any]) -> Answer:
    if c.skipped:
        return SKIPPED
    return READY if c.done == c.total else None


def _any_input(c: Gate[Any]) -> Answer:
    if c.failed or c.upstream_failed:
        return UPSTREAM_FAILED
    if c.done < c.total:
        return None
    return SKIPPED if c.skipped == c.total else READY


def _always(_: Gate[Any]) -> Answer:
    return READY


RULES: dict[TriggerRule, Callable[[Gate[Any]], Answer]] = {
    TriggerRule.ALL_SUCCESS: _all_success,
    TriggerRule.ALL_FAILED: _all_failed,
    TriggerRule.ALL_DONE: _all_done,
    TriggerRule.ALL_DONE_MIN_ONE_SUCCESS: _all_done_min_one_success,
    TriggerRule.ALL_DONE_SETUP_SUCCESS: _all_done_setup_success,
    TriggerRule.ALL_SKIPPED: _all_skipped,
    TriggerRule.ONE_SUCCESS: _one_success,
    TriggerRule.ONE_FAILED: _one_failed,
    TriggerRule.ONE_DONE: _one_done,
    TriggerRule.NONE_FAILED: _none_failed,
    TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS: _none_failed_min_one_success,
    TriggerRule.NONE_SKIPPED: _none_skipped,
    TriggerRule.ANY_INPUT: _any_input,
    TriggerRule.ALWAYS: _always,
}


def answer(rule: TriggerRule, gate: Gate[Any]) -> Answer:
    """What the counts mean for a task with this rule. Not chosen and failed guards come before the rule."""
    if gate.not_chosen or gate.cut:
        return SKIPPED
    if rule is not TriggerRule.ALL_DONE_SETUP_SUCCESS:  # which has its own say on guards
        if gate.guard_failed:
            return UPSTREAM_FAILED
        if gate.guard_skipped:
            return SKIPPED
        if gate.guard_done < gate.guard_total:
            return None
        if gate.total == 0:
            return READY
    return RULES[rule](gate)
