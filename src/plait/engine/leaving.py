"""How a task run leaves without an execution's report: what it holds and waits for outside is given up first.

Everything that takes a task run out of the line (a trigger rule, a mark, a cancel, a clear) goes through here, so that
no slot, no event wait and no live execution is left behind.
"""

from collections.abc import Sequence

from plait.engine.run import Run, TaskRun
from plait.model.commands import CancelExecution, ReleaseSlots, StartTrigger
from plait.model.events import TaskResolved
from plait.model.ids import TaskNo
from plait.model.states import LIVE, TaskState

S = TaskState


def release(run: Run, task: TaskRun) -> None:
    """Give back the slots that a task run holds, and leave the line for them."""
    if task.node.slotless or task.state is S.PENDING:
        return
    if task.granted:
        task.granted = False
        run.released.append(task.no)
    run.commands.append(ReleaseSlots(no=task.no))


def let_go(run: Run, task: TaskRun, reason: str) -> None:
    """Give up whatever a task run holds or waits for; a report of its execution will be refused."""
    if task.state in LIVE:
        run.commands.append(CancelExecution(no=task.no, token=task.token, reason=reason))
    elif task.state is S.DEFERRED:
        run.commands.append(StartTrigger(no=task.no, trigger=None))
    elif task.state is S.READY:
        run.unpark(task.key)
    release(run, task)


def resolve(run: Run, task: TaskRun, state: TaskState, reason: str, now: float) -> None:
    """End a task run without a report."""
    let_go(run, task, reason)
    if task.unexpanded:
        run.awaiting[task.node.scopes[len(task.path)].key].discard(task.path)
    run.move(task, state)
    task.reason = reason
    task.finished_at = now
    run.events.append(
        TaskResolved(
            no=task.no, key=task.key, path=task.path, generation=task.generation, state=state.value, reason=reason
        )
    )
    run.settled.append(task)


def cancel_task(run: Run, task: TaskRun, reason: str, now: float) -> None:
    """Cancel one task run: at once if it is not live, else by its executor, whose report ends it."""
    if task.terminal:
        return
    if task.state in LIVE:
        run.commands.append(CancelExecution(no=task.no, token=task.token, reason=reason))
    else:
        resolve(run, task, S.CANCELLED, reason, now)


def retire(run: Run, family: Sequence[TaskRun], reason: str) -> list[TaskNo]:
    """Take task runs out of the run, for other generations that take their places; parents come before what they
    added. The numbers of those that have a row."""
    return [task.no for task in reversed(family) if _retire(run, task, reason)][::-1]


def _retire(run: Run, task: TaskRun, reason: str) -> bool:
    if not task.terminal:
        let_go(run, task, reason)
    if task.state in LIVE:
        run.move(task, S.CANCELLED)
    task.current = False
    if task.has_row:
        run.touch(task)
        if task.child is None:
            run.generations[task.key, task.path] = task.generation + 1
        else:
            run.child_generations[run.place(task)] = task.generation + 1
    if task.parent is not None and task.child is not None and run.children.get((task.parent, task.child)) is task:
        del run.children[task.parent, task.child]
    run.forget(task)
    return task.has_row
