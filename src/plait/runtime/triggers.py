"""Event waits on user code: handed to the triggerer of the run's code location, and what they come to is told to their
runs."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from plait.engine.run import TaskRun
from plait.model.ids import RunId, TaskNo, Token
from plait.model.stimuli import TriggerFired
from plait.ports import Triggerer, TriggerEvent, TriggerSink
from plait.runtime.hosted import Hosted
from plait.runtime.scheduler import Scheduler

MakeTriggerer = Callable[[str, TriggerSink], Triggerer]
"""A triggerer for a code location (empty: this process itself), which tells that sink."""


class _Wait(msgspec.Struct, frozen=True):
    token: Token
    triggerer: Triggerer


class CodeTriggers:
    """The triggerers of a scheduler, one per code location, made when they are needed."""

    def __init__(self, scheduler: Scheduler, make: MakeTriggerer):
        self._scheduler = scheduler
        self._make = make
        self._lock = threading.Lock()
        self._triggerers: dict[str, Triggerer] = {}
        self._waiting: dict[RunId, dict[TaskNo, _Wait]] = {}
        scheduler.carrier.on_end.append(lambda hosted: self._forget(hosted.run.run_id))
        scheduler.carrier.on_release.append(self._forget)

    def start(self, hosted: Hosted, task: TaskRun, trigger: dict[str, Any] | None) -> None:
        """A task run was deferred; or, without a trigger, its wait is over."""
        run_id = hosted.run.run_id
        if trigger is None:
            wait = self._waiting.get(run_id, {}).pop(task.no, None)
            if wait is not None:
                wait.triggerer.drop(run_id, task.no)
            return
        if trigger.get("kind") != "code":
            error = f"nobody here knows triggers of the kind {trigger.get('kind')!r}"
            self._scheduler.post(run_id, TriggerFired(no=task.no, token=task.token, error=error))
            return
        triggerer = self._triggerer(hosted.row.target)
        self._waiting.setdefault(run_id, {})[task.no] = _Wait(task.token, triggerer)
        triggerer.start(run_id, task.no, trigger)

    def _triggerer(self, target: str) -> Triggerer:
        with self._lock:
            known = self._triggerers.get(target)
            if known is None:
                known = self._triggerers[target] = self._make(target, self)
            return known

    def fired(self, events: Sequence[TriggerEvent]) -> None:
        """What triggerers tell (the port `TriggerSink`); decided on the calling thread."""
        for event in events:
            wait = self._waiting.get(event.run_id, {}).pop(event.no, None)
            if wait is not None:
                said = TriggerFired(no=event.no, token=wait.token, payload=event.payload, error=event.error)
                self._scheduler.post(event.run_id, said)
        self._scheduler.pump()

    def _forget(self, run_id: RunId) -> None:
        """The run is over, or another process goes on with it, and waits there."""
        for no, wait in self._waiting.pop(run_id, {}).items():
            wait.triggerer.drop(run_id, no)

    def stop(self) -> None:
        """End all waits in this process; they begin again where their runs go on."""
        for triggerer in self._triggerers.values():
            triggerer.stop()
