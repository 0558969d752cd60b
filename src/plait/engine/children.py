"""What is added to a run while it runs: a flow's children, with replay by key; hooks; transactions.

A child's key is made by its caller from (task, input fingerprint, occurrence). In the same attempt of its parent (a
body that is replayed after a crash or a pause) a finished child is not run again; in a later attempt the parent's
`replay` policy says which come back.
"""

from collections.abc import Sequence

from plait.engine.plan import NodePlan
from plait.engine.propagate import count_upstream, evaluate
from plait.engine.rules import Gate
from plait.engine.run import Run, TaskRun
from plait.model.errors import EngineError
from plait.model.events import ChildDiverged, ChildRecorded, TransactionClosed
from plait.model.graph import HookSpec, TaskSpec
from plait.model.ids import TaskNo
from plait.model.policies import FlowReplay
from plait.model.states import TaskState
from plait.model.stimuli import ChildSubmitted, TransactionEnded


def child_node(spec: TaskSpec, nodes: dict[str, NodePlan]) -> NodePlan:
    """The compiled node of a child; equal specs share one."""
    known = nodes.get(spec.key)
    if known is None or known.spec is not spec:
        known = nodes[spec.key] = NodePlan(spec, -1, ())
    return known


def submitted(run: Run, said: ChildSubmitted, now: float) -> None:
    """A body calls a task: replay what is recorded, or add a task run."""
    parent = run.tasks.get(said.parent)
    if parent is None or parent.terminal:
        raise EngineError(f"task run {said.parent} of run {run.run_id} is over and cannot add the child {said.key!r}")
    known = run.children.get((parent.no, said.key))
    if known is not None and _comes_back(parent, known):
        if known.lost:
            _find_again(run, known, now)
        return
    if known is None and parent.replaying and _was_asked(run, parent, said):
        run.events.append(ChildDiverged(parent=parent.no, child=said.key))
    task = TaskRun(TaskNo(run.next_no), child_node(said.spec, run.child_nodes), parent.path)
    run.next_no += 1
    if known is not None:
        task.generation = known.generation + 1
    task.parent = parent.no
    task.parent_attempt = parent.attempt
    task.child = said.key
    task.upstream = said.upstream
    task.allow_failure = said.allow_failure
    task.staged = said.transaction
    run.children[parent.no, said.key] = task
    run.adopt(task)
    wire(run, task)
    if said.transaction is not None:
        run.transactions.setdefault(said.transaction, []).append(task.no)
    run.events.append(ChildRecorded(no=task.no, parent=parent.no, key=task.key, child=said.key))
    run.touch(task)
    evaluate(run, task, now)


def _comes_back(parent: TaskRun, known: TaskRun) -> bool:
    """Whether a recorded child answers the call, or has to run anew."""
    if known.rolled_back or known.unstored or known.state is TaskState.CANCELLED:
        return False
    if known.terminal and known.staged is not None:
        return False
    if not known.terminal:
        return True
    if known.parent_attempt == parent.attempt:  # the same attempt, replayed: its failures are part of its history
        return True
    if known.state is not TaskState.SUCCESS:
        return False
    if known.parent_attempt == 0:  # kept from the generation before, when its parent was rerun from its failures
        return True
    replay = parent.node.spec.replay
    return replay is FlowReplay.ALL or (replay is FlowReplay.PERSISTED and known.persisted)


def _find_again(run: Run, known: TaskRun, now: float) -> None:
    """A child that was in flight when its process died is asked for again by the replayed body."""
    known.lost = False
    wire(run, known)
    evaluate(run, known, now)


def _was_asked(run: Run, parent: TaskRun, said: ChildSubmitted) -> bool:
    """Whether the body before the replay called the same task with other inputs (the key begins with the task's)."""
    return any(no == parent.no and known.key == said.spec.key for (no, _), known in run.children.items())


def wire(run: Run, task: TaskRun) -> None:
    """Give a child its own gate over the futures it was given."""
    gate = Gate[TaskRun](len(task.upstream))
    gate.members.append(task)
    task.gates = (gate,)
    for no in task.upstream:
        upstream = run.tasks.get(no)
        if upstream is None:
            raise EngineError(f"run {run.run_id} has no task run {no}, which {task.label()} waits for")
        if upstream.terminal:
            count_upstream(task, no, upstream.state)
        else:
            if upstream.dependents is None:
                upstream.dependents = []
            upstream.dependents.append(task)


def add_hooks(run: Run, task: TaskRun | None, hooks: Sequence[HookSpec], state: str, now: float) -> int:
    """Add the hooks for `state` as task runs of their own, so that they are recorded and called at least once."""
    added = 0
    for index, hook in enumerate(hooks):
        if hook.on != state:
            continue
        owner = task.key if task is not None else run.plan.graph.name
        spec = TaskSpec(key=f"{owner}:on_{state}:{index}", runner="hook", code=hook.code, counts=False)
        child = TaskRun(TaskNo(run.next_no), NodePlan(spec, -1, ()), task.path if task is not None else ())
        run.next_no += 1
        child.parent = task.no if task is not None else None
        child.child = f"hook:{state}:{index}"
        child.resume = {"state": state, "task": task.key if task is not None else None}
        if task is not None:
            run.children[task.no, child.child] = child
        run.adopt(child)
        run.touch(child)
        evaluate(run, child, now)
        added += 1
    return added


def transaction_ended(run: Run, said: TransactionEnded, now: float) -> None:
    """A transaction commits: its staged results are final. Or it rolls back: they are undone, newest first."""
    nos = tuple(reversed(run.transactions.pop(said.name, [])))
    for no in nos:
        task = run.tasks.get(no)
        if task is None or task.staged != said.name:
            continue
        if said.ok:
            task.staged = None
            add_hooks(run, task, task.node.spec.hooks, "commit", now)
        else:
            task.rolled_back = True
            if task.state is TaskState.SUCCESS:
                add_hooks(run, task, task.node.spec.hooks, "rollback", now)
        run.touch(task)
    run.events.append(TransactionClosed(name=said.name, ok=said.ok, nos=nos))
