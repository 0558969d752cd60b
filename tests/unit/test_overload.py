"""More work than a scheduler can do at once: each step of it is bounded, and all is done in the end (F26, C8)."""

import contextlib

import pytest

from plait.model.graph import Graph, TaskSpec
from plait.model.outcome import Outcome
from plait.model.wire import Finished
from plait.runtime import scheduler as schedulers
from plait.testing import HOLD, World

ONE = Graph(name="one", nodes=(TaskSpec(key="a"),))


@pytest.fixture
def written(monkeypatch):
    """How many runs each transaction wrote, from when the test begins to look."""
    monkeypatch.setattr(schedulers, "MOST_STIMULI", 10)
    counts: list[int] = []

    def watch(world: World) -> list[int]:
        real = world.store.transaction

        @contextlib.contextmanager
        def transaction():
            with real() as tx:
                write, runs = tx.write, set()

                def note(batch) -> None:
                    runs.add(batch.run_id)
                    write(batch)

                tx.write = note
                yield tx
            counts.append(len(runs))

        monkeypatch.setattr(world.store, "transaction", transaction)
        return counts

    return watch


def test_many_reports_at_once_are_many_transactions_of_bounded_size(written):
    world = World()
    runs = [world.start(ONE, {"a": HOLD}) for _ in range(35)]
    world.advance(1.0)  # nobody starts runs any more, whose transactions ends would wait for
    counts = written(world)
    ends = [Finished(each.run.run_id, each.no, each.token, Outcome()) for each in world.executor.live.values()]
    assert len(ends) == 35
    world.executor.live.clear()
    world.scheduler.report(ends)
    assert [run.state for run in runs] == ["success"] * 35
    assert sum(counts) == 35
    assert max(counts) == 10
