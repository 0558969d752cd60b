"""Whether a new run may start beside those of its workflow, and when failures in a row pause the workflow."""

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from plait.model.ids import RunId
from plait.model.policies import Collision, RunPolicy
from plait.model.rows import WorkflowRow
from plait.model.states import RunState


class Admission(StrEnum):
    """The answer to a new run: start it, let it wait in line, hold it back until its workflow is not paused any more,
    cancel it, or cancel the oldest active one and let it wait."""

    START = "start"
    WAIT = "wait"
    HOLD = "hold"
    CANCEL_NEW = "cancel_new"
    CANCEL_OLDEST = "cancel_oldest"


def admit(policy: RunPolicy, active: Sequence[RunId], *, held: bool) -> Admission:
    """Decide on a new run. `active` are the workflow's runs that have started, oldest first.

    A paused workflow holds back what a trigger starts (`held`); what a person asked for runs all the same.
    """
    if held:
        return Admission.HOLD
    if policy.max_active_runs is None or len(active) < policy.max_active_runs:
        return Admission.START
    match policy.collision:
        case Collision.ENQUEUE:
            return Admission.WAIT
        case Collision.SKIP:
            return Admission.CANCEL_NEW
        case Collision.CANCEL:
            return Admission.CANCEL_OLDEST


def pause(workflow: WorkflowRow, *, paused: bool) -> WorkflowRow:
    """A person pauses a workflow, or lets it go on: then the failures before do not count any more."""
    failures = workflow.failures_in_a_row if paused else 0
    return msgspec.structs.replace(workflow, paused=paused, failures_in_a_row=failures)


def after_run(policy: RunPolicy, workflow: WorkflowRow, state: RunState) -> WorkflowRow:
    """What is remembered of a workflow after one of its runs ended: failures in a row, and the pause they lead to."""
    if state is RunState.SUCCESS:
        return msgspec.structs.replace(workflow, failures_in_a_row=0)
    if state is not RunState.FAILED:
        return workflow
    failures = workflow.failures_in_a_row + 1
    most = policy.pause_after_failures
    return msgspec.structs.replace(
        workflow, failures_in_a_row=failures, paused=workflow.paused or (most is not None and failures >= most)
    )
