"""A simulated week of schedules with restarts and clock changes: every due run exists exactly once."""

import os
from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from plait.adapters.stores.open import open_store
from plait.ports import RunStore
from tests import pg
from tests.simulation.week import Week

SCHEDULES = int(os.environ.get("PLAIT_TEST_SCHEDULES", "20"))
"""How many; the whole is 1,000 (`make week`)."""


@pytest.fixture(params=["sqlite", "postgres"])
def opened(request, tmp_path) -> Iterator[Callable[[], RunStore]]:
    """Opens the store of the week, once more each time."""
    if request.param == "sqlite":
        yield lambda: open_store(f"sqlite:///{tmp_path / 'week.db'}?synchronous=NORMAL", migrate=True)
    else:
        with pg.emptied() as url:
            yield lambda: open_store(url, migrate=True)


@pytest.mark.parametrize("schedulers", [1, 3])
def test_every_due_run_of_a_week_exists_exactly_once(opened, schedulers):
    week = Week(opened, schedulers=schedulers, schedules=SCHEDULES, seed=schedulers)
    week.run()
    due = week.due()
    runs = list(week.runs())
    found = Counter(f"{row.workflow} {row.logical_date}" for row in runs)
    assert week.kills
    assert week.sleeps
    assert week.set_back
    assert len(due) > 6 * SCHEDULES
    assert not due - found, f"never: {sorted(due - found)[:5]}"
    assert max(found.values()) == 1, f"twice: {[each for each, count in found.items() if count > 1][:5]}"
    maybe = [each for each in found - due if not week.schedules[each.split()[0]].jitter]
    assert not maybe, f"not due: {maybe[:5]}"
    assert {row.state for row in runs} == {"success"}
    week.close()
