"""Every case also tests that a new process would find the same run in the rows, after each step (C6)."""

import pytest

from plait.engine.build import restore
from plait.testing import World
from tests.unit.engine.world import difference, picture

MOST_TASKS = 100  # restoring a thousand children after each step would take longer than all other cases together


@pytest.fixture(autouse=True)
def rows_tell_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Extend what a world checks after each step."""
    check = World.check

    def check_and_restore(world: World) -> None:
        check(world)
        for run_id, hosted in world.scheduler.runs.items():
            if len(hosted.run.tasks) > MOST_TASKS:
                continue
            snapshot = world.store.load_run(run_id)
            assert snapshot is not None
            restored = restore(
                hosted.run.plan,
                snapshot.run,
                snapshot.tasks,
                snapshot.scopes,
                epoch=snapshot.run.epoch,
                now=world.clock.now(),
            )
            mine, theirs = picture(hosted.run), picture(restored)
            assert mine == theirs, difference(mine, theirs)

    monkeypatch.setattr(World, "check", check_and_restore)
