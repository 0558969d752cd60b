"""The world around a random run: workers, watches, triggers and bodies that know only what commands told them.

What the engine forgets to command does not happen here: a run for which nobody has anything left to do hangs, and
`drain` says so.
"""

import copy
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from plait.engine.decide import decide
from plait.engine.invariants import check_run
from plait.engine.limits import RUN as WHOLE_RUN
from plait.engine.limits import runs_limit
from plait.engine.run import TaskRun
from plait.model import commands as c
from plait.model import stimuli as s
from plait.model.graph import Graph, TaskSpec
from plait.model.ids import MapElement, TaskNo, Token
from plait.model.outcome import Outcome, Verdict
from plait.model.policies import LimitUse, OutcomeRule
from plait.model.rows import RunRow, TaskRow
from plait.model.states import LIVE, RUN_TERMINAL, TERMINAL, RunState, TaskState
from tests.unit.engine.machine.folding import Fold
from tests.unit.engine.machine.graphs import SIZES
from tests.unit.engine.machine.outcomes import expected
from tests.unit.engine.world import RUN, World

S = TaskState
MOST_STEPS = 3_000
Place = tuple[str | int, ...]


class Call(msgspec.Struct, frozen=True):
    """A step of a body: it calls a task, whose futures of earlier calls it is given by their position."""

    spec: TaskSpec
    upstream: tuple[int, ...] = ()
    lenient: tuple[int, ...] = ()
    staged: bool = False
    name: str = ""


class Close(msgspec.Struct, frozen=True):
    """A step of a body: its open transaction commits, or is rolled back."""

    ok: bool


class Handed:
    """An execution that a worker has. Of a body: how far it got, what it called, how many transactions it closed."""

    def __init__(self, command: c.Execute | c.StartRun, task: TaskRun):
        self.no = command.no
        self.token = command.token
        self.label = (task.key, tuple(map(str, task.path)), task.child or "", task.no if task.child else 0)
        self.body = task.node.body
        self.cancelled = False
        self.position = 0
        self.futures: list[TaskNo] = []
        self.closed = 0
        self.staging = False
        self.blocked = False

    def __repr__(self) -> str:
        return f"{self.label[0]}{list(self.label[1])}{self.label[2]}"

    @property
    def transaction(self) -> str:
        """The name of its open transaction, or of the next one."""
        return f"{self.no}:t:{self.closed}"


class Shell(World):
    """A world whose answers come one by one, as a machine draws them."""

    def __init__(self, graph: Graph, *, lengths: dict[str, int | list[str]]):
        self.executions: dict[Token, Handed] = {}
        self.old: list[tuple[TaskNo, Token]] = []
        self.watches: dict[tuple[TaskNo, int], c.AddWatch] = {}
        self.triggers: dict[TaskNo, Token] = {}
        self.inbox: list[s.Stimulus] = []
        self.called: set[TaskNo] = set()
        self.programs: dict[Place, list[Call | Close]] = {}
        self.fold = Fold()
        self.folded_to = 0
        self.generations: dict[tuple[Place, int], int] = {}
        self.held = False
        self.granting = True
        self.whole = True
        super().__init__(graph, lengths=lengths, sizes=SIZES, admit=False)
        self.lengths = lengths
        if graph.policy.max_active_runs is not None:
            self.book.resize(runs_limit(graph.name), graph.policy.max_active_runs)
        self.get_a_place()
        self.let_go()

    def get_a_place(self) -> None:
        """The run is new, or found queued: it asks to be admitted."""
        most = self.graph.policy.max_active_runs
        if most is not None:
            self.book.request((RUN, WHOLE_RUN), (LimitUse(key=runs_limit(self.graph.name)),))
        elif self.run.state is RunState.QUEUED:
            self.inbox.append(s.RunAdmitted(lengths=self.lengths))

    # --- deciding, writing, carrying out ------------------------------------------------------------------------------

    def say(self, stimulus: s.Stimulus) -> None:
        self.whole = False
        super().say(stimulus)
        self.whole = True

    def dispatch(self, room: int = 1_000_000, executor: str | None = None) -> list[TaskRun]:
        self.whole = False
        handed = super().dispatch(room, executor)
        self.whole = True
        return handed

    def flush(self) -> None:
        """Write and carry out, unless that is held back: then more is decided first, for the same transaction."""
        if self.held:
            check_run(self.run)
            return
        self._write()
        while self.granting and self.grant():
            pass
        self.verify()

    def grant(self) -> bool:
        """Grant the next slots, if anybody may have some."""
        request = next(self.book.grantable(), None)
        if request is None:
            return False
        self.book.granted(request)
        no = TaskNo(request.owner[1])
        self.slots[no] = request.uses
        admitted = s.RunAdmitted(lengths=self.lengths) if no == WHOLE_RUN else s.SlotsGranted(no=no)
        decide(self.run, admitted, self.now)
        self._write()
        return True

    def let_go(self) -> None:
        """Write what was held back."""
        self.held, self.whole = False, False
        self.flush()
        self.whole = True

    def _carry_out(self, command: c.Command) -> None:
        match command:
            case c.Execute() | c.StartRun():
                task = self.run.tasks.get(command.no)
                if task is not None and task.token == command.token and task.state in LIVE:
                    assert command.token not in self.executions, "handed out twice"
                    assert task.child is None or task.node.callless or task.no in self.called, "its call is not known"
                    self.executions[command.token] = Handed(command, task)
            case c.CancelExecution():
                if command.token in self.executions:
                    self.executions[command.token].cancelled = True
            case c.RequestSlots():
                self._request(command)
            case c.AddWatch():
                self.watches[command.no, command.index] = command
            case c.StartTrigger():
                self.triggers.pop(command.no, None)
                task = self.run.tasks.get(command.no)
                if task is not None and command.trigger is not None:
                    self.triggers[command.no] = task.token
            case c.RunEnded():
                assert not self.slots, f"the run is over and holds {self.slots}"
                self.timers.clear()
                self.book.forget_run(RUN)
            case _:
                super()._carry_out(command)

    def _request(self, command: c.RequestSlots) -> None:
        for use in command.uses:
            if use.size is not None:
                self.book.resize(use.key, use.size)
        impossible = self.book.impossible(command.uses)
        if impossible is not None:
            self.inbox.append(s.SlotsRefused(no=command.no, reason=impossible))
        elif uses := self.book.bounded(command.uses):
            self.book.request((RUN, command.no), uses, command.priority)
        else:
            self.inbox.append(s.SlotsGranted(no=command.no))

    def deliver(self) -> None:
        """Decide the first of what waits in the inbox."""
        self.say(self.inbox.pop(0))

    # --- what workers say ---------------------------------------------------------------------------------------------

    def working(self) -> list[Handed]:
        """What workers have, in an order that does not depend on history."""
        return sorted(self.executions.values(), key=lambda handed: handed.label)

    def report(self, handed: Handed, outcome: Outcome) -> None:
        """An execution has ended. A body that ends closes its transaction first."""
        if handed.staging:
            self.close(handed, ok=outcome.verdict is Verdict.SUCCESS)
        self._gone(handed)
        self.say(s.ExecutionFinished(no=handed.no, token=handed.token, outcome=outcome))

    def lose(self, handed: Handed) -> None:
        self._gone(handed)
        self.say(s.ExecutionLost(no=handed.no, token=handed.token, reason="killed"))

    def give_back(self, handed: Handed) -> None:
        self._gone(handed)
        self.say(s.ExecutionReturned(no=handed.no, token=handed.token))

    def _gone(self, handed: Handed) -> None:
        del self.executions[handed.token]
        self.old.append((handed.no, handed.token))

    def valid(self, handed: Handed) -> TaskRun | None:
        """Its task run, if the execution is still its own."""
        task = self.run.tasks.get(handed.no)
        return task if task is not None and task.token == handed.token and task.state in LIVE else None

    # --- what bodies do -----------------------------------------------------------------------------------------------

    def can_call(self, handed: Handed) -> bool:
        """Whether a body is allowed to call anything now: it is current, goes on, and has its slots."""
        task = self.valid(handed)
        if task is None or not handed.body or self.run.state is RunState.CANCELLING or task.blocked:
            return False
        return task.node.slotless or task.granted

    def program(self, handed: Handed) -> list[Call | Close]:
        """The steps of a body, the same for each execution of it."""
        return self.programs.setdefault(self._place(self.run.tasks[handed.no]), [])

    def _place(self, task: TaskRun) -> Place:
        if task.parent is None or task.child is None:
            return (task.key, *task.path)
        return (*self._place(self.run.tasks[task.parent]), task.child)

    def step(self, handed: Handed, step: Call | Close) -> None:
        """A body does the next step of its program (or, on a replay that diverges, another one)."""
        handed.position += 1
        if isinstance(step, Close):
            if handed.staging:
                self.close(handed, ok=step.ok)
            return
        calls = len(handed.futures)
        parent = self.run.tasks[handed.no]
        self.say(
            s.ChildSubmitted(
                parent=handed.no,
                spec=step.spec,
                key=step.name or f"{step.spec.key}:{calls}",
                upstream=tuple(handed.futures[position] for position in step.upstream if position < calls),
                allow_failure=tuple(handed.futures[position] for position in step.lenient if position < calls),
                transaction=handed.transaction if step.staged else None,
            )
        )
        handed.staging = handed.staging or step.staged
        no = self.run.children[parent.no, step.name or f"{step.spec.key}:{calls}"].no
        handed.futures.append(no)
        self.called.add(no)

    def close(self, handed: Handed, *, ok: bool) -> None:
        """A body's transaction is over."""
        name = handed.transaction
        handed.staging, handed.closed = False, handed.closed + 1
        self.say(s.TransactionEnded(name=name, ok=ok))

    # --- owners -------------------------------------------------------------------------------------------------------

    def lose_owner(self) -> None:
        """The owner dies before it could write what it held back; somebody sees it, and says so."""
        self._forget()
        self.run = self.restored()
        self.say(s.OwnerLost(reason="the session died"))

    def take_over(self, *, died: bool = False, kept: Sequence[Handed] = ()) -> None:
        """Another process goes on from the rows. The executions that are `kept` go on, in workers that it knows."""
        if died:
            self.lose_owner()
        epoch = self.row.epoch + 1
        executions = {token: self.executions[token] for token in [handed.token for handed in kept]}
        self._forget(kept=kept)
        self.executions = executions
        self.run = self.restored(epoch)
        self.row = msgspec.structs.replace(self.row, epoch=epoch)
        if self.run.state in RUN_TERMINAL - {RunState.CRASHED}:
            return
        self.get_a_place()
        if self.run.state is RunState.QUEUED:
            self.let_go()
        else:
            self.say(s.OwnerChanged(epoch=epoch, kept=tuple(executions)))

    def _forget(self, kept: Sequence[Handed] | None = None) -> None:
        """Whatever only a process knows. With somebody who goes on, what is `kept` keeps its slots, and so does the
        run."""
        self.held = False
        slots = dict(self.slots)
        going_on = {handed.token for handed in kept or ()}
        kept_nos = {WHOLE_RUN, *(handed.no for handed in kept)} if kept is not None and not over(self.row) else set()
        self.old.extend(
            (handed.no, handed.token) for handed in self.executions.values() if handed.token not in going_on
        )
        self.executions.clear()
        self.called &= kept_nos
        self.watches.clear()
        self.triggers.clear()
        self.inbox.clear()
        self.timers.clear()
        self.slots.clear()
        self.book.forget_run(RUN)
        for no in kept_nos & set(slots):
            self.slots[no] = slots[no]
            self.book.adopt((RUN, no), slots[no])

    def twin(self) -> "Shell":
        """A world with the same rows, in which another process takes the run over."""
        other = copy.copy(self)
        for name, value in vars(self).items():
            if isinstance(value, (dict, list, set)) and name != "programs":
                setattr(other, name, copy.copy(value))
        other.fold = copy.deepcopy(self.fold)
        other.book = copy.deepcopy(self.book)
        other.take_over()
        return other

    # --- the end ------------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Everybody answers, all goes well, all timers fire: then the run has to end."""
        self.granting = True
        self.book.recheck()
        self.let_go()
        for _ in range(MOST_STEPS):
            if self.over:
                return
            if not self._answer():
                raise AssertionError(f"the run hangs: it is {self.run.state.value}, {self.states}, {self._children()}")
        raise AssertionError("the run never ends")

    def _answer(self) -> bool:
        """One answer of whoever owes one; false when nobody does."""
        if self.inbox:
            self.deliver()
        elif self.run.state is RunState.PAUSED:
            self.say(s.ResumeRequested())
        elif self.dispatch_all() or any(self._work(handed) for handed in self.working()):
            pass
        elif self.watches:
            no, index = min(self.watches)
            self.fire_watch(no, index)
        elif self.triggers:
            self.fire_trigger(min(self.triggers))
        elif paused := [no for no, row in self.tasks.items() if row.state == S.PAUSED.value and row.current]:
            self.say(s.InputReceived(no=TaskNo(paused[0]), data={}))
        elif (timer := self.next_timer()) is not None:
            self.jump(max(0.0, timer.at - self.now))
        else:
            return False
        return True

    def fire_watch(self, no: TaskNo, index: int, *, ok: bool = True, skip: bool = False) -> None:
        self.watches.pop((no, index), None)
        self.say(s.WatchFired(no=no, index=index, ok=ok, skip=skip))

    def fire_trigger(self, no: TaskNo, *, error: str | None = None) -> None:
        self.say(s.TriggerFired(no=no, payload={"event": 1}, error=error, token=self.triggers.pop(no)))

    def _work(self, handed: Handed) -> bool:
        """A worker goes on with an execution; false when it has to wait."""
        task = self.valid(handed)
        if task is None or handed.cancelled:
            self.report(handed, Outcome(verdict=Verdict.CANCELLED))
        elif not handed.body:
            self.report(handed, expected(self.plan, task))
        elif self.can_call(handed) and handed.position < len(self.program(handed)):
            self.step(handed, self.program(handed)[handed.position])
        elif any(kid.current and not kid.terminal and not kid.lost for kid in task.kids or ()):
            if task.blocked or handed.blocked:
                return False
            self.block(handed)
        elif task.blocked:
            self.unblock(handed)
        elif not self.can_call(handed) and self.run.state is not RunState.CANCELLING:
            return False
        else:
            self.report(handed, expected(self.plan, task))
        return True

    def block(self, handed: Handed) -> None:
        handed.blocked = True
        self.say(s.ExecutionBlocked(no=handed.no, token=handed.token))

    def unblock(self, handed: Handed) -> None:
        handed.blocked = False
        self.say(s.ExecutionUnblocked(no=handed.no, token=handed.token))

    def _children(self) -> dict[str, str]:
        return {task.label(): task.state.value for task in self.run.tasks.values() if task.child is not None}

    @property
    def result(self) -> dict[str, Any]:
        """What the run came to. A body that is replayed may do without a child that it cancelled before: where children
        count, the state of the run is left out."""
        counts = self.graph.outcome is OutcomeRule.ANY_FAILURE and any(row.child for row in self.tasks.values())
        return {"run": None if counts else self.run.state.value, **self.states}

    # --- checking -----------------------------------------------------------------------------------------------------

    def _upsert(self, row: TaskRow) -> None:
        before = self.tasks.get(row.no)
        if before is None:
            self._new(row)
        elif TaskState(before.state) in TERMINAL and not self._interrupted(before):
            assert (row.state, row.attempt, row.token) == (before.state, before.attempt, before.token), (
                f"{before.key} left the terminal state {before.state} for {row.state}"
            )
        super()._upsert(row)

    def _interrupted(self, row: TaskRow) -> bool:
        """Whether it died with its owner: nobody was told that it is over."""
        return row.state == S.CRASHED.value and row.reason == "the session died"

    def _new(self, row: TaskRow) -> None:
        """No two task runs are the same generation of the same place."""
        task = self.run.tasks.get(TaskNo(row.no))
        if task is None:
            return
        place: tuple[MapElement, ...] = self._place(task)
        assert (place, row.generation) not in self.generations, f"{task.label()} is there twice"
        self.generations[place, row.generation] = row.no

    def verify(self) -> None:
        self._verify_slots()
        for event in self.events[self.folded_to :]:
            self.fold.add(event)
        self.folded_to = len(self.events)
        breach = self.fold.breach(self.row, self.tasks, self.scopes.values(), self.run.tasks)
        assert breach is None, breach
        current = {no for no, row in self.tasks.items() if row.current}
        assert current <= set(self.run.tasks), f"rows of {current - set(self.run.tasks)} are current"
        self._verify_attempts()
        self.verify_run()

    def _verify_attempts(self) -> None:
        """Each attempt but the last one is recorded; a wait between two executions of one attempt is none."""
        ended = Counter(attempt.no for attempt in self.attempts)
        for task in self.run.tasks.values():
            count = ended[task.no]
            if task.state in LIVE or task.interrupted:
                assert task.attempt == count + 1, f"{task.label()} is in attempt {task.attempt}, {count} have ended"
            elif not task.terminal:
                assert task.attempt == count, f"{task.label()} has {task.attempt} attempts, {count} have ended"

    def _verify_slots(self) -> None:
        held = {no for _, no in self.book.held}
        assert set(self.slots) == held, f"slot rows of {set(self.slots)}, the book holds {held}"
        granted = {
            task.no for task in self.run.tasks.values() if task.granted and self.book.bounded(task.node.spec.limits)
        }
        assert held - {WHOLE_RUN} == granted, f"slot rows of {held}, granted to {granted}"


def over(row: RunRow) -> bool:
    """Whether a run's row says that it is over."""
    return RunState(row.state) in RUN_TERMINAL
