"""Waits of task runs for something outside of their run, resolved against the store and kept in the engine's index."""

from datetime import datetime, timedelta

from plait.engine.decide import Decision
from plait.engine.watches import Said, Subject, Watch, WatchIndex
from plait.model.commands import AddWatch
from plait.model.graph import WatchSpec
from plait.model.ids import MapPath, RunId, TaskNo
from plait.model.rows import RunRow
from plait.model.stimuli import WatchFired
from plait.runtime.hosted import Hosted
from plait.runtime.shell import Shell


class Watching:
    """The open watches of a scheduler's runs. What other processes change is looked at again by `recheck`."""

    def __init__(self, scheduler: Shell):
        self._scheduler = scheduler
        self._index = WatchIndex()

    def add(self, hosted: Hosted, command: AddWatch) -> Said | None:
        """Begin a watch: what it came to if it is decided already, none when it waits."""
        found = self._subject(hosted, command.spec, command.no, command.path)
        if found is None:
            return Said.TRUE
        subject, state = found
        spec = command.spec
        watch = Watch(
            owner=(hosted.run.run_id, command.no, command.index),
            subject=subject,
            states=frozenset(spec.states),
            failing=frozenset(spec.failing),
            skipping=frozenset(spec.skipping),
        )
        return self._index.add(watch, state)

    def observe(self, hosted: Hosted, decision: Decision) -> None:
        """A committed decision changed task runs (and assets): fire what waited for them."""
        if not self._index.subjects():
            return
        for task in decision.touched:
            self._fire(("task", hosted.run.run_id, task.key, task.path), task.state.value)
            self._fire(("dated_task", hosted.graph.name, hosted.row.logical_date, task.key), task.state.value)
        for asset in decision.assets:
            self._fire(("asset", asset.key), "updated")

    def run_ended(self, hosted: Hosted) -> None:
        """A run ended: fire what waited for it."""
        state = hosted.run.state.value
        self._fire(("run", hosted.graph.name, hosted.row.logical_date), state)

    def recheck(self) -> None:
        """Look at every watched subject in the store: another process may have changed it."""
        for subject in self._index.subjects():
            state = self._stored_state(subject)
            if state is not None:
                self._fire(subject, state)

    def _fire(self, subject: Subject, state: str) -> None:
        for watch, said in self._index.changed(subject, state):
            run_id, no, index = watch.owner  # type: ignore[misc]  # every owner here is made in `add`
            self._scheduler.post(run_id, fired(no, index, said))

    # --- subjects -----------------------------------------------------------------------------------------------------

    def _subject(self, hosted: Hosted, spec: WatchSpec, no: int, path: MapPath) -> tuple[Subject, str | None] | None:
        """What a spec means for this run, with its state now; none when there is nothing to wait for."""
        store = self._scheduler.store
        date = hosted.row.logical_date
        match spec.subject:
            case "past":
                before = store.previous_run(hosted.graph.name, date) if date is not None else None
                if before is None:
                    return None
                key = spec.task or hosted.run.tasks[no].key  # type: ignore[index]  # it is a task run of this run
                return ("task", before.run_id, key, path), self._task_state(before, key, path)
            case "task":
                wanted = _shifted(date, spec.offset)
                subject: Subject = ("dated_task", spec.workflow, wanted, spec.task)
                return subject, self._stored_state(subject)
            case "run":
                subject = ("run", spec.workflow, _shifted(date, spec.offset))
                return subject, self._stored_state(subject)
            case _:
                return ("asset", spec.key), None

    def _task_state(self, row: RunRow, key: str, path: MapPath) -> str | None:
        hosted = self._scheduler.runs.get(row.run_id)
        if hosted is not None:
            task = hosted.run.current(key, path)
            return task.state.value if task is not None else None
        return self._scheduler.store.task_state(row.run_id, key, path)

    def _stored_state(self, subject: Subject) -> str | None:
        store = self._scheduler.store
        match subject:
            case ("dated_task", str(workflow), date, str(key)):
                for row in store.list_runs(workflow=workflow, limit=1000):
                    if row.logical_date == date:
                        return self._task_state(row, key, ())
            case ("task", str(run_id), str(key), tuple(path)):
                return store.task_state(RunId(run_id), key, path)
            case ("run", str(workflow), date):
                for row in store.list_runs(workflow=workflow, limit=1000):
                    if row.logical_date == date:
                        return row.state
            case _:
                pass
        return None


def fired(no: TaskNo, index: int, said: Said) -> WatchFired:
    """What the run hears of a watch that is decided."""
    return WatchFired(no=no, index=index, ok=said is Said.TRUE, skip=said is Said.SKIP)


def _shifted(date: str | None, offset: float) -> str | None:
    if date is None or not offset:
        return date
    return (datetime.fromisoformat(date) - timedelta(seconds=offset)).isoformat()
