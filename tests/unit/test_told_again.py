"""A worker tells a scheduler how executions ended; that one dies before it has recorded it. The next one hears it."""

from collections.abc import Iterator

import pytest

from plait.adapters.workers.agent import Agent
from plait.adapters.workers.hub import WorkerHub
from plait.testing import FakeClock, ScriptedExecutor
from tests.conformance.executors.world import RUN, Sink, execution
from tests.waiting import wait_until


class Scheduler:
    """A scheduler's hub, and what it heard."""

    def __init__(self, folder, name: str):
        self.hub = WorkerHub(str(folder / name))
        self.sink = Sink()
        self.hub.tasks.start(self.sink)


@pytest.fixture
def worker() -> Iterator[tuple[Agent, ScriptedExecutor]]:
    executor = ScriptedExecutor(clock=FakeClock())
    agent = Agent("w", make_tasks=lambda _: executor, make_flows=lambda _: executor, workers=2, flows=1)
    agent.start()
    yield agent, executor
    agent.stop()


@pytest.mark.parametrize("meanwhile", ["nobody", "another"])
def test_what_a_dead_scheduler_was_told_is_told_again(tmp_path, worker, meanwhile):
    agent, executor = worker
    first = Scheduler(tmp_path, "first")
    second = Scheduler(tmp_path, "second") if meanwhile == "another" else None
    agent.connect([first.hub.path] if second is None else [first.hub.path, second.hub.path])
    wait_until(first.hub.tasks.capacity, "the worker is there")
    first.hub.tasks.submit([execution(1), execution(2), execution(3)])
    wait_until(lambda: len(executor.live) == 3, "it has them")
    executor.play([execution(1), execution(2)])
    first.sink.wait_finished(1, 2)
    first.hub.stop()
    wait_until(lambda: first.hub.path not in agent.connected, "the worker knows")
    if second is None:
        second = Scheduler(tmp_path, "second")
        agent.connect([second.hub.path])
    second.hub.is_live = lambda run_id, no, token: no != 1  # which the first one had recorded
    adopted: list[int] = []

    def adopts() -> bool:
        adopted.extend(second.hub.tasks.adopt(RUN.run_id))
        return len(set(adopted)) == 2

    wait_until(adopts, "it goes on with the run")
    assert set(adopted) == {execution(2).token, execution(3).token}
    executor.play()
    second.sink.wait_finished(2, 3)
    assert sorted(report.no for report in second.sink.reports) == [2, 3]
    second.hub.stop()


def test_nobody_adopts_a_body_by_what_its_process_said(tmp_path, worker):
    """The process of a flow's body says that it is done with it, and not what it came to; the body is replayed."""
    agent, executor = worker
    scheduler = Scheduler(tmp_path, "one")
    agent.connect([scheduler.hub.path])
    wait_until(scheduler.hub.flows.capacity, "the worker is there")
    scheduler.hub.flows.submit([execution(1)])
    wait_until(lambda: executor.live, "it has the body")
    with scheduler.hub._lock:  # its thread reads nothing meanwhile: whoever adopts the run does
        executor.play()
    assert scheduler.hub.tasks.adopt(RUN.run_id) == []
    scheduler.sink.wait_finished(1)
    scheduler.hub.stop()
