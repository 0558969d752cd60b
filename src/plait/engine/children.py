"""What is added to a run while it runs: a flow's children, with replay by key; hooks; transactions.

A child's key is made by its caller from (task, input fingerprint, occurrence). In the same attempt of its parent (a
body that is replayed after a crash or a pause) a finished child is not run again; in a later attempt the parent's
`replay` policy says which come back. A child that was not over when its run was taken over is `lost`: its call lived in
the process that died, so it waits until the replayed body asks for it again; one that is never asked for again is
cancelled with its body's end.
"""

from collections import Counter
from collections.abc import Sequence

from plait.engine.leaving import retire
from plait.engine.plan import NodePlan
from plait.engine.propagate import count_upstream, evaluate, get_in_line
from plait.engine.rules import Gate
from plait.engine.run import Control, Run, TaskRun
from plait.model.errors import EngineError
from plait.model.events import ChildDiverged, ChildRecorded, TasksCleared, TransactionClosed
from plait.model.graph import HookSpec, TaskSpec
from plait.model.ids import TaskNo
from plait.model.policies import FlowReplay
from plait.model.states import TaskState
from plait.model.stimuli import ChildSubmitted, TransactionEnded


def child_node(spec: TaskSpec, nodes: dict[str, NodePlan]) -> NodePlan:
    """The compiled node of a child; equal specs share one."""
    known = nodes.get(spec.key)
    if known is None or (known.spec is not spec and known.spec != spec):
        known = nodes[spec.key] = NodePlan(spec, -1, ())
    return known


def submitted(run: Run, said: ChildSubmitted, now: float) -> None:
    """A body calls a task: replay what is recorded, or add a task run."""
    parent = run.tasks.get(said.parent)
    if parent is None or parent.terminal:
        raise EngineError(f"task run {said.parent} of run {run.run_id} is over and cannot add the child {said.key!r}")
    for no in said.upstream:
        if no not in run.tasks:
            raise EngineError(f"run {run.run_id} has no task run {no}, which {said.key!r} waits for")
    known = run.children.get((parent.no, said.key))
    unclaimed = parent.recorded.get(said.spec.key, 0) if parent.recorded is not None else 0
    if known is not None:
        if parent.recorded is not None:
            parent.recorded[said.spec.key] = unclaimed - 1
        if _comes_back(parent, known):
            if not known.terminal:
                _find_again(run, parent, known, said, now)
            return
        _give_up(run, known)
    elif unclaimed > 0:  # the body asked for this task before, with other inputs
        run.events.append(ChildDiverged(parent=parent.no, child=said.key))
    task = TaskRun(TaskNo(run.next_no), child_node(said.spec, run.child_nodes), parent.path)
    run.next_no += 1
    task.parent = parent.no
    task.parent_attempt = parent.attempt
    task.child = said.key
    task.generation = run.child_generations.get(run.place(task), 0) if run.child_generations else 0
    run.adopt(task)
    file_child(run, task)
    _take_call(run, task, said)
    run.events.append(ChildRecorded(no=task.no, parent=parent.no, key=task.key, child=said.key))
    run.touch(task)
    evaluate(run, task, now)


def file_child(run: Run, task: TaskRun) -> None:
    """Let its parent know a child (or a hook); a hook of the run has none."""
    if task.parent is None or task.child is None:
        return
    run.children[task.parent, task.child] = task
    parent = run.tasks.get(task.parent)
    if parent is not None and not task.node.hook:
        if parent.kids is None:
            parent.kids = []
        parent.kids.append(task)


def expect_replay(task: TaskRun) -> None:
    """A body begins (again): what it asked for before is what it is expected to ask for now."""
    if task.kids:
        task.recorded = Counter(kid.key for kid in task.kids if kid.current)


def _take_call(run: Run, task: TaskRun, said: ChildSubmitted) -> None:
    """What belongs to the call itself: the futures among its arguments, and the open transaction."""
    for no in task.upstream:  # of the call before, when a replayed body asks again
        upstream = run.tasks.get(no)
        if upstream is not None and upstream.dependents:
            upstream.dependents.pop(task.no, None)
    task.upstream = tuple(dict.fromkeys(said.upstream))
    task.allow_failure = said.allow_failure
    task.staged = said.transaction
    if said.transaction is not None:
        run.transactions.setdefault(said.transaction, {})[task.no] = None
    if task.state is TaskState.PENDING:
        _wire(run, task)


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


def _find_again(run: Run, parent: TaskRun, known: TaskRun, said: ChildSubmitted, now: float) -> None:
    """A child that is not over yet is asked for again by a replayed body: from now on it is this attempt's call."""
    known.lost = False
    known.parent_attempt = parent.attempt
    _take_call(run, known, said)
    run.touch(known)
    if known.state is TaskState.READY:
        get_in_line(run, known)
    else:
        evaluate(run, known, now)


def _give_up(run: Run, known: TaskRun) -> None:
    """A recorded child that runs anew makes way, with what it added itself."""
    run.events.append(TasksCleared(nos=tuple(retire(run, descendants(known), "runs anew"))))


def descendants(task: TaskRun) -> list[TaskRun]:
    """A task run and the children below it, newest generation only."""
    family = [task]
    for member in family:
        family.extend(kid for kid in member.kids or () if kid.current)
    return family


def _wire(run: Run, task: TaskRun) -> None:
    """Give a child its own gate over the futures it was given."""
    gate = Gate[TaskRun](len(task.upstream))
    gate.members.append(task)
    task.gates = (gate,)
    for no in task.upstream:
        upstream = run.tasks[TaskNo(no)]
        if upstream.terminal:
            count_upstream(task, no, upstream.state)
        else:
            if upstream.dependents is None:
                upstream.dependents = {}
            upstream.dependents[task.no] = task


def add_hooks(
    run: Run,
    task: TaskRun | None,
    hooks: Sequence[HookSpec],
    state: str,
    now: float,
    after: TaskRun | None = None,
) -> list[TaskRun]:
    """Add the hooks for `state` as task runs of their own, so that they are recorded and called at least once.

    With `after` one is called after the other, beginning when that is over (in a process that takes over: at once).
    """
    added: list[TaskRun] = []
    for index, hook in enumerate(hooks):
        if hook.on != state:
            continue
        owner = task.key if task is not None else run.plan.graph.name
        spec = TaskSpec(key=f"{owner}:on_{state}:{index}", runner="hook", code=hook.code, counts=False)
        child = TaskRun(TaskNo(run.next_no), child_node(spec, run.child_nodes), task.path if task is not None else ())
        run.next_no += 1
        child.child = f"hook:{state}:{index}"
        if task is not None and state == "retry":  # which may come more than once
            child.child += f":{task.attempt}"
        if task is not None:
            child.parent, child.generation = task.no, task.generation
        else:
            child.generation = run.child_generations.get(run.place(child), 0)
        child.control = Control(resume={"state": state, "task": task.key if task is not None else None})
        run.adopt(child)
        if task is not None:
            file_child(run, child)
        if after is not None:
            child.upstream = child.allow_failure = (after.no,)
            _wire(run, child)
            after = child
        run.touch(child)
        evaluate(run, child, now)
        added.append(child)
    return added


def transaction_ended(run: Run, said: TransactionEnded, now: float) -> None:
    """A transaction commits: its staged results are final. Or it rolls back: they are undone, newest first, and each
    before the next."""
    staged = run.transactions.pop(said.name, {})
    nos = tuple(staged) if said.ok else tuple(reversed(staged))
    last: TaskRun | None = None
    for no in nos:
        task = run.tasks.get(no)
        if task is None or task.staged != said.name:
            continue
        task.staged = None
        task.rolled_back = not said.ok
        run.touch(task)
        if task.state is TaskState.SUCCESS:
            last = close(run, task, now, last)
    run.events.append(TransactionClosed(name=said.name, ok=said.ok, nos=nos))


def close(run: Run, task: TaskRun, now: float, after: TaskRun | None = None) -> TaskRun | None:
    """A success that lies in no open transaction (any more) is committed, or undone with the one it was in: its hooks
    are called, when `after` is over. The last of them."""
    if task.staged is not None:
        return after
    added = add_hooks(run, task, task.node.spec.hooks, "rollback" if task.rolled_back else "commit", now, after)
    return added[-1] if added else after
