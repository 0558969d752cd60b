"""Any run, whatever happens to it in whatever order: the invariants hold after every step, and it comes to an end.

A machine draws a graph, and then what its world says: workers, timers, limits, people, watches, triggers, bodies, and
owners that die. After each step `Shell.verify` asks the engine's invariants, that slots are accounted for, that what
is over stays over (C4), that folding the events gives the rows, and that restoring from the rows gives the same run.
At the end, and in between, everybody answers: then the run has to end, and so has the one that another process takes
over from the same rows, in the same way.

`PLAIT_HYPOTHESIS=thorough` draws many more and longer histories, each time others.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule, run_state_machine_as_test

from plait.model import stimuli as s
from plait.model.errors import UsageError
from plait.model.events import ReportRefused
from plait.model.graph import TaskSpec
from plait.model.ids import TaskNo, Token
from plait.model.outcome import Outcome
from plait.model.states import RunState, TaskState
from tests.unit.engine.machine.graphs import Case, cases, often, seldom
from tests.unit.engine.machine.outcomes import expected, outcomes
from tests.unit.engine.machine.profile import patient, stateful
from tests.unit.engine.machine.shell import Call, Close, Handed, Shell
from tests.unit.engine.world import picture

S = TaskState
T = TypeVar("T")


def there_is(what: Callable[["RunMachine"], Any]) -> Callable[[Any], Any]:
    """A rule that needs something to be there."""
    return precondition(lambda machine: bool(what(machine)))


REPORTS = [
    s.ExecutionStarted,
    s.ExecutionFinished,
    s.ExecutionLost,
    s.ExecutionReturned,
    s.ExecutionBlocked,
    s.ExecutionUnblocked,
]


class RunMachine(RuleBasedStateMachine):
    """One run and all that may happen to it."""

    shell: Shell
    callees: tuple[TaskSpec, ...]

    @initialize(case=cases, queued=seldom)
    def begin(self, case: Case, queued: bool) -> None:
        self.shell = Shell(case.graph, lengths=case.lengths)
        self.callees = case.callees
        if self.shell.inbox and not queued:
            self.shell.deliver()

    def teardown(self) -> None:
        if hasattr(self, "shell") and self.shell.whole:
            self.end()

    def end(self) -> None:
        """The run ends, here and where it is taken over."""
        shell = self.shell
        shell.let_go()
        if shell.run.state is RunState.CRASHED:
            shell.take_over()
        # that a teardown was told to end, too, is not recorded: a new owner runs it once more, and has to be told again
        told = any(
            handed.cancelled and (task := shell.valid(handed)) and task.node.outlives for handed in self.working()
        )
        twin = shell.twin()
        shell.drain()
        twin.drain()
        assert told or shell.result == twin.result, f"here {shell.result}, taken over {twin.result}"

    # --- what it needs ------------------------------------------------------------------------------------------------

    def working(self) -> list[Handed]:
        return self.shell.working()

    def bodies(self) -> list[Handed]:
        return [handed for handed in self.working() if self.shell.can_call(handed)]

    def blockable(self) -> list[Handed]:
        return [handed for handed in self.working() if handed.body and self.shell.valid(handed)]

    def ready(self) -> bool:
        run = self.shell.run
        return run.state in (RunState.RUNNING, RunState.CANCELLING) and any(run.ready.values())

    def pick(self, data: st.DataObject, of: Sequence[T]) -> T:
        return data.draw(st.sampled_from(of))

    # --- workers ------------------------------------------------------------------------------------------------------

    @there_is(lambda machine: machine.ready())
    @rule()
    def dispatch(self) -> None:
        self.shell.dispatch_all()

    @there_is(lambda machine: machine.ready())
    @rule(room=st.sampled_from([1, 2]), executor=st.sampled_from([None, "other"]))
    def dispatch_some(self, room: int, executor: str | None) -> None:
        self.shell.dispatch(room, executor)

    @there_is(lambda machine: machine.working())
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        handed = self.pick(data, self.working())
        self.shell.say(s.ExecutionStarted(no=handed.no, token=handed.token))

    @there_is(lambda machine: machine.working())
    @rule(data=st.data())
    def succeed(self, data: st.DataObject) -> None:
        handed = self.pick(data, self.working())
        task = self.shell.valid(handed)
        self.shell.report(handed, expected(self.shell.plan, task) if task is not None else Outcome())

    @there_is(lambda machine: machine.working())
    @rule(data=st.data())
    def finish(self, data: st.DataObject) -> None:
        self._finish(data)

    def _finish(self, data: st.DataObject) -> None:
        handed = self.pick(data, self.working())
        task = self.shell.valid(handed)
        said = data.draw(outcomes(self.shell.plan, task, self.shell.now)) if task is not None else Outcome()
        self.shell.report(handed, said)

    @rule(data=st.data())
    def work(self, data: st.DataObject) -> None:
        self._work(data)

    def _work(self, data: st.DataObject) -> None:
        """What is ready is handed out, and somebody does something; what stands still goes on."""
        shell = self.shell
        if shell.over and shell.run.state is not RunState.CRASHED:
            self._clear(data, only_failed=data.draw(st.booleans()))
        elif shell.run.state is RunState.CRASHED:
            shell.take_over()
        elif shell.run.state is RunState.PAUSED:
            shell.say(s.ResumeRequested())
        elif shell.run.state is RunState.QUEUED and shell.inbox:
            shell.deliver()
        if self.ready():
            shell.dispatch_all()
        if self.bodies() and data.draw(often):
            self._body_calls(data)
        elif self.working():
            self._finish(data)

    @there_is(lambda machine: machine.working())
    @rule(data=st.data(), lost=st.booleans())
    def lose_or_give_back(self, data: st.DataObject, lost: bool) -> None:
        handed = self.pick(data, self.working())
        if lost:
            self.shell.lose(handed)
        else:
            self.shell.give_back(handed)

    # --- bodies -------------------------------------------------------------------------------------------------------

    @there_is(lambda machine: machine.bodies())
    @rule(data=st.data())
    def body_calls(self, data: st.DataObject) -> None:
        self._body_calls(data)

    def _body_calls(self, data: st.DataObject) -> None:
        """A body does its next step: that of the execution before, on a replay, else a new one."""
        handed = self.pick(data, self.bodies())
        program = self.shell.program(handed)
        if handed.position == len(program):
            program.append(data.draw(self.steps(handed)))
        self.shell.step(handed, program[handed.position])

    @there_is(lambda machine: machine.bodies())
    @rule(data=st.data(), diverges=seldom)
    def body_goes_on(self, data: st.DataObject, diverges: bool) -> None:
        """The same; now and then a replay goes another way."""
        handed = self.pick(data, self.bodies())
        program = self.shell.program(handed)
        if handed.position == len(program) or diverges:
            program[handed.position :] = [data.draw(self.steps(handed))]
        self.shell.step(handed, program[handed.position])

    def steps(self, handed: Handed) -> st.SearchStrategy[Call | Close]:
        futures = st.lists(st.integers(0, max(0, len(handed.futures) - 1)), max_size=2).map(tuple)
        calls = st.builds(
            Call,
            spec=st.sampled_from(self.callees),
            upstream=futures,
            lenient=st.sampled_from([(), (), (0,)]),
            staged=st.just(True) if handed.staging else seldom,
        )
        return st.one_of(calls, calls, st.builds(Close, ok=st.booleans())) if handed.staging else calls

    @there_is(lambda machine: machine.blockable())
    @rule(data=st.data())
    def block_or_go_on(self, data: st.DataObject) -> None:
        handed = self.pick(data, self.blockable())
        if handed.blocked:
            self.shell.unblock(handed)
        else:
            self.shell.block(handed)

    # --- waits and limits ---------------------------------------------------------------------------------------------

    @there_is(lambda machine: machine.shell.timers)
    @rule(some=st.sampled_from([None, None, 1.0, 4.0]))
    def time_passes(self, some: float | None) -> None:
        """Up to the next timer, or a little."""
        shell = self.shell
        timer = shell.next_timer()
        if some is not None:
            shell.jump(some)
        elif timer is not None:
            shell.jump(max(0.0, timer.at - shell.now))

    @there_is(lambda machine: machine.waits())
    @rule(data=st.data(), how=st.sampled_from(["ok", "ok", "failed", "skip"]))
    def somebody_answers(self, data: st.DataObject, how: str) -> None:
        """A watch, a trigger, a person who was asked for input, a limit that is none or can never be granted."""
        shell = self.shell
        match self.pick(data, self.waits()):
            case ("watch", (no, index)):
                shell.fire_watch(no, index, ok=how == "ok", skip=how == "skip")
            case ("trigger", no):
                shell.fire_trigger(no, error=None if how == "ok" else "gone")
            case ("input", no):
                shell.say(s.InputReceived(no=no, data=1, token=shell.run.tasks[no].token))
            case _:
                shell.deliver()

    def waits(self) -> list[tuple[str, Any]]:
        shell = self.shell
        return [
            *(("watch", key) for key in sorted(shell.watches)),
            *(("trigger", no) for no in sorted(shell.triggers)),
            *(("input", task.no) for task in shell.run.tasks.values() if task.state is S.PAUSED),
            *(("inbox", None) for _ in shell.inbox[:1]),
        ]

    @rule(how=st.sampled_from(["others hold them", "granted again", "one", "one"]))
    def slots(self, how: str) -> None:
        """Slots may be held elsewhere for a while."""
        shell = self.shell
        shell.let_go()
        if how == "one":
            shell.grant()
        else:
            shell.granting = how == "granted again"
        shell.let_go()

    # --- what changes nothing -----------------------------------------------------------------------------------------

    @there_is(lambda machine: machine.shell.run.tasks)
    @rule(data=st.data(), what=st.sampled_from(["report", "report", "answer", "timer"]))
    def comes_too_late(self, data: st.DataObject, what: str) -> None:
        """A report under a token that was good once (C3), an answer to a wait that is over, a timer of the past."""
        self.shell.let_go()
        if what == "report" and self.shell.old:
            no, token = self.pick(data, self.shell.old)
            said = self.pick(data, REPORTS)
            more = {s.ExecutionFinished: {"outcome": Outcome()}, s.ExecutionLost: {"reason": "late"}}.get(said, {})
            self.changes_nothing(said(no=no, token=token, **more), refused=(no, token))
        elif what == "answer" and (answers := self.late_answers()):
            self.changes_nothing(self.pick(data, answers))
        elif what == "timer" and (timers := self.late_timers()):
            kind = self.pick(data, ["retry", "reschedule", "trigger", "defer_timeout", "pause_timeout", "wait_timeout"])
            no, generation = self.pick(data, timers)
            self.changes_nothing(s.TimerFired(kind=kind, no=no, generation=generation))

    def late_answers(self) -> list[s.InputReceived | s.TriggerFired]:
        """Answers to executions before, and to task runs that wait for none."""
        tasks = self.shell.run.tasks
        return [
            *(s.InputReceived(no=no, token=token) for no, token in self.old()),
            *(s.TriggerFired(no=no, token=token) for no, token in self.old()),
            *(s.InputReceived(no=task.no) for task in tasks.values() if task.state is not S.PAUSED),
            *(s.TriggerFired(no=task.no) for task in tasks.values() if task.state is not S.DEFERRED),
        ]

    def old(self) -> list[tuple[TaskNo, Token]]:
        tasks = self.shell.run.tasks
        return [(no, token) for no, token in self.shell.old if no not in tasks or tasks[no].token != token]

    def late_timers(self) -> list[tuple[TaskNo, int]]:
        """Timers of waits that are over, or not over yet."""
        now = self.shell.now
        return [
            (task.no, task.generation)
            for task in self.shell.run.tasks.values()
            if task.state is not S.DEFERRED and (task.wait_until or now + 1) > now
        ]

    def changes_nothing(self, stimulus: s.Stimulus, refused: tuple[TaskNo, Token] | None = None) -> None:
        shell = self.shell
        rows, run, before = dict(shell.tasks), shell.row, picture(shell.run)
        events, commands = len(shell.events), len(shell.commands)
        shell.say(stimulus)
        assert (shell.tasks, shell.row, picture(shell.run)) == (rows, run, before)
        assert len(shell.commands) == commands
        expected = [ReportRefused(no=refused[0], token=refused[1])] if refused is not None else []
        assert shell.events[events:] in ([], expected)

    # --- people -------------------------------------------------------------------------------------------------------

    @rule(data=st.data(), only_failed=st.booleans())
    def clear(self, data: st.DataObject, only_failed: bool) -> None:
        if data.draw(often):
            self._work(data)
        else:
            self._clear(data, only_failed=only_failed)

    def _clear(self, data: st.DataObject, *, only_failed: bool) -> None:
        run = self.shell.run
        chosen = self.pick(data, [(), *run.index])
        said = s.ClearRequested(
            tasks=(chosen[0],) if chosen else (),
            path=chosen[1] if chosen and data.draw(st.booleans()) else None,
            downstream=data.draw(st.booleans()),
            upstream=data.draw(seldom),
            only_failed=only_failed,
        )
        self.ask(said, allowed=run.state not in (RunState.CRASHED, RunState.CANCELLING))

    @rule(data=st.data(), what=st.sampled_from(["mark", "mark", "pause", "resume", "cancel", "fail"]))
    def somebody_meddles(self, data: st.DataObject, what: str) -> None:
        shell = self.shell
        match what:
            case "mark" if shell.run.tasks:
                task = shell.run.tasks[self.pick(data, list(shell.run.tasks))]
                state = self.pick(data, ["success", "failed", "skipped"])
                allowed = not task.terminal and not task.unexpanded and shell.run.state is not RunState.CRASHED
                self.ask(s.MarkRequested(no=task.no, state=state), allowed=allowed)
            case "pause":
                shell.say(s.PauseRequested())
            case "cancel" | "fail" if self.working() or data.draw(seldom):
                shell.say(s.CancelRequested(state="cancelled" if what == "cancel" else "failed"))
            case "resume":
                shell.say(s.ResumeRequested())
            case _:
                self._work(data)

    def ask(self, said: s.Stimulus, *, allowed: bool) -> None:
        """Something that may make no sense just now: then it is refused, and nothing has changed."""
        try:
            self.shell.say(said)
        except UsageError:
            assert not allowed
            self.shell.whole = True
        else:
            assert allowed

    # --- owners, and the end ------------------------------------------------------------------------------------------

    @rule(data=st.data(), how=st.sampled_from(["works", "works", "takes over", "dies", "dies and is taken over"]))
    def owner(self, data: st.DataObject, how: str) -> None:
        if how == "works":
            self._work(data)
        if how in ("dies", "dies and is taken over"):
            self.shell.lose_owner()
        if how == "takes over":
            going_on = [handed for handed in self.working() if self.shell.valid(handed) and not handed.body]
            kept = data.draw(st.lists(st.sampled_from(going_on), unique=True)) if going_on else []
            self.shell.take_over(kept=kept)
        if how == "dies and is taken over":
            self.shell.take_over()

    @rule()
    def hold_back(self) -> None:
        """What is decided from now on is written in one transaction; or what was held back is written."""
        if self.shell.held:
            self.shell.let_go()
        else:
            self.shell.held = True

    @there_is(lambda machine: not machine.shell.over)
    @rule(data=st.data(), really=seldom)
    def go_to_the_end(self, data: st.DataObject, really: bool) -> None:
        if really:
            self.end()
        else:
            self._work(data)


@patient
def test_any_run_in_any_order():
    run_state_machine_as_test(RunMachine, settings=stateful(examples=200, steps=30))
