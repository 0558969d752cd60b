"""Whether a flow's run needs the process that hosts it."""

from plait.engine.run import Run
from plait.model.states import WAITING, TaskState

MOST_OPEN = 64
"""With more open task runs than this it is not looked at each: one of them will need the process."""


def is_suspended(run: Run) -> bool:
    """Whether the body of a flow has left at a wait, and all that is open besides needs no call that lives here: a
    scheduler that has only the rows can go on, and a process hosts the run again when the body is replayed."""
    body = run.current(run.plan.graph.nodes[0].key)
    if body is None or body.state is not TaskState.DEFERRED or run.open > MOST_OPEN:
        return False
    return all(
        task.terminal or task is body or (task.node.callless and task.state in WAITING) for task in run.tasks.values()
    )
