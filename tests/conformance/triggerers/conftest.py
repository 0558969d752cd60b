"""Triggerers of every kind, each with a sink that keeps what it is told."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from plait.adapters.triggerers.process_host import ProcessHost
from plait.adapters.triggerers.supervisor import Supervisor
from plait.adapters.triggerers.thread_host import ThreadHost
from plait.authoring.triggers import lower
from plait.model.ids import RunId, TaskNo
from plait.ports import TriggerEvent
from plait.worker.loading import load_target

PROGRAMS = Path(__file__).parent / "programs.py"
RUN = RunId("run")


class Told:
    """A sink."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self.events: list[TriggerEvent] = []

    def fired(self, events: Sequence[TriggerEvent]) -> None:
        """Keep them."""
        with self._changed:
            self.events.extend(events)
            self._changed.notify_all()

    def of(self, no: int) -> list[TriggerEvent]:
        """What was told of one wait."""
        return [event for event in self.events if event.no == no]

    def wait(self, *nos: int, seconds: float = 30.0) -> list[TriggerEvent]:
        """The one event of each of these waits, as soon as they are all there."""
        with self._changed:
            assert self._changed.wait_for(lambda: all(self.of(no) for no in nos), seconds), self.events
        found = [self.of(no) for no in nos]
        assert [len(events) for events in found] == [1] * len(nos), "each is told once"
        return [events[0] for events in found]


class Waiting:
    """A triggerer, and what it tells."""

    def __init__(self, kind: str, folder: Path, target: Path = PROGRAMS, **options: Any):
        self.kind, self.folder, self.told = kind, folder, Told()
        self.hosts: list[Any] = []
        make: Callable[[], Any] = ThreadHost if kind == "thread" else lambda: ProcessHost(str(target), folder / "logs")

        def made() -> Any:
            self.hosts.append(make())
            return self.hosts[-1]

        self.triggerer = Supervisor(made, self.told, **options)

    def start(self, no: int, trigger: Any) -> None:
        """Begin a wait."""
        self.triggerer.start(RUN, TaskNo(no), lower(trigger)[1])

    def drop(self, no: int) -> None:
        """End one."""
        self.triggerer.drop(RUN, TaskNo(no))

    def until(self, holds: Callable[[], Any], seconds: float = 30.0) -> Any:
        """Wait until something holds."""
        deadline = time.monotonic() + seconds
        while not (found := holds()):
            assert time.monotonic() < deadline, self.told.events
            time.sleep(0.005)
        return found


@pytest.fixture(scope="session")
def programs() -> Any:
    """The triggers, as this process has them."""
    load_target(str(PROGRAMS))
    import sys

    return next(m for m in list(sys.modules.values()) if getattr(m, "__file__", None) == str(PROGRAMS))


@pytest.fixture
def open_triggerer(tmp_path: Path) -> Iterator[Callable[..., Waiting]]:
    """Makes triggerers; all are stopped at the end, and leave nothing."""
    opened: list[Waiting] = []

    def make(kind: str, **options: Any) -> Waiting:
        opened.append(Waiting(kind, tmp_path, **options))
        return opened[-1]

    yield make
    for each in opened:
        each.triggerer.stop()


@pytest.fixture(params=["thread", "process"])
def waiting(request: pytest.FixtureRequest, open_triggerer: Callable[..., Waiting]) -> Waiting:
    """One kind after the other."""
    return open_triggerer(request.param)


@pytest.fixture(params=["thread", "process"])
def strict(request: pytest.FixtureRequest, open_triggerer: Callable[..., Waiting]) -> Waiting:
    """Likewise; what keeps the event loop for a second is stopped."""
    return open_triggerer(request.param, stall=1.0)
