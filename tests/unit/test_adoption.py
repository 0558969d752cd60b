"""A scheduler goes on with a run whose executions outlived the one before: what they report meanwhile counts."""

import threading

import pytest

from plait.model.graph import Graph, TaskSpec
from plait.model.policies import LimitUse
from plait.testing.executors import HOLD
from plait.testing.world import World
from tests.waiting import wait_until

ONE = Graph(name="one", nodes=(TaskSpec(key="a", limits=(LimitUse(key="pool:p"),)),))


@pytest.mark.parametrize("meanwhile", [True, False])
def test_an_execution_that_ends_while_its_run_is_taken_over_gives_its_slots_back(meanwhile):
    world = World()
    world.limit(pool__p=1)
    run = world.start(ONE, {"a": HOLD}, session=False)
    (execution,) = world.executor.live.values()
    world.crash()
    executor, scheduler = world.executor, world.scheduler
    executor.live[run.run_id, execution.token] = execution
    report = threading.Thread(target=executor.answer, args=(execution,))
    adopt = executor.adopt

    def adopt_and_report(run_id):
        tokens = adopt(run_id)
        if meanwhile:  # as the thread of a hub does; it has to wait for its turn to decide
            report.start()
            wait_until(lambda: scheduler._inbox, "the report lies in the inbox")
        return tokens

    executor.adopt = adopt_and_report
    assert world.store.claim(scheduler.owner, 10) == [run.run_id]
    scheduler.adoption.adopt(run.run_id)
    if not meanwhile:
        scheduler.pump()
        assert len(world.store.slots()) == 1
        report.start()
    report.join()
    world.settle()
    assert run.state == "success"
    assert world.store.slots() == []
    assert len(executor.taken) == 1, "it did not run again"
