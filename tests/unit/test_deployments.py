"""Deploying what files define: where triggers stand when files change, and triggers that nobody can fire."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import msgspec

from plait.adapters.stores.memory import MemoryStore
from plait.engine.schedule_specs import spec_of
from plait.model.schedules import AnyOf, AssetUpdates, Cron
from plait.services.deployments import Deployments
from plait.services.schedules import deployed
from plait.testing import FakeClock
from plait.worker.found import Found
from plait.worker.isolated import Request, load_isolated

HOUR = 3600.0
FILE = "from plait import flow\n\n\n@flow(schedule={schedule!r})\ndef f(): ...\n"


def put(path: Path, text: str) -> str:
    path.with_suffix(".new").write_text(text)  # a new inode: its stamp differs, however quick this is
    path.with_suffix(".new").replace(path)
    return str(path)


def test_a_schedule_that_changes_goes_on_from_where_the_old_one_stood(tmp_path: Path):
    store, clock = MemoryStore(), FakeClock()
    deployments = Deployments(store, clock)
    file = put(tmp_path / "f.py", FILE.format(schedule="0 6 * * *"))
    deployments.sync(file)
    assert [view.next_at for view in deployed(store)] == ["2026-01-01T06:00:00+00:00"]
    clock.advance(8 * HOUR)  # nobody fired
    put(tmp_path / "f.py", FILE.format(schedule="0 7 * * *"))
    deployments.sync(file)
    assert [view.next_at for view in deployed(store)] == ["2026-01-01T07:00:00+00:00"]
    put(tmp_path / "f.py", FILE.format(schedule="0 7 * * *") + "\n# only a comment\n")
    clock.advance(HOUR)
    deployments.sync(file)
    assert [(view.next_at, view.cursor) for view in deployed(store)] == [
        ("2026-01-01T07:00:00+00:00", deployed(store)[0].cursor)
    ]
    assert store.definitions.triggers()[0].cursor < datetime.fromisoformat("2026-01-01T07:00:00+00:00").timestamp()


def test_a_file_whose_schedule_nobody_can_fire_is_told_and_the_others_are_served(tmp_path: Path):
    """No file of the native API can say it, so it is put into the graph."""
    store = MemoryStore()
    put(tmp_path / "bad.py", FILE.format(schedule="0 6 * * *").replace("f()", "bad()"))
    put(tmp_path / "good.py", FILE.format(schedule="0 6 * * *").replace("f()", "good()"))
    either = spec_of(AnyOf(parts=(Cron(cron="0 6 * * *"), AssetUpdates(op="both", key="orders"))))

    def load(request: Request, *, wanted: Callable[[], bool]) -> Found:
        found = load_isolated(request, wanted=wanted)
        for each in found.workflows:
            if each.name == "bad" and each.graph is not None:
                each.graph = msgspec.structs.replace(each.graph, triggers=(either,))
        return found

    synced = Deployments(store, FakeClock(), load=load).sync(str(tmp_path))
    assert synced.deployed == ["good"]
    [wrong] = synced.errors
    assert wrong.path == str(tmp_path / "bad.py")
    assert (
        "the schedule of 'bad' cannot be served: a condition over assets is asset, all or any, not 'both'"
        in wrong.error
    )
    assert f"at {tmp_path / 'bad.py'}:4" in wrong.error
    assert [view.workflow for view in deployed(store)] == ["good"]


def test_a_location_that_stays_as_it_was_costs_the_database_nothing(tmp_path: Path):
    store = MemoryStore()
    deployments = Deployments(store, FakeClock())
    file = put(tmp_path / "f.py", "this is no Python\n")
    deployments.sync(file)
    first = deployments.sync(file)
    asked: list[str] = []
    ask = store.definitions.files
    store.definitions.files = lambda location: asked.append(location) or ask(location)  # type: ignore[method-assign]
    again = deployments.sync(file)
    assert not asked
    assert [row.path for row in again.errors] == [row.path for row in first.errors] == [file]
    put(tmp_path / "f.py", FILE.format(schedule="0 6 * * *"))
    assert deployments.sync(file).deployed == ["f"]
    assert asked


def test_a_file_that_goes_as_soon_as_it_is_deployed_is_taken_out(tmp_path: Path):
    """Between two looks: at the second one all is as it was before it came."""
    store = MemoryStore()
    deployments = Deployments(store, FakeClock())
    put(tmp_path / "good.py", FILE.format(schedule="0 6 * * *").replace("f()", "good()"))
    for _ in range(2):
        deployments.sync(str(tmp_path))
    going = Path(put(tmp_path / "going.py", FILE.format(schedule="0 6 * * *").replace("f()", "going()")))
    assert deployments.sync(str(tmp_path)).deployed == ["going"]
    going.unlink()
    assert deployments.sync(str(tmp_path)).gone == ["going"]
    assert [row.workflow for row in store.definitions.deployments()] == ["good"]
