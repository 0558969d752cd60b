"""Waits that a flow's body adds as children: nodes with the runner `wait` (until a trigger fires) or `pause` (until a
person answers). There is nothing to run: the first execution says what is waited for, the second what has come."""

import time
from collections.abc import Callable
from typing import Any

from plait.engine.run import TaskRun
from plait.model.graph import TaskSpec
from plait.model.ids import RunId
from plait.model.outcome import TOO_LATE, ErrorInfo, Outcome, RetryVerdict, Stored, Verdict
from plait.model.stimuli import ExecutionFinished, Stimulus
from plait.model.wire import Execution

WAITS = "waits"
"""The name of the executor that such nodes ask for."""


def spec_of_wait(
    name: str,
    *,
    trigger: dict[str, Any] | None,
    schema: dict[str, Any] | None,
    prompt: str,
    timeout: float | None,
) -> TaskSpec:
    """The node of a wait."""
    about = {"trigger": trigger, "schema": schema, "prompt": prompt, "timeout": timeout}
    return TaskSpec(key=name, runner="pause" if trigger is None else "wait", executor=WAITS, metadata=about)


class WaitNodes:
    """Answers their executions. `put` stores a result under a name."""

    def __init__(self, post: Callable[[RunId, Stimulus], None], put: Callable[[Any, str], Stored]):
        self._post = post
        self._put = put

    def execute(self, task: TaskRun, execution: Execution) -> None:
        """An execution was handed out."""
        outcome = self._outcome(task.node.spec.metadata, execution)
        run_id, token = execution.run.run_id, execution.token
        self._post(run_id, ExecutionFinished(no=execution.no, token=token, outcome=outcome))

    def _outcome(self, about: dict[str, Any], execution: Execution) -> Outcome:
        now = time.time()
        told = execution.resume
        if told is None:
            verdict = Verdict.PAUSE if about["trigger"] is None else Verdict.DEFER
            return Outcome(
                verdict=verdict,
                trigger=about["trigger"],
                schema=about["schema"],
                prompt=about["prompt"],
                timeout=about["timeout"],
                started_at=now,
                finished_at=now,
            )
        if told.get("error") is not None:
            kind = "WaitTimeout" if told["error"] == TOO_LATE else "TriggerFailed"
            error = ErrorInfo(type=kind, message=told["error"])
            return Outcome(
                verdict=Verdict.FAILED, error=error, retry=RetryVerdict.NEVER, started_at=now, finished_at=now
            )
        value = told["input"] if "input" in told else told.get("event")
        name = f"{execution.run.run_id}/{execution.no}/{execution.token}/result"
        return Outcome(outputs={"result": self._put(value, name)}, started_at=now, finished_at=now)
