"""Where what a body calls is to run."""

from typing import Any

from plait.authoring.dag import Dag
from plait.authoring.flow import Flow

CALLER = "caller"
"""On the thread (or event loop) that calls."""
HOST = "host"
"""In the process that hosts the run: bodies of flows."""
RUNS = "runs"
"""As a run of its own."""


def executor_of(callee: Any, default: str) -> str:
    """Where a submitted task or flow runs: a flow's body only in this process."""
    if isinstance(callee, (Dag, Flow)):
        return HOST
    return callee.options_.executor or default


def runs_elsewhere(callee: Any, default: str) -> bool:
    """Whether a plain call, too, runs on an executor: a dag, a task that names one, and one that has to be ended on
    time, which its caller's thread could not be."""
    if isinstance(callee, Dag):
        return True
    if isinstance(callee, Flow):
        return False
    chosen = callee.options_.executor
    return chosen is not None or default == "processes" or callee.options_.timeout is not None
