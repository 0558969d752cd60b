"""Taking runs over: what this process goes on with that another one, or itself before it failed, was at."""

import contextlib
from collections.abc import Callable, Iterable, Iterator

from plait.engine.build import restore
from plait.engine.limits import RUN
from plait.engine.plan import Plan
from plait.engine.run import Run
from plait.model.errors import StaleToken, StoreError, UsageError
from plait.model.graph import Graph
from plait.model.ids import RunId, TaskNo, Token
from plait.model.policies import LimitUse
from plait.model.rows import RunRow
from plait.model.states import LIVE, RUN_TERMINAL, RunState
from plait.model.stimuli import OwnerChanged, Stimulus
from plait.ports import RunSnapshot
from plait.runtime.admission import RunAdmission
from plait.runtime.hosted import Hosted
from plait.runtime.plans import Plans
from plait.runtime.shell import Shell
from plait.runtime.unrecorded import Unrecorded

First = Callable[[Run], Iterable[Stimulus]]
"""What is known of a run that was taken over, and is decided before anything of it is offered again."""


def nothing(run: Run) -> Iterable[Stimulus]:
    """Nothing more is known than what its rows tell."""
    return ()


@contextlib.contextmanager
def hosted_whole(shell: Shell, run_id: RunId) -> Iterator[None]:
    """A run is hosted whole, or not at all: what is left half-way would wait for ever."""
    try:
        yield
    except BaseException:
        shell.release(run_id)
        raise


class Adoption:
    """Takes runs over for one scheduler."""

    def __init__(self, shell: Shell, admission: RunAdmission, plans: Plans, unrecorded: Unrecorded):
        self._shell = shell
        self._admission = admission
        self._plans = plans
        self._unrecorded = unrecorded

    def resume(
        self, run_id: RunId, *, graph: Graph | None = None, epoch: int | None = None, first: First = nothing
    ) -> RunRow:
        """Take a run over that nobody live owns (or that its owner, which leases it under `epoch`, hands over), and go
        on with it. Raises UsageError when that makes no sense.

        `graph` is the workflow as it is loaded now: its structure has to be that of the run.
        """
        shell = self._shell
        row = shell.store.get_run(run_id)
        if row is None:
            raise UsageError(f"there is no run {run_id}")
        if graph is not None and graph.hash() != row.graph_hash:
            raise UsageError(
                f"the definition of {graph.name!r} has changed since run {run_id}: other tasks, edges or policies",
                right="start a new run, or put the definition back (the bodies of its tasks may change)",
            )
        with shell.lock:
            shell.store.take_over(run_id, shell.owner, shell.clock.now(), epoch=epoch)
            return self.adopt(run_id, graph=graph, first=first)

    def adopt(self, run_id: RunId, *, graph: Graph | None = None, first: First = nothing) -> RunRow:
        """Go on with a run that this process has just leased; returns its row as it was found. What executors here are
        still at goes on, everything else that was in flight is offered again, but for what `first` says of it. Somebody
        has to `pump` afterwards."""
        shell = self._shell
        snapshot = shell.store.load_run(run_id)
        if snapshot is None:
            raise StoreError(f"run {run_id} is not in the database any more")
        row = snapshot.run
        if row.owner != shell.owner:  # it was taken for dead in between: the epoch in the row is another's
            raise StaleToken(f"run {run_id} is {row.owner}'s by now")
        plan = self._plan_of(row, graph)
        with shell.lock:
            run = restore(plan, row, snapshot.tasks, snapshot.scopes, epoch=row.epoch, now=shell.clock.now())
            hosted = Hosted(run, row, shell.store, snapshot.last_seq)
            shell.runs[run_id] = hosted  # first: from now on, what executors keep of it is reported here
            shell.handed_over.pop(run_id, None)
            with hosted_whole(shell, run_id):
                ended = [each for each in self._unrecorded.take(run_id) if self.is_live(run_id, each.no, each.token)]
                kept = self._keep(hosted, snapshot, [each.token for each in ended])
                if RunState(row.state) is RunState.QUEUED:
                    self._admission.admit(hosted)
                    return row
                if RunState(row.state) not in RUN_TERMINAL:
                    self._admission.take_place(hosted)
            # Now, and not by way of the inbox: what executors kept may have been reported already, and that their task
            # runs hold slots is known only from here on.
            for stimulus in (*first(run), OwnerChanged(epoch=row.epoch, kept=kept), *ended):
                if hosted.error is None:
                    shell.decide(hosted, stimulus, shell.clock.now())
        return row

    def _plan_of(self, row: RunRow, graph: Graph | None) -> Plan:
        plan = self._plans.known(row.graph_hash)
        if plan is not None:
            return plan
        graph = graph or self._shell.store.load_graph(row.graph_hash)
        if graph is None:
            raise StoreError(f"the graph of run {row.run_id} is not in the database any more")
        return self._plans.of(row.graph_hash, graph)

    def _keep(self, hosted: Hosted, snapshot: RunSnapshot, kept: list[Token]) -> tuple[Token, ...]:
        """Which executions of a run that was taken over go on, beside those in `kept`; they, and the run itself, keep
        their slots."""
        shell = self._shell
        run = hosted.run
        live = {task.token: task for task in run.tasks.values() if task.state in LIVE}
        for executor in shell.executors.values():
            for token in executor.adopt(run.run_id):
                if token in live:
                    kept.append(token)
                else:
                    executor.cancel(run.run_id, token, "the run went on without it")
        holders = {RUN, *(live[token].no for token in kept)} if run.state not in RUN_TERMINAL else set[int]()
        held: dict[int, list[LimitUse]] = {}
        for slot in snapshot.slots:
            held.setdefault(slot.no, []).append(LimitUse(key=slot.key, slots=slot.slots))
        for no in holders & held.keys():
            shell.limits.adopt((run.run_id, no), tuple(held[no]))
        if held.keys() - holders:
            shell.store.free_slots(run.run_id, keep=sorted(holders))
        return tuple(kept)

    def is_live(self, run_id: RunId, no: TaskNo, token: Token) -> bool:
        """Whether a run that is here waits for the report of this execution; a report on a body that had taken its run
        along says nothing of what that came to."""
        shell = self._shell
        hosted = shell.runs.get(run_id)
        task = hosted.run.tasks.get(no) if hosted is not None else None
        return task is not None and task.token == token and task.state in LIVE and not task.node.body
