"""An executor that is made when it is needed, and what stands for it until then."""

from pathlib import Path

import pytest

from plait.adapters.executors.on_demand import OnDemand
from plait.adapters.executors.processes import ProcessExecutor
from plait.model.wire import Returned
from plait.ports import Executor
from tests.conformance.executors.world import Sink, execution


class Made:
    """Makes worker processes, and remembers them."""

    def __init__(self, folder: Path):
        self.all: list[Executor] = []
        self._folder = folder

    def __call__(self) -> Executor:
        self.all.append(
            ProcessExecutor("tests.conformance.executors.programs:make", {}, workers=2, segments=self._folder)
        )
        return self.all[-1]


@pytest.fixture
def made(tmp_path: Path) -> Made:
    return Made(tmp_path)


@pytest.fixture
def executor(made: Made):
    executor = OnDemand(made, ProcessExecutor.capabilities, room=2)
    yield executor
    executor.stop(0.2)


def test_it_is_made_by_the_first_execution(made: Made, executor: OnDemand):
    sink = Sink()
    executor.start(sink)
    assert (executor.capacity(), executor.adopt(execution(1).run.run_id), made.all) == (2, (), [])
    executor.cancel(execution(1).run.run_id, execution(1).token, "it is not here")
    executor.submit([execution(1), execution(2)])
    executor.submit([execution(3)])
    sink.wait_finished(1, 2, 3)
    assert len(made.all) == 1
    assert executor.capacity() == made.all[0].capacity()


def test_one_that_is_not_needed_is_never_made(made: Made, executor: OnDemand):
    sink = Sink()
    executor.start(sink)
    executor.stop()
    executor.submit([execution(1)])
    assert made.all == []
    assert [report.no for report in sink.of(Returned)] == [1]
